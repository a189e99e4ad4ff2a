// The part of CUDA that the kernels use, as ordinary C++: README.md says what runs it and what it checks.
#pragma once

#include <math.h>

#include <cstdint>
#include <tuple>

#define __host__
#define __device__
#define __global__
#define __shared__
#define __noinline__
#define __grid_constant__
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define __expf(x) expf(x)
#define __fdividef(x, y) ((x) / (y))
#define __CUDA_ARCH__ 900

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
extern dim3 threadIdx, blockIdx, blockDim, gridDim;  // of the thread that runs now

struct alignas(16) float4 {
    float x, y, z, w;
};
struct alignas(16) int4 {
    int x, y, z, w;
};
struct alignas(8) uint2 {
    unsigned x, y;
};
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }

inline int min(int a, int b) { return a < b ? a : b; }
inline int max(int a, int b) { return a > b ? a : b; }
inline int __ffs(int x) { return __builtin_ffs(x); }

namespace emulated {
void read_only(const void* address);
}
template <typename T>
T __ldg(const T* address) {
    emulated::read_only(address);
    return *address;
}

// Collectives know where they are called, so that lanes which meet at different places are told apart.
void __syncthreads(const char* file = __builtin_FILE(), int line = __builtin_LINE());
void __syncwarp(unsigned mask = 0xffffffffu, const char* file = __builtin_FILE(), int line = __builtin_LINE());
float __shfl_sync(unsigned mask, float x, int lane, const char* file = __builtin_FILE(), int line = __builtin_LINE());
float __shfl_up_sync(unsigned mask, float x, unsigned by, const char* file = __builtin_FILE(), int line = __builtin_LINE());
float __shfl_xor_sync(unsigned mask, float x, int with, const char* file = __builtin_FILE(), int line = __builtin_LINE());
unsigned __ballot_sync(unsigned mask, int x, const char* file = __builtin_FILE(), int line = __builtin_LINE());
float atomicAdd(float* address, float x);
float4 atomicAdd(float4* address, float4 x);

enum cudaError_t { cudaSuccess, cudaErrorInvalidValue, cudaErrorLaunchFailure };
enum cudaDeviceAttr { cudaDevAttrMultiProcessorCount, cudaDevAttrMaxSharedMemoryPerBlockOptin };
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize };
typedef struct CUstream_st* cudaStream_t;

struct cudaLaunchConfig_t {
    dim3 gridDim, blockDim;
    size_t dynamicSmemBytes;
    cudaStream_t stream;
};

const char* cudaGetErrorString(cudaError_t error);
cudaError_t cudaGetDevice(int* device);
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device);

namespace emulated {

template <typename... Parameters>
struct Call {
    void (*kernel)(Parameters...);
    std::tuple<Parameters...> parameters;

    static void run(const void* call) {  // one thread
        const Call* self = static_cast<const Call*>(call);
        std::apply(self->kernel, self->parameters);
    }
};

cudaError_t allow_shared(const void* kernel, int bytes);
cudaError_t occupancy(int* blocks, const void* kernel, int threads, size_t bytes);
cudaError_t launch(const void* kernel, const cudaLaunchConfig_t& config, void (*run)(const void*), const void* call,
                   size_t bytes);

}  // namespace emulated

template <typename... Parameters>
cudaError_t cudaFuncSetAttribute(void (*kernel)(Parameters...), cudaFuncAttribute, int bytes) {
    return emulated::allow_shared(reinterpret_cast<const void*>(kernel), bytes);
}

template <typename... Parameters>
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, void (*kernel)(Parameters...), int threads,
                                                          size_t bytes) {
    return emulated::occupancy(blocks, reinterpret_cast<const void*>(kernel), threads, bytes);
}

template <typename... Parameters, typename... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...), Arguments&&... arguments) {
    const emulated::Call<Parameters...> call{kernel, {arguments...}};
    return emulated::launch(reinterpret_cast<const void*>(kernel), *config, call.run, &call, sizeof call);
}
