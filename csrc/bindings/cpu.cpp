// The ops on the CPU.
#include "../planes/planes.h"
#include "render.h"

namespace semhead {
namespace {

template <typename Action>
void with_scalar(const Tensor& like, const Action& action) {
    if (like.scalar_type() == at::kFloat)
        action(float());
    else if (like.scalar_type() == at::kDouble)
        action(double());
    else
        TORCH_CHECK(false, "on the CPU only float32 and float64 are compiled, got ", like.scalar_type());
}

struct Cpu {
    static void forward(const RenderTensors& call, const RenderResults& results) {
        with_scalar(call.map, [&](auto zero) {
            using T = decltype(zero);
            render_cpu<T>(call.shape, call.inputs<T>(), results.outputs<T>(), threads(32));
        });
    }
    static void backward(const RenderTensors& call, const RenderBackward& back) {
        with_scalar(call.map, [&](auto zero) {
            using T = decltype(zero);
            render_backward_cpu<T>(call.shape, call.inputs<T>(), back.gradients<T>(), threads(1));
        });
    }
};

Tensor density_grid(const Tensor& map, const Tensor& w1, const Tensor& b1, const Tensor& w2, const Tensor& b2,
                    at::IntArrayRef numbers, double slope, double radius, int64_t side) {
    const Layout layout = layout_of(numbers, map);
    const int64_t batch = map.size(0), hidden = b1.numel();
    expect(map, "feature_map", map.sizes(), map);
    expect(w1, "w1", {hidden, layout.channels}, map);
    expect(b1, "b1", {hidden}, map);
    expect(w2, "w2", {b2.numel(), hidden}, map);
    for (const Tensor* t : {&w1, &b1, &w2, &b2})
        TORCH_CHECK(t->scalar_type() == map.scalar_type(), "the network must be ", map.scalar_type(),
                    " like the feature map, got ", t->scalar_type());
    TORCH_CHECK(b2.is_contiguous() && b2.numel() >= 1, "b2 must be contiguous, and hold the density's bias");
    TORCH_CHECK(hidden >= 1 && hidden <= kMaxWidth, "the hidden layer may be 1...", kMaxWidth, " wide, got ", hidden);
    TORCH_CHECK(side >= 2 && side <= kMaxGrid, "a grid has 2...", kMaxGrid, " nodes a side, got ", side);
    const Tensor grid = at::empty({batch, side, side, side}, map.options());
    with_scalar(map, [&](auto zero) {
        using T = decltype(zero);
        density_grid_cpu<T>(layout, batch, static_cast<int>(hidden), slope, radius, static_cast<int>(side), map.data_ptr<T>(),
                            w1.data_ptr<T>(), b1.data_ptr<T>(), w2.data_ptr<T>(), b2.data_ptr<T>(), grid.data_ptr<T>(),
                            threads(4));
    });
    return grid;
}

Tensor sample_planes(const Tensor& map, const Tensor& points, at::IntArrayRef numbers) {
    const Layout layout = layout_of(numbers, map);
    expect(map, "feature_map", map.sizes(), map);
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
    expect(map, "feature_map", map.sizes(), map);
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
    m.impl("render_rays", &render_rays<Cpu>);
    m.impl("render_rays_backward", &render_rays_backward<Cpu>);
    m.impl("density_grid", &density_grid);
    m.impl("sample_planes", &sample_planes);
    m.impl("sample_planes_backward", &sample_planes_backward);
}

}  // namespace semhead
