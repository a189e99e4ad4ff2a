// What the CUDA kernels share: maps in half precision, work within one warp, and launches that report what went wrong.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <stdexcept>
#include <string>

#include "../render/cuda.h"
#include "planes.h"

namespace semhead {

__device__ inline float* shared_memory() {  // of the block, as much as its launch asked for
    extern __shared__ __align__(16) float space[];
    return space;
}

__device__ inline float number(float x) { return x; }
__device__ inline float number(__half x) { return __half2float(x); }
__device__ inline float number(__nv_bfloat16 x) { return __bfloat162float(x); }

constexpr unsigned kWhole = 0xffffffffu;  // all lanes of a warp
constexpr int kWarp = 32;

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

__device__ inline float softplus(float x) { return fmaxf(x, 0.0f) + log1pf(__expf(-fabsf(x))); }
__device__ inline float sigmoid(float x) { return 1.0f / (1.0f + __expf(-x)); }

template <typename T, bool deep>
struct LaneTaps {  // the texels of one plane for the point of each lane, laid out [tap][lane]
    const Layout& layout;
    const Window& window;
    T x, y, z;
    int lane;
    int* offset;
    T* weight;

    template <int code>
    __device__ void run() const {
        int o[8];
        T w[8];
        plane_taps<code, deep>(layout, window, x, y, z, o, w);
        for (int k = 0; k < (deep ? 8 : 4); ++k) {
            offset[k * kWarp + lane] = o[k];
            weight[k * kWarp + lane] = w[k];
        }
    }
};

__device__ __noinline__ inline void lane_taps(const Layout& layout, int p, float x, float y, float z, int lane, int* offset,
                                              float* weight) {
    const Window& window = layout.windows[p];
    if (layout.depth > 1)
        with_projection(window.projection, LaneTaps<float, true>{layout, window, x, y, z, lane, offset, weight});
    else
        with_projection(window.projection, LaneTaps<float, false>{layout, window, x, y, z, lane, offset, weight});
}

// Sums of weighted texels of one plane, for the points of a warp; a lane takes a channel. Texels of four points are on
// their way at once.
template <int taps, typename M>
__device__ void read_texels(const M* map, int channels, int lane, int row, bool add, float* features, const int* offset,
                            const float* weight) {
    constexpr int points = 4;
    for (int c = lane; c < channels; c += kWarp)
        for (int first = 0; first < kWarp; first += points) {
            float texels[points][taps];
#pragma unroll
            for (int i = 0; i < points * taps; ++i)
                texels[i / taps][i % taps] = number(map[offset[i % taps * kWarp + first + i / taps] + c]);
#pragma unroll
            for (int i = 0; i < points; ++i) {
                float* feature = features + (first + i) * row + c;
                float total = add ? *feature : 0.0f;
#pragma unroll
                for (int k = 0; k < taps; ++k) total += weight[k * kWarp + first + i] * texels[i][k];
                *feature = total;
            }
        }
}

template <typename M>
__device__ void warp_fetch_of(const Layout& layout, const M* map, float x, float y, float z, int lane, int row, float* features,
                              int* offset, float* weight) {
    for (int p = 0; p < layout.planes; ++p) {
        lane_taps(layout, p, x, y, z, lane, offset, weight);
        __syncwarp();
        if (layout.depth > 1)
            read_texels<8>(map, layout.channels, lane, row, p > 0, features, offset, weight);
        else
            read_texels<4>(map, layout.channels, lane, row, p > 0, features, offset, weight);
        __syncwarp();
    }
}

// Features of the points of a warp's lanes, rows [lane][row] of shared memory: lanes fetch channels, so that one texel is
// one coalesced read. Item `item` of a map of the given type.
__device__ __noinline__ inline void warp_fetch(const Layout& layout, const void* map, MapType type, int64_t item, float x,
                                               float y, float z, int lane, int row, float* features, int* offset,
                                               float* weight) {
    const int64_t at = item * layout.texels();
    if (type == MapType::kFloat)
        warp_fetch_of(layout, static_cast<const float*>(map) + at, x, y, z, lane, row, features, offset, weight);
    else if (type == MapType::kHalf)
        warp_fetch_of(layout, static_cast<const __half*>(map) + at, x, y, z, lane, row, features, offset, weight);
    else
        warp_fetch_of(layout, static_cast<const __nv_bfloat16*>(map) + at, x, y, z, lane, row, features, offset, weight);
}

struct AnyTexels {  // a map as `point_gradient` reads it
    const void* map;
    MapType type;
    int64_t first;

    __device__ __noinline__ float dot(int offset, const float* d, int channels) const {
        float sum = 0;
        for (int64_t j = 0, at = first + offset; j < channels; ++j, ++at)
            sum += d[j] * (type == MapType::kFloat  ? static_cast<const float*>(map)[at]
                           : type == MapType::kHalf ? number(static_cast<const __half*>(map)[at])
                                                    : number(static_cast<const __nv_bfloat16*>(map)[at]));
        return sum;
    }
};

// Gradient of a point from that of its feature; the many cases of projections are compiled once, not once a kernel.
__device__ __noinline__ inline void lane_gradient(const Layout& layout, const AnyTexels map, const float* d_feature, float x,
                                                  float y, float z, float* out) {
    point_gradient(layout, map, d_feature, x, y, z, out);
}

// The transpose: adds gradients [lane][row] of the features of `count` lanes to the texels, in no fixed order.
__device__ __noinline__ inline void warp_scatter(const Layout& layout, float* d_map, float x, float y, float z, int lane,
                                                 int count, int row, const float* d_features, int* offset, float* weight) {
    for (int p = 0; p < layout.planes; ++p) {
        lane_taps(layout, p, x, y, z, lane, offset, weight);
        __syncwarp();
        const int taps = layout.taps_each();
        for (int s = 0; s < count; ++s)
            for (int c = lane; c < layout.channels; c += kWarp) {
                const float d = d_features[s * row + c];
                for (int k = 0; k < taps; ++k) atomicAdd(d_map + offset[k * kWarp + s] + c, weight[k * kWarp + s] * d);
            }
        __syncwarp();
    }
}

inline void check(cudaError_t error, const char* what) {
    if (error != cudaSuccess) throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(error));
}

struct Device {  // what a launch must know of the current one
    int processors, shared;  // multiprocessors; bytes of shared memory a block may ask for

    Device() {
        int device = 0;
        check(cudaGetDevice(&device), "cudaGetDevice");
        check(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device), "cudaDeviceGetAttribute");
        check(cudaDeviceGetAttribute(&shared, cudaDevAttrMaxSharedMemoryPerBlockOptin, device), "cudaDeviceGetAttribute");
    }
};

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
