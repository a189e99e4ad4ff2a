// Scalars that the geometry below is written in: float, double, and `Dual`, a number with its derivatives along x, y, z.
//
// Every formula of the projections is written once as a template. With S = float or double it gives values; with
// S = Dual<T> the same lines give the derivative with respect to the point, by forward-mode differentiation.
// Plain C++ and CUDA; nothing of torch.
#pragma once

#include <cmath>
#include <cstdint>

#ifdef __CUDACC__
#define SEMHEAD_BOTH __host__ __device__ inline
#else
#define SEMHEAD_BOTH inline
#endif

namespace semhead {

constexpr double kSpill = 0.001;  // colours reach this much beyond [0, 1], as in mip-NeRF

template <typename T>
struct Dual {
    T value, d[3];

    SEMHEAD_BOTH Dual(T v = 0) : value(v), d{0, 0, 0} {}
    SEMHEAD_BOTH Dual(T v, T dx, T dy, T dz) : value(v), d{dx, dy, dz} {}
    SEMHEAD_BOTH static Dual axis(T v, int k) { return Dual(v, T(k == 0), T(k == 1), T(k == 2)); }

    // The number f(value) whose derivative with respect to value is `slope`.
    SEMHEAD_BOTH Dual chain(T f, T slope) const { return Dual(f, slope * d[0], slope * d[1], slope * d[2]); }
};

template <typename T>
SEMHEAD_BOTH Dual<T> operator+(Dual<T> a, Dual<T> b) {
    return Dual<T>(a.value + b.value, a.d[0] + b.d[0], a.d[1] + b.d[1], a.d[2] + b.d[2]);
}
template <typename T>
SEMHEAD_BOTH Dual<T> operator-(Dual<T> a, Dual<T> b) {
    return Dual<T>(a.value - b.value, a.d[0] - b.d[0], a.d[1] - b.d[1], a.d[2] - b.d[2]);
}
template <typename T>
SEMHEAD_BOTH Dual<T> operator*(Dual<T> a, Dual<T> b) {
    return Dual<T>(a.value * b.value, a.value * b.d[0] + b.value * a.d[0], a.value * b.d[1] + b.value * a.d[1],
                   a.value * b.d[2] + b.value * a.d[2]);
}
template <typename T>
SEMHEAD_BOTH Dual<T> operator/(Dual<T> a, Dual<T> b) {
    const T q = a.value / b.value;
    return Dual<T>(q, (a.d[0] - q * b.d[0]) / b.value, (a.d[1] - q * b.d[1]) / b.value, (a.d[2] - q * b.d[2]) / b.value);
}

SEMHEAD_BOTH float value_of(float x) { return x; }
SEMHEAD_BOTH double value_of(double x) { return x; }
template <typename T>
SEMHEAD_BOTH T value_of(Dual<T> x) {
    return x.value;
}

template <typename S>
struct Plain {  // the type without derivatives
    using type = S;
};
template <typename T>
struct Plain<Dual<T>> {
    using type = T;
};

SEMHEAD_BOTH float root(float x) { return sqrtf(x); }
SEMHEAD_BOTH double root(double x) { return sqrt(x); }
template <typename T>
SEMHEAD_BOTH Dual<T> root(Dual<T> x) {
    const T r = root(x.value);
    return x.chain(r, r > 0 ? T(0.5) / r : T(0));
}

// Angle of (x, y) in (-pi, pi]. For float a polynomial without branches, so that loops over points are vectorised:
// atan(q) = q P(q^2) on [0, 1], least-squares fit at Chebyshev nodes, largest error 6e-9 rad plus rounding.
SEMHEAD_BOTH float angle(float y, float x) {
    const float ax = fabsf(x), ay = fabsf(y);
    const float big = ax > ay ? ax : ay, small = ax > ay ? ay : ax;
    const float q = small / (big > 1e-37f ? big : 1e-37f), s = q * q;
    float p = 0.002456725367f;
    p = p * s + -0.01440136151f;
    p = p * s + 0.0397812304f;
    p = p * s + -0.07234858063f;
    p = p * s + 0.1049894648f;
    p = p * s + -0.1416122933f;
    p = p * s + 0.1998590679f;
    p = p * s + -0.3333259703f;
    p = p * s + 0.9999998864f;
    p = p * q;
    p = ay > ax ? 1.57079632679f - p : p;
    p = x < 0 ? 3.14159265359f - p : p;
    return y < 0 ? -p : p;
}
SEMHEAD_BOTH double angle(double y, double x) { return atan2(y, x); }
template <typename T>
SEMHEAD_BOTH Dual<T> angle(Dual<T> y, Dual<T> x) {
    const T norm = x.value * x.value + y.value * y.value, scale = norm > 0 ? 1 / norm : T(0);
    Dual<T> a(angle(y.value, x.value));
    for (int k = 0; k < 3; ++k) a.d[k] = (x.value * y.d[k] - y.value * x.d[k]) * scale;
    return a;
}

// A number in [0, 1) that is a function of three integers: the same on every device, and in the reference implementation.
// The mixing steps are those of a 32-bit integer hash found by search (C. Wellons, "hash prospector", public domain).
SEMHEAD_BOTH uint32_t mix(uint32_t x) {
    x ^= x >> 16;
    x *= 0x7feb352dU;
    x ^= x >> 15;
    x *= 0x846ca68bU;
    x ^= x >> 16;
    return x;
}
SEMHEAD_BOTH float uniform(uint32_t seed, uint32_t ray, uint32_t sample) {
    return static_cast<float>(mix(mix(mix(seed) + ray) + sample) >> 8) * (1.0f / 16777216.0f);
}

}  // namespace semhead
