// Raw density at the nodes of a grid, on the CPU.
//
// A plane that is laid along two axes reads the same texels for a whole line of nodes: such planes are read once at G^2
// places, and the nodes add what they read. Other planes are read at every node. The colours are not computed.
#include "../common/network.h"
#include "../common/taps.h"
#include "render.h"

namespace semhead {
namespace {

template <typename T>
struct Nodes {
    const Layout& layout;
    const int side, cp;
    Layout others;            // the planes that are read at every node
    Window along[kMaxPlanes];  // and those that are not
    int count = 0;
    Buffer<T> place;  // [side] of the nodes, -1 ... 1

    Nodes(const Layout& l, int side_) : layout(l), side(side_), cp(padded<T>(l.channels)), others(l), place(side_ + kLanes<T>) {
        others.planes = 0;
        for (int p = 0; p < l.planes; ++p) {
            const Window& window = l.windows[p];
            const bool flat = l.depth == 1 && window.projection <= kYZ;
            (flat ? along[count++] : others.windows[others.planes++]) = window;
        }
        for (int i = 0; i < side; ++i) place[i] = T(2 * i) / (side - 1) - 1;
    }
};

template <typename T>
struct Line {  // scratch for a line of nodes along x
    Buffer<T> x, y, z, weight, read, features, hidden;
    Buffer<int> offset;

    Line(const Layout& l, int n, int cp, int hp)
        : x(n), y(n), z(n), weight(l.taps() * n), read(n * cp), features(n * cp), hidden(n * hp), offset(l.taps() * n) {}
};

}  // namespace

template <typename T>
void density_grid_cpu(const Layout& layout, int64_t batch, int hidden, double slope, double radius, int side, const T* map,
                      const T* w1, const T* b1, const T* density, const T* density_bias, T* grid, const Parallel& parallel) {
    constexpr int L = kLanes<T>;
    const Nodes<T> nodes(layout, side);
    const int n = side, ld = padded<T>(side), cp = nodes.cp, hp = padded<T>(hidden);
    const int64_t texels = layout.texels(), table = int64_t(side) * side * cp;
    Buffer<T> first(layout.channels * hp), bias(hp), last(hp);
    for (int j = 0; j < hidden; ++j) {
        bias[j] = b1[j];
        last[j] = density[j];
        for (int k = 0; k < layout.channels; ++k) first[k * hp + j] = w1[j * layout.channels + k];
    }
    Buffer<T> tables(batch * nodes.count * table);  // of every flat plane: its features at [v][u]
    parallel(batch * nodes.count * side, [&](int64_t begin, int64_t end) {
        Line<T> line(layout, ld, cp, hp);
        for (int64_t i = begin; i < end; ++i) {
            const int64_t item = i / side / nodes.count, plane = i / side % nodes.count, v = i % side;
            Layout one = layout;
            one.planes = 1;
            one.windows[0] = nodes.along[plane];
            one.windows[0].projection = kXY;
            for (int u = 0; u < n; ++u) {
                line.x[u] = nodes.place[u];
                line.y[u] = nodes.place[v];
            }
            T* features = tables + (item * nodes.count + plane) * table + v * n * cp;
            find_taps<T>(one, n, ld, line.x, line.y, line.z, line.offset, line.weight);
            fetch<T>(one, map + item * texels, n, ld, line.offset, line.weight, features);
            for (int k = 0; k < n * cp; k += L) store(features + k, load(features + k) * (T(1) / layout.planes));
        }
    });
    parallel(int64_t(side) * side, [&](int64_t begin, int64_t end) {
        Line<T> line(layout, ld, cp, hp);
        T* f = line.features;
        for (int64_t i = begin; i < end; ++i) {
            const int64_t row = i % side, slice = i / side;
            for (int u = 0; u < n; ++u) {
                line.x[u] = nodes.place[u];
                line.y[u] = nodes.place[row];
                line.z[u] = nodes.place[slice];
            }
            if (nodes.others.planes)  // the same texels for all items of the batch
                find_taps<T>(nodes.others, n, ld, line.x, line.y, line.z, line.offset, line.weight);
            for (int64_t item = 0; item < batch; ++item) {
                if (nodes.others.planes) {
                    const T part = T(nodes.others.planes) / layout.planes;
                    fetch<T>(nodes.others, map + item * texels, n, ld, line.offset, line.weight, f);
                    for (int k = 0; k < n * cp; k += L) store(f + k, load(f + k) * part);
                } else {
                    std::fill(f, f + n * cp, T(0));
                }
                for (int p = 0; p < nodes.count; ++p) {
                    const T* from = tables + (item * nodes.count + p) * table;
                    switch (nodes.along[p].projection) {
                        case kXY: from += row * n * cp; break;
                        case kXZ: from += slice * n * cp; break;
                        case kYZ: from += (slice * n + row) * cp; break;
                    }
                    const int step = nodes.along[p].projection == kYZ ? 0 : cp;  // the same for the whole line
                    for (int u = 0; u < n; ++u)
                        for (int k = 0; k < cp; k += L)
                            store(f + u * cp + k, load(f + u * cp + k) + load(from + u * step + k));
                }
                product<T>(n, hp, layout.channels, f, cp, 1, first, hp, line.hidden, hp, bias);
                T* out = grid + (item * side * side + i) * side;
                for (int u = 0; u < n; ++u) {
                    Vec<T> dot = {};
                    for (int j = 0; j < hp; j += L) dot += softplus<T>(load<T>(line.hidden + u * hp + j)) * load<T>(last + j);
                    out[u] = sum<T>(dot) + density_bias[0];
                }
                if (slope != 0)
                    for (int u = 0; u < n; ++u) {
                        const T x = line.x[u], y = line.y[u], z = line.z[u];
                        out[u] += T(slope) * (T(radius) - std::sqrt(x * x + y * y + z * z));
                    }
            }
        }
    });
}

template void density_grid_cpu(const Layout&, int64_t, int, double, double, int, const float*, const float*, const float*,
                               const float*, const float*, float*, const Parallel&);
template void density_grid_cpu(const Layout&, int64_t, int, double, double, int, const double*, const double*, const double*,
                               const double*, const double*, double*, const Parallel&);

}  // namespace semhead
