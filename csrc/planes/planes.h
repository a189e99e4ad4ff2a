// Features of points: what other parts than the renderer read planes with. Nothing of torch.
#pragma once

#include "../render/render.h"

namespace semhead {

// features [batch, points, channels] of points [batch, points, 3] in [-1, 1]^3, in a map [batch, rows, columns, stride]
template <typename T>
void sample_cpu(const Layout&, int64_t batch, int64_t points, const T* map, const T* xyz, T* features, const Parallel&);

// Adds to d_map and writes d_xyz; either may be null.
template <typename T>
void sample_backward_cpu(const Layout&, int64_t batch, int64_t points, const T* d_features, const T* map, const T* xyz,
                         T* d_map, T* d_xyz, const Parallel&);

}  // namespace semhead
