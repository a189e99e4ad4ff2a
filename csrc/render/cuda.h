// What the CUDA kernels of the renderer are called with. Computation and everything but the map are float32.
#pragma once

#include "render.h"

namespace semhead {

enum class MapType { kFloat, kHalf, kBfloat };  // what the texels of a map are stored as

struct RenderCudaInputs {
    const void* map;
    MapType type;
    const float *origins, *directions, *near, *far, *w1, *b1, *w2, *b2;
    const float* grid;    // as in RenderInputs
    const int64_t* seed;  // read when the kernel runs
};

void render_cuda(const RenderShape&, const RenderCudaInputs&, const RenderOutputs<float>&, void* stream);

// Gradients of the network are summed over scratch of render_cuda_partials(shape) numbers, which the caller brings; those of
// the map are float32 whatever the map is, and added in no fixed order.
int64_t render_cuda_partials(const RenderShape&);
void render_backward_cuda(const RenderShape&, const RenderCudaInputs&, const RenderGradients<float>&, float* partials,
                          void* stream);

}  // namespace semhead
