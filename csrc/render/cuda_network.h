// The field's network on CUDA, for the points of one warp at a time: small matrix products of rows
// in shared memory, which are read four numbers at a time. A lane keeps the products of several
// points with four columns in registers, so that each number that is read serves four to sixteen
// multiplications.
#pragma once

#include "../common/cuda.h"
#include "cuda.h"

namespace semhead {

constexpr int kUnits = 32;  // hidden units that are computed at a time
constexpr int kUnitRow =
    kUnits + 4;  // numbers of a point's row of them: rows begin in different banks

__host__ __device__ inline int whole_units(int hidden) {
    return (hidden + kUnits - 1) / kUnits * kUnits;
}

// Sums of `points` rows and `columns` columns, shared out among the lanes of a warp: kRows x 4
// each.
template <int points, int columns>
struct Tile {
    static constexpr int kGroups = columns / 4, kRows = points * kGroups / kWarp;
    float sum[kRows][4];
    const int point, group, column;  // this lane's first

    __device__ explicit Tile(int lane)
        : point(lane / kGroups * kRows), group(lane % kGroups), column(group * 4) {}

    __device__ void fill(float4 x) {
#pragma unroll
        for (int i = 0; i < kRows; ++i)
            sum[i][0] = x.x, sum[i][1] = x.y, sum[i][2] = x.z, sum[i][3] = x.w;
    }

    __device__ float4 row(int i) const {
        return make_float4(sum[i][0], sum[i][1], sum[i][2], sum[i][3]);
    }

    __device__ void write(float* rows, int step) const {
#pragma unroll
        for (int i = 0; i < kRows; ++i) put(rows + (point + i) * step + column, row(i));
    }

    // sum[p][c] += the dot product of row p of `a` and row c of `b`. Rows of `b` stand in the order
    // of `row_of`, so that the lanes read neighbouring ones.
    template <int depth>
    __device__ void dots(const float* a, int a_step, const float* b, int b_step) {
#pragma unroll 2
        for (int k = 0; k < depth; k += 4) {
            float4 y[4];
#pragma unroll
            for (int c = 0; c < 4; ++c) y[c] = four(b + (c * kGroups + group) * b_step + k);
#pragma unroll
            for (int i = 0; i < kRows; ++i) {
                const float4 x = four(a + (point + i) * a_step + k);
#pragma unroll
                for (int c = 0; c < 4; ++c)
                    sum[i][c] += x.x * y[c].x + x.y * y[c].y + x.z * y[c].z + x.w * y[c].w;
            }
        }
    }

    // sum[p][c] += sum over k of a[p][k] b[k][c], with the rows k of `b` in the order of `row_of`;
    // of `a` rows up to `last`.
    template <int depth>
    __device__ void products(const float* a, int a_step, int last, const float* b, int b_step) {
#pragma unroll 2
        for (int k = 0; k < depth; k += 4) {
            float4 y[4];
#pragma unroll
            for (int r = 0; r < 4; ++r)
                y[r] = four(b + (r * (depth / 4) + k / 4) * b_step + column);
#pragma unroll
            for (int i = 0; i < kRows; ++i) {
                const float4 x = four(a + min(point + i, last) * a_step + k);
                sum[i][0] += x.x * y[0].x + x.y * y[1].x + x.z * y[2].x + x.w * y[3].x;
                sum[i][1] += x.x * y[0].y + x.y * y[1].y + x.z * y[2].y + x.w * y[3].y;
                sum[i][2] += x.x * y[0].z + x.y * y[1].z + x.z * y[2].z + x.w * y[3].z;
                sum[i][3] += x.x * y[0].w + x.y * y[1].w + x.z * y[2].w + x.w * y[3].w;
            }
        }
    }
};

// Where row i of `rows` stands in shared memory, and which row stands there.
__host__ __device__ inline int row_of(int i, int rows) { return i % 4 * (rows / 4) + i / 4; }
__host__ __device__ inline int row_at(int place, int rows) {
    return place % (rows / 4) * 4 + place / (rows / 4);
}

// The weights in shared memory of the block, padded with noughts to whole tiles.
template <int width>
struct Weights {
    static constexpr int kRow1 = width + 4;
    const int units, row2;  // hidden units, padded; numbers of a row of w2
    float *w1, *w2, *b1, *density,
        *b2;  // [units][kRow1], [width][row2], [units] twice, [width + 1] (density last)

    __host__ __device__ static int size(int hidden) {
        const int units = whole_units(hidden);
        return units * kRow1 + width * (units + 4) + 2 * units + width + 4;
    }

    __device__ Weights(float* space, int hidden)
        : units(whole_units(hidden)),
          row2(units + 4),
          w1(space),
          w2(w1 + units * kRow1),
          b1(w2 + width * row2),
          density(b1 + units),
          b2(density + units) {}

    __device__ void read(const RenderShape& s, const RenderCudaInputs& in) {
        const int channels = s.layout.channels;
        for (int i = threadIdx.x; i < units * width; i += blockDim.x) {
            const int place = i / width, c = i % width,
                      j = place / kUnits * kUnits + row_at(place % kUnits, kUnits);
            w1[place * kRow1 + c] = j < s.hidden && c < channels ? in.w1[j * channels + c] : 0.0f;
        }
        for (int i = threadIdx.x; i < width * units; i += blockDim.x) {
            const int place = i / units, j = i % units, k = row_at(place, width);
            w2[place * row2 + j] =
                k < s.outputs && j < s.hidden ? in.w2[(1 + k) * s.hidden + j] : 0.0f;
        }
        for (int j = threadIdx.x; j < units; j += blockDim.x) {
            b1[j] = j < s.hidden ? in.b1[j] : 0.0f;
            density[j] = j < s.hidden ? in.w2[j] : 0.0f;
        }
        for (int k = threadIdx.x; k < width; k += blockDim.x)
            b2[k] = k < s.outputs ? in.b2[1 + k] : 0.0f;
        if (threadIdx.x == 0) b2[width] = in.b2[0];
        __syncthreads();
    }
};

// Of the first `count` of `points` points with features [point][width + 4]: adds to their raw
// densities, and writes their colours [point][width + 4]. `hidden` is scratch of kWarp rows of
// kUnitRow.
template <int width, int points>
__device__ inline void network_forward(const Weights<width>& net, const float* features,
                                       float* hidden, int lane, int count, float* raw,
                                       float* colours) {
    using Hidden = Tile<points, kUnits>;
    Tile<points, width> out(lane);
    out.fill(four(net.b2 + out.column));
    float density[Hidden::kRows] = {};
#pragma unroll 1
    for (int first = 0; first < net.units; first += kUnits) {
        Hidden h(lane);
        h.fill(four(net.b1 + first + h.column));
        h.template dots<width>(features, width + 4, net.w1 + first * net.kRow1, net.kRow1);
        const float4 of_density = four(net.density + first + h.column);
#pragma unroll
        for (int i = 0; i < h.kRows; ++i) {
#pragma unroll
            for (int c = 0; c < 4; ++c) h.sum[i][c] = softplus(h.sum[i][c]);
            density[i] += h.sum[i][0] * of_density.x + h.sum[i][1] * of_density.y +
                          h.sum[i][2] * of_density.z + h.sum[i][3] * of_density.w;
        }
        h.write(hidden, kUnitRow);
        __syncwarp();
        out.template dots<kUnits>(hidden, kUnitRow, net.w2 + first, net.row2);
        __syncwarp();  // hidden units are read
    }
    const int point = lane / Hidden::kGroups * Hidden::kRows, group = lane % Hidden::kGroups;
#pragma unroll
    for (int i = 0; i < Hidden::kRows; ++i) {
        for (int step = 1; step < Hidden::kGroups; step *= 2)
            density[i] += __shfl_xor_sync(kWhole, density[i], step);
        if (group == i && point + i < count) raw[point + i] += density[i];
    }
#pragma unroll
    for (int i = 0; i < out.kRows; ++i) {
        if (out.point + i >= count) continue;
#pragma unroll
        for (int c = 0; c < 4; ++c)
            out.sum[i][c] = (1 + 2 * float(kSpill)) * sigmoid(out.sum[i][c]) - float(kSpill);
        put(colours + (out.point + i) * (width + 4) + out.column, out.row(i));
    }
}

// Where a warp adds the gradient of the network up: [units][width] twice, that of W2 being
// transposed, then [units] twice and [width + 1], as in Weights.
template <int width>
struct WeightGradients {
    float *w1, *w2, *b1, *density, *b2;  // null: not asked for

    __host__ __device__ static int size(int hidden) {
        return whole_units(hidden) * (2 * width + 2) + width + 4;
    }

    __device__ WeightGradients(float* space, int units)
        : w1(space),
          w2(w1 + units * width),
          b1(w2 + units * width),
          density(b1 + units),
          b2(density + units) {}
};

// total[unit][column] += sum over `count` points of units[point][unit] * columns[point][column],
// for kUnits units.
template <int width>
__device__ inline void outer_sums(const float* units, const float* columns, int count, float* total,
                                  int lane) {
    Tile<kUnits, width> tile(lane);
    tile.fill(float4{});
    for (int p = 0; p < count; ++p) {
        const float4 y = four(columns + p * (width + 4) + tile.column);
#pragma unroll
        for (int i = 0; i < tile.kRows; i += 4) {
            const float4 x = four(units + p * kUnitRow + tile.point + i);
            const float each[4] = {x.x, x.y, x.z, x.w};
#pragma unroll
            for (int r = 0; r < 4; ++r) {
                tile.sum[i + r][0] += each[r] * y.x;
                tile.sum[i + r][1] += each[r] * y.y;
                tile.sum[i + r][2] += each[r] * y.z;
                tile.sum[i + r][3] += each[r] * y.w;
            }
        }
    }
#pragma unroll
    for (int i = 0; i < tile.kRows; ++i) {
        float* at = total + (tile.point + i) * width + tile.column;
        const float4 before = four(at), more = tile.row(i);
        put(at, make_float4(before.x + more.x, before.y + more.y, before.z + more.z,
                            before.w + more.w));
    }
}

// From the gradients of the first `count` points' raw densities and of what their colours are the
// sigmoid of (rows [point][width + 4]) to those of their features, which take the place of these.
// `hidden` and `d_hidden` are scratch.
template <int width, int points>
__device__ inline void network_backward(const Weights<width>& net, float* features,
                                        const float* d_raw, const float* d_out, float* hidden,
                                        float* d_hidden, int lane, int count,
                                        const WeightGradients<width>& to) {
    using Hidden = Tile<points, kUnits>;
    Tile<points, width> d_features(lane);
    d_features.fill(float4{});
#pragma unroll 1
    for (int first = 0; first < net.units; first += kUnits) {
        Hidden h(lane), d(lane);
        h.fill(four(net.b1 + first + h.column));
        h.template dots<width>(features, width + 4, net.w1 + first * net.kRow1, net.kRow1);
        const float4 of_density = four(net.density + first + h.column);
#pragma unroll
        for (int i = 0; i < h.kRows; ++i) {
            const float g = d_raw[min(h.point + i, count - 1)];
            d.sum[i][0] = g * of_density.x;
            d.sum[i][1] = g * of_density.y;
            d.sum[i][2] = g * of_density.z;
            d.sum[i][3] = g * of_density.w;
        }
        d.template products<width>(d_out, width + 4, count - 1, net.w2 + first, net.row2);
#pragma unroll
        for (int i = 0; i < h.kRows; ++i)
#pragma unroll
            for (int c = 0; c < 4; ++c) {
                d.sum[i][c] *= sigmoid(h.sum[i][c]);
                h.sum[i][c] = softplus(h.sum[i][c]);
            }
        h.write(hidden, kUnitRow);
        d.write(d_hidden, kUnitRow);
        __syncwarp();
        d_features.template products<kUnits>(d_hidden, kUnitRow, points - 1,
                                             net.w1 + first * net.kRow1, net.kRow1);
        if (to.w1) {
            outer_sums<width>(d_hidden, features, count, to.w1 + first * width, lane);
            outer_sums<width>(hidden, d_out, count, to.w2 + first * width, lane);
            float of_b1 = 0, of_w2 = 0;  // of unit `lane`
            for (int p = 0; p < count; ++p) {
                of_b1 += d_hidden[p * kUnitRow + lane];
                of_w2 += hidden[p * kUnitRow + lane] * d_raw[p];
            }
            to.b1[first + lane] += of_b1;
            to.density[first + lane] += of_w2;
        }
        __syncwarp();  // all is read
    }
    if (to.w1) {
        for (int k = lane; k <= width; k += kWarp) {
            float sum = 0;
            for (int p = 0; p < count; ++p)
                sum += k < width ? d_out[p * (width + 4) + k] : d_raw[p];
            to.b2[k] += sum;
        }
    }
    d_features.write(features, width + 4);
    __syncwarp();
}

}  // namespace semhead
