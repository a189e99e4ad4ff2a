// The renderer's ops: arguments to the kernels' plain structures, checked, and tensors made for what they return.
#pragma once

#include <optional>

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include "arguments.h"

namespace semhead {

using at::Tensor;

template <typename T>
T* pointer(const Tensor& t) {  // null for a tensor that is not there
    return t.defined() ? t.data_ptr<T>() : nullptr;
}

struct RenderTensors {  // the arguments of the renderer, checked
    const Tensor &map, &origins, &directions, &near, &far, &w1, &b1, &w2, &b2;
    const Tensor grid;  // undefined where there is none
    const Tensor& seed;
    RenderShape shape;

    RenderTensors(const Tensor& map, const Tensor& origins, const Tensor& directions, const Tensor& near, const Tensor& far,
                  const Tensor& w1, const Tensor& b1, const Tensor& w2, const Tensor& b2, const std::optional<Tensor>& grid,
                  const Tensor& seed, at::IntArrayRef layout, at::ArrayRef<double> box, double slope, double radius,
                  int64_t coarse, int64_t fine)
        : map(map), origins(origins), directions(directions), near(near), far(far), w1(w1), b1(b1), w2(w2), b2(b2),
          grid(grid.value_or(Tensor())), seed(seed) {
        TORCH_CHECK(box.size() == 6, "box must be its centre and half-extents, 6 numbers, got ", box.size());
        const int64_t batch = map.size(0), rays = origins.dim() == 3 ? origins.size(1) : -1;
        shape = {static_cast<int>(batch), static_cast<int>(rays), static_cast<int>(coarse), static_cast<int>(fine),
                 static_cast<int>(b1.numel()), static_cast<int>(b2.numel()) - 1,
                 this->grid.defined() ? static_cast<int>(this->grid.size(-1)) : 0, {box[0], box[1], box[2]},
                 {box[3], box[4], box[5]}, slope, radius, layout_of(layout, map)};
        expect(map, "feature_map", map.sizes(), map);
        expect(origins, "origins", {batch, rays, 3}, map);
        expect(directions, "directions", {batch, rays, 3}, map);
        expect(near, "near", {batch, rays}, map);
        expect(far, "far", {batch, rays}, map);
        expect(w1, "w1", {shape.hidden, shape.layout.channels}, map);
        expect(b1, "b1", {shape.hidden}, map);
        expect(w2, "w2", {1 + shape.outputs, shape.hidden}, map);
        expect(b2, "b2", {1 + shape.outputs}, map);
        if (this->grid.defined()) expect(this->grid, "grid", {batch, shape.grid, shape.grid, shape.grid}, map);
        expect(seed, "seed", seed.sizes(), map);
        TORCH_CHECK(seed.numel() == 1 && seed.scalar_type() == at::kLong, "seed must be one int64, got ", seed.sizes(), " of ",
                    seed.scalar_type());
        const at::ScalarType expected = map.is_cuda() ? at::kFloat : map.scalar_type();  // on CUDA only maps may be smaller
        for (const Tensor* t : {&origins, &directions, &near, &far, &w1, &b1, &w2, &b2, &this->grid})
            TORCH_CHECK(!t->defined() || t->scalar_type() == expected, "all inputs but the feature map must be ",
                        expected, ", got ", t->scalar_type());
        TORCH_CHECK(shape.hidden >= 1 && shape.hidden <= kMaxWidth, "the hidden layer may be 1...", kMaxWidth, " wide, got ",
                    shape.hidden);
        TORCH_CHECK(shape.outputs >= 1 && shape.outputs <= kMaxWidth, "colour features may be 1...", kMaxWidth, ", got ",
                    shape.outputs);
        TORCH_CHECK(coarse >= 2 && coarse <= kMaxSamples, "coarse must lie in 2...", kMaxSamples, ", got ", coarse);
        TORCH_CHECK(fine >= 0 && fine <= kMaxSamples, "fine must lie in 0...", kMaxSamples, ", got ", fine);
        TORCH_CHECK(!shape.grid || (shape.grid >= 2 && shape.grid <= kMaxGrid), "a grid has 2...", kMaxGrid,
                    " nodes a side, got ", shape.grid);
        TORCH_CHECK(!shape.grid || fine >= 2, "with a grid, fine must be at least 2, got ", fine);
        for (int k = 0; k < 3; ++k)
            TORCH_CHECK(shape.half[k] > 0, "the box's half-extents must be positive, got ", shape.half[k]);
    }

    template <typename T>
    RenderInputs<T> inputs() const {
        return {map.data_ptr<T>(), origins.data_ptr<T>(), directions.data_ptr<T>(), near.data_ptr<T>(), far.data_ptr<T>(),
                w1.data_ptr<T>(), b1.data_ptr<T>(), w2.data_ptr<T>(), b2.data_ptr<T>(), pointer<T>(grid),
                seed.data_ptr<int64_t>()};
    }
};

struct RenderResults {
    Tensor features, depth, opacity;

    template <typename T>
    RenderOutputs<T> outputs() const {
        return {pointer<T>(features), pointer<T>(depth), pointer<T>(opacity)};
    }
};

struct RenderBackward {
    const Tensor &d_features, &d_depth, &d_opacity;                // of the loss, with respect to the results
    Tensor map, origins, directions, w1, b1, w2, b2;               // zeroed; undefined where not asked for

    template <typename T>
    RenderGradients<T> gradients() const {
        return {pointer<T>(d_features), pointer<T>(d_depth), pointer<T>(d_opacity), pointer<T>(map), pointer<T>(origins),
                pointer<T>(directions), pointer<T>(w1), pointer<T>(b1), pointer<T>(w2), pointer<T>(b2)};
    }
};

// The two ops on one kind of device, which `Device` computes: forward(RenderTensors, RenderResults) and
// backward(RenderTensors, RenderBackward). Everything but the map has the type of the origins.
template <typename Device>
std::tuple<Tensor, Tensor, Tensor> render_rays(
    const Tensor& map, const Tensor& origins, const Tensor& directions, const Tensor& near, const Tensor& far, const Tensor& w1,
    const Tensor& b1, const Tensor& w2, const Tensor& b2, const std::optional<Tensor>& grid, const Tensor& seed,
    at::IntArrayRef layout, at::ArrayRef<double> box, double slope, double radius, int64_t coarse, int64_t fine) {
    const RenderTensors call(map, origins, directions, near, far, w1, b1, w2, b2, grid, seed, layout, box, slope, radius,
                             coarse, fine);
    const RenderShape& s = call.shape;
    const RenderResults results{at::empty({s.batch, s.rays, s.outputs}, origins.options()),
                                at::empty({s.batch, s.rays}, origins.options()),
                                at::empty({s.batch, s.rays}, origins.options())};
    Device::forward(call, results);
    return {results.features, results.depth, results.opacity};
}

template <typename Device>
std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> render_rays_backward(
    const Tensor& d_features, const Tensor& d_depth, const Tensor& d_opacity, const Tensor& map, const Tensor& origins,
    const Tensor& directions, const Tensor& near, const Tensor& far, const Tensor& w1, const Tensor& b1, const Tensor& w2,
    const Tensor& b2, const std::optional<Tensor>& grid, const Tensor& seed, at::IntArrayRef layout, at::ArrayRef<double> box,
    double slope, double radius, int64_t coarse, int64_t fine, bool for_map, bool for_rays, bool for_network) {
    const RenderTensors call(map, origins, directions, near, far, w1, b1, w2, b2, grid, seed, layout, box, slope, radius,
                             coarse, fine);
    const RenderShape& s = call.shape;
    expect(d_features, "d_features", {s.batch, s.rays, s.outputs}, map);
    expect(d_depth, "d_depth", {s.batch, s.rays}, map);
    expect(d_opacity, "d_opacity", {s.batch, s.rays}, map);
    const auto zeros = [&](const Tensor& like, bool wanted) {
        return wanted ? at::zeros(like.sizes(), origins.options()) : Tensor();
    };
    const RenderBackward back{d_features, d_depth, d_opacity, zeros(map, for_map), zeros(origins, for_rays),
                              zeros(directions, for_rays), zeros(w1, for_network), zeros(b1, for_network),
                              zeros(w2, for_network), zeros(b2, for_network)};
    Device::backward(call, back);
    const auto or_nothing = [&](const Tensor& t) { return t.defined() ? t : at::empty({0}, origins.options()); };
    const Tensor g_map = or_nothing(back.map).to(map.scalar_type());
    return {g_map, or_nothing(back.origins), or_nothing(back.directions), or_nothing(back.w1), or_nothing(back.b1),
            or_nothing(back.w2), or_nothing(back.b2)};
}

}  // namespace semhead
