// Features of points on the CPU, and their gradients.
#include <algorithm>

#include "../common/network.h"
#include "../common/taps.h"
#include "planes.h"

namespace semhead {
namespace {

constexpr int kBlock = 64;  // points at a time

template <typename T>
struct Block {
    const Layout& layout;
    const int cp, taps;
    Buffer<T> x, y, z, weight, features;
    Buffer<int> offset;
    bool whole[kBlock];  // whether a point is three finite numbers

    explicit Block(const Layout& l)
        : layout(l), cp(padded<T>(l.channels)), taps(l.taps()), x(kBlock), y(kBlock), z(kBlock), weight(taps * kBlock),
          features(kBlock * cp), offset(taps * kBlock) {}

    void find(const T* xyz, int n) {
        for (int i = 0; i < n; ++i) {
            x[i] = xyz[3 * i];
            y[i] = xyz[3 * i + 1];
            z[i] = xyz[3 * i + 2];
            whole[i] = std::isfinite(x[i] + y[i] + z[i]);
        }
        find_taps<T>(layout, n, kBlock, x, y, z, offset, weight);
    }
};

}  // namespace

template <typename T>
void sample_cpu(const Layout& layout, int64_t batch, int64_t points, const T* map, const T* xyz, T* features,
                const Parallel& parallel) {
    const int64_t blocks = (points + kBlock - 1) / kBlock;
    parallel(batch * blocks, [&](int64_t begin, int64_t end) {
        Block<T> block(layout);
        for (int64_t b = begin; b < end; ++b) {
            const int64_t item = b / blocks, first = b % blocks * kBlock, at = item * points + first;
            const int n = static_cast<int>(std::min<int64_t>(kBlock, points - first));
            block.find(xyz + 3 * at, n);
            fetch<T>(layout, map + item * layout.texels(), n, kBlock, block.offset, block.weight, block.features);
            for (int i = 0; i < n; ++i) {
                T* out = features + (at + i) * layout.channels;
                if (block.whole[i])
                    std::copy_n(block.features + i * block.cp, layout.channels, out);
                else
                    std::fill_n(out, layout.channels, T(NAN));
            }
        }
    });
}

// One thread takes the whole of an item of the batch, so that sums are made in one order.
template <typename T>
void sample_backward_cpu(const Layout& layout, int64_t batch, int64_t points, const T* d_features, const T* map,
                         const T* xyz, T* d_map, T* d_xyz, const Parallel& parallel) {
    parallel(batch, [&](int64_t begin, int64_t end) {
        Block<T> block(layout);
        for (int64_t item = begin; item < end; ++item)
            for (int64_t first = 0; first < points; first += kBlock) {
                const int n = static_cast<int>(std::min<int64_t>(kBlock, points - first));
                const int64_t at = item * points + first;
                block.find(xyz + 3 * at, n);
                for (int i = 0; i < n; ++i) {
                    T* d = block.features + i * block.cp;
                    const T* from = d_features + (at + i) * layout.channels;
                    for (int k = 0; k < layout.channels; ++k) d[k] = block.whole[i] ? from[k] : T(0);
                }
                const T* texels = map + item * layout.texels();
                if (d_map)
                    scatter<T>(layout, d_map + item * layout.texels(), n, kBlock, block.offset, block.weight, block.features);
                if (d_xyz)
                    for (int i = 0; i < n; ++i)
                        point_gradient(layout, Texels<T>{texels}, block.features + i * block.cp, block.x[i], block.y[i],
                                       block.z[i], d_xyz + 3 * (at + i));
            }
    });
}

template void sample_cpu(const Layout&, int64_t, int64_t, const float*, const float*, float*, const Parallel&);
template void sample_cpu(const Layout&, int64_t, int64_t, const double*, const double*, double*, const Parallel&);
template void sample_backward_cpu(const Layout&, int64_t, int64_t, const float*, const float*, const float*, float*, float*,
                                  const Parallel&);
template void sample_backward_cpu(const Layout&, int64_t, int64_t, const double*, const double*, const double*, double*,
                                  double*, const Parallel&);

}  // namespace semhead
