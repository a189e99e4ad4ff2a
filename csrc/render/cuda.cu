// The fused ray renderer on CUDA. One warp takes one ray at a time: lanes are samples while the network is computed and
// while the ray is composited, and channels while texels are read. What is kept of the samples lies in shared memory.
#include <algorithm>

#include "../common/cuda.h"
#include "cuda.h"
#include "sampling.h"

namespace semhead {
namespace {

constexpr int kWarps = 4;    // of a block
constexpr int kHiddenAt = 16;  // hidden units staged at a time in the backward pass

// Shared memory, in numbers of 4 bytes.
struct Sizes {
    int n, cp, op, hidden;  // samples; padded channels and colours; hidden units

    __host__ __device__ int weights() const { return hidden * (cp + op + 2) + op + 1; }
    __host__ __device__ int forward() const { return 6 * n + n * (op + 1) + kWarp * (cp + 1) + 16 * kWarp; }
    __host__ __device__ int backward() const { return forward() + 2 * n + op + kWarp * (op + 1) + 2 * kWarp * (kHiddenAt + 1); }
};

// Numbers of the network's gradient: w1, b1, w2, b2 one after the other.
SEMHEAD_BOTH int64_t render_cuda_partials_of(const RenderShape& s) {
    return int64_t(s.hidden) * (s.layout.channels + 1) + int64_t(1 + s.outputs) * (s.hidden + 1);
}

struct Weights {  // of the network, in shared memory of the block
    float *w1, *b1, *w2, *density, *b2;  // [hidden, cp], [hidden], [hidden, op], [hidden], [op + 1] (density last)

    __device__ Weights(float* space, const Sizes& z)
        : w1(space), b1(w1 + z.hidden * z.cp), w2(b1 + z.hidden), density(w2 + z.hidden * z.op), b2(density + z.hidden) {}

    __device__ void read(const RenderShape& s, const RenderCudaInputs& in, const Sizes& z) {
        for (int i = threadIdx.x; i < z.hidden * z.cp; i += blockDim.x) {
            const int j = i / z.cp, c = i % z.cp;
            w1[i] = c < s.layout.channels ? in.w1[j * s.layout.channels + c] : 0.0f;
        }
        for (int i = threadIdx.x; i < z.hidden * z.op; i += blockDim.x) {
            const int j = i / z.op, o = i % z.op;
            w2[i] = o < s.outputs ? in.w2[(1 + o) * z.hidden + j] : 0.0f;
        }
        for (int i = threadIdx.x; i < z.hidden; i += blockDim.x) {
            b1[i] = in.b1[i];
            density[i] = in.w2[i];
        }
        for (int i = threadIdx.x; i < z.op; i += blockDim.x) b2[i] = i < s.outputs ? in.b2[1 + i] : 0.0f;
        if (threadIdx.x == 0) b2[z.op] = in.b2[0];
        __syncthreads();
    }
};

template <int CP, int OP>
struct WarpRay {
    const RenderShape& s;
    const Weights& net;
    const void* map;
    MapType type;
    const int lane, n;
    float *t, *raw, *w, *left, *cumulative, *colours, *features, *tap_weight;
    int *order, *tap_offset;
    float o[3], d[3], near, far;
    int64_t index, item;

    __device__ WarpRay(const RenderShape& shape, const RenderCudaInputs& in, const Weights& weights, float* space)
        : s(shape), net(weights), map(in.map), type(in.type), lane(threadIdx.x % kWarp), n(shape.coarse + shape.fine) {
        t = space;
        raw = t + n;
        w = raw + n;
        left = w + n;
        cumulative = left + n;
        order = reinterpret_cast<int*>(cumulative + n);
        colours = cumulative + 2 * n;
        features = colours + n * (OP + 1);
        tap_weight = features + kWarp * (CP + 1);
        tap_offset = reinterpret_cast<int*>(tap_weight + 8 * kWarp);
        for (int i = lane; i < kWarp * (CP + 1); i += kWarp) features[i] = 0.0f;  // padding channels stay nought
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
        const float scale = static_cast<float>(1 / s.half);
        x = (o[0] + t[slot] * d[0]) * scale;
        y = (o[1] + t[slot] * d[1]) * scale;
        z = (o[2] + t[slot] * d[2]) * scale;
    }

    __device__ void evaluate(int first, int count) {
        for (int base = 0; base < count; base += kWarp) {
            const int slot = first + min(base + lane, count - 1);
            float x, y, z;
            point(slot, x, y, z);
            warp_fetch(s.layout, map, type, item, x, y, z, lane, CP + 1, features, tap_offset, tap_weight);
            float f[CP], out[OP], density = net.b2[OP];
#pragma unroll
            for (int c = 0; c < CP; ++c) f[c] = features[lane * (CP + 1) + c];
#pragma unroll
            for (int k = 0; k < OP; ++k) out[k] = net.b2[k];
            for (int j = 0; j < s.hidden; ++j) {
                float h = net.b1[j];
#pragma unroll
                for (int c = 0; c < CP; ++c) h += f[c] * net.w1[j * CP + c];
                h = softplus(h);
                density += h * net.density[j];
#pragma unroll
                for (int k = 0; k < OP; ++k) out[k] += h * net.w2[j * OP + k];
            }
            if (s.slope != 0)
                density += static_cast<float>(s.slope) * (static_cast<float>(s.radius) - sqrtf(x * x + y * y + z * z));
            __syncwarp();  // features are read
            if (base + lane < count) {
                raw[slot] = density;
#pragma unroll
                for (int k = 0; k < OP; ++k)
                    colours[slot * (OP + 1) + k] = (1 + 2 * float(kSpill)) * sigmoid(out[k]) - float(kSpill);
            }
        }
        __syncwarp();
    }

    __device__ float middle_raw(int i) const { return 0.5f * (raw[order[i]] + raw[order[i + 1]]) - 1.0f; }

    // Weights of the intervals between the first `count` samples in `order`, and the light left behind each.
    __device__ void composite(int count) {
        float carried = 0;
        for (int base = 0; base < count - 1; base += kWarp) {
            const int i = base + lane;
            const float tau = i < count - 1 ? softplus(middle_raw(i)) * (t[order[i + 1]] - t[order[i]]) : 0.0f;
            const float until = carried + warp_scan(tau, lane);
            if (i < count - 1) {
                left[i] = expf(-until);
                w[i] = expf(-(until - tau)) - left[i];
            }
            carried = __shfl_sync(kWhole, until, kWarp - 1);
        }
        __syncwarp();
    }

    __device__ void draw_fine(int m, int fine) {
        float carried = 0;
        for (int base = 0; base < m - 1; base += kWarp) {
            const int i = base + lane;
            float blurred = 0;
            if (i < m - 1) {
                const float before = i > 0 ? fmaxf(w[i - 1], w[i]) : w[i], after = i < m - 2 ? fmaxf(w[i + 1], w[i]) : w[i];
                blurred = 0.5f * (before + after) + 0.01f;
            }
            const float until = carried + warp_scan(blurred, lane);
            if (i < m - 1) cumulative[i] = until;
            carried = __shfl_sync(kWhole, until, kWarp - 1);
        }
        __syncwarp();
        for (int j = lane; j < fine; j += kWarp) {
            const float target = (j + jitter(s.seed, index, m + j)) / fine * cumulative[m - 2];
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
        for (int i = lane; i < m + fine; i += kWarp) {  // rank of each sample among all: its own place, and the others before it
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
            t[i] = coarse_distance<float>(s.seed, index, i, m, near, far);
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

template <int CP, int OP>
__global__ void __launch_bounds__(kWarps* kWarp)
    forward_kernel(const RenderShape s, const RenderCudaInputs in, const RenderOutputs<float> out) {
    extern __shared__ float space[];
    const Sizes sizes{s.coarse + s.fine, CP, OP, s.hidden};
    Weights net(space, sizes);
    net.read(s, in, sizes);
    const int warp = threadIdx.x / kWarp;
    WarpRay<CP, OP> ray(s, in, net, space + sizes.weights() + warp * sizes.forward());
    const int64_t total = int64_t(s.batch) * s.rays;
    for (int64_t i = int64_t(blockIdx.x) * kWarps + warp; i < total; i += int64_t(gridDim.x) * kWarps) {
        float nothing, passing;
        if (!ray.start(in, i, &nothing, &passing)) {
            for (int k = ray.lane; k < s.outputs; k += kWarp) out.features[i * s.outputs + k] = nothing;
            if (ray.lane == 0) {
                out.opacity[i] = nothing;
                out.depth[i] = passing;
            }
            continue;
        }
        ray.trace();
        for (int k = ray.lane; k < s.outputs; k += kWarp) {
            float sum = 0;
            for (int j = 0; j < ray.n; ++j) sum += ray.share(j) * ray.colours[ray.order[j] * (OP + 1) + k];
            out.features[i * s.outputs + k] = sum;
        }
        float opacity = 0, depth = 0;
        for (int j = ray.lane; j < ray.n - 1; j += kWarp) {
            opacity += ray.w[j];
            depth += ray.w[j] * 0.5f * (ray.t[ray.order[j]] + ray.t[ray.order[j + 1]]);
        }
        opacity = warp_sum(opacity);
        depth = warp_sum(depth);
        if (ray.lane == 0) {
            out.opacity[i] = opacity;
            out.depth[i] = depth + (1 - opacity) * ray.far;
        }
        __syncwarp();
    }
}

// Adds sum over lanes of a[lane][i] b[lane][j] to total[i * row + j], for i < rows, j < columns: tiles of 4 x 4 a lane.
__device__ inline void outer_sums(const float* a, int lda, int rows, const float* b, int ldb, int columns, float* total,
                                  int row_step, int column_step, int lane) {
    const int across = (columns + 3) / 4, tiles = (rows + 3) / 4 * across;
    for (int tile = lane; tile < tiles; tile += kWarp) {
        const int i0 = tile / across * 4, j0 = tile % across * 4;
        float sums[4][4] = {};
        for (int s = 0; s < kWarp; ++s) {
            float x[4], y[4];
#pragma unroll
            for (int k = 0; k < 4; ++k) {
                x[k] = i0 + k < rows ? a[s * lda + i0 + k] : 0.0f;
                y[k] = j0 + k < columns ? b[s * ldb + j0 + k] : 0.0f;
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

template <int CP, int OP>
__global__ void __launch_bounds__(kWarps* kWarp)
    backward_kernel(const RenderShape s, const RenderCudaInputs in, const RenderGradients<float> grads, float* partials) {
    extern __shared__ float space[];
    const Sizes sizes{s.coarse + s.fine, CP, OP, s.hidden};
    Weights net(space, sizes);
    net.read(s, in, sizes);
    const int warp = threadIdx.x / kWarp, channels = s.layout.channels;
    float* own = space + sizes.weights() + warp * sizes.backward();
    WarpRay<CP, OP> ray(s, in, net, own);
    const int lane = ray.lane, n = ray.n;
    float* d_raw = own + sizes.forward();       // [n]
    float* dot = d_raw + n;                     // [n] of a sample's colour with the gradient; later its share
    float* d_out = dot + n;                     // [op]
    float* d_colours = d_out + OP;              // [lane][op + 1]
    float* hidden = d_colours + kWarp * (OP + 1);  // [lane][kHiddenAt + 1]
    float* d_hidden = hidden + kWarp * (kHiddenAt + 1);
    float* w1 = partials ? partials + (int64_t(blockIdx.x) * kWarps + warp) * render_cuda_partials_of(s) : nullptr;
    float *b1 = w1 + s.hidden * channels, *w2 = b1 + s.hidden, *b2 = w2 + (1 + s.outputs) * s.hidden;

    const int64_t total = int64_t(s.batch) * s.rays;
    for (int64_t i = int64_t(blockIdx.x) * kWarps + warp; i < total; i += int64_t(gridDim.x) * kWarps) {
        float nothing, passing;
        if (!ray.start(in, i, &nothing, &passing)) continue;
        ray.trace();
        for (int k = lane; k < OP; k += kWarp) d_out[k] = k < s.outputs ? grads.features[i * s.outputs + k] : 0.0f;
        __syncwarp();
        for (int j = lane; j < n; j += kWarp) {
            float sum = 0;
            for (int k = 0; k < OP; ++k) sum += d_out[k] * ray.colours[j * (OP + 1) + k];
            dot[j] = sum;
        }
        __syncwarp();
        // Backwards along the ray: d loss / d tau_j = left_j g_j - sum_{k>j} w_k g_k, where g_j = d loss / d w_j. The
        // gradient of a raw density is half of that of the two intervals beside it.
        for (int j = lane; j < n; j += kWarp) d_raw[j] = 0.0f;
        __syncwarp();
        float behind = 0;
        for (int base = (n - 2) / kWarp * kWarp; base >= 0; base -= kWarp) {
            const int j = base + (kWarp - 1 - lane);  // lane 0 takes the last
            float weighed = 0, d_middle = 0, g = 0;
            if (j < n - 1) {
                const float middle = 0.5f * (ray.t[ray.order[j]] + ray.t[ray.order[j + 1]]);
                g = 0.5f * (dot[ray.order[j]] + dot[ray.order[j + 1]]) + grads.opacity[i] + grads.depth[i] * (middle - ray.far);
                weighed = ray.w[j] * g;
            }
            const float until = warp_scan(weighed, lane);
            if (j < n - 1)
                d_middle = (ray.left[j] * g - (behind + until - weighed)) * (ray.t[ray.order[j + 1]] - ray.t[ray.order[j]]) *
                           sigmoid(ray.middle_raw(j));
            behind += __shfl_sync(kWhole, until, kWarp - 1);
            if (j < n - 1) d_raw[ray.order[j]] += 0.5f * d_middle;
            __syncwarp();
            if (j < n - 1) d_raw[ray.order[j + 1]] += 0.5f * d_middle;
            __syncwarp();
        }
        for (int j = lane; j < n; j += kWarp) dot[ray.order[j]] = ray.share(j);
        __syncwarp();
        float origin[3] = {}, direction[3] = {};
        for (int base = 0; base < n; base += kWarp) {
            const int slot = min(base + lane, n - 1), count = min(kWarp, n - base);
            const bool real = base + lane < n;
            float x, y, z;
            ray.point(slot, x, y, z);
            warp_fetch(s.layout, in.map, in.type, ray.item, x, y, z, lane, CP + 1, ray.features, ray.tap_offset, ray.tap_weight);
            const float share = real ? dot[slot] : 0.0f, d_density = real ? d_raw[slot] : 0.0f;
            float f[CP], d_f[CP], d_o[OP];
#pragma unroll
            for (int c = 0; c < CP; ++c) {
                f[c] = ray.features[lane * (CP + 1) + c];
                d_f[c] = 0.0f;
            }
#pragma unroll
            for (int k = 0; k < OP; ++k) {
                const float value = (ray.colours[slot * (OP + 1) + k] + float(kSpill)) / (1 + 2 * float(kSpill));
                d_o[k] = share * d_out[k] * value * (1 - value) * (1 + 2 * float(kSpill));
                d_colours[lane * (OP + 1) + k] = d_o[k];
            }
            __syncwarp();
            if (w1) {
                for (int k = 0; k < s.outputs; ++k) {
                    const float sum = warp_sum(d_colours[lane * (OP + 1) + k]);
                    if (lane == 0) b2[1 + k] += sum;
                }
                const float sum = warp_sum(d_density);
                if (lane == 0) b2[0] += sum;
            }
            for (int j0 = 0; j0 < s.hidden; j0 += kHiddenAt) {
                const int units = min(kHiddenAt, s.hidden - j0);
                for (int u = 0; u < units; ++u) {
                    const int j = j0 + u;
                    float before = net.b1[j], d_h = d_density * net.density[j];
#pragma unroll
                    for (int c = 0; c < CP; ++c) before += f[c] * net.w1[j * CP + c];
#pragma unroll
                    for (int k = 0; k < OP; ++k) d_h += d_o[k] * net.w2[j * OP + k];
                    d_h *= sigmoid(before);
#pragma unroll
                    for (int c = 0; c < CP; ++c) d_f[c] += d_h * net.w1[j * CP + c];
                    hidden[lane * (kHiddenAt + 1) + u] = real ? softplus(before) : 0.0f;
                    d_hidden[lane * (kHiddenAt + 1) + u] = d_h;
                }
                __syncwarp();
                if (w1) {
                    outer_sums(d_hidden, kHiddenAt + 1, units, ray.features, CP + 1, channels, w1 + j0 * channels, channels, 1, lane);
                    outer_sums(hidden, kHiddenAt + 1, units, d_colours, OP + 1, s.outputs, w2 + s.hidden + j0, 1, s.hidden, lane);
                    for (int u = 0; u < units; ++u) {
                        const float bias = warp_sum(d_hidden[lane * (kHiddenAt + 1) + u]);
                        const float density = warp_sum(hidden[lane * (kHiddenAt + 1) + u] * d_density);
                        if (lane == 0) {
                            b1[j0 + u] += bias;
                            w2[j0 + u] += density;
                        }
                    }
                }
                __syncwarp();
            }
#pragma unroll
            for (int c = 0; c < CP; ++c) ray.features[lane * (CP + 1) + c] = d_f[c];
            __syncwarp();
            if (grads.origins && real) {
                float g[3];
                lane_gradient(s.layout, AnyTexels{in.map, in.type, ray.item * s.layout.texels()}, ray.features + lane * (CP + 1), x, y, z, g);
                const float radius = sqrtf(x * x + y * y + z * z);
                const float pull = radius > 0 ? -d_density * static_cast<float>(s.slope) / radius : 0.0f;
                g[0] += pull * x;
                g[1] += pull * y;
                g[2] += pull * z;
                for (int k = 0; k < 3; ++k) {
                    g[k] *= static_cast<float>(1 / s.half);
                    origin[k] += g[k];
                    direction[k] += g[k] * ray.t[slot];
                }
            }
            __syncwarp();
            if (grads.map)
                warp_scatter(s.layout, grads.map + ray.item * s.layout.texels(), x, y, z, lane, count, CP + 1, ray.features,
                             ray.tap_offset, ray.tap_weight);
            for (int c = lane; c < kWarp * (CP + 1); c += kWarp) ray.features[c] = 0.0f;
            __syncwarp();
        }
        if (grads.origins)
            for (int k = 0; k < 3; ++k) {
                const float a = warp_sum(origin[k]), b = warp_sum(direction[k]);
                if (lane == 0) {
                    grads.origins[3 * i + k] = a;
                    grads.directions[3 * i + k] = b;
                }
            }
    }
}

__global__ void sum_partials(const RenderShape s, const float* partials, int rows, RenderGradients<float> grads) {
    const int64_t size = render_cuda_partials_of(s);
    const int64_t w1 = int64_t(s.hidden) * s.layout.channels, b1 = w1 + s.hidden, w2 = b1 + int64_t(1 + s.outputs) * s.hidden;
    for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < size; i += int64_t(gridDim.x) * blockDim.x) {
        float sum = 0;
        for (int row = 0; row < rows; ++row) sum += partials[row * size + i];
        float* at = i < w1 ? grads.w1 + i : i < b1 ? grads.b1 + (i - w1) : i < w2 ? grads.w2 + (i - b1) : grads.b2 + (i - w2);
        *at = sum;
    }
}

int blocks_for(const RenderShape& s) {
    const int64_t wanted = (int64_t(s.batch) * s.rays + kWarps - 1) / kWarps;
    return static_cast<int>(std::min<int64_t>(wanted, int64_t(Device().processors) * 4));
}

template <int CP, int OP>
void launch(const RenderShape& s, const RenderCudaInputs& in, const RenderOutputs<float>* out, const RenderGradients<float>* grads,
            float* partials, cudaStream_t stream) {
    const Sizes sizes{s.coarse + s.fine, CP, OP, s.hidden};
    const int bytes = (sizes.weights() + kWarps * (out ? sizes.forward() : sizes.backward())) * int(sizeof(float));
    const Device device;
    if (bytes > device.shared)
        throw std::runtime_error("render_rays: " + std::to_string(sizes.n) + " samples of " + std::to_string(s.outputs) +
                                 " colour features need " + std::to_string(bytes) + " bytes of shared memory a block; this GPU has " +
                                 std::to_string(device.shared) + ". Take fewer samples a ray");
    if (out) {
        check(cudaFuncSetAttribute(forward_kernel<CP, OP>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes), "render_rays");
        forward_kernel<CP, OP><<<blocks_for(s), kWarps * kWarp, bytes, stream>>>(s, in, *out);
    } else {
        check(cudaFuncSetAttribute(backward_kernel<CP, OP>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes), "render_rays");
        backward_kernel<CP, OP><<<blocks_for(s), kWarps * kWarp, bytes, stream>>>(s, in, *grads, partials);
        check(cudaGetLastError(), "render_rays_backward");
        if (partials) sum_partials<<<32, 256, 0, stream>>>(s, partials, render_cuda_rows(s), *grads);
    }
    check(cudaGetLastError(), "render_rays");
}

void with_widths(const RenderShape& s, const RenderCudaInputs& in, const RenderOutputs<float>* out,
                 const RenderGradients<float>* grads, float* partials, void* stream) {
    if (s.batch == 0 || s.rays == 0) return;
    const auto at = static_cast<cudaStream_t>(stream);
    if (s.layout.channels <= 32 && s.outputs <= 32)
        launch<32, 32>(s, in, out, grads, partials, at);
    else
        launch<64, 64>(s, in, out, grads, partials, at);
}

}  // namespace

int render_cuda_rows(const RenderShape& s) { return blocks_for(s) * kWarps; }
int64_t render_cuda_partials(const RenderShape& s) { return render_cuda_partials_of(s); }

void render_cuda(const RenderShape& s, const RenderCudaInputs& in, const RenderOutputs<float>& out, void* stream) {
    with_widths(s, in, &out, nullptr, nullptr, stream);
}

void render_backward_cuda(const RenderShape& s, const RenderCudaInputs& in, const RenderGradients<float>& grads, float* partials,
                          void* stream) {
    with_widths(s, in, nullptr, &grads, partials, stream);
}

}  // namespace semhead
