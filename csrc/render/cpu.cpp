// The fused ray renderer on the CPU. One thread takes one ray at a time: all that is kept of its samples lies in the
// fastest caches, and leaves them only as the ray's three outputs (forward) or as sums of gradients (backward).
#include <algorithm>
#include <array>
#include <vector>

#include "../common/network.h"
#include "../common/taps.h"
#include "render.h"
#include "sampling.h"

namespace semhead {
namespace {

template <typename T>
struct Ray {
    T o[3], d[3], near, far;
    int64_t index;

    Ray(const RenderInputs<T>& in, int64_t i) : near(in.near[i]), far(in.far[i]), index(i) {
        for (int k = 0; k < 3; ++k) {
            o[k] = in.origins[3 * i + k];
            d[k] = in.directions[3 * i + k];
        }
    }
    // x, y, z in the box of samples at distances t
    void points(const RenderShape& s, int count, const T* t, T* const* xyz) const {
        for (int k = 0; k < 3; ++k) {
            const T center = T(s.center[k]), scale = T(1 / s.half[k]);
            for (int i = 0; i < count; ++i) xyz[k][i] = (o[k] + t[i] * d[k] - center) * scale;
        }
    }
    bool finite() const {
        const T s = o[0] + o[1] + o[2] + d[0] + d[1] + d[2] + near + far;
        return std::isfinite(s);
    }
    bool misses() const { return !(far > near); }
    T nearest() const {  // to the origin: the depth reported where there is nothing
        const T along = o[0] * d[0] + o[1] * d[1] + o[2] * d[2], square = d[0] * d[0] + d[1] * d[1] + d[2] * d[2];
        return square > 0 ? std::max(-along / square, T(0)) : T(0);
    }
};

struct Slots {  // neighbours among a ray's samples
    int first, count;
};

// Where along a ray to sample, as a grid of raw densities tells it.
template <typename T>
struct Strata {
    const RenderShape& shape;
    Buffer<T> t, x, y, z, raw, largest, w;  // of the shape.coarse + 1 places between strata; weights of the strata

    explicit Strata(const RenderShape& s)
        : shape(s), t(size()), x(size()), y(size()), z(size()), raw(size()), largest(size()), w(size()) {}

    static void look_up(const T* grid, int side, int n, const T* x, const T* y, const T* z, T* raw, T* largest) {
#pragma GCC ivdep
        for (int i = 0; i < n; ++i) {
            T value, most;
            grid_lookup<T>(grid, side, x[i], y[i], z[i], value, most);
            raw[i] = value;
            largest[i] = most;
        }
    }

    int size() const { return shape.grid ? padded<T>(shape.coarse + 1) + kLanes<T> : 0; }

    // False when the ray meets nothing.
    bool weigh(const T* grid, const Ray<T>& ray) {
        constexpr int L = kLanes<T>;
        const int m = shape.coarse, all = size();  // those beyond the last place repeat it
        for (int i = 0; i < all; ++i) t[i] = ray.near + T(i < m ? i : m) / m * (ray.far - ray.near);
        T* xyz[3] = {x, y, z};
        ray.points(shape, all, t, xyz);
        look_up(grid, shape.grid, all, x, y, z, raw, largest);
        Vec<T> most = {}, broken = {};
        for (int i = 0; i < m; i += L) {
            const Vec<T> a = load<T>(largest + i), b = load<T>(largest + i + 1);
            most += exp_of((a > b ? a : b) - T(1)) * (load<T>(t + i + 1) - load<T>(t + i));
            const Vec<T> here = load<T>(raw + i), next = load<T>(raw + i + 1);
            broken += (here - here) + (next - next);
        }
        if (sum<T>(broken) != 0) {  // not a number
            std::fill(w + 0, w + m, T(NAN));
            return true;
        }
        if (sum<T>(most) < T(kEmpty)) return false;
        for (int i = 0; i < m; i += L) {
            const Vec<T> middle = (load<T>(raw + i) + load<T>(raw + i + 1)) * T(0.5) - T(1);
            store<T>(w + i, exp_of(softplus<T>(middle) * (load<T>(t + i) - load<T>(t + i + 1))));
        }
        T left = 1;
        for (int i = 0; i < m; ++i) {
            const T after = left * w[i];
            w[i] = light(left) - light(after);
            left = left <= T(kDark) ? T(0) : after;
        }
        return true;
    }
};

// Everything about the samples of one ray; slots [0, coarse) and [coarse, n) hold coarse and fine samples.
template <typename T>
struct Samples {
    static constexpr int kBlock = 16;  // samples that are computed before it is asked whether light is left

    const RenderShape& shape;
    const Network<T>& net;
    const int coarse, n, ld;  // coarse samples, all, and the same padded
    Buffer<T> t, x, y, z, weight, features, hidden, raw, colours;
    Buffer<int> offset, order;
    Buffer<T> sorted_t, sorted_raw, delta, middle, keep, w, transmitted;  // along the ray
    Strata<T> strata;
    int done[2];  // slots of coarse and of fine samples that are computed
    int used;     // samples along the ray that light reaches

    Samples(const RenderShape& s, const Network<T>& network)
        : shape(s), net(network), coarse(s.grid ? 0 : s.coarse), n(s.samples()), ld(padded<T>(n)), t(ld), x(ld), y(ld), z(ld),
          weight(s.layout.taps() * ld), features(n * network.cp), hidden(n * network.hp), raw(ld), colours(n * network.op),
          offset(s.layout.taps() * ld), order(ld), sorted_t(ld + kLanes<T>), sorted_raw(ld + kLanes<T>),
          delta(ld + kLanes<T>), middle(ld + kLanes<T>), keep(ld + kLanes<T>), w(ld), transmitted(ld + 1), strata(s) {}

    // False when the ray meets nothing.
    bool trace(const RenderInputs<T>& in, const Ray<T>& ray) {
        const int64_t seed = *in.seed, item = ray.index / shape.rays, nodes = int64_t(shape.grid) * shape.grid * shape.grid;
        const T* map = in.map + item * shape.layout.texels();
        const int m = coarse, fine = shape.fine;
        done[0] = done[1] = 0;
        for (int i = 0; i < n; ++i) order[i] = i;
        if (shape.grid) {
            if (!strata.weigh(in.grid + item * nodes, ray)) return false;
            fine_distances<T>(seed, ray.index, strata.t, strata.w, shape.coarse + 1, T(kGridFloor / shape.coarse), 0, t, fine);
        } else {
            for (int i = 0; i < m; ++i) t[i] = coarse_distance<T>(seed, ray.index, i, m, ray.near, ray.far);
            march(map, ray, m);
            if (fine == 0) return true;
            for (int i = used - 1; i < m - 1; ++i) w[i] = 0;
            fine_distances<T>(seed, ray.index, t, w, m, T(kFloor), m, t + m, fine);
            merge_order<T>(t, m, t + m, fine, order);
        }
        march(map, ray, n);
        return true;
    }

    // Goes through the first `count` samples in `order` until no light is left.
    void march(const T* map, const Ray<T>& ray, int count) {
        transmitted[0] = 1;
        bool lit = true;
        for (int begin = 0; lit && begin < count; begin += kBlock) {
            const int end = std::min(begin + kBlock, count);
            int reached[2] = {done[0], done[1]};
            for (int k = begin; k < end; ++k) {
                const int fine = order[k] >= coarse;
                reached[fine] = std::max(reached[fine], order[k] - fine * coarse + 1);
            }
            for (int fine = 0; fine < 2; ++fine) {
                if (reached[fine] > done[fine]) evaluate(map, ray, fine * coarse + done[fine], reached[fine] - done[fine]);
                done[fine] = reached[fine];
            }
            lit = composite(begin, end);
        }
    }

    // Density and colours of `count` samples from slot `first` on.
    void evaluate(const T* map, const Ray<T>& ray, int first, int count) {
        T* xyz[3] = {x + first, y + first, z + first};
        // whole vectors, where the slots behind are still to be computed
        const int room = (first < coarse ? coarse : ld) - first, wide = std::min(padded<T>(count), room);
        ray.points(shape, wide, t + first, xyz);
        find_taps<T>(shape.layout, wide, ld, xyz[0], xyz[1], xyz[2], offset + first, weight + first);
        fetch<T>(shape.layout, map, count, ld, offset + first, weight + first, features + first * net.cp);
        net.forward(count, features + first * net.cp, hidden + first * net.hp, raw + first, colours + first * net.op);
        if (shape.slope != 0)
            for (int i = first; i < first + count; ++i)
                raw[i] += T(shape.slope) * (T(shape.radius) - std::sqrt(x[i] * x[i] + y[i] * y[i] + z[i] * z[i]));
    }

    // The slots of all samples that light reaches.
    std::array<Slots, 2> lit() const {
        int count[2] = {};
        for (int k = 0; k < used; ++k) ++count[order[k] >= coarse];
        if (count[0] == coarse) return {Slots{0, coarse + count[1]}, Slots{0, 0}};
        return {Slots{0, count[0]}, Slots{coarse, count[1]}};
    }

    // Weights w of the intervals that end with samples [begin, end) in `order`, and the light left after each; `used`
    // becomes `end`, or the number of samples that light reaches. False when none is left.
    bool composite(int begin, int end) {
        constexpr int L = kLanes<T>;
        for (int i = begin; i < end; ++i) {
            sorted_t[i] = t[order[i]];
            sorted_raw[i] = raw[order[i]];
        }
        const int first = std::max(begin - 1, 0);
        for (int i = first; i < end - 1; i += L) {
            const Vec<T> a = load(sorted_t + i), b = load(sorted_t + i + 1);
            const Vec<T> raw_middle = (load(sorted_raw + i) + load(sorted_raw + i + 1)) * T(0.5) - T(1);
            store(delta + i, b - a);
            store(middle + i, raw_middle);
            store(keep + i, exp_of(-softplus<T>(raw_middle) * (b - a)));
        }
        for (int i = first; i < end - 1; ++i) {
            transmitted[i + 1] = transmitted[i] * keep[i];
            w[i] = light<T>(transmitted[i]) - light<T>(transmitted[i + 1]);
            if (transmitted[i + 1] <= T(kDark)) {
                used = i + 2;
                return false;
            }
        }
        used = end;
        return true;
    }

    static Vec<T> load(const T* p) { return semhead::load<T>(p); }
    static void store(T* p, Vec<T> v) { semhead::store<T>(p, v); }
};

template <typename T>
Network<T> network_of(const RenderShape& s, const RenderInputs<T>& in) {
    return Network<T>(s.layout.channels, s.hidden, s.outputs, in.w1, in.b1, in.w2, in.b2);
}

// Gradients of one ray's samples; scratch of one thread.
template <typename T>
struct RayBackward {
    Samples<T>& s;
    Buffer<T> d_raw, d_hidden, d_colours, d_features, along, dot;

    explicit RayBackward(Samples<T>& samples)
        : s(samples), d_raw(s.ld), d_hidden(s.n * s.net.hp), d_colours(s.n * s.net.op), d_features(s.n * s.net.cp),
          along(s.ld), dot(s.ld) {}

    // From the gradients of the ray's outputs to those of raw density and colours of the samples that light reaches.
    void composite(const Ray<T>& ray, const T* d_out, T d_depth, T d_opacity) {
        const int n = s.used, op = s.net.op;
        constexpr int L = kLanes<T>;
        for (int i = 0; i < n; ++i) {
            const int slot = s.order[i];
            Vec<T> sums = {};
            for (int k = 0; k < op; k += L) sums += load<T>(d_out + k) * load<T>(s.colours + slot * op + k);
            dot[slot] = sum<T>(sums);
        }
        // d loss / d tau_i = A_{i+1} g_i - sum_{j>i} (A_j - A_{j+1}) g_j, where g_i = d loss / d w_i, A_i = T_i L'(T_i)
        T behind = 0;
        for (int i = n - 2; i >= 0; --i) {
            const T middle = (s.sorted_t[i] + s.sorted_t[i + 1]) * T(0.5);
            const T g = (dot[s.order[i]] + dot[s.order[i + 1]]) * T(0.5) + d_opacity + d_depth * (middle - ray.far);
            const T before = light_slope<T>(s.transmitted[i]), after = light_slope<T>(s.transmitted[i + 1]);
            along[i] = (after * g - behind) * s.delta[i];
            behind += (before - after) * g;
        }
        for (int i = 0; i < n - 1; i += L)
            store<T>(along + i, load<T>(along + i) * sigmoid<T>(load<T>(s.middle + i)));
        for (int i = 0; i < n; ++i) {
            const T before_d = i > 0 ? along[i - 1] : T(0), after_d = i < n - 1 ? along[i] : T(0);
            const T before_w = i > 0 ? s.w[i - 1] : T(0), after_w = i < n - 1 ? s.w[i] : T(0);
            const int slot = s.order[i];
            d_raw[slot] = (before_d + after_d) * T(0.5);
            const T share = (before_w + after_w) * T(0.5);
            for (int k = 0; k < op; k += L) store<T>(d_colours + slot * op + k, share * load<T>(d_out + k));
        }
    }

    // Through the network and the planes, of `count` samples from slot `first` on; adds to the gradients of the network
    // and of the map, where they are asked for.
    void samples(int first, int count, NetworkGradients<T>* weights, T* d_map) {
        const Network<T>& net = s.net;
        T* d_f = d_features + first * net.cp;
        network_backward<T>(net, count, s.features + first * net.cp, s.hidden + first * net.hp, s.colours + first * net.op,
                            d_colours + first * net.op, d_raw + first, d_hidden, d_f, weights);
        if (d_map) scatter<T>(s.shape.layout, d_map, count, s.ld, s.offset + first, s.weight + first, d_f);
    }

    // Adds to the gradients of the ray itself: samples move with it, their distances along it are held.
    void rays(int first, int count, const T* map, T* d_origin, T* d_direction) {
        T origin[3] = {}, direction[3] = {};
        for (int i = first; i < first + count; ++i) {
            T g[3];
            point_gradient(s.shape.layout, Texels<T>{map}, d_features + i * s.net.cp, s.x[i], s.y[i], s.z[i], g);
            if (s.shape.slope != 0) {
                const T radius = std::sqrt(s.x[i] * s.x[i] + s.y[i] * s.y[i] + s.z[i] * s.z[i]);
                const T pull = radius > 0 ? -d_raw[i] * T(s.shape.slope) / radius : T(0);
                g[0] += pull * s.x[i];
                g[1] += pull * s.y[i];
                g[2] += pull * s.z[i];
            }
            for (int k = 0; k < 3; ++k) {
                const T moved = g[k] * T(1 / s.shape.half[k]);
                origin[k] += moved;
                direction[k] += moved * s.t[i];
            }
        }
        for (int k = 0; k < 3; ++k) {
            d_origin[k] += origin[k];
            d_direction[k] += direction[k];
        }
    }
};

}  // namespace

template <typename T>
void render_cpu(const RenderShape& s, const RenderInputs<T>& in, const RenderOutputs<T>& out, const Parallel& parallel) {
    const Network<T> net = network_of(s, in);
    parallel(int64_t(s.batch) * s.rays, [&](int64_t begin, int64_t end) {
        Samples<T> samples(s, net);
        Buffer<T> total(net.op);
        constexpr int L = kLanes<T>;
        for (int64_t i = begin; i < end; ++i) {
            const Ray<T> ray(in, i);
            T* features = out.features + i * s.outputs;
            const bool misses = !ray.finite() || ray.misses();
            if (misses || !samples.trace(in, ray)) {
                const T nothing = ray.finite() ? T(0) : T(NAN);
                std::fill(features, features + s.outputs, nothing);
                out.opacity[i] = nothing;
                out.depth[i] = !misses ? ray.far : ray.finite() ? ray.nearest() : T(NAN);
                continue;
            }
            T opacity = 0, depth = 0;
            std::fill(total + 0, total + net.op, T(0));
            const int n = samples.used;
            for (int k = 0; k < n; ++k) {
                const T before = k > 0 ? samples.w[k - 1] : T(0), after = k < n - 1 ? samples.w[k] : T(0);
                const T share = (before + after) * T(0.5);
                const T* colour = samples.colours + samples.order[k] * net.op;
                for (int j = 0; j < net.op; j += L) store<T>(total + j, load<T>(total + j) + share * load<T>(colour + j));
                if (k < n - 1) {
                    opacity += after;
                    depth += after * (samples.sorted_t[k] + samples.sorted_t[k + 1]) * T(0.5);
                }
            }
            std::copy(total + 0, total + s.outputs, features);
            out.opacity[i] = opacity;
            out.depth[i] = depth + (1 - opacity) * ray.far;
        }
    });
}

// Rays are split into a number of parts that depends on the problem alone, each with its own sums, which are then added
// in order: the result is the same whatever the number of threads. The first part of every item of the batch adds to
// the output itself.
template <typename T>
void render_backward_cpu(const RenderShape& s, const RenderInputs<T>& in, const RenderGradients<T>& grads,
                         const Parallel& parallel) {
    if (s.batch == 0 || s.rays == 0) return;
    const Network<T> net = network_of(s, in);
    const int64_t texels = s.layout.texels();
    const int64_t affordable = grads.map ? 1 + (int64_t(256) << 20) / std::max<int64_t>(s.batch * texels * sizeof(T), 1) : 64;
    const int parts = static_cast<int>(std::max<int64_t>(1, std::min<int64_t>({8 / s.batch, affordable, s.rays})));
    std::vector<Buffer<T>> maps(s.batch * parts);
    std::vector<std::unique_ptr<NetworkGradients<T>>> weights(s.batch * parts);
    parallel(int64_t(s.batch) * parts, [&](int64_t begin, int64_t end) {
        Samples<T> samples(s, net);
        RayBackward<T> back(samples);
        Buffer<T> d_out(net.op);
        for (int64_t task = begin; task < end; ++task) {
            const int64_t item = task / parts, part = task % parts;
            const T* map = in.map + item * texels;
            T* d_map = grads.map ? grads.map + item * texels : nullptr;
            if (d_map && part > 0) d_map = maps[task] = Buffer<T>(texels);
            if (grads.w1) weights[task] = std::make_unique<NetworkGradients<T>>(net);
            for (int64_t i = item * s.rays + part * s.rays / parts; i < item * s.rays + (part + 1) * s.rays / parts; ++i) {
                const Ray<T> ray(in, i);
                if (!ray.finite() || ray.misses() || !samples.trace(in, ray)) continue;
                std::copy(grads.features + i * s.outputs, grads.features + (i + 1) * s.outputs, d_out + 0);
                back.composite(ray, d_out, grads.depth[i], grads.opacity[i]);
                for (const Slots& slots : samples.lit()) {
                    back.samples(slots.first, slots.count, weights[task].get(), d_map);
                    if (grads.origins)
                        back.rays(slots.first, slots.count, map, grads.origins + 3 * i, grads.directions + 3 * i);
                }
            }
        }
    });
    if (grads.map && parts > 1)
        parallel(s.batch * texels, [&](int64_t begin, int64_t end) {
            for (int64_t item = begin / texels; item * texels < end; ++item)
                for (int part = 1; part < parts; ++part) {
                    const T* more = maps[item * parts + part];
                    for (int64_t k = std::max(begin, item * texels); k < std::min(end, (item + 1) * texels); ++k)
                        grads.map[k] += more[k - item * texels];
                }
        });
    if (grads.w1) {
        for (size_t task = 1; task < weights.size(); ++task) weights[0]->add(*weights[task]);
        weights[0]->write(net, grads.w1, grads.b1, grads.w2, grads.b2);
    }
}

template void render_cpu(const RenderShape&, const RenderInputs<float>&, const RenderOutputs<float>&, const Parallel&);
template void render_cpu(const RenderShape&, const RenderInputs<double>&, const RenderOutputs<double>&, const Parallel&);
template void render_backward_cpu(const RenderShape&, const RenderInputs<float>&, const RenderGradients<float>&,
                                  const Parallel&);
template void render_backward_cpu(const RenderShape&, const RenderInputs<double>&, const RenderGradients<double>&,
                                  const Parallel&);

}  // namespace semhead
