// The fused ray renderer on CUDA, backward: a warp traces its ray again, then goes through its samples 32 at a time.
#include "cuda_ray.h"

namespace semhead {
namespace {

constexpr int kUnits = 16;                         // hidden units staged at a time
constexpr int kUnitRow = kUnits + 1;               // of a lane
constexpr int kUnitNumbers = 2 * kWarp * kUnitRow;  // of units and of their gradients: they lie where the taps were

// Numbers of the network's gradient: w1, b1, w2, b2 one after the other.
__host__ __device__ inline int64_t partials_of(const RenderShape& s) {
    return int64_t(s.hidden) * (s.layout.channels + 1) + int64_t(1 + s.outputs) * (s.hidden + 1);
}

__host__ __device__ inline int backward_size(const Sizes& z) {  // of what a warp keeps
    return z.ray() - 16 * kWarp + kUnitNumbers + z.n + z.width;
}

struct Rows {  // of the lanes, in shared memory
    const float* first;
    int step;

    __device__ float at(int lane, int i) const { return first[lane * step + i]; }
};

// Adds the sum over lanes of a[lane][i] b[lane][j] to total[i * row_step + j * column_step], for i < rows, j < columns:
// tiles of 4 x 4 a lane.
__device__ inline void outer_sums(Rows a, int rows, Rows b, int columns, int lanes, float* total, int row_step, int column_step,
                                  int lane) {
    const int across = (columns + 3) / 4, tiles = (rows + 3) / 4 * across;
    for (int tile = lane; tile < tiles; tile += kWarp) {
        const int i0 = tile / across * 4, j0 = tile % across * 4;
        float sums[4][4] = {};
        for (int s = 0; s < lanes; ++s) {
            float x[4], y[4];
#pragma unroll
            for (int k = 0; k < 4; ++k) {
                x[k] = i0 + k < rows ? a.at(s, i0 + k) : 0.0f;
                y[k] = j0 + k < columns ? b.at(s, j0 + k) : 0.0f;
            }
#pragma unroll
            for (int i = 0; i < 4; ++i)
#pragma unroll
                for (int j = 0; j < 4; ++j) sums[i][j] += x[i] * y[j];
        }
        for (int i = 0; i < 4; ++i)
            for (int j = 0; j < 4; ++j)
                if (i0 + i < rows && j0 + j < columns) total[(i0 + i) * row_step + (j0 + j) * column_step] += sums[i][j];
    }
}

// Adds the sum over lanes of a[lane][j], times factor[lane] where there is one, to total[j], for j < columns.
__device__ inline void column_sums(Rows a, int columns, const float* factor, int lanes, float* total, int lane) {
    for (int j = lane; j < columns; j += kWarp) {
        float sum = 0;
        for (int s = 0; s < lanes; ++s) sum += a.at(s, j) * (factor ? factor[s] : 1.0f);
        total[j] += sum;
    }
}

template <int width>
struct WarpBackward {
    const RenderShape& s;
    const RenderCudaInputs& in;
    const RenderGradients<float>& grads;
    WarpRay<width>& ray;
    const int lane, n;
    float *hidden, *d_hidden;  // [lane][kUnitRow]
    float *d_raw, *share;      // [n] of the samples: gradient of the raw density, share of the colour
    float* d_out;              // [width] gradient of the ray's features
    float *w1, *b1, *w2, *b2;  // where this warp adds the network's gradient up, or null

    __device__ WarpBackward(const RenderShape& shape, const RenderCudaInputs& inputs, const RenderGradients<float>& gradients,
                            WarpRay<width>& traced, float* partials)
        : s(shape), in(inputs), grads(gradients), ray(traced), lane(ray.lane), n(ray.n), hidden(ray.tap_weight),
          d_hidden(hidden + kWarp * kUnitRow), d_raw(ray.cumulative), share(hidden + kUnitNumbers), d_out(share + n),
          w1(partials), b1(w1 + s.hidden * s.layout.channels), w2(b1 + s.hidden), b2(w2 + (1 + s.outputs) * s.hidden) {}

    // Backwards along ray i: d loss / d tau_j = A_{j+1} g_j - sum_{k>j} (A_k - A_{k+1}) g_k, where g_j = d loss / d w_j and
    // A_k = T_k L'(T_k). The gradient of a raw density is half of that of the two intervals beside it.
    __device__ void composite(int64_t i) {
        for (int k = lane; k < width; k += kWarp) d_out[k] = k < s.outputs ? grads.features[i * s.outputs + k] : 0.0f;
        __syncwarp();
        float* dot = share;  // first, of the samples' colours with the gradient of the features
        for (int j = lane; j < n; j += kWarp) {
            float sum = 0;
            for (int k = 0; k < width; ++k) sum += d_out[k] * ray.colours[j * (width + 1) + k];
            dot[j] = sum;
            d_raw[j] = 0.0f;
        }
        __syncwarp();
        const float d_opacity = grads.opacity[i], d_depth = grads.depth[i];
        float behind = 0;
        for (int base = (n - 2) / kWarp * kWarp; base >= 0; base -= kWarp) {
            const int j = base + (kWarp - 1 - lane);  // lane 0 takes the last
            const bool real = j < n - 1;
            const int here = real ? ray.order[j] : 0, next = real ? ray.order[j + 1] : 0;
            float g = 0;
            if (real) g = 0.5f * (dot[here] + dot[next]) + d_opacity + d_depth * (0.5f * (ray.t[here] + ray.t[next]) - ray.far);
            const float after = real ? light_slope(ray.left[j]) : 0.0f;
            const float before = real ? light_slope(j > 0 ? ray.left[j - 1] : 1.0f) : 0.0f;
            const Running sum = warp_scan((before - after) * g, lane, behind);
            float half = 0;
            if (real) half = 0.5f * (after * g - sum.before) * (ray.t[next] - ray.t[here]) * sigmoid(ray.middle_raw(j));
            if (real) d_raw[here] += half;
            __syncwarp();
            if (real) d_raw[next] += half;
        }
        for (int j = lane; j < n; j += kWarp) share[ray.order[j]] = ray.share(j);
        __syncwarp();
    }

    // Through the network of the samples from slot `base` on, one a lane: adds to its gradient, and to the gradient of the
    // ray and of the map.
    __device__ void samples(int base, float* origin, float* direction) {
        const int count = min(kWarp, n - base), slot = base + min(lane, count - 1), row = lane * (width + 1);
        const bool real = lane < count;
        float x, y, z;
        ray.point(slot, x, y, z);
        warp_fetch(s.layout, in.map, in.type, ray.item, x, y, z, lane, width + 1, ray.features, ray.tap_offset, ray.tap_weight);
        float* d_colours = ray.colours + base * (width + 1);  // [lane][width + 1]: gradients take the place of colours
        const float d_density = real ? d_raw[slot] : 0.0f, part = real ? share[slot] : 0.0f;
        float f[width], d_f[width], d_o[width];
#pragma unroll
        for (int c = 0; c < width; ++c) {
            f[c] = ray.features[row + c];
            d_f[c] = 0.0f;
        }
#pragma unroll
        for (int k = 0; k < width; ++k) {
            const float value = ((real ? d_colours[row + k] : 0.0f) + float(kSpill)) / (1 + 2 * float(kSpill));
            d_o[k] = part * d_out[k] * value * (1 - value) * (1 + 2 * float(kSpill));
            if (real) d_colours[row + k] = d_o[k];
        }
        __syncwarp();
        const Rows features{ray.features, width + 1}, outputs{d_colours, width + 1}, densities{d_raw + base, 1};
        if (w1) column_sums(outputs, s.outputs, nullptr, count, b2 + 1, lane);
        if (w1) column_sums(densities, 1, nullptr, count, b2, lane);
        for (int first = 0; first < s.hidden; first += kUnits) {
            const int units = min(kUnits, s.hidden - first);
            for (int u = 0; u < units; ++u) {
                const float *row1 = ray.net.w1 + (first + u) * width, *row2 = ray.net.w2 + (first + u) * width;
                float before = ray.net.b1[first + u], d_h = d_density * ray.net.density[first + u];
#pragma unroll
                for (int c = 0; c < width; ++c) before += f[c] * row1[c];
#pragma unroll
                for (int k = 0; k < width; ++k) d_h += d_o[k] * row2[k];
                d_h *= sigmoid(before);
#pragma unroll
                for (int c = 0; c < width; ++c) d_f[c] += d_h * row1[c];
                hidden[lane * kUnitRow + u] = softplus(before);
                d_hidden[lane * kUnitRow + u] = d_h;
            }
            __syncwarp();
            if (w1) {
                const int channels = s.layout.channels;
                const Rows h{hidden, kUnitRow}, d_h{d_hidden, kUnitRow};
                outer_sums(d_h, units, features, channels, count, w1 + first * channels, channels, 1, lane);
                outer_sums(h, units, outputs, s.outputs, count, w2 + s.hidden + first, 1, s.hidden, lane);
                column_sums(d_h, units, nullptr, count, b1 + first, lane);
                column_sums(h, units, d_raw + base, count, w2 + first, lane);
            }
            __syncwarp();
        }
#pragma unroll
        for (int c = 0; c < width; ++c)
            if (c < s.layout.channels) ray.features[row + c] = d_f[c];  // padding channels stay nought
        if (grads.origins && real) point(slot, x, y, z, d_density, origin, direction);
        __syncwarp();  // gradients of features are complete
        if (grads.map)
            warp_scatter(s.layout, grads.map + ray.item * s.layout.texels(), x, y, z, lane, count, width + 1, ray.features,
                         ray.tap_offset, ray.tap_weight);
    }

    // Adds what the sample at (x, y, z) says of its ray; the gradient of its feature lies in the lane's row of features.
    __device__ void point(int slot, float x, float y, float z, float d_density, float* origin, float* direction) const {
        float g[3];
        const AnyTexels texels{in.map, in.type, ray.item * s.layout.texels()};
        lane_gradient(s.layout, texels, ray.features + lane * (width + 1), x, y, z, g);
        const float radius = sqrtf(x * x + y * y + z * z);
        const float pull = radius > 0 ? -d_density * static_cast<float>(s.slope) / radius : 0.0f;
        const float at[3] = {x, y, z};
        for (int k = 0; k < 3; ++k) {
            const float moved = (g[k] + pull * at[k]) * static_cast<float>(1 / s.half[k]);
            origin[k] += moved;
            direction[k] += moved * ray.t[slot];
        }
    }
};

template <int width>
__global__ void __launch_bounds__(kMostWarps* kWarp, width > 32 ? 2 : 3)
    backward_kernel(const __grid_constant__ RenderShape s, const __grid_constant__ RenderCudaInputs in,
                    const __grid_constant__ RenderGradients<float> grads, float* partials) {
    float* space = shared_memory();
    const Sizes sizes{s.coarse + s.fine, width, s.hidden};
    Weights net(space, sizes);
    net.read(s, in, sizes);
    const int warp = threadIdx.x / kWarp, warps = blockDim.x / kWarp;
    const int64_t first = int64_t(blockIdx.x) * warps + warp, total = int64_t(s.batch) * s.rays;
    WarpRay<width> ray(s, in, net, space + sizes.weights() + warp * backward_size(sizes));
    WarpBackward<width> back(s, in, grads, ray, partials ? partials + first * partials_of(s) : nullptr);
    for (int64_t i = first; i < total; i += int64_t(gridDim.x) * warps) {
        float nothing, passing;
        if (!ray.start(in, i, &nothing, &passing)) continue;
        ray.trace();
        back.composite(i);
        float origin[3] = {}, direction[3] = {};
        for (int base = 0; base < ray.n; base += kWarp) back.samples(base, origin, direction);
        if (!grads.origins) continue;
        for (int k = 0; k < 3; ++k) {
            const float a = warp_sum(origin[k]), b = warp_sum(direction[k]);
            if (ray.lane == 0) {
                grads.origins[3 * i + k] = a;
                grads.directions[3 * i + k] = b;
            }
        }
    }
}

__global__ void sum_partials(const RenderShape s, const float* partials, int rows, const RenderGradients<float> grads) {
    const int64_t size = partials_of(s);
    const int64_t w1 = int64_t(s.hidden) * s.layout.channels, b1 = w1 + s.hidden, w2 = b1 + int64_t(1 + s.outputs) * s.hidden;
    for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < size; i += int64_t(gridDim.x) * blockDim.x) {
        float sum = 0;
        for (int row = 0; row < rows; ++row) sum += partials[row * size + i];
        float* at = i < w1 ? grads.w1 + i : i < b1 ? grads.b1 + (i - w1) : i < w2 ? grads.w2 + (i - b1) : grads.b2 + (i - w2);
        *at = sum;
    }
}

template <int width>
Plan backward_plan(const RenderShape& s) {
    const Sizes sizes = sizes_of<width>(s);
    return plan_of(backward_kernel<width>, s, sizes.weights(), backward_size(sizes));
}

}  // namespace

int64_t render_cuda_partials(const RenderShape& s) {
    if (s.batch == 0 || s.rays == 0) return 0;
    const Plan plan = with_width(s, [&](auto width) { return backward_plan<width>(s); });
    return plan.blocks * plan.warps * partials_of(s);
}

void render_backward_cuda(const RenderShape& s, const RenderCudaInputs& in, const RenderGradients<float>& grads,
                          float* partials, void* stream) {
    if (s.batch == 0 || s.rays == 0) return;
    const auto at = static_cast<cudaStream_t>(stream);
    const char* what = "render_rays_backward";
    with_width(s, [&](auto width) {
        const Plan plan = backward_plan<width>(s);
        launch(what, backward_kernel<width>, plan.blocks, plan.warps * kWarp, plan.bytes, at, s, in, grads, partials);
        if (partials) launch(what, sum_partials, 32, 256, 0, at, s, partials, plan.blocks * plan.warps, grads);
    });
}

}  // namespace semhead
