// One ray on CUDA: what a warp keeps of it in shared memory, and how it is traced. Lanes are samples while the ray is
// composited, parts of samples' features while texels are read, and tiles of matrices while the network is computed.
#pragma once

#include "cuda_launch.h"
#include "cuda_texels.h"
#include "sampling.h"

namespace semhead {

template <int width>
struct WarpRay {
    const RenderShape& s;
    const Weights<width>& net;
    const float* grids;
    const TexelMap maps;  // of all items
    const int64_t seed;
    const int lane, coarse, n;                               // coarse samples; samples
    float *t, *raw, *w, *left, *colours, *features, *hidden;  // [n] each; [n], [kWarp] rows of width + 4, kWarp rows of units
    int* order;                                              // [n] slots of the samples along the ray
    float center[3], scale[3], o[3], d[3], near, far;
    int64_t index, item;
    int done_coarse, done_fine, used;  // samples that are computed; samples along the ray that light reaches

    __device__ WarpRay(const RenderShape& shape, const RenderCudaInputs& in, const Weights<width>& weights, bool fours,
                       const Sizes& sizes, float* space)
        : s(shape), net(weights), grids(in.grid), maps{in.map, in.type, fours}, seed(*in.seed), lane(threadIdx.x % kWarp),
          coarse(shape.grid ? 0 : shape.coarse), n(sizes.n) {
        colours = space;
        features = colours + sizes.samples() * (width + 4);
        hidden = features + kWarp * (width + 4);
        t = hidden + sizes.scratch;
        raw = t + sizes.samples();
        w = raw + sizes.samples();
        left = w + sizes.samples();
        order = reinterpret_cast<int*>(left + sizes.samples());
        for (int k = 0; k < 3; ++k) {
            center[k] = static_cast<float>(s.center[k]);
            scale[k] = static_cast<float>(1 / s.half[k]);
        }
        for (int i = lane; i < kWarp * (width + 4); i += kWarp) features[i] = 0.0f;  // rows of no point are read too
        __syncwarp();
    }

    // Whether the ray must be traced; if not, what it sees is known.
    __device__ bool start(const RenderCudaInputs& in, int64_t i, float* nothing, float* depth) {
        index = i;
        item = i / s.rays;
        near = in.near[i];
        far = in.far[i];
        float total = near + far, along = 0, square = 0;
        for (int k = 0; k < 3; ++k) {
            o[k] = in.origins[3 * i + k];
            d[k] = in.directions[3 * i + k];
            total += o[k] + d[k];
            along += o[k] * d[k];
            square += d[k] * d[k];
        }
        const bool finite = isfinite(total);
        *nothing = finite ? 0.0f : NAN;
        *depth = !finite ? NAN : square > 0 ? fmaxf(-along / square, 0.0f) : 0.0f;
        return finite && far > near;
    }

    __device__ void point(float distance, float (&p)[3]) const {
        for (int k = 0; k < 3; ++k) p[k] = (o[k] + distance * d[k] - center[k]) * scale[k];
    }

    __device__ TexelMap map() const { return maps.item(item * s.layout.texels()); }

    __device__ void fetch(const float (&p)[3], int count) {  // features of the points of the first `count` lanes
        warp_fetch<width>(s.layout, map(), p, lane, count, features, hidden);
    }

    // Density and colours of at most kWarp samples from slot `first` on.
    __device__ void evaluate(int first, int count) {
        const int slot = first + min(lane, count - 1);
        float p[3];
        point(t[slot], p);
        if (lane < count) {
            const float radius = sqrtf(p[0] * p[0] + p[1] * p[1] + p[2] * p[2]);
            const float ball = static_cast<float>(s.slope) * (static_cast<float>(s.radius) - radius);
            raw[slot] = net.b2[width] + (s.slope != 0 ? ball : 0.0f);
        }
        fetch(p, count);
        float* out = colours + first * (width + 4);
        if (count > kWarp / 2)
            network_forward<width, kWarp>(net, features, hidden, lane, count, raw + first, out);
        else
            network_forward<width, kWarp / 2>(net, features, hidden, lane, count, raw + first, out);
        __syncwarp();
    }

    __device__ bool computed(int slot) const {
        return slot < coarse ? slot < done_coarse : slot - coarse < done_fine;
    }

    __device__ float middle_raw(int i) const { return 0.5f * (raw[order[i]] + raw[order[i + 1]]) - 1.0f; }

    // Goes through the first `count` samples in `order` until no light is left: their weights, and the light left behind each
    // interval. Samples are computed when it is their turn, with those that follow them in their list.
    __device__ void march(int count) {
        float total = 0;
        used = 0;
        while (used < count) {
            const int k = used + lane, known = warp_run(k < count && computed(order[min(k, count - 1)]));
            if (known == 0) {
                const bool fine = order[used] >= coarse;
                const int first = fine ? coarse + done_fine : done_coarse, more = min(kWarp, (fine ? n : coarse) - first);
                evaluate(first, more);
                (fine ? done_fine : done_coarse) += more;
                continue;
            }
            const int i = k - 1;  // the interval that ends with this lane's sample
            const bool real = lane < known && i >= 0;
            const float tau = real ? softplus(middle_raw(i)) * (t[order[i + 1]] - t[order[i]]) : 0.0f;
            const Running sum = warp_scan(tau, lane, total);
            const float behind = expf(-sum.after);
            if (real) {
                left[i] = behind;
                w[i] = light(expf(-sum.before)) - light(behind);
            }
            const int lit = warp_run(lane < known && !(real && behind <= float(kDark)));
            used += lit < known ? lit + 1 : known;
            __syncwarp();
            if (lit < known) return;
        }
    }

    // `fine` distances, in slots from `first` on, from the weights of m - 1 intervals between the m places that place(i)
    // gives. `cumulative` is scratch.
    template <typename Place>
    __device__ void draw(const Place& place, const float* weights, int m, float floor, int first, float* cumulative) {
        float total = 0;
        for (int base = 0; base < m - 1; base += kWarp) {
            const int i = base + lane;
            float blurred = 0;
            if (i < m - 1) {
                const auto larger = [&](int j) { return weights[j] > weights[i] ? weights[j] : weights[i]; };
                blurred = 0.5f * (larger(max(i - 1, 0)) + larger(min(i + 1, m - 2))) + floor;
            }
            const float until = warp_scan(blurred, lane, total).after;
            if (i < m - 1) cumulative[i] = until;
        }
        __syncwarp();
        for (int j = lane; j < s.fine; j += kWarp) {
            const float target = (j + jitter(seed, index, first + j)) / s.fine * total;
            int low = 0, high = m - 2;  // the first interval whose cumulative weight exceeds the target
            while (low < high) {
                const int half = (low + high) / 2;
                if (cumulative[half] > target) high = half;
                else low = half + 1;
            }
            const float below = low > 0 ? cumulative[low - 1] : 0.0f;
            const float part = (target - below) / (cumulative[low] - below), start = place(low);
            t[first + j] = start + (part > 1 ? 1.0f : part) * (place(low + 1) - start);  // not a number: it shows
        }
        __syncwarp();
    }

    // The order of coarse and fine samples: a sample's rank is its place in its list, and the others before it. Fine distances
    // that are not numbers, all or none, come last.
    __device__ void merge() {
        const int m = coarse, fine = s.fine;
        for (int i = lane; i < n; i += kWarp) {
            const bool first = i < m;
            const float* others = first ? t + m : t;
            int low = 0, high = first ? fine : m;
            while (low < high) {
                const int half = (low + high) / 2;
                if (first ? others[half] < t[i] : !(others[half] > t[i])) low = half + 1;
                else high = half;
            }
            order[(first ? i : i - m) + low] = i;
        }
        __syncwarp();
    }

    // Draws the samples from the grid; false when the ray meets nothing.
    __device__ bool draw_from_grid() {
        const int m = s.coarse;  // strata, between m + 1 places
        float *densities = hidden, *weights = hidden + m + 1;
        static_assert(2 * (kMaxSamples + 1) <= kWarp * kUnitRow, "both lie in the scratch");
        const auto place = [&](int i) { return near + static_cast<float>(i) / m * (far - near); };
        const float* grid = grids + item * s.grid * s.grid * s.grid;
        float broken = 0, most = 0;
        for (int i = lane; i <= m; i += kWarp) {
            float p[3];
            point(place(i), p);
            grid_lookup(grid, s.grid, p[0], p[1], p[2], densities[i], weights[i]);  // weights: the largest densities, first
            broken += densities[i] - densities[i];  // not a number where it is not finite
        }
        __syncwarp();
        for (int i = lane; i < m; i += kWarp)
            most += softplus(fmaxf(weights[i], weights[i + 1]) - 1.0f) * (place(i + 1) - place(i));
        __syncwarp();  // largest densities are read
        const bool whole = warp_sum(broken) == 0;
        if (whole && warp_sum(most) < float(kEmpty)) return false;
        float total = 0;
        for (int base = 0; base < m; base += kWarp) {
            const int i = base + lane;
            const float middle = i < m ? 0.5f * (densities[i] + densities[i + 1]) - 1.0f : 0.0f;
            const Running sum = warp_scan(i < m ? softplus(middle) * (place(i + 1) - place(i)) : 0.0f, lane, total);
            if (i < m) weights[i] = whole ? light(expf(-sum.before)) - light(expf(-sum.after)) : NAN;
        }
        __syncwarp();
        draw(place, weights, m + 1, static_cast<float>(kGridFloor) / m, 0, densities);
        return true;
    }

    // False when the ray meets nothing.
    __device__ bool trace() {
        done_coarse = done_fine = 0;
        for (int i = lane; i < n; i += kWarp) order[i] = i;
        if (s.grid && !draw_from_grid()) return false;
        for (int i = lane; i < coarse; i += kWarp) t[i] = coarse_distance<float>(seed, index, i, coarse, near, far);
        __syncwarp();
#pragma unroll 1
        for (int count = s.grid ? n : coarse;; count = n) {  // a loop, so that its body is compiled once
            march(count);
            if (count == n) return true;
            for (int i = used - 1 + lane; i < coarse - 1; i += kWarp) w[i] = 0.0f;
            __syncwarp();
            draw([&](int i) { return t[i]; }, w, coarse, static_cast<float>(kFloor), coarse, hidden);
            merge();
        }
    }

    __device__ float share(int i) const {  // of the colour of the i-th sample along the ray
        return 0.5f * ((i > 0 ? w[i - 1] : 0.0f) + (i < used - 1 ? w[i] : 0.0f));
    }
};

}  // namespace semhead
