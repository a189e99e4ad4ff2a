// Tensors to the plain structures of the kernels, checked.
#pragma once

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <torch/library.h>

#include "../render/render.h"

namespace semhead {

inline Layout layout_of(at::IntArrayRef numbers, const at::Tensor& map) {
    TORCH_CHECK(map.dim() == 4, "feature_map must be [batch, rows, columns, channels], got ", map.sizes());
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
    TORCH_CHECK(l.texels() < (int64_t(1) << 31), "a feature map may hold 2^31 numbers an item, got ", l.texels());
    for (int p = 0; p < l.planes; ++p) {
        Window& w = l.windows[p];
        const int64_t* from = numbers.data() + 4 + 4 * p;
        w = {static_cast<int>(from[0]), static_cast<int>(from[1]), static_cast<int>(from[2]), static_cast<int>(from[3])};
        TORCH_CHECK(w.projection >= 0 && w.projection < kProjections, "no projection has the number ", w.projection);
        TORCH_CHECK(w.row >= 0 && w.column >= 0 && w.channel >= 0 && w.row + l.height <= l.rows &&
                        w.column + l.width <= l.columns && w.channel + l.depth * l.channels <= l.stride,
                    "plane ", p, " reaches beyond the feature map ", map.sizes());
    }
    return l;
}

inline void expect(const at::Tensor& t, const char* name, at::IntArrayRef shape, const at::Tensor& like) {
    TORCH_CHECK(t.sizes() == shape, name, " must be ", shape, ", got ", t.sizes());
    TORCH_CHECK(t.device() == like.device(), name, " must be on ", like.device(), " like the others, got ", t.device());
    TORCH_CHECK(t.is_contiguous(), name, " must be contiguous");
}

// Threads for the CPU kernels: torch's own, as many as torch.set_num_threads says.
inline Parallel threads(int64_t grain) {
    return [grain](int64_t n, const std::function<void(int64_t, int64_t)>& body) { at::parallel_for(0, n, grain, body); };
}

}  // namespace semhead
