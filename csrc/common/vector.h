// 64 bytes of numbers as one value (GCC and Clang vector extension: one register with AVX-512, several elsewhere), the
// functions of the network on them, and the small matrix product that everything of it is made of.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

namespace semhead {

template <typename T>
struct VecOf {
    typedef T type __attribute__((vector_size(64)));
};
template <typename T>
using Vec = typename VecOf<T>::type;
template <typename T>
constexpr int kLanes = 64 / sizeof(T);
template <typename T>
inline int padded(int n) {  // up to whole vectors
    return (n + kLanes<T> - 1) / kLanes<T> * kLanes<T>;
}

template <typename T>
inline Vec<T> load(const T* p) {
    Vec<T> v;
    std::memcpy(&v, p, sizeof v);
    return v;
}
template <typename T>
inline void store(T* p, Vec<T> v) {
    std::memcpy(p, &v, sizeof v);
}
template <typename T>
inline Vec<T> all(T x) {
    return x - Vec<T>{};
}
template <typename T>
inline T sum(Vec<T> v) {  // pairwise: shuffles within registers
    T part[kLanes<T>];
    std::memcpy(part, &v, sizeof v);
    for (int n = kLanes<T> / 2; n; n /= 2)
        for (int i = 0; i < n; ++i) part[i] += part[i + n];
    return part[0];
}

// exp(x): 2^n p(f) with |f| <= 1/2 and a polynomial p of degree 6 (relative error 2e-9 plus rounding). Arguments are
// clipped to +-87, which the network's functions below cannot tell; what is not a number stays so.
[[gnu::always_inline]] inline Vec<float> exp_of(Vec<float> x) {
    typedef int32_t Ints __attribute__((vector_size(64)));
    x = x < -87.0f ? all(-87.0f) : x;
    x = x > 87.0f ? all(87.0f) : x;
    const Vec<float> magic = all(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer in the low bits
    const Vec<float> shifted = x * 1.44269502f + magic, n = shifted - magic;
    const Vec<float> f = (x * 1.44269502f - n) + x * 1.92596303e-8f;
    Vec<float> p = all(1.534581477e-4f);
    p = p * f + 1.339993125e-3f;
    p = p * f + 9.618488947e-3f;
    p = p * f + 5.550328777e-2f;
    p = p * f + 2.402264689e-1f;
    p = p * f + 6.931472057e-1f;
    p = p * f + 1.0f;
    Ints bits;
    std::memcpy(&bits, &shifted, sizeof bits);
    bits = (bits << 23) + 0x3f800000;
    Vec<float> scale;
    std::memcpy(&scale, &bits, sizeof scale);
    return p * scale;
}
inline Vec<double> exp_of(Vec<double> x) {
    for (int i = 0; i < kLanes<double>; ++i) x[i] = std::exp(x[i]);
    return x;
}

// log(1 + y) for y in [0, 1]: y times a polynomial of degree 9 (relative error 4e-9 plus rounding).
[[gnu::always_inline]] inline Vec<float> log1p_of(Vec<float> y) {
    Vec<float> p = all(-3.338774642e-3f);
    p = p * y + 2.027796571e-2f;
    p = p * y - 5.77595073e-2f;
    p = p * y + 1.06845735e-1f;
    p = p * y - 1.535329898e-1f;
    p = p * y + 1.969246206e-1f;
    p = p * y - 2.495734852e-1f;
    p = p * y + 3.33302758e-1f;
    p = p * y - 4.999991419e-1f;
    p = p * y + 9.99999996e-1f;
    return p * y;
}
inline Vec<double> log1p_of(Vec<double> y) {
    for (int i = 0; i < kLanes<double>; ++i) y[i] = std::log1p(y[i]);
    return y;
}

template <typename T>
inline Vec<T> softplus(Vec<T> x) {
    const Vec<T> none = {};
    const Vec<T> size = x < none ? -x : x;
    return (x > none ? x : none) + log1p_of(exp_of(-size));
}
template <typename T>
inline Vec<T> sigmoid(Vec<T> x) {
    const Vec<T> none = {};
    const Vec<T> e = exp_of(x < none ? x : -x), inverse = T(1) / (T(1) + e);
    return x < none ? e * inverse : inverse;
}

// C[m, :] = start + sum over k of A[m, k] B[k, :], for R rows of C and V vectors of columns. `start` is the bias
// (one row for all), C itself when `add`, or nought.
template <typename T, int R, int V>
inline void product_tile(int depth, const T* a, int64_t row, int64_t step, const T* b, int64_t ldb, T* c, int64_t ldc,
                         const T* bias, bool add) {
    constexpr int L = kLanes<T>;
    Vec<T> sums[R][V];
    for (int r = 0; r < R; ++r)
        for (int v = 0; v < V; ++v) {
            sums[r][v] = Vec<T>{};
            if (add) sums[r][v] = load(c + r * ldc + v * L);
            if (bias) sums[r][v] = load(bias + v * L);
        }
    for (int k = 0; k < depth; ++k) {
        Vec<T> line[V];
        for (int v = 0; v < V; ++v) line[v] = load(b + k * ldb + v * L);
#pragma GCC unroll 12
        for (int r = 0; r < R; ++r) {
            const T factor = a[r * row + k * step];
            for (int v = 0; v < V; ++v) sums[r][v] += factor * line[v];
        }
    }
    for (int r = 0; r < R; ++r)
        for (int v = 0; v < V; ++v) store(c + r * ldc + v * L, sums[r][v]);
}

template <typename T, int R, int V>
inline void product_rows(int rows, int depth, const T* a, int64_t row, int64_t step, const T* b, int64_t ldb, T* c,
                         int64_t ldc, const T* bias, bool add) {
    int m = 0;
    for (; m + R <= rows; m += R) product_tile<T, R, V>(depth, a + m * row, row, step, b, ldb, c + m * ldc, ldc, bias, add);
    if constexpr (R > 1) {
        if (m < rows)
            product_rows<T, (R > 8 ? 8 : R > 4 ? 4 : R / 2), V>(rows - m, depth, a + m * row, row, step, b, ldb, c + m * ldc, ldc, bias, add);
    }
}

// The same for any number of rows and columns (columns: whole vectors). Tiles fill the 32 registers of AVX-512.
template <typename T>
inline void product(int rows, int columns, int depth, const T* a, int64_t row, int64_t step, const T* b, int64_t ldb, T* c,
                    int64_t ldc, const T* bias = nullptr, bool add = false) {
    constexpr int L = kLanes<T>;
    for (int v = 0; v < columns / L;) {
        const T* bv = b + v * L;
        T* cv = c + v * L;
        const T* start = bias ? bias + v * L : nullptr;
        switch (columns / L - v) {
            case 1: product_rows<T, 12, 1>(rows, depth, a, row, step, bv, ldb, cv, ldc, start, add); v += 1; break;
            case 2: product_rows<T, 12, 2>(rows, depth, a, row, step, bv, ldb, cv, ldc, start, add); v += 2; break;
            case 3: product_rows<T, 8, 3>(rows, depth, a, row, step, bv, ldb, cv, ldc, start, add); v += 3; break;
            default: product_rows<T, 6, 4>(rows, depth, a, row, step, bv, ldb, cv, ldc, start, add); v += 4;
        }
    }
}

}  // namespace semhead
