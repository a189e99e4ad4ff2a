// The ops on CUDA. Point features there are the reference twin's; the renderer is where the time goes.
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include "../render/cuda.h"
#include "arguments.h"

namespace semhead {
namespace {

using at::Tensor;

MapType type_of(const Tensor& map) {
    switch (map.scalar_type()) {
        case at::kFloat: return MapType::kFloat;
        case at::kHalf: return MapType::kHalf;
        case at::kBFloat16: return MapType::kBfloat;
        default: TORCH_CHECK(false, "on CUDA maps are float32, float16 or bfloat16, got ", map.scalar_type());
    }
}

RenderCudaInputs inputs_of(const RenderTensors& t) {
    const auto pointer = [](const Tensor& x) { return x.data_ptr<float>(); };
    return {t.map.data_ptr(), type_of(t.map), pointer(t.origins), pointer(t.directions), pointer(t.near), pointer(t.far),
            pointer(t.w1), pointer(t.b1), pointer(t.w2), pointer(t.b2)};
}

std::tuple<Tensor, Tensor, Tensor> render_rays(
    const Tensor& map, const Tensor& origins, const Tensor& directions, const Tensor& near, const Tensor& far, const Tensor& w1,
    const Tensor& b1, const Tensor& w2, const Tensor& b2, at::IntArrayRef layout, double half, double slope, double radius,
    int64_t coarse, int64_t fine, int64_t seed) {
    const c10::cuda::CUDAGuard guard(map.device());
    const RenderTensors call(map, origins, directions, near, far, w1, b1, w2, b2, layout, half, slope, radius, coarse, fine, seed);
    const RenderShape& s = call.shape;
    const Tensor features = at::empty({s.batch, s.rays, s.outputs}, origins.options());
    const Tensor depth = at::empty({s.batch, s.rays}, origins.options());
    const Tensor opacity = at::empty({s.batch, s.rays}, origins.options());
    const RenderOutputs<float> out{features.data_ptr<float>(), depth.data_ptr<float>(), opacity.data_ptr<float>()};
    render_cuda(s, inputs_of(call), out, c10::cuda::getCurrentCUDAStream().stream());
    return {features, depth, opacity};
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> render_rays_backward(
    const Tensor& d_features, const Tensor& d_depth, const Tensor& d_opacity, const Tensor& map, const Tensor& origins,
    const Tensor& directions, const Tensor& near, const Tensor& far, const Tensor& w1, const Tensor& b1, const Tensor& w2,
    const Tensor& b2, at::IntArrayRef layout, double half, double slope, double radius, int64_t coarse, int64_t fine,
    int64_t seed, bool for_map, bool for_rays, bool for_network) {
    const c10::cuda::CUDAGuard guard(map.device());
    const RenderTensors call(map, origins, directions, near, far, w1, b1, w2, b2, layout, half, slope, radius, coarse, fine, seed);
    const RenderShape& s = call.shape;
    expect(d_features, "d_features", {s.batch, s.rays, s.outputs}, map);
    expect(d_depth, "d_depth", {s.batch, s.rays}, map);
    expect(d_opacity, "d_opacity", {s.batch, s.rays}, map);
    const auto space = [&](const Tensor& like, bool wanted) {
        return wanted ? at::zeros(like.sizes(), origins.options()) : at::empty({0}, origins.options());
    };
    const Tensor g_map = space(map, for_map), g_origins = space(origins, for_rays), g_directions = space(directions, for_rays);
    const Tensor g_w1 = space(w1, for_network), g_b1 = space(b1, for_network);
    const Tensor g_w2 = space(w2, for_network), g_b2 = space(b2, for_network);
    const Tensor partials = at::zeros({for_network ? render_cuda_rows(s) * render_cuda_partials(s) : 0}, origins.options());
    const auto pointer = [](const Tensor& t, bool wanted) { return wanted ? t.data_ptr<float>() : nullptr; };
    const RenderGradients<float> grads{d_features.data_ptr<float>(), d_depth.data_ptr<float>(), d_opacity.data_ptr<float>(),
                                       pointer(g_map, for_map), pointer(g_origins, for_rays), pointer(g_directions, for_rays),
                                       pointer(g_w1, for_network), pointer(g_b1, for_network), pointer(g_w2, for_network),
                                       pointer(g_b2, for_network)};
    render_backward_cuda(s, inputs_of(call), grads, pointer(partials, for_network), c10::cuda::getCurrentCUDAStream().stream());
    return {g_map.to(map.scalar_type()), g_origins, g_directions, g_w1, g_b1, g_w2, g_b2};
}

}  // namespace

TORCH_LIBRARY_IMPL(semhead, CUDA, m) {
    m.impl("render_rays", &render_rays);
    m.impl("render_rays_backward", &render_rays_backward);
}

}  // namespace semhead
