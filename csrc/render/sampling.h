// Distances of the samples of one ray, and the weights of the intervals between them. Plain C++ and CUDA.
#pragma once

#include "../common/numbers.h"

namespace semhead {

constexpr double kDark = 1e-4;       // light below which a ray ends
constexpr double kEmpty = 1e-4;      // opacity below which a ray that a density grid tells is not sampled
constexpr double kFloor = 0.01;      // of the blurred weight of every interval between coarse samples
constexpr double kGridFloor = 0.02;  // of all strata of a ray together, where their weights come from a density grid

// L(T): the light T that is left, but its last ten-thousandth ends at once, so that what lies behind counts for nothing.
template <typename T>
SEMHEAD_BOTH T light(T left) {
    return left <= T(kDark) ? T(0) : left < T(2 * kDark) ? 2 * (left - T(kDark)) : left;
}
template <typename T>
SEMHEAD_BOTH T light_slope(T left) {  // T L'(T)
    return left <= T(kDark) ? T(0) : left < T(2 * kDark) ? 2 * left : left;
}

// Where sample i of n lies in its stratum.
SEMHEAD_BOTH float jitter(int64_t seed, int64_t ray, int sample) {
    return seed < 0 ? 0.5f : uniform(static_cast<uint32_t>(seed), static_cast<uint32_t>(ray), static_cast<uint32_t>(sample));
}

template <typename T>
SEMHEAD_BOTH T coarse_distance(int64_t seed, int64_t ray, int i, int n, T near, T far) {
    return near + (i + T(jitter(seed, ray, i))) / n * (far - near);
}

// n fine distances, ascending, from the piecewise constant density over the intervals between the m coarse distances t
// whose weights w [m - 1] are blurred as in mip-NeRF: (max(w_{i-1}, w_i) + max(w_i, w_{i+1})) / 2 + floor. `first` is the
// number of the first fine sample.
// Stratified draws in ascending order: one walk through the intervals serves them all, and nothing needs sorting.
template <typename T>
SEMHEAD_BOTH void fine_distances(int64_t seed, int64_t ray, const T* t, const T* w, int m, T floor, int first, T* fine,
                                 int n) {
    const auto blurred = [&](int i) {
        const T left = i > 0 ? (w[i - 1] > w[i] ? w[i - 1] : w[i]) : w[i];
        const T right = i < m - 2 ? (w[i + 1] > w[i] ? w[i + 1] : w[i]) : w[i];
        return (left + right) * T(0.5) + floor;
    };
    T total = 0;
    for (int i = 0; i < m - 1; ++i) total += blurred(i);
    int i = 0;
    T below = 0, here = blurred(0);
    for (int j = 0; j < n; ++j) {
        const T target = (j + T(jitter(seed, ray, first + j))) / n * total;
        while (i < m - 2 && below + here <= target) {
            below += here;
            here = blurred(++i);
        }
        T part = (target - below) / here;
        part = part > 1 ? T(1) : part;  // what is not a number stays so
        fine[j] = t[i] + part * (t[i + 1] - t[i]);
    }
}

// The node of a grid before a coordinate in [-1, 1], and how far it is towards the next; the outermost nodes lie at -1 and
// 1, and a coordinate that is not a number counts as -1.
template <typename T>
SEMHEAD_BOTH int node_before(T u, int side, T& fraction) {
    T at = (u + 1) * (T(0.5) * (side - 1));
    at = at > 0 ? at : T(0);
    at = at < T(side - 1) ? at : T(side - 1);
    int low = static_cast<int>(at);
    low = low < side - 2 ? low : side - 2;
    fraction = at - low;
    return low;
}

// Raw density of a grid [side, side, side] at a point of [-1, 1]^3: interpolated, and the largest of the eight nodes around.
template <typename T>
SEMHEAD_BOTH void grid_lookup(const T* grid, int side, T x, T y, T z, T& raw, T& largest) {
    T fx, fy, fz;
    const int column = node_before(x, side, fx), row = node_before(y, side, fy), slice = node_before(z, side, fz);
    const int a = (slice * side + row) * side + column, b = a + side, c = a + side * side, d = c + side;
    const T a0 = grid[a], a1 = grid[a + 1], b0 = grid[b], b1 = grid[b + 1];
    const T c0 = grid[c], c1 = grid[c + 1], d0 = grid[d], d1 = grid[d + 1];
    const T ax = a0 + fx * (a1 - a0), bx = b0 + fx * (b1 - b0), cx = c0 + fx * (c1 - c0), dx = d0 + fx * (d1 - d0);
    const T near = ax + fy * (bx - ax), far = cx + fy * (dx - cx);
    raw = near + fz * (far - near);
    const auto larger = [](T p, T q) { return p > q ? p : q; };
    largest = larger(larger(larger(a0, a1), larger(b0, b1)), larger(larger(c0, c1), larger(d0, d1)));
}

// order[k]: which of the m coarse and n fine samples (fine ones counted from m) is k-th along the ray.
template <typename T>
SEMHEAD_BOTH void merge_order(const T* coarse, int m, const T* fine, int n, int* order) {
    int i = 0, j = 0;
    for (int k = 0; k < m + n; ++k) order[k] = j >= n || (i < m && coarse[i] <= fine[j]) ? i++ : m + j++;
}

}  // namespace semhead
