// The fused ray renderer on CUDA, backward: a warp traces its ray again, then goes through the samples that light reaches.
#include "cuda_ray.h"

namespace semhead {
namespace {

template <int width>
struct WarpBackward {
    const RenderShape& s;
    const RenderGradients<float>& grads;
    WarpRay<width>& ray;
    const int lane;
    float* d_hidden;                  // kWarp rows of units
    float *d_raw, *share;             // [n] of the samples: gradient of the raw density, share of the colour
    float* d_out;                     // [width] gradient of the ray's features
    const WeightGradients<width> to;  // this warp's own

    __device__ WarpBackward(const RenderShape& shape, const RenderGradients<float>& gradients, WarpRay<width>& traced,
                            const Sizes& sizes, float* space, float* partials)
        : s(shape), grads(gradients), ray(traced), lane(ray.lane), d_hidden(space + sizes.ray()),
          d_raw(d_hidden + kWarp * kUnitRow), share(d_raw + sizes.samples()), d_out(share + sizes.samples()),
          to(partials, ray.net.units) {
        if (partials)
            for (int i = 4 * lane; i < to.size(s.hidden); i += 4 * kWarp) put(partials + i, float4{});
        __syncwarp();
    }

    // Backwards along ray i: d loss / d tau_j = A_{j+1} g_j - sum_{k>j} (A_k - A_{k+1}) g_k, where g_j = d loss / d w_j and
    // A_k = T_k L'(T_k). The gradient of a raw density is half of that of the two intervals beside it.
    __device__ void composite(int64_t i) {
        for (int k = lane; k < width; k += kWarp) d_out[k] = k < s.outputs ? grads.features[i * s.outputs + k] : 0.0f;
        __syncwarp();
        float* dot = share;  // first, of the samples' colours with the gradient of the features
        for (int j = lane; j < ray.used; j += kWarp) {
            const int slot = ray.order[j];
            float sum = 0;
            for (int k = 0; k < width; k += 4) {
                const float4 d = four(d_out + k), colour = four(ray.colours + slot * (width + 4) + k);
                sum += d.x * colour.x + d.y * colour.y + d.z * colour.z + d.w * colour.w;
            }
            dot[slot] = sum;
            d_raw[slot] = 0.0f;
        }
        __syncwarp();
        const float d_opacity = grads.opacity[i], d_depth = grads.depth[i];
        const int intervals = ray.used - 1;
        float behind = 0;
        for (int base = (intervals - 1) / kWarp * kWarp; base >= 0; base -= kWarp) {
            const int j = base + (kWarp - 1 - lane);  // lane 0 takes the last
            const bool real = j < intervals;
            const int here = real ? ray.order[j] : 0, next = real ? ray.order[j + 1] : 0;
            float g = 0, before = 0, after = 0;
            if (real) {
                g = 0.5f * (dot[here] + dot[next]) + d_opacity + d_depth * (0.5f * (ray.t[here] + ray.t[next]) - ray.far);
                before = light_slope(j > 0 ? ray.left[j - 1] : 1.0f);
                after = light_slope(ray.left[j]);
            }
            const Running sum = warp_scan((before - after) * g, lane, behind);
            float half = 0;
            if (real) half = 0.5f * (after * g - sum.before) * (ray.t[next] - ray.t[here]) * sigmoid(ray.middle_raw(j));
            if (real) d_raw[here] += half;
            __syncwarp();
            if (real) d_raw[next] += half;
            __syncwarp();
        }
        for (int j = lane; j < ray.used; j += kWarp) share[ray.order[j]] = ray.share(j);
        __syncwarp();
    }

    // Of the colours of `count` samples from slot `base` on, [sample][width + 4]: gradients of what they are the sigmoid of
    // take their place.
    __device__ void colours(int base, int count) {
        constexpr int fours = width / 4;
        const float spill = float(kSpill), reach = 1 + 2 * float(kSpill);
        for (int i = lane; i < count * fours; i += kWarp) {
            const int slot = base + i / fours, k = i % fours * 4;
            float* at = ray.colours + slot * (width + 4) + k;
            const float4 colour = four(at), d = four(d_out + k);
            const float part = share[slot];
            const auto through = [&](float c, float g) {
                const float value = (c + spill) / reach;
                return part * g * value * (1 - value) * reach;
            };
            put(at, make_float4(through(colour.x, d.x), through(colour.y, d.y), through(colour.z, d.z), through(colour.w, d.w)));
        }
    }

    // Through the network and the planes, of at most kWarp samples from slot `base` on: adds to the gradients of the network,
    // the ray and the map.
    __device__ void samples(int base, int count, float (&origin)[3], float (&direction)[3]) {
        const int slot = base + min(lane, count - 1);
        float p[3];
        ray.point(ray.t[slot], p);
        const TexelMap map = ray.map();
        ray.fetch(p, count);
        colours(base, count);
        __syncwarp();
        const float* outputs = ray.colours + base * (width + 4);
        if (count > kWarp / 2)
            network_backward<width, kWarp>(ray.net, ray.features, d_raw + base, outputs, ray.hidden, d_hidden, lane, count, to);
        else
            network_backward<width, kWarp / 2>(ray.net, ray.features, d_raw + base, outputs, ray.hidden, d_hidden, lane, count,
                                               to);
        if (grads.origins && lane < count) {
            float g[3];
            lane_gradient(s.layout, map, ray.features + lane * (width + 4), p[0], p[1], p[2], g);
            const float radius = sqrtf(p[0] * p[0] + p[1] * p[1] + p[2] * p[2]);
            const float pull = radius > 0 ? -d_raw[slot] * static_cast<float>(s.slope) / radius : 0.0f;
            for (int k = 0; k < 3; ++k) {
                const float moved = (g[k] + pull * p[k]) * ray.scale[k];
                origin[k] += moved;
                direction[k] += moved * ray.t[slot];
            }
        }
        if (grads.map)
            warp_scatter<width>(s.layout, grads.map + ray.item * s.layout.texels(), map.fours, p, lane, count, ray.features,
                                ray.hidden);
        __syncwarp();
    }

    // Of the whole ray, which has been traced.
    __device__ void run(int64_t i) {
        composite(i);
        float coarse = 0;
        for (int j = lane; j < ray.used; j += kWarp) coarse += ray.order[j] < ray.coarse ? 1.0f : 0.0f;
        const int lit = static_cast<int>(warp_sum(coarse));  // coarse samples
        const bool all = lit == ray.coarse;                  // then the fine ones follow them
        float origin[3] = {}, direction[3] = {};
#pragma unroll 1
        for (int base = 0, end = all ? ray.used : lit;; base += kWarp) {
            if (base >= end) {
                if (end == ray.used || end > lit) break;
                base = ray.coarse;
                end = ray.coarse + ray.used - lit;
            }
            samples(base, min(kWarp, end - base), origin, direction);
        }
        if (!grads.origins) return;
        for (int k = 0; k < 3; ++k) {
            const float a = warp_sum(origin[k]), b = warp_sum(direction[k]);
            if (lane == 0) {
                grads.origins[3 * i + k] = a;
                grads.directions[3 * i + k] = b;
            }
        }
    }
};

template <int width>
__global__ void __launch_bounds__(kBackwardWarps* kWarp, width > 32 ? 2 : 3)
    backward_kernel(const __grid_constant__ RenderShape s, const __grid_constant__ RenderCudaInputs in,
                    const __grid_constant__ RenderGradients<float> grads, float* partials, bool fours) {
    float* space = shared_memory();
    const Sizes sizes = sizes_of<width>(s);
    Weights<width> net(space, s.hidden);
    net.read(s, in);
    const int warp = threadIdx.x / kWarp, warps = blockDim.x / kWarp;
    const int64_t first = int64_t(blockIdx.x) * warps + warp, total = int64_t(s.batch) * s.rays;
    float* own = space + sizes.weights + warp * sizes.backward();
    WarpRay<width> ray(s, in, net, fours, sizes, own);
    WarpBackward<width> back(s, grads, ray, sizes, own,
                             partials ? partials + first * WeightGradients<width>::size(s.hidden) : nullptr);
    for (int64_t i = first; i < total; i += int64_t(gridDim.x) * warps) {
        float nothing, passing;
        if (ray.start(in, i, &nothing, &passing) && ray.trace()) back.run(i);
    }
}

constexpr int kRowsAtOnce = 32, kColumnsAtOnce = 256;

// Adds the rows of every group of kRowsAtOnce up in the first of them; a block takes some columns of a group.
__global__ void sum_groups(float* rows, int count, int size) {
    const int across = (size + kColumnsAtOnce - 1) / kColumnsAtOnce;
    const int first = blockIdx.x / across * kRowsAtOnce, end = min(first + kRowsAtOnce, count);
    const int column = blockIdx.x % across * kColumnsAtOnce + threadIdx.x;
    if (column >= size) return;
    float sum = 0;
#pragma unroll 8
    for (int row = first; row < end; ++row) sum += rows[int64_t(row) * size + column];
    rows[int64_t(first) * size + column] = sum;
}

// Adds the first rows of all groups up, and takes the padding away.
template <int width>
__global__ void write_weights(const RenderShape s, const float* rows, int count, const RenderGradients<float> grads) {
    const int size = WeightGradients<width>::size(s.hidden), units = whole_units(s.hidden);
    const int i = blockIdx.x * kColumnsAtOnce + threadIdx.x, channels = s.layout.channels;
    if (i >= size) return;
    float sum = 0;
#pragma unroll 8
    for (int row = 0; row < count; row += kRowsAtOnce) sum += rows[int64_t(row) * size + i];
    const int unit = i % (units * width) / width, column = i % width, rest = i - 2 * units * width;
    if (i < units * width) {
        if (unit < s.hidden && column < channels) grads.w1[unit * channels + column] = sum;
    } else if (rest < 0) {
        if (unit < s.hidden && column < s.outputs) grads.w2[(1 + column) * s.hidden + unit] = sum;
    } else if (rest < units) {
        if (rest < s.hidden) grads.b1[rest] = sum;
    } else if (rest < 2 * units) {
        if (rest - units < s.hidden) grads.w2[rest - units] = sum;
    } else {
        const int k = rest - 2 * units;
        if (k < s.outputs) grads.b2[1 + k] = sum;
        if (k == width) grads.b2[0] = sum;
    }
}

template <int width>
Plan backward_plan(const RenderShape& s) {
    const Sizes sizes = sizes_of<width>(s);
    return plan_of(backward_kernel<width>, s, kBackwardWarps, sizes.weights, sizes.backward());
}

}  // namespace

int64_t render_cuda_partials(const RenderShape& s) {
    if (s.batch == 0 || s.rays == 0) return 0;
    return with_width(s, [&](auto width) {
        const Plan plan = backward_plan<width>(s);
        return int64_t(plan.blocks) * plan.warps * WeightGradients<width>::size(s.hidden);
    });
}

void render_backward_cuda(const RenderShape& s, const RenderCudaInputs& in, const RenderGradients<float>& grads,
                          float* partials, void* stream) {
    if (s.batch == 0 || s.rays == 0) return;
    const auto at = static_cast<cudaStream_t>(stream);
    const char* what = "render_rays_backward";
    const bool fours = in_fours(s.layout, in.map, in.type, grads.map);
    with_width(s, [&](auto width) {
        const Plan plan = backward_plan<width>(s);
        launch(what, backward_kernel<width>, plan.blocks, plan.warps * kWarp, plan.bytes, at, s, in, grads, partials, fours);
        if (!partials) return;
        const int size = WeightGradients<width>::size(s.hidden), rows = plan.blocks * plan.warps;
        const int across = (size + kColumnsAtOnce - 1) / kColumnsAtOnce, groups = (rows + kRowsAtOnce - 1) / kRowsAtOnce;
        launch(what, sum_groups, groups * across, kColumnsAtOnce, 0, at, partials, rows, size);
        launch(what, write_weights<width>, across, kColumnsAtOnce, 0, at, s, partials, rows, grads);
    });
}

}  // namespace semhead
