// How the renderer's kernels are launched: padded widths, shared memory, warps of a block, blocks.
#pragma once

#include <algorithm>
#include <type_traits>

#include "../common/cuda.h"
#include "cuda.h"

namespace semhead {

constexpr int kMostWarps = 4;  // of a block

// Shared memory, in numbers of 4 bytes: the network's weights, once a block, and what each warp keeps of its ray.
struct Sizes {
    int n, width, hidden;  // samples of a ray; padded channels and colours; hidden units

    __host__ __device__ int weights() const { return hidden * (2 * width + 2) + width + 1; }
    __host__ __device__ int ray() const { return 6 * n + n * (width + 1) + kWarp * (width + 1) + 16 * kWarp; }
};

template <int width>
Sizes sizes_of(const RenderShape& s) {
    return {s.coarse + s.fine, width, s.hidden};
}

// Calls action(std::integral_constant<int, width>()) for the padded width that serves both channels and colours.
template <typename Action>
auto with_width(const RenderShape& s, const Action& action) {
    if (s.layout.channels <= 32 && s.outputs <= 32) return action(std::integral_constant<int, 32>());
    return action(std::integral_constant<int, kMaxWidth>());
}

struct Plan {
    int blocks, warps, bytes;  // of the launch; of a block; of its shared memory
};

// With as many warps at work as the GPU holds at once; a block's weights serve all its warps, so larger blocks win ties.
template <typename... Parameters>
Plan plan_of(void (*kernel)(Parameters...), const RenderShape& s, int weights, int each) {
    const Device device;
    const auto bytes = [&](int warps) { return (weights + warps * each) * static_cast<int>(sizeof(float)); };
    if (bytes(1) > device.shared)
        throw std::runtime_error("render_rays: " + std::to_string(s.coarse + s.fine) + " samples of " +
                                 std::to_string(s.outputs) + " colour features need " + std::to_string(bytes(1)) +
                                 " bytes of shared memory a block; this GPU has " + std::to_string(device.shared) +
                                 ". Take fewer samples a ray");
    // The most that any launch may need, and so the same whichever thread says it.
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, device.shared), "render_rays");
    Plan plan{};
    int most = 0;
    for (int warps = 1; warps <= kMostWarps && bytes(warps) <= device.shared; ++warps) {
        int resident = 0;  // blocks of a multiprocessor
        check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&resident, kernel, warps * kWarp, bytes(warps)), "render_rays");
        if (resident * warps < most) continue;
        most = resident * warps;
        plan = {device.processors * resident, warps, bytes(warps)};
    }
    const int64_t needed = (int64_t(s.batch) * s.rays + plan.warps - 1) / plan.warps;
    plan.blocks = static_cast<int>(std::min<int64_t>(plan.blocks, needed));
    return plan;
}

}  // namespace semhead
