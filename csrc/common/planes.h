// Where a point of space is read in a map of texels: the projections of all representations, in one place.
//
// A map is [rows, columns, stride] with channels last. Its windows are the planes of a representation: `height` x `width`
// texels of `channels` numbers each, at a row, column and first channel of the map; with `depth` > 1 a plane is a stack
// of slices that follow each other along the channels (tri-grid). A point in [-1, 1]^3 is read from every plane by bi- or
// trilinear interpolation between texel centres; beyond the outermost centres the edge is repeated. The feature of the
// point is the weighted sum over planes. Plain C++ and CUDA; nothing of torch.
#pragma once

#include "numbers.h"

namespace semhead {

// Keep in step with Projection in semhead_lib/ops/layout.py, where each is drawn and derived.
enum Projection : int {
    kXY = 0,         // u = x, v = y, depth z
    kXZ = 1,         // u = x, v = z, depth y
    kYZ = 2,         // u = y, v = z, depth x
    kTop = 3,        // near-equal-area square of the sphere of directions, centred on +y: its edge is one point, -y
    kFront = 4,      // the same centred on +z: its edge is -z, the back
    kPolarTP = 5,    // spherical coordinates with poles +-y and seam -z: u = azimuth, v = latitude
    kPolarTR = 6,    // u = azimuth, v = radius
    kPolarPR = 7,    // u = latitude, v = radius
    kTurnedTP = 8,   // the same with poles +-x and seam +z
    kTurnedTR = 9,
    kTurnedPR = 10,
    kProjections = 11,
};

struct Window {
    int projection, row, column, channel;
};

constexpr int kMaxPlanes = 6, kMaxTaps = 4 * kMaxPlanes;

struct Layout {
    int rows, columns, stride;             // of the map
    int height, width, depth, channels;    // of every plane
    int planes;
    Window windows[kMaxPlanes];

    SEMHEAD_BOTH int taps_each() const { return depth > 1 ? 8 : 4; }
    SEMHEAD_BOTH int taps() const { return planes * taps_each(); }
    SEMHEAD_BOTH int64_t texels() const { return int64_t(rows) * columns * stride; }
};

template <typename S>
struct Place {
    S u, v, d;  // each in [-1, 1] across the plane: along its columns, its rows, its slices
    S weight;   // of the plane
};

// Lambert's azimuthal equal-area map of directions to the unit disc (c is the direction's part towards the centre), then
// the elliptical grid map of the disc to the square (C. Fong, "Analytical methods for squaring the disc", 2015).
template <typename S>
SEMHEAD_BOTH void square_of_direction(S a, S b, S c, S& u, S& v) {
    using T = typename Plain<S>::type;
    const S radius = root(a * a + b * b + c * c + S(T(1e-12)));
    a = a / radius;
    b = b / radius;
    c = c / radius;
    S q = a * a + b * b;
    // Opposite the centre every point of the edge is right: take one.
    const bool pole = value_of(q) < T(1e-12) && value_of(c) <= 0;
    a = pole ? S(T(0)) : a;
    b = pole ? S(T(1e-6)) : b;
    q = pole ? S(T(1e-12)) : q;
    const S toward = value_of(c) > 0 ? S(T(1)) + c : q / (S(T(1)) - c);  // 1 + c without cancellation
    const S k = root(S(T(0.5)) / toward);
    const S x = a * k, y = b * k, xx = x * x, yy = y * y;
    const T two_root_two = T(2.8284271247461903);
    const S p = S(T(2)) + xx - yy, m = S(T(2)) - xx + yy, sx = S(two_root_two) * x, sy = S(two_root_two) * y;
    const S p0 = value_of(p + sx) > 0 ? p + sx : S(T(0)), p1 = value_of(p - sx) > 0 ? p - sx : S(T(0));
    const S m0 = value_of(m + sy) > 0 ? m + sy : S(T(0)), m1 = value_of(m - sy) > 0 ? m - sy : S(T(0));
    u = S(T(0.5)) * (root(p0) - root(p1));
    v = S(T(0.5)) * (root(m0) - root(m1));
}

// (1 + cos(azimuth)) / 2 * cos(latitude)^2: one in front, nought on the seam and at the poles.
template <typename S>
SEMHEAD_BOTH S polar_weight(S x, S y, S z) {
    using T = typename Plain<S>::type;
    const S flat = x * x + z * z + S(T(1e-12)), all = flat + y * y;
    return S(T(0.5)) * (flat + z * root(flat)) / all;
}

template <int code, typename S>
SEMHEAD_BOTH Place<S> project(S x, S y, S z, typename Plain<S>::type share) {
    using T = typename Plain<S>::type;
    Place<S> at{x, y, z, S(share)};
    if (code == kXZ) {
        at.v = z;
        at.d = y;
    } else if (code == kYZ) {
        at.u = y;
        at.v = z;
        at.d = x;
    } else if (code == kTop) {
        square_of_direction(x, z, y, at.u, at.v);
    } else if (code == kFront) {
        square_of_direction(x, y, z, at.u, at.v);
    } else if (code >= kPolarTP) {
        const bool turned = code >= kTurnedTP;
        const S own = turned ? polar_weight(y, x, S(T(0)) - z) : polar_weight(x, y, z);
        const S other = turned ? polar_weight(x, y, z) : polar_weight(y, x, S(T(0)) - z);
        at.weight = S(2 * share) * own / (own + other);
        const S a = turned ? y : x, b = turned ? x : y, c = turned ? S(T(0)) - z : z;
        const S flat = root(a * a + c * c + S(T(1e-12)));
        const S azimuth = angle(a, c) * S(T(0.3183098861837907));
        const S latitude = angle(b, flat) * S(T(0.6366197723675814));
        const S radius = S(T(2)) * root(a * a + b * b + c * c + S(T(1e-12))) - S(T(1));
        const int kind = turned ? code - kTurnedTP : code - kPolarTP;
        at.u = kind == 2 ? latitude : azimuth;
        at.v = kind == 0 ? latitude : radius;
    }
    return at;
}

// Texel `low` and `low + step` along one axis, and how far between their centres; a coordinate that is not a number
// counts as the first texel, so that no index is ever out of range.
template <typename S>
SEMHEAD_BOTH void locate(S u, int size, int& low, int& step, S& fraction) {
    using T = typename Plain<S>::type;
    S at = (u + S(T(1))) * S(T(0.5) * size) - S(T(0.5));
    at = value_of(at) > 0 ? at : S(T(0));
    at = value_of(at) < T(size - 1) ? at : S(T(size - 1));
    low = static_cast<int>(value_of(at));
    step = low < size - 1 ? 1 : 0;
    fraction = at - S(T(low));
}

// The texels of one plane that a point is read from: offset into the map (of the first channel) and weight of each.
template <int code, bool deep, typename S>
SEMHEAD_BOTH void plane_taps(const Layout& layout, const Window& window, S x, S y, S z, int* offset, S* weight) {
    using T = typename Plain<S>::type;
    const Place<S> at = project<code>(x, y, z, T(1) / layout.planes);
    int column, row, right, down;
    S fx, fy;
    locate(at.u, layout.width, column, right, fx);
    locate(at.v, layout.height, row, down, fy);
    const int first = ((window.row + row) * layout.columns + window.column + column) * layout.stride + window.channel;
    right *= layout.stride;
    down *= layout.stride * layout.columns;
    offset[0] = first;
    offset[1] = first + right;
    offset[2] = first + down;
    offset[3] = first + right + down;
    const S gx = S(T(1)) - fx, gy = (S(T(1)) - fy) * at.weight, hy = fy * at.weight;
    weight[0] = gx * gy;
    weight[1] = fx * gy;
    weight[2] = gx * hy;
    weight[3] = fx * hy;
    if constexpr (deep) {
        int slice, deeper;
        S fz;
        locate(at.d, layout.depth, slice, deeper, fz);
        for (int k = 0; k < 4; ++k) {
            offset[k] += slice * layout.channels;
            offset[4 + k] = offset[k] + deeper * layout.channels;
            weight[4 + k] = weight[k] * fz;
            weight[k] = weight[k] * (S(T(1)) - fz);
        }
    }
}

// Calls action.template run<code>() for the code of a projection.
template <typename Action>
SEMHEAD_BOTH void with_projection(int code, const Action& action) {
    switch (code) {
        case kXY: action.template run<kXY>(); break;
        case kXZ: action.template run<kXZ>(); break;
        case kYZ: action.template run<kYZ>(); break;
        case kTop: action.template run<kTop>(); break;
        case kFront: action.template run<kFront>(); break;
        case kPolarTP: action.template run<kPolarTP>(); break;
        case kPolarTR: action.template run<kPolarTR>(); break;
        case kPolarPR: action.template run<kPolarPR>(); break;
        case kTurnedTP: action.template run<kTurnedTP>(); break;
        case kTurnedTR: action.template run<kTurnedTR>(); break;
        case kTurnedPR: action.template run<kTurnedPR>(); break;
    }
}

// Derivative of a plane's part of a feature along x, y, z, dotted with `d`: added to out. `Map` is anything with
// dot(offset, d, channels), the dot product of a texel with d.
template <typename T, typename Map, bool deep>
struct PointGradient {
    const Layout& layout;
    const Window& window;
    const Map& map;
    const T* d;
    T x, y, z, *out;

    template <int code>
    SEMHEAD_BOTH void run() const {
        int offset[8];
        Dual<T> weight[8];
        plane_taps<code, deep>(layout, window, Dual<T>::axis(x, 0), Dual<T>::axis(y, 1), Dual<T>::axis(z, 2), offset, weight);
        for (int k = 0; k < (deep ? 8 : 4); ++k) {
            const T dot = map.dot(offset[k], d, layout.channels);
            for (int a = 0; a < 3; ++a) out[a] += dot * weight[k].d[a];
        }
    }
};

// Gradient with respect to one point [3], from that of its feature.
template <typename T, typename Map>
SEMHEAD_BOTH void point_gradient(const Layout& layout, const Map& map, const T* d_feature, T x, T y, T z, T* out) {
    out[0] = out[1] = out[2] = 0;
    for (int p = 0; p < layout.planes; ++p) {
        const Window& window = layout.windows[p];
        if (layout.depth > 1)
            with_projection(window.projection, PointGradient<T, Map, true>{layout, window, map, d_feature, x, y, z, out});
        else
            with_projection(window.projection, PointGradient<T, Map, false>{layout, window, map, d_feature, x, y, z, out});
    }
}

}  // namespace semhead
