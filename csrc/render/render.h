// The fused ray renderer: what its CPU and CUDA kernels are called with. Nothing of torch.
//
// For every ray, with t the distances of n = coarse + fine samples in ascending order:
//   p_i = (o + t_i d) / half                                  points in [-1, 1]^3
//   f_i = sum over planes of weight * interpolated texel      (common/planes.h)
//   h_i = softplus(W1 f_i + b1)
//   s_i = w2[0] . h_i + b2[0] + slope (radius - |p_i|)        raw density
//   c_i = (1 + 2e) sigmoid(W2[1:] h_i + b2[1:]) - e           colour features, e = 0.001
// and between neighbours i, i + 1, as in mip-NeRF and EG3D:
//   tau_i = softplus((s_i + s_{i+1}) / 2 - 1) (t_{i+1} - t_i)
//   w_i   = exp(-sum_{j<i} tau_j) (1 - exp(-tau_i))
//   features = sum w_i (c_i + c_{i+1}) / 2,  opacity = sum w_i,  depth = sum w_i (t_i + t_{i+1}) / 2 + (1 - opacity) far
// Coarse distances are stratified over [near, far]; fine ones are drawn from the coarse w_i, blurred (sampling.h).
#pragma once

#include <cstdint>
#include <functional>

#include "../common/planes.h"

namespace semhead {

constexpr int kMaxWidth = 64;     // of features, hidden layer and colours
constexpr int kMaxSamples = 512;  // of a ray, coarse or fine

struct RenderShape {
    int batch, rays;      // rays of every item of the batch
    int coarse, fine;     // samples of a ray; fine may be 0
    int hidden, outputs;  // width of the hidden layer; colour features
    double half;          // half the side of the cube that the planes cover
    double slope, radius; // of the ball added to the raw density
    int64_t seed;         // of the distances; negative: the middle of every stratum
    Layout layout;
};

template <typename T>
struct RenderInputs {  // all contiguous
    const T *map;                      // [batch, rows, columns, stride]
    const T *origins, *directions;     // [batch, rays, 3]
    const T *near, *far;               // [batch, rays]; far <= near: the ray misses
    const T *w1, *b1, *w2, *b2;        // [hidden, channels], [hidden], [1 + outputs, hidden], [1 + outputs]
};

template <typename T>
struct RenderOutputs {
    T *features;  // [batch, rays, outputs]
    T *depth;     // [batch, rays]
    T *opacity;   // [batch, rays]
};

template <typename T>
struct RenderGradients {
    const T *features, *depth, *opacity;  // of the loss, with respect to the outputs
    T *map;                               // null where not asked for; else zeroed by the caller
    T *origins, *directions;
    T *w1, *b1, *w2, *b2;                 // all or none
};

// Runs body(begin, end) over parts of [0, n), possibly at once: the caller brings the threads.
using Parallel = std::function<void(int64_t n, const std::function<void(int64_t, int64_t)>& body)>;

template <typename T>
void render_cpu(const RenderShape&, const RenderInputs<T>&, const RenderOutputs<T>&, const Parallel&);
template <typename T>
void render_backward_cpu(const RenderShape&, const RenderInputs<T>&, const RenderGradients<T>&, const Parallel&);

}  // namespace semhead
