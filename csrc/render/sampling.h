// Distances of the samples of one ray, and the weights of the intervals between them. Plain C++ and CUDA.
#pragma once

#include "../common/numbers.h"

namespace semhead {

constexpr double kDark = 1e-4;       // light below which a ray ends
constexpr double kEmpty = 1e-4;      // opacity below which a ray that a density grid tells is not sampled
constexpr double kFloor = 0.01;      // of the blurred weight of every interval between coarse samples
constexpr double kGridFloor = 0.1;   // of all strata of a ray together, where their weights come from a density grid

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
        part = part < 1 ? part : T(1);
        fine[j] = t[i] + part * (t[i + 1] - t[i]);
    }
}

// Raw density of a grid [side, side, side] at a point of [-1, 1]^3: interpolated, and the largest of the eight nodes around.
// The outermost nodes lie on the faces; a coordinate that is not a number counts as -1.
template <typename T>
SEMHEAD_BOTH void grid_lookup(const T* grid, int side, T x, T y, T z, T& raw, T& largest) {
    const T point[3] = {x, y, z};
    int low[3];
    T f[3];
    for (int k = 0; k < 3; ++k) {
        T at = (point[k] + 1) * (T(0.5) * (side - 1));
        at = at > 0 ? at : T(0);
        at = at < T(side - 1) ? at : T(side - 1);
        low[k] = static_cast<int>(at);
        low[k] = low[k] < side - 2 ? low[k] : side - 2;
        f[k] = at - low[k];
    }
    const T* node = grid + (low[2] * side + low[1]) * side + low[0];
    T row[4];
    largest = node[0];
    for (int k = 0; k < 4; ++k) {
        const T* here = node + (k / 2 * side + k % 2) * side;
        const T a = here[0], b = here[1], more = a > b ? a : b;
        row[k] = a + f[0] * (b - a);
        largest = more > largest ? more : largest;
    }
    const T near = row[0] + f[1] * (row[1] - row[0]), far = row[2] + f[1] * (row[3] - row[2]);
    raw = near + f[2] * (far - near);
}

// order[k]: which of the m coarse and n fine samples (fine ones counted from m) is k-th along the ray.
template <typename T>
SEMHEAD_BOTH void merge_order(const T* coarse, int m, const T* fine, int n, int* order) {
    int i = 0, j = 0;
    for (int k = 0; k < m + n; ++k) order[k] = j >= n || (i < m && coarse[i] <= fine[j]) ? i++ : m + j++;
}

}  // namespace semhead
