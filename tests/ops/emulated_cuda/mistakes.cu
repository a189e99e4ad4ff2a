// Kernels of 64 threads that are wrong, each in one way that the emulation must notice; the first is right.
#include "../../../csrc/common/cuda.h"

namespace semhead {
namespace {

__global__ void neighbours(float* out) {
    shared_memory()[threadIdx.x] = float(threadIdx.x);
    __syncthreads();
    out[threadIdx.x] = shared_memory()[threadIdx.x ^ 33];
}
__global__ void no_barrier(float* out) {
    shared_memory()[threadIdx.x] = float(threadIdx.x);
    out[threadIdx.x] = shared_memory()[threadIdx.x ^ 1];
}
__global__ void barrier_of_the_warp_alone(float* out) {
    shared_memory()[threadIdx.x] = float(threadIdx.x);
    __syncwarp();
    out[threadIdx.x] = shared_memory()[threadIdx.x ^ 33];
}
__global__ void a_shuffle_for_a_barrier(float* out) {
    shared_memory()[threadIdx.x] = float(threadIdx.x);
    __shfl_sync(0xffffffffu, 0.0f, 0);
    out[threadIdx.x] = shared_memory()[threadIdx.x ^ 1];
}
__global__ void overwritten_while_read(float* out) {
    shared_memory()[threadIdx.x] = float(threadIdx.x);
    __syncthreads();
    out[threadIdx.x] = shared_memory()[threadIdx.x ^ 1];
    shared_memory()[threadIdx.x] = 0;
}
__global__ void never_written(float* out) { out[threadIdx.x] = shared_memory()[threadIdx.x]; }
__global__ void beyond_shared_memory(float*) { shared_memory()[threadIdx.x + 1] = 0; }
__global__ void beyond_the_array(float* out) { out[threadIdx.x + 1] = 0; }
__global__ void all_at_one_place(float* out) { out[0] += 1; }
__global__ void not_all_atomically(float* out) {
    if (threadIdx.x == 40) out[0] = 0;
    atomicAdd(out, 1);
}
__global__ void an_ended_lane(float*) {
    if (threadIdx.x == 3) return;
    __syncwarp();
}
__global__ void different_barriers(float*) {
    if (threadIdx.x == 3)
        __syncwarp();
    else
        __syncwarp();
}
__global__ void a_part_of_the_warp(float*) {
    if (threadIdx.x == 3) __syncwarp(1u << 3);
}
__global__ void four_numbers_astride(float* out) {
    shared_memory()[threadIdx.x] = 0;
    __syncthreads();
    out[threadIdx.x] = four(shared_memory() + threadIdx.x).x;
}
__global__ void four_sums_astride(float* out) {
    if (threadIdx.x < 2) add_atomically(out + threadIdx.x, float4{});
}
__global__ void a_constant_that_is_written(float* out) {
    float x[1];
    read_map(out + (threadIdx.x ^ 33), x);
}

}  // namespace
}  // namespace semhead

using namespace semhead;

extern "C" int emulated_mistake(int which, float* out, int bytes) {
    void (*const kernels[])(float*) = {
        neighbours,        no_barrier,         barrier_of_the_warp_alone, a_shuffle_for_a_barrier, overwritten_while_read,
        never_written,     beyond_shared_memory, beyond_the_array,        all_at_one_place,        not_all_atomically,
        an_ended_lane,     different_barriers, a_part_of_the_warp,        four_numbers_astride,    four_sums_astride,
        a_constant_that_is_written,
    };
    cudaLaunchConfig_t config{};
    config.blockDim = dim3(64);
    config.dynamicSmemBytes = size_t(bytes);
    return cudaLaunchKernelEx(&config, kernels[which], out);
}
