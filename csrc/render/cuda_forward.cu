// The fused ray renderer on CUDA, forward. One warp takes one ray at a time.
#include "cuda_ray.h"

namespace semhead {
namespace {

template <int width>
__global__ void __launch_bounds__(kMostWarps* kWarp, width > 32 ? 2 : 3)
    forward_kernel(const __grid_constant__ RenderShape s, const __grid_constant__ RenderCudaInputs in,
                   const __grid_constant__ RenderOutputs<float> out) {
    float* space = shared_memory();
    const Sizes sizes{s.coarse + s.fine, width, s.hidden};
    Weights net(space, sizes);
    net.read(s, in, sizes);
    const int warp = threadIdx.x / kWarp, warps = blockDim.x / kWarp;
    WarpRay<width> ray(s, in, net, space + sizes.weights() + warp * sizes.ray());
    const int64_t total = int64_t(s.batch) * s.rays;
    for (int64_t i = int64_t(blockIdx.x) * warps + warp; i < total; i += int64_t(gridDim.x) * warps) {
        float nothing, passing;
        if (!ray.start(in, i, &nothing, &passing)) {
            for (int k = ray.lane; k < s.outputs; k += kWarp) out.features[i * s.outputs + k] = nothing;
            if (ray.lane == 0) {
                out.opacity[i] = nothing;
                out.depth[i] = passing;
            }
            continue;
        }
        ray.trace();
        for (int k = ray.lane; k < s.outputs; k += kWarp) {
            float sum = 0;
            for (int j = 0; j < ray.n; ++j) sum += ray.share(j) * ray.colours[ray.order[j] * (width + 1) + k];
            out.features[i * s.outputs + k] = sum;
        }
        float opacity = 0, depth = 0;
        for (int j = ray.lane; j < ray.n - 1; j += kWarp) {
            opacity += ray.w[j];
            depth += ray.w[j] * 0.5f * (ray.t[ray.order[j]] + ray.t[ray.order[j + 1]]);
        }
        opacity = warp_sum(opacity);
        depth = warp_sum(depth);
        if (ray.lane == 0) {
            out.opacity[i] = opacity;
            out.depth[i] = depth + (1 - opacity) * ray.far;
        }
        __syncwarp();
    }
}

}  // namespace

void render_cuda(const RenderShape& s, const RenderCudaInputs& in, const RenderOutputs<float>& out, void* stream) {
    if (s.batch == 0 || s.rays == 0) return;
    const auto at = static_cast<cudaStream_t>(stream);
    with_width(s, [&](auto width) {
        const Sizes sizes = sizes_of<width>(s);
        const auto kernel = forward_kernel<width>;
        const Plan plan = plan_of(kernel, s, sizes.weights(), sizes.ray());
        launch("render_rays", kernel, plan.blocks, plan.warps * kWarp, plan.bytes, at, s, in, out);
    });
}

}  // namespace semhead
