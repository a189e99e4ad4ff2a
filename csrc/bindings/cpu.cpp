// The ops on the CPU.
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include "../planes/planes.h"
#include "arguments.h"

namespace semhead {
namespace {

using at::Tensor;

template <typename Action>
void with_scalar(const Tensor& like, const Action& action) {
    if (like.scalar_type() == at::kFloat)
        action(float());
    else if (like.scalar_type() == at::kDouble)
        action(double());
    else
        TORCH_CHECK(false, "on the CPU only float32 and float64 are compiled, got ", like.scalar_type());
}

std::tuple<Tensor, Tensor, Tensor> render_rays(
    const Tensor& map, const Tensor& origins, const Tensor& directions, const Tensor& near, const Tensor& far, const Tensor& w1,
    const Tensor& b1, const Tensor& w2, const Tensor& b2, at::IntArrayRef layout, double half, double slope, double radius,
    int64_t coarse, int64_t fine, int64_t seed) {
    const RenderTensors call(map, origins, directions, near, far, w1, b1, w2, b2, layout, half, slope, radius, coarse, fine, seed);
    const RenderShape& s = call.shape;
    const Tensor features = at::empty({s.batch, s.rays, s.outputs}, map.options());
    const Tensor depth = at::empty({s.batch, s.rays}, map.options()), opacity = at::empty({s.batch, s.rays}, map.options());
    with_scalar(map, [&](auto zero) {
        using T = decltype(zero);
        const RenderOutputs<T> out{features.data_ptr<T>(), depth.data_ptr<T>(), opacity.data_ptr<T>()};
        render_cpu<T>(s, call.inputs<T>(), out, threads(32));
    });
    return {features, depth, opacity};
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> render_rays_backward(
    const Tensor& d_features, const Tensor& d_depth, const Tensor& d_opacity, const Tensor& map, const Tensor& origins,
    const Tensor& directions, const Tensor& near, const Tensor& far, const Tensor& w1, const Tensor& b1, const Tensor& w2,
    const Tensor& b2, at::IntArrayRef layout, double half, double slope, double radius, int64_t coarse, int64_t fine,
    int64_t seed, bool for_map, bool for_rays, bool for_network) {
    const RenderTensors call(map, origins, directions, near, far, w1, b1, w2, b2, layout, half, slope, radius, coarse, fine, seed);
    const RenderShape& s = call.shape;
    expect(d_features, "d_features", {s.batch, s.rays, s.outputs}, map);
    expect(d_depth, "d_depth", {s.batch, s.rays}, map);
    expect(d_opacity, "d_opacity", {s.batch, s.rays}, map);
    const auto space = [&](const Tensor& like, bool wanted) {
        return wanted ? at::zeros(like.sizes(), like.options()) : at::empty({0}, like.options());
    };
    const Tensor g_map = space(map, for_map), g_origins = space(origins, for_rays), g_directions = space(directions, for_rays);
    const Tensor g_w1 = space(w1, for_network), g_b1 = space(b1, for_network);
    const Tensor g_w2 = space(w2, for_network), g_b2 = space(b2, for_network);
    with_scalar(map, [&](auto zero) {
        using T = decltype(zero);
        const auto pointer = [](const Tensor& t, bool wanted) { return wanted ? t.data_ptr<T>() : nullptr; };
        const RenderGradients<T> grads{d_features.data_ptr<T>(), d_depth.data_ptr<T>(), d_opacity.data_ptr<T>(),
                                       pointer(g_map, for_map), pointer(g_origins, for_rays), pointer(g_directions, for_rays),
                                       pointer(g_w1, for_network), pointer(g_b1, for_network), pointer(g_w2, for_network),
                                       pointer(g_b2, for_network)};
        render_backward_cpu<T>(s, call.inputs<T>(), grads, threads(1));
    });
    return {g_map, g_origins, g_directions, g_w1, g_b1, g_w2, g_b2};
}

Tensor sample_planes(const Tensor& map, const Tensor& points, at::IntArrayRef numbers) {
    const Layout layout = layout_of(numbers, map);
    expect(map, "map", map.sizes(), map);
    expect(points, "points", {map.size(0), points.dim() == 3 ? points.size(1) : -1, 3}, map);
    const Tensor features = at::empty({map.size(0), points.size(1), layout.channels}, map.options());
    with_scalar(map, [&](auto zero) {
        using T = decltype(zero);
        sample_cpu<T>(layout, map.size(0), points.size(1), map.data_ptr<T>(), points.data_ptr<T>(), features.data_ptr<T>(),
                      threads(8));
    });
    return features;
}

std::tuple<Tensor, Tensor> sample_planes_backward(const Tensor& d_features, const Tensor& map, const Tensor& points,
                                                  at::IntArrayRef numbers, bool for_map, bool for_points) {
    const Layout layout = layout_of(numbers, map);
    expect(map, "map", map.sizes(), map);
    expect(points, "points", {map.size(0), points.dim() == 3 ? points.size(1) : -1, 3}, map);
    expect(d_features, "d_features", {map.size(0), points.size(1), layout.channels}, map);
    const Tensor g_map = for_map ? at::zeros(map.sizes(), map.options()) : at::empty({0}, map.options());
    const Tensor g_points = at::empty(for_points ? points.sizes() : at::IntArrayRef{0}, map.options());
    with_scalar(map, [&](auto zero) {
        using T = decltype(zero);
        sample_backward_cpu<T>(layout, map.size(0), points.size(1), d_features.data_ptr<T>(), map.data_ptr<T>(),
                               points.data_ptr<T>(), for_map ? g_map.data_ptr<T>() : nullptr,
                               for_points ? g_points.data_ptr<T>() : nullptr, threads(1));
    });
    return {g_map, g_points};
}

}  // namespace

TORCH_LIBRARY_IMPL(semhead, CPU, m) {
    m.impl("render_rays", &render_rays);
    m.impl("render_rays_backward", &render_rays_backward);
    m.impl("sample_planes", &sample_planes);
    m.impl("sample_planes_backward", &sample_planes_backward);
}

}  // namespace semhead
