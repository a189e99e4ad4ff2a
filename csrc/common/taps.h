// Texels and weights of many points at once on the CPU: found plane by plane, read point by point.
#pragma once

#include "planes.h"
#include "vector.h"

namespace semhead {

template <typename T, bool deep>
struct FindTaps {
    const Layout& layout;
    const Window& window;
    int n, ld;
    const T *x, *y, *z;
    int* offset;  // [taps of the plane, ld]
    T* weight;

    template <int code>
    void run() const {
        constexpr int each = deep ? 8 : 4;
        const FindTaps copy = *this;  // which no store below can change: so the loop is vectorised
        const Layout planes = layout;
        const Window own = window;
#pragma GCC ivdep
        for (int i = 0; i < copy.n; ++i) {
            int o[each];
            T w[each];
            plane_taps<code, deep>(planes, own, copy.x[i], copy.y[i], copy.z[i], o, w);
            for (int k = 0; k < each; ++k) {
                copy.offset[k * copy.ld + i] = o[k];
                copy.weight[k * copy.ld + i] = w[k];
            }
        }
    }
};

// offset, weight [taps, ld] of n points
template <typename T>
inline void find_taps(const Layout& layout, int n, int ld, const T* x, const T* y, const T* z, int* offset, T* weight) {
    for (int p = 0; p < layout.planes; ++p) {
        const int first = p * layout.taps_each() * ld;
        const Window& window = layout.windows[p];
        int* o = offset + first;
        T* w = weight + first;
        if (layout.depth > 1)
            with_projection(window.projection, FindTaps<T, true>{layout, window, n, ld, x, y, z, o, w});
        else
            with_projection(window.projection, FindTaps<T, false>{layout, window, n, ld, x, y, z, o, w});
    }
}

template <typename T, int V>
inline void fetch_vectors(const T* map, int n, int taps, int ld, const int* offset, const T* weight, T* features) {
    constexpr int L = kLanes<T>;
    for (int i = 0; i < n; ++i) {
        Vec<T> sums[V] = {};
        for (int k = 0; k < taps; ++k) {
            const T* texel = map + offset[k * ld + i];
            const T w = weight[k * ld + i];
            for (int v = 0; v < V; ++v) sums[v] += w * load(texel + v * L);
        }
        for (int v = 0; v < V; ++v) store(features + (i * V + v) * L, sums[v]);
    }
}

// features [n, padded channels] of n points: sums of weighted texels
template <typename T>
inline void fetch(const Layout& layout, const T* map, int n, int ld, const int* offset, const T* weight, T* features) {
    const int c = layout.channels, cp = padded<T>(c), taps = layout.taps();
    if (c == cp) switch (c / kLanes<T>) {
            case 1: return fetch_vectors<T, 1>(map, n, taps, ld, offset, weight, features);
            case 2: return fetch_vectors<T, 2>(map, n, taps, ld, offset, weight, features);
            case 3: return fetch_vectors<T, 3>(map, n, taps, ld, offset, weight, features);
            case 4: return fetch_vectors<T, 4>(map, n, taps, ld, offset, weight, features);
        }
    for (int i = 0; i < n; ++i) {
        T* out = features + i * cp;
        for (int j = 0; j < cp; ++j) out[j] = 0;
        for (int k = 0; k < taps; ++k) {
            const T* texel = map + offset[k * ld + i];
            const T w = weight[k * ld + i];
            for (int j = 0; j < c; ++j) out[j] += w * texel[j];
        }
    }
}

// The transpose of `fetch`: adds gradients [n, padded channels] of the features to the texels they came from.
template <typename T>
inline void scatter(const Layout& layout, T* d_map, int n, int ld, const int* offset, const T* weight, const T* d_features) {
    constexpr int L = kLanes<T>;
    const int c = layout.channels, cp = padded<T>(c), taps = layout.taps();
    for (int i = 0; i < n; ++i) {
        const T* d = d_features + i * cp;
        for (int k = 0; k < taps; ++k) {
            T* texel = d_map + offset[k * ld + i];
            const T w = weight[k * ld + i];
            if (c == cp)
                for (int j = 0; j < c; j += L) store(texel + j, load(texel + j) + w * load(d + j));
            else
                for (int j = 0; j < c; ++j) texel[j] += w * d[j];
        }
    }
}

template <typename T>
struct Texels {  // a map as `point_gradient` reads it
    const T* map;

    T dot(int offset, const T* d, int channels) const {
        T sum = 0;
        for (int j = 0; j < channels; ++j) sum += d[j] * map[offset + j];
        return sum;
    }
};

}  // namespace semhead
