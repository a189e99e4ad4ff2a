// Texels on CUDA: the features of a warp's points, and the gradients of both. Lane i finds the
// texels of point i; they are then read with a lane for every few channels of a point, so that a
// warp has many texels of several points on their way.
#pragma once

#include "../common/cuda.h"
#include "../common/planes.h"
#include "cuda.h"

namespace semhead {

struct TexelMap {  // of one item of the batch
    const void* texels;
    MapType type;
    bool fours;  // whether four channels are read at once: their number and all addresses allow it

    template <typename Action>
    __device__ void with_type(const Action& action) const {
        if (type == MapType::kFloat)
            action(static_cast<const float*>(texels));
        else if (type == MapType::kHalf)
            action(static_cast<const __half*>(texels));
        else
            action(static_cast<const __nv_bfloat16*>(texels));
    }

    __device__ TexelMap item(int64_t first) const {  // whose texels begin with number `first`
        const int64_t bytes = first * (type == MapType::kFloat ? 4 : 2);
        return {static_cast<const char*>(texels) + bytes, type, fours};
    }

    // As `point_gradient` reads it.
    __device__ __noinline__ float dot(int offset, const float* d, int channels) const {
        float sum = 0;
        with_type([&](const auto* map) {
            if (fours)
                for (int c = 0; c < channels; c += 4) {
                    float texel[4];
                    read_map(map + offset + c, texel);
                    const float4 g = four(d + c);
                    sum += g.x * texel[0] + g.y * texel[1] + g.z * texel[2] + g.w * texel[3];
                }
            else
                for (int c = 0; c < channels; ++c) {
                    float texel[1];
                    read_map(map + offset + c, texel);
                    sum += d[c] * texel[0];
                }
        });
        return sum;
    }
};

inline bool in_fours(const Layout& layout, const void* map, MapType type, const void* d_map) {
    bool all = layout.channels % 4 == 0 && layout.stride % 4 == 0;
    for (int p = 0; p < layout.planes; ++p) all = all && layout.windows[p].channel % 4 == 0;
    const auto divides = [](uintptr_t bytes, const void* at) {
        return reinterpret_cast<uintptr_t>(at) % bytes == 0;
    };
    return all && divides(type == MapType::kFloat ? 16 : 8, map) && divides(16, d_map);
}

// Where the texels of a warp's points lie and what they weigh: four taps of each point one after
// the other, and the points' fours one after the other, in shared memory.
struct Taps {
    int* offset;
    float* weight;

    __host__ __device__ static int size(const Layout& layout) {
        return 2 * kWarp * layout.taps();
    }  // numbers of 4 bytes

    __device__ Taps(float* space, const Layout& layout)
        : offset(reinterpret_cast<int*>(space)), weight(space + kWarp * layout.taps()) {}

    __device__ static int place(int tap, int point) { return (tap / 4 * kWarp + point) * 4; }
    __device__ int4 offsets(int tap, int point) const {
        return *reinterpret_cast<const int4*>(offset + place(tap, point));
    }
    __device__ float4 weights(int tap, int point) const { return four(weight + place(tap, point)); }
};

template <bool deep>
struct LaneTaps {  // of one plane, whose first is number `tap`
    const Layout& layout;
    const Window& window;
    float x, y, z;
    const Taps& taps;
    int tap, lane;

    template <int code>
    __device__ void run() const {
        int o[8];
        float w[8];
        plane_taps<code, deep>(layout, window, x, y, z, o, w);
#pragma unroll
        for (int k = 0; k < (deep ? 8 : 4); k += 4) {
            const int at = taps.place(tap + k, lane);
            *reinterpret_cast<int4*>(taps.offset + at) =
                make_int4(o[k], o[k + 1], o[k + 2], o[k + 3]);
            put(taps.weight + at, make_float4(w[k], w[k + 1], w[k + 2], w[k + 3]));
        }
    }
};

__device__ __noinline__ inline void lane_taps(const Layout& layout, int p, float x, float y,
                                              float z, int lane, const Taps taps) {
    const Window& window = layout.windows[p];
    const int tap = p * layout.taps_each();
    if (layout.depth > 1)
        with_projection(window.projection,
                        LaneTaps<true>{layout, window, x, y, z, taps, tap, lane});
    else
        with_projection(window.projection,
                        LaneTaps<false>{layout, window, x, y, z, taps, tap, lane});
}

// Finds the taps of the points of all lanes.
__device__ inline void warp_taps(const Layout& layout, const float (&at)[3], int lane,
                                 const Taps& taps) {
#pragma unroll 1
    for (int p = 0; p < layout.planes; ++p) lane_taps(layout, p, at[0], at[1], at[2], lane, taps);
    __syncwarp();
}

template <int V>
__device__ inline void add_weighted(float (&sum)[V], const float4& w, const float (&texels)[4][V]) {
#pragma unroll
    for (int v = 0; v < V; ++v)
        sum[v] += w.x * texels[0][v] + w.y * texels[1][v] + w.z * texels[2][v] + w.w * texels[3][v];
}

// Features of the first `points` lanes' points: sums of weighted texels, rows [lane][width + 4] of
// shared memory; channels from `channels` on are nought. A lane takes V channels of a point at a
// time, and two such parts at once.
template <int width, int V, typename M>
__device__ inline void read_texels(const M* map, int channels, int count, int lane, int points,
                                   const Taps& taps, float* features) {
    constexpr int each = width / V, at_once = 2;  // parts of a feature
#pragma unroll 1
    for (int first = lane; first < points * each; first += at_once * kWarp) {
        float sum[at_once][V] = {};
#pragma unroll 1
        for (int tap = 0; tap < count; tap += 4) {
            float texels[at_once][4][V];
#pragma unroll
            for (int i = 0; i < at_once; ++i) {  // beyond the last part: the last point once more
                const int part = first + i * kWarp, c = min(part % each * V, channels - V);
                const int4 at = taps.offsets(tap, min(part / each, points - 1));
                read_map(map + at.x + c, texels[i][0]);
                read_map(map + at.y + c, texels[i][1]);
                read_map(map + at.z + c, texels[i][2]);
                read_map(map + at.w + c, texels[i][3]);
            }
#pragma unroll
            for (int i = 0; i < at_once; ++i)
                add_weighted(sum[i], taps.weights(tap, min((first + i * kWarp) / each, points - 1)),
                             texels[i]);
        }
#pragma unroll
        for (int i = 0; i < at_once; ++i) {
            const int part = first + i * kWarp, c = part % each * V;
            if (part >= points * each) continue;
            float* feature = features + part / each * (width + 4) + c;
#pragma unroll
            for (int v = 0; v < V; ++v) sum[i][v] = c < channels ? sum[i][v] : 0.0f;
            if constexpr (V == 4)
                put(feature, make_float4(sum[i][0], sum[i][1], sum[i][2], sum[i][3]));
            else
                feature[0] = sum[i][0];
        }
    }
    __syncwarp();
}

template <int width>
__device__ inline void warp_fetch(const Layout& layout, const TexelMap& map, const float (&at)[3],
                                  int lane, int points, float* features, float* scratch) {
    const Taps taps(scratch, layout);
    warp_taps(layout, at, lane, taps);
    map.with_type([&](const auto* texels) {
        if (map.fours)
            read_texels<width, 4>(texels, layout.channels, layout.taps(), lane, points, taps,
                                  features);
        else
            read_texels<width, 1>(texels, layout.channels, layout.taps(), lane, points, taps,
                                  features);
    });
}

// The transpose: adds rows of gradients to the texels, in no fixed order.
template <int width, int V>
__device__ inline void add_texels(float* d_map, int channels, int count, int lane, int points,
                                  const Taps& taps, const float* d_features) {
    constexpr int each = width / V;
#pragma unroll 1
    for (int part = lane; part < points * each; part += kWarp) {
        const int point = part / each, c = part % each * V;
        if (c >= channels) continue;
        const float* from = d_features + point * (width + 4) + c;
        float* to = d_map + c;
#pragma unroll 1
        for (int tap = 0; tap < count; tap += 4) {
            const int4 at = taps.offsets(tap, point);
            const float4 w = taps.weights(tap, point);
            if constexpr (V == 4) {
                const float4 d = four(from);
                const auto add = [&](int offset, float weight) {
                    add_atomically(to + offset, make_float4(weight * d.x, weight * d.y,
                                                            weight * d.z, weight * d.w));
                };
                add(at.x, w.x), add(at.y, w.y), add(at.z, w.z), add(at.w, w.w);
            } else {
                const float d = from[0];
                atomicAdd(to + at.x, w.x * d);
                atomicAdd(to + at.y, w.y * d);
                atomicAdd(to + at.z, w.z * d);
                atomicAdd(to + at.w, w.w * d);
            }
        }
    }
    __syncwarp();
}

template <int width>
__device__ inline void warp_scatter(const Layout& layout, float* d_map, bool fours,
                                    const float (&at)[3], int lane, int points,
                                    const float* d_features, float* scratch) {
    const Taps taps(scratch, layout);
    warp_taps(layout, at, lane, taps);
    if (kAddsFours && fours)  // else neighbouring lanes add to neighbouring numbers
        add_texels<width, 4>(d_map, layout.channels, layout.taps(), lane, points, taps, d_features);
    else
        add_texels<width, 1>(d_map, layout.channels, layout.taps(), lane, points, taps, d_features);
}

// Gradient of a point from that of its feature; the many cases of projections are compiled once,
// not once a kernel.
__device__ __noinline__ inline void lane_gradient(const Layout& layout, const TexelMap& map,
                                                  const float* d_feature, float x, float y, float z,
                                                  float* out) {
    point_gradient(layout, map, d_feature, x, y, z, out);
}

}  // namespace semhead
