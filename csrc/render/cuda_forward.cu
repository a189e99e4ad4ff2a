// The fused ray renderer on CUDA, forward. One warp takes one ray at a time.
#include "cuda_ray.h"

namespace semhead {
namespace {

// The sum over a ray's samples of their colours, each times its share: a lane takes four colours of every few samples.
template <int width>
__device__ inline void sum_colours(const WarpRay<width>& ray, int outputs, float* out) {
    constexpr int fours = width / 4;
    const int group = ray.lane / fours, k = ray.lane % fours * 4;
    float sum[4] = {};
    for (int j = group; j < ray.used; j += kWarp / fours) {
        const float share = ray.share(j);
        const float4 colour = four(ray.colours + ray.order[j] * (width + 4) + k);
        sum[0] += share * colour.x;
        sum[1] += share * colour.y;
        sum[2] += share * colour.z;
        sum[3] += share * colour.w;
    }
#pragma unroll
    for (int c = 0; c < 4; ++c) {
        for (int step = fours; step < kWarp; step *= 2) sum[c] += __shfl_xor_sync(kWhole, sum[c], step);
        if (group == 0 && k + c < outputs) out[k + c] = sum[c];
    }
}

template <int width>
__global__ void __launch_bounds__(kForwardWarps* kWarp, width > 32 ? 1 : 2)
    forward_kernel(const __grid_constant__ RenderShape s, const __grid_constant__ RenderCudaInputs in,
                   const __grid_constant__ RenderOutputs<float> out, bool fours) {
    float* space = shared_memory();
    const Sizes sizes = sizes_of<width>(s);
    Weights<width> net(space, s.hidden);
    net.read(s, in);
    const int warp = threadIdx.x / kWarp, warps = blockDim.x / kWarp;
    WarpRay<width> ray(s, in, net, fours, sizes, space + sizes.weights + warp * sizes.ray());
    const int64_t total = int64_t(s.batch) * s.rays;
    for (int64_t i = int64_t(blockIdx.x) * warps + warp; i < total; i += int64_t(gridDim.x) * warps) {
        float nothing, passing;
        const bool enters = ray.start(in, i, &nothing, &passing);
        if (!enters || !ray.trace()) {
            for (int k = ray.lane; k < s.outputs; k += kWarp) out.features[i * s.outputs + k] = nothing;
            if (ray.lane == 0) {
                out.opacity[i] = nothing;
                out.depth[i] = enters ? ray.far : passing;
            }
            continue;
        }
        sum_colours(ray, s.outputs, out.features + i * s.outputs);
        float opacity = 0, depth = 0;
        for (int j = ray.lane; j < ray.used - 1; j += kWarp) {
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
    const bool fours = in_fours(s.layout, in.map, in.type, nullptr);
    with_width(s, [&](auto width) {
        const Sizes sizes = sizes_of<width>(s);
        const auto kernel = forward_kernel<width>;
        const Plan plan = plan_of(kernel, s, kForwardWarps, sizes.weights, sizes.ray());
        launch("render_rays", kernel, plan.blocks, plan.warps * kWarp, plan.bytes, static_cast<cudaStream_t>(stream), s, in,
               out, fours);
    });
}

}  // namespace semhead
