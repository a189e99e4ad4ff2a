// Tensors to the plain structures of the kernels, checked.
#pragma once

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <torch/library.h>

#include "../render/render.h"

namespace semhead {

inline Layout layout_of(at::IntArrayRef numbers, const at::Tensor& map) {
    TORCH_CHECK(map.dim() == 4, "map must be [batch, rows, columns, channels], got ", map.sizes());
    TORCH_CHECK(numbers.size() >= 8 && (numbers.size() - 4) % 4 == 0, "layout must hold 4 numbers and 4 a plane, got ",
                numbers.size());
    Layout l{};
    l.rows = static_cast<int>(map.size(1));
    l.columns = static_cast<int>(map.size(2));
    l.stride = static_cast<int>(map.size(3));
    l.height = static_cast<int>(numbers[0]);
    l.width = static_cast<int>(numbers[1]);
    l.depth = static_cast<int>(numbers[2]);
    l.channels = static_cast<int>(numbers[3]);
    l.planes = static_cast<int>((numbers.size() - 4) / 4);
    TORCH_CHECK(l.planes <= kMaxPlanes, "layout has ", l.planes, " planes; at most ", kMaxPlanes, " are compiled");
    TORCH_CHECK(l.channels >= 1 && l.channels <= kMaxWidth, "channels must lie in 1...", kMaxWidth, ", got ", l.channels);
    TORCH_CHECK(l.height >= 1 && l.width >= 1 && l.depth >= 1, "planes must have texels, got ", l.height, " x ", l.width,
                " x ", l.depth);
    TORCH_CHECK(l.texels() < (int64_t(1) << 31), "a map may hold 2^31 numbers an item, got ", l.texels());
    for (int p = 0; p < l.planes; ++p) {
        Window& w = l.windows[p];
        const int64_t* from = numbers.data() + 4 + 4 * p;
        w = {static_cast<int>(from[0]), static_cast<int>(from[1]), static_cast<int>(from[2]), static_cast<int>(from[3])};
        TORCH_CHECK(w.projection >= 0 && w.projection < kProjections, "no projection has the number ", w.projection);
        TORCH_CHECK(w.row >= 0 && w.column >= 0 && w.channel >= 0 && w.row + l.height <= l.rows &&
                        w.column + l.width <= l.columns && w.channel + l.depth * l.channels <= l.stride,
                    "plane ", p, " reaches beyond the map ", map.sizes());
    }
    return l;
}

inline void expect(const at::Tensor& t, const char* name, at::IntArrayRef shape, const at::Tensor& like) {
    TORCH_CHECK(t.sizes() == shape, name, " must be ", shape, ", got ", t.sizes());
    TORCH_CHECK(t.device() == like.device(), name, " must be on ", like.device(), " like the others, got ", t.device());
    TORCH_CHECK(t.is_contiguous(), name, " must be contiguous");
}

struct RenderTensors {  // the arguments of the renderer, checked
    const at::Tensor &map, &origins, &directions, &near, &far, &w1, &b1, &w2, &b2;
    RenderShape shape;

    RenderTensors(const at::Tensor& map, const at::Tensor& origins, const at::Tensor& directions, const at::Tensor& near, const at::Tensor& far,
           const at::Tensor& w1, const at::Tensor& b1, const at::Tensor& w2, const at::Tensor& b2, at::IntArrayRef layout, double half,
           double slope, double radius, int64_t coarse, int64_t fine, int64_t seed)
        : map(map), origins(origins), directions(directions), near(near), far(far), w1(w1), b1(b1), w2(w2), b2(b2) {
        const int64_t batch = map.size(0), rays = origins.dim() == 3 ? origins.size(1) : -1;
        shape = {static_cast<int>(batch), static_cast<int>(rays), static_cast<int>(coarse), static_cast<int>(fine),
                 static_cast<int>(b1.numel()), static_cast<int>(b2.numel()) - 1, half, slope, radius, seed,
                 layout_of(layout, map)};
        expect(map, "map", map.sizes(), map);
        expect(origins, "origins", {batch, rays, 3}, map);
        expect(directions, "directions", {batch, rays, 3}, map);
        expect(near, "near", {batch, rays}, map);
        expect(far, "far", {batch, rays}, map);
        expect(w1, "w1", {shape.hidden, shape.layout.channels}, map);
        expect(b1, "b1", {shape.hidden}, map);
        expect(w2, "w2", {1 + shape.outputs, shape.hidden}, map);
        expect(b2, "b2", {1 + shape.outputs}, map);
        const at::ScalarType expected = map.is_cuda() ? at::kFloat : map.scalar_type();  // on CUDA only maps may be smaller
        for (const at::Tensor* t : {&origins, &directions, &near, &far, &w1, &b1, &w2, &b2})
            TORCH_CHECK(t->scalar_type() == expected, "all inputs but the map must be ", expected, ", got ", t->scalar_type());
        TORCH_CHECK(shape.hidden >= 1 && shape.hidden <= kMaxWidth, "the hidden layer may be 1...", kMaxWidth, " wide, got ",
                    shape.hidden);
        TORCH_CHECK(shape.outputs >= 1 && shape.outputs <= kMaxWidth, "colour features may be 1...", kMaxWidth, ", got ",
                    shape.outputs);
        TORCH_CHECK(coarse >= 2 && coarse <= kMaxSamples, "coarse must lie in 2...", kMaxSamples, ", got ", coarse);
        TORCH_CHECK(fine >= 0 && fine <= kMaxSamples, "fine must lie in 0...", kMaxSamples, ", got ", fine);
        TORCH_CHECK(half > 0, "half must be positive, got ", half);
    }

    template <typename T>
    RenderInputs<T> inputs() const {
        return {map.data_ptr<T>(), origins.data_ptr<T>(), directions.data_ptr<T>(), near.data_ptr<T>(), far.data_ptr<T>(),
                w1.data_ptr<T>(), b1.data_ptr<T>(), w2.data_ptr<T>(), b2.data_ptr<T>()};
    }
};

// Threads for the CPU kernels: torch's own, as many as torch.set_num_threads says.
inline Parallel threads(int64_t grain) {
    return [grain](int64_t n, const std::function<void(int64_t, int64_t)>& body) { at::parallel_for(0, n, grain, body); };
}

}  // namespace semhead
