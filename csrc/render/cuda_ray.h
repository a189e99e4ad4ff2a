// One ray on CUDA: what a warp keeps of it in shared memory, and how it is traced. Lanes are samples while the network is
// computed and while the ray is composited, and channels while texels are read.
#pragma once

#include "cuda_launch.h"
#include "sampling.h"

namespace semhead {

struct Weights {  // of the network, in shared memory of the block
    float *w1, *w2, *b1, *density, *b2;  // [hidden, width] twice, [hidden] twice, [width + 1] (density last)

    __device__ Weights(float* space, const Sizes& z)  // matrices first: rows begin where four numbers are read at once
        : w1(space), w2(w1 + z.hidden * z.width), b1(w2 + z.hidden * z.width), density(b1 + z.hidden), b2(density + z.hidden) {}

    __device__ void read(const RenderShape& s, const RenderCudaInputs& in, const Sizes& z) {
        for (int i = threadIdx.x; i < z.hidden * z.width; i += blockDim.x) {
            const int j = i / z.width, c = i % z.width;
            w1[i] = c < s.layout.channels ? in.w1[j * s.layout.channels + c] : 0.0f;
        }
        for (int i = threadIdx.x; i < z.hidden * z.width; i += blockDim.x) {
            const int j = i / z.width, o = i % z.width;
            w2[i] = o < s.outputs ? in.w2[(1 + o) * z.hidden + j] : 0.0f;
        }
        for (int i = threadIdx.x; i < z.hidden; i += blockDim.x) {
            b1[i] = in.b1[i];
            density[i] = in.w2[i];
        }
        for (int i = threadIdx.x; i < z.width; i += blockDim.x) b2[i] = i < s.outputs ? in.b2[1 + i] : 0.0f;
        if (threadIdx.x == 0) b2[z.width] = in.b2[0];
        __syncthreads();
    }
};

template <int width>
struct WarpRay {
    const RenderShape& s;
    const Weights& net;
    const void* map;
    MapType type;
    const int lane, n;
    float *t, *raw, *w, *left, *cumulative, *colours, *features, *tap_weight;
    int *order, *tap_offset;
    float o[3], d[3], near, far;
    int64_t index, item, seed;

    __device__ WarpRay(const RenderShape& shape, const RenderCudaInputs& in, const Weights& weights, float* space)
        : s(shape), net(weights), map(in.map), type(in.type), lane(threadIdx.x % kWarp), n(shape.coarse + shape.fine),
          seed(*in.seed) {
        t = space;
        raw = t + n;
        w = raw + n;
        left = w + n;
        cumulative = left + n;
        order = reinterpret_cast<int*>(cumulative + n);
        colours = cumulative + 2 * n;
        features = colours + n * (width + 1);
        tap_weight = features + kWarp * (width + 1);
        tap_offset = reinterpret_cast<int*>(tap_weight + 8 * kWarp);
        for (int i = lane; i < kWarp * (width + 1); i += kWarp) features[i] = 0.0f;  // padding channels stay nought
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

    __device__ void point(int slot, float& x, float& y, float& z) const {
        x = (o[0] + t[slot] * d[0] - static_cast<float>(s.center[0])) * static_cast<float>(1 / s.half[0]);
        y = (o[1] + t[slot] * d[1] - static_cast<float>(s.center[1])) * static_cast<float>(1 / s.half[1]);
        z = (o[2] + t[slot] * d[2] - static_cast<float>(s.center[2])) * static_cast<float>(1 / s.half[2]);
    }

    __device__ void evaluate(int first, int count) {
        for (int base = 0; base < count; base += kWarp) {
            const int slot = first + min(base + lane, count - 1);
            float x, y, z;
            point(slot, x, y, z);
            warp_fetch(s.layout, map, type, item, x, y, z, lane, width + 1, features, tap_offset, tap_weight);
            float f[width], out[width], density = net.b2[width];
#pragma unroll
            for (int c = 0; c < width; ++c) f[c] = features[lane * (width + 1) + c];
#pragma unroll
            for (int k = 0; k < width; ++k) out[k] = net.b2[k];
            for (int j = 0; j < s.hidden; ++j) {
                float h = net.b1[j];
#pragma unroll
                for (int c = 0; c < width; ++c) h += f[c] * net.w1[j * width + c];
                h = softplus(h);
                density += h * net.density[j];
#pragma unroll
                for (int k = 0; k < width; ++k) out[k] += h * net.w2[j * width + k];
            }
            if (s.slope != 0)
                density += static_cast<float>(s.slope) * (static_cast<float>(s.radius) - sqrtf(x * x + y * y + z * z));
            __syncwarp();  // features are read
            if (base + lane < count) {
                raw[slot] = density;
#pragma unroll
                for (int k = 0; k < width; ++k)
                    colours[slot * (width + 1) + k] = (1 + 2 * float(kSpill)) * sigmoid(out[k]) - float(kSpill);
            }
        }
        __syncwarp();
    }

    __device__ float middle_raw(int i) const { return 0.5f * (raw[order[i]] + raw[order[i + 1]]) - 1.0f; }

    // Weights of the intervals between the first `count` samples in `order`, and the light left behind each.
    __device__ void composite(int count) {
        float total = 0;
        for (int base = 0; base < count - 1; base += kWarp) {
            const int i = base + lane;
            const float tau = i < count - 1 ? softplus(middle_raw(i)) * (t[order[i + 1]] - t[order[i]]) : 0.0f;
            const Running sum = warp_scan(tau, lane, total);
            if (i < count - 1) {
                left[i] = expf(-sum.after);
                w[i] = light(expf(-sum.before)) - light(left[i]);
            }
        }
        __syncwarp();
    }

    __device__ void draw_fine(int m, int fine) {
        float total = 0;
        for (int base = 0; base < m - 1; base += kWarp) {
            const int i = base + lane;
            float blurred = 0;
            if (i < m - 1) {
                const float before = i > 0 ? fmaxf(w[i - 1], w[i]) : w[i], after = i < m - 2 ? fmaxf(w[i + 1], w[i]) : w[i];
                blurred = 0.5f * (before + after) + 0.01f;
            }
            const float until = warp_scan(blurred, lane, total).after;
            if (i < m - 1) cumulative[i] = until;
        }
        __syncwarp();
        for (int j = lane; j < fine; j += kWarp) {
            const float target = (j + jitter(seed, index, m + j)) / fine * total;
            int low = 0, high = m - 2;  // the first interval whose cumulative weight exceeds the target
            while (low < high) {
                const int half = (low + high) / 2;
                if (cumulative[half] > target) high = half;
                else low = half + 1;
            }
            const float below = low > 0 ? cumulative[low - 1] : 0.0f;
            const float part = fminf((target - below) / (cumulative[low] - below), 1.0f);
            t[m + j] = t[low] + part * (t[low + 1] - t[low]);
        }
        __syncwarp();
        for (int i = lane; i < m + fine; i += kWarp) {  // a sample's rank: its place in its list, and the others before it
            const bool coarse = i < m;
            const float* others = coarse ? t + m : t;
            int low = 0, high = coarse ? fine : m;
            while (low < high) {
                const int half = (low + high) / 2;
                if (coarse ? others[half] < t[i] : others[half] <= t[i]) low = half + 1;
                else high = half;
            }
            order[(coarse ? i : i - m) + low] = i;
        }
        __syncwarp();
    }

    __device__ void trace() {
        const int m = s.coarse;
        for (int i = lane; i < m; i += kWarp) {
            t[i] = coarse_distance<float>(seed, index, i, m, near, far);
            order[i] = i;
        }
        __syncwarp();
#pragma unroll 1
        for (int pass = 0; pass < (s.fine > 0 ? 2 : 1); ++pass) {  // a loop, so that its body is compiled once
            evaluate(pass ? m : 0, pass ? s.fine : m);
            composite(pass ? n : m);
            if (pass == 0 && s.fine > 0) draw_fine(m, s.fine);
        }
    }

    __device__ float share(int i) const {  // of the colour of the i-th sample along the ray
        return 0.5f * ((i > 0 ? w[i - 1] : 0.0f) + (i < n - 1 ? w[i] : 0.0f));
    }
};

}  // namespace semhead
