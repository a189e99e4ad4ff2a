// How the renderer's kernels are launched: padded widths, shared memory, warps of a block, blocks.
#pragma once

#include <algorithm>
#include <map>
#include <mutex>
#include <tuple>
#include <type_traits>

#include "cuda_network.h"
#include "cuda_texels.h"

namespace semhead {

constexpr int kForwardWarps = 8, kBackwardWarps = 4;  // of a block, at most: so registers suffice

// Shared memory, in numbers of 4 bytes: the network's weights, once a block, and what each warp keeps of its ray.
struct Sizes {
    int n, width, weights, scratch;  // samples of the field on a ray; padded channels and colours; of the network; of a warp

    __host__ __device__ int samples() const { return (n + 3) / 4 * 4; }  // rows begin where four numbers are read at once
    __host__ __device__ int ray() const { return (samples() + kWarp) * (width + 4) + scratch + 5 * samples(); }
    __host__ __device__ int backward() const { return ray() + kWarp * kUnitRow + 2 * samples() + width; }
};

template <int width>
__host__ __device__ inline Sizes sizes_of(const RenderShape& s) {
    const int units = kWarp * kUnitRow, taps = Taps::size(s.layout);  // either of which lies in the scratch
    return {s.samples(), width, Weights<width>::size(s.hidden), taps > units ? taps : units};
}

// Calls action(std::integral_constant<int, width>()) for the padded width that serves both channels and colours.
template <typename Action>
auto with_width(const RenderShape& s, const Action& action) {
    const int needed = std::max(s.layout.channels, s.outputs);
    if (needed <= 16) return action(std::integral_constant<int, 16>());
    if (needed <= 32) return action(std::integral_constant<int, 32>());
    return action(std::integral_constant<int, kMaxWidth>());
}

struct Plan {
    int blocks, warps, bytes;  // of the launch; of a block; of its shared memory

    Plan for_rays(int64_t rays) const {
        return {static_cast<int>(std::min<int64_t>(blocks, (rays + warps - 1) / warps)), warps, bytes};
    }
};

// With as many warps at work as the GPU holds at once; a block's weights serve all its warps, so larger blocks win ties.
template <typename... Parameters>
Plan fullest_plan(int device, void (*kernel)(Parameters...), const RenderShape& s, int most_warps, int weights, int each) {
    int processors = 0, shared = 0;  // multiprocessors; bytes of shared memory a block may ask for
    check(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device), "cudaDeviceGetAttribute");
    check(cudaDeviceGetAttribute(&shared, cudaDevAttrMaxSharedMemoryPerBlockOptin, device), "cudaDeviceGetAttribute");
    const auto bytes = [&](int warps) { return (weights + warps * each) * static_cast<int>(sizeof(float)); };
    if (bytes(1) > shared)
        throw std::runtime_error("render_rays: " + std::to_string(s.samples()) + " samples of " + std::to_string(s.outputs) +
                                 " colour features need " + std::to_string(bytes(1)) +
                                 " bytes of shared memory a block; this GPU has " + std::to_string(shared) +
                                 ". Take fewer samples a ray");
    // The most that any launch may need, and so the same whichever thread says it.
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared), "render_rays");
    Plan plan{};
    int most = 0;
    for (int warps = 1; warps <= most_warps && bytes(warps) <= shared; ++warps) {
        int resident = 0;  // blocks of a multiprocessor
        check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&resident, kernel, warps * kWarp, bytes(warps)), "render_rays");
        if (resident * warps < most) continue;
        most = resident * warps;
        plan = {processors * resident, warps, bytes(warps)};
    }
    return plan;
}

inline std::mutex plans_mutex;
inline std::map<std::tuple<int, const void*, int, int>, Plan> plans;  // device, kernel, shared memory of block and warp

// The plan of a kernel for the current device: made once for each device and each size, by whichever thread comes first.
template <typename... Parameters>
Plan plan_of(void (*kernel)(Parameters...), const RenderShape& s, int most_warps, int weights, int each) {
    int device = 0;
    check(cudaGetDevice(&device), "cudaGetDevice");
    const std::lock_guard<std::mutex> lock(plans_mutex);
    const auto key = std::make_tuple(device, reinterpret_cast<const void*>(kernel), weights, each);
    auto found = plans.find(key);
    if (found == plans.end()) found = plans.emplace(key, fullest_plan(device, kernel, s, most_warps, weights, each)).first;
    return found->second.for_rays(int64_t(s.batch) * s.rays);
}

}  // namespace semhead
