// The fused ray renderer: what its CPU and CUDA kernels are called with. Nothing of torch.
//
// For every ray, with t the distances of n = coarse + fine samples in ascending order:
//   p_i = (o + t_i d - center) / half                         points in [-1, 1]^3
//   f_i = sum over planes of weight * interpolated texel      (common/planes.h)
//   h_i = softplus(W1 f_i + b1)
//   s_i = w2[0] . h_i + b2[0] + slope (radius - |p_i|)        raw density
//   c_i = (1 + 2e) sigmoid(W2[1:] h_i + b2[1:]) - e           colour features, e = 0.001
// and between neighbours i, i + 1, as in mip-NeRF and EG3D:
//   tau_i = softplus((s_i + s_{i+1}) / 2 - 1) (t_{i+1} - t_i)
//   T_i   = exp(-sum_{j<i} tau_j)                             the light that reaches sample i
//   w_i   = L(T_i) - L(T_{i+1})                               L is T, but ends where T <= 0.0001 (sampling.h)
//   features = sum w_i (c_i + c_{i+1}) / 2,  opacity = sum w_i,  depth = sum w_i (t_i + t_{i+1}) / 2 + (1 - opacity) far
// Coarse distances are stratified over [near, far]; fine ones are drawn from the coarse w_i, blurred (sampling.h).
// With a grid of raw densities n = fine: the coarse w_i are read from it, and rays through empty space are not sampled.
#pragma once

#include <cstdint>
#include <functional>

#include "../common/planes.h"

namespace semhead {

constexpr int kMaxWidth = 64;     // of features, hidden layer and colours
constexpr int kMaxSamples = 512;  // of a ray, coarse or fine
constexpr int kMaxGrid = 256;     // nodes a side of a density grid

struct RenderShape {
    int batch, rays;      // rays of every item of the batch
    int coarse, fine;     // samples of a ray; fine may be 0
    int hidden, outputs;  // width of the hidden layer; colour features
    int grid;             // nodes a side of the density grid; 0: there is none
    double center[3], half[3];  // of the box that the planes cover
    double slope, radius; // of the ball added to the raw density
    Layout layout;

    SEMHEAD_BOTH int samples() const { return grid ? fine : coarse + fine; }  // of the field
};

template <typename T>
struct RenderInputs {  // all contiguous
    const T *map;                      // [batch, rows, columns, stride]
    const T *origins, *directions;     // [batch, rays, 3]
    const T *near, *far;               // [batch, rays]; far <= near: the ray misses
    const T *w1, *b1, *w2, *b2;        // [hidden, channels], [hidden], [1 + outputs, hidden], [1 + outputs]
    const T* grid;                     // [batch, grid, grid, grid], z y x: nodes at p = -1 ... 1; null where there is none
    const int64_t* seed;               // of the distances, one number; negative: the middle of every stratum
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

// Raw density at the nodes of a grid [batch, side, side, side] of the boxes of maps, z y x, the outermost on the faces.
// `density` [hidden] and `density_bias` [1] are the first row of w2 and the first number of b2.
template <typename T>
void density_grid_cpu(const Layout&, int64_t batch, int hidden, double slope, double radius, int side, const T* map,
                      const T* w1, const T* b1, const T* density, const T* density_bias, T* grid, const Parallel&);

}  // namespace semhead
