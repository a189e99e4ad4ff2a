// What the CUDA kernels share: numbers read four at a time, work within one warp, and launches that report what went wrong.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstring>
#include <stdexcept>
#include <string>

namespace semhead {

constexpr unsigned kWhole = 0xffffffffu;  // all lanes of a warp
constexpr int kWarp = 32;

__device__ inline float* shared_memory() {  // of the block, as much as its launch asked for
    extern __shared__ __align__(16) float space[];
    return space;
}

// Four numbers of shared memory or of an array that is written, at an address that four of them divide.
__device__ inline float4 four(const float* at) { return *reinterpret_cast<const float4*>(at); }
__device__ inline void put(float* at, float4 x) { *reinterpret_cast<float4*>(at) = x; }

// Numbers of a map, which no kernel writes: one, or four at an address that four of them divide.
__device__ inline float number(float x) { return x; }
__device__ inline float number(__half x) { return __half2float(x); }
__device__ inline float number(__nv_bfloat16 x) { return __bfloat162float(x); }

__device__ inline void read_map(const float* at, float (&x)[1]) { x[0] = __ldg(at); }
template <typename M>
__device__ inline void read_map(const M* at, float (&x)[1]) {
    const unsigned short bits = __ldg(reinterpret_cast<const unsigned short*>(at));
    M half;
    memcpy(&half, &bits, sizeof half);
    x[0] = number(half);
}
__device__ inline void read_map(const float* at, float (&x)[4]) {
    const float4 all = __ldg(reinterpret_cast<const float4*>(at));
    x[0] = all.x, x[1] = all.y, x[2] = all.z, x[3] = all.w;
}
template <typename M>
__device__ inline void read_map(const M* at, float (&x)[4]) {
    const uint2 bits = __ldg(reinterpret_cast<const uint2*>(at));
    M halves[4];
    memcpy(halves, &bits, sizeof halves);
    for (int k = 0; k < 4; ++k) x[k] = number(halves[k]);
}

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
constexpr bool kAddsFours = true;
// Adds to four numbers at once, each of them atomically, at an address that four of them divide.
__device__ inline void add_atomically(float* at, float4 x) { atomicAdd(reinterpret_cast<float4*>(at), x); }
#else
constexpr bool kAddsFours = false;
__device__ inline void add_atomically(float*, float4) {}
#endif

__device__ inline float warp_sum(float x) {
    for (int step = 16; step; step /= 2) x += __shfl_xor_sync(kWhole, x, step);
    return x;
}

struct Running {
    float before, after;  // this lane's number
};
// The running sum of `total` and the numbers of the lanes in order; adds all of them to `total`.
__device__ inline Running warp_scan(float x, int lane, float& total) {
    for (int step = 1; step < kWarp; step *= 2) {
        const float other = __shfl_up_sync(kWhole, x, step);
        if (lane >= step) x += other;
    }
    const float after = total + x, before = __shfl_up_sync(kWhole, after, 1);
    const Running sum{lane > 0 ? before : total, after};
    total = __shfl_sync(kWhole, after, kWarp - 1);
    return sum;
}

// How many lanes, from the first on, have this true.
__device__ inline int warp_run(bool x) {
    const unsigned lanes = __ballot_sync(kWhole, x);
    return lanes == kWhole ? kWarp : __ffs(static_cast<int>(~lanes)) - 1;
}

__device__ inline float softplus(float x) { return fmaxf(x, 0.0f) + log1pf(__expf(-fabsf(x))); }
__device__ inline float sigmoid(float x) { return __fdividef(1.0f, 1.0f + __expf(-x)); }

inline void check(cudaError_t error, const char* what) {
    if (error != cudaSuccess) throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(error));
}

// Throws where the launch fails; what goes wrong later shows at the next call of CUDA, as everywhere.
template <typename... Parameters, typename... Arguments>
void launch(const char* what, void (*kernel)(Parameters...), int blocks, int threads, int bytes, cudaStream_t stream,
            const Arguments&... arguments) {
    cudaLaunchConfig_t config{};
    config.gridDim = dim3(blocks);
    config.blockDim = dim3(threads);
    config.dynamicSmemBytes = bytes;
    config.stream = stream;
    check(cudaLaunchKernelEx(&config, kernel, arguments...), what);
}

}  // namespace semhead
