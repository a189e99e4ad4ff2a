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
    m.impl("render_rays", &render_rays<Cpu>);
    m.impl("render_rays_backward", &render_rays_backward<Cpu>);
    m.impl("sample_planes", &sample_planes);
    m.impl("sample_planes_backward", &sample_planes_backward);
}

}  // namespace semhead
