// Distances of the samples of one ray, and the weights of the intervals between them. Plain C++ and CUDA.
#pragma once

#include "../common/numbers.h"

namespace semhead {

// Where sample i of n lies in its stratum.
SEMHEAD_BOTH float jitter(int64_t seed, int64_t ray, int sample) {
    return seed < 0 ? 0.5f : uniform(static_cast<uint32_t>(seed), static_cast<uint32_t>(ray), static_cast<uint32_t>(sample));
}

template <typename T>
SEMHEAD_BOTH T coarse_distance(int64_t seed, int64_t ray, int i, int n, T near, T far) {
    return near + (i + T(jitter(seed, ray, i))) / n * (far - near);
}

// n fine distances, ascending, from the piecewise constant density over the intervals between the m coarse distances t
// whose weights w [m - 1] are blurred as in mip-NeRF: (max(w_{i-1}, w_i) + max(w_i, w_{i+1})) / 2 + 0.01.
// Stratified draws in ascending order: one walk through the intervals serves them all, and nothing needs sorting.
template <typename T>
SEMHEAD_BOTH void fine_distances(int64_t seed, int64_t ray, const T* t, const T* w, int m, T* fine, int n) {
    const auto blurred = [&](int i) {
        const T left = i > 0 ? (w[i - 1] > w[i] ? w[i - 1] : w[i]) : w[i];
        const T right = i < m - 2 ? (w[i + 1] > w[i] ? w[i + 1] : w[i]) : w[i];
        return (left + right) * T(0.5) + T(0.01);
    };
    T total = 0;
    for (int i = 0; i < m - 1; ++i) total += blurred(i);
    int i = 0;
    T below = 0, here = blurred(0);
    for (int j = 0; j < n; ++j) {
        const T target = (j + T(jitter(seed, ray, m + j))) / n * total;
        while (i < m - 2 && below + here <= target) {
            below += here;
            here = blurred(++i);
        }
        T part = (target - below) / here;
        part = part < 1 ? part : T(1);
        fine[j] = t[i] + part * (t[i + 1] - t[i]);
    }
}

// order[k]: which of the m coarse and n fine samples (fine ones counted from m) is k-th along the ray.
template <typename T>
SEMHEAD_BOTH void merge_order(const T* coarse, int m, const T* fine, int n, int* order) {
    int i = 0, j = 0;
    for (int k = 0; k < m + n; ++k) order[k] = j >= n || (i < m && coarse[i] <= fine[j]) ? i++ : m + j++;
}

}  // namespace semhead
