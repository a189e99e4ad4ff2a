// What Python calls: the renderer's CUDA functions, with every array that they may reach announced to the emulation.
#include <stdexcept>

#include "../../../csrc/render/cuda.h"
#include "cuda_runtime.h"
#include "machine.h"

using namespace semhead;

namespace {

std::string message;

// "" when `call` ends well, else what went wrong.
template <typename Call>
const char* said(const RenderShape& s, const RenderCudaInputs& in, const Call& call) {
    const int64_t rays = 4 * int64_t(s.batch) * s.rays, wide = 4 * (1 + s.outputs);
    emulated::watch_nothing();
    emulated::watch("map", in.map, s.batch * s.layout.texels() * (in.type == MapType::kFloat ? 4 : 2), false);
    emulated::watch("origins", in.origins, 3 * rays, false);
    emulated::watch("directions", in.directions, 3 * rays, false);
    emulated::watch("near", in.near, rays, false);
    emulated::watch("far", in.far, rays, false);
    emulated::watch("w1", in.w1, 4 * s.hidden * s.layout.channels, false);
    emulated::watch("b1", in.b1, 4 * s.hidden, false);
    emulated::watch("w2", in.w2, wide * s.hidden, false);
    emulated::watch("b2", in.b2, wide, false);
    emulated::watch("seed", in.seed, sizeof(int64_t), false);
    emulated::watch("grid", in.grid, 4 * s.batch * int64_t(s.grid) * s.grid * s.grid, false);
    message.clear();
    try {
        call(rays, wide);
    } catch (const std::exception& error) {
        message = error.what();
    }
    return message.c_str();
}

}  // namespace

extern "C" {

int emulated_mistake(int which, float* out, int bytes);  // mistakes.cu

const char* emulated_mistake_said(int which, float* out, int bytes) {  // out: 64 numbers
    emulated::watch_nothing();
    emulated::watch("out", out, 64 * sizeof(float), true);
    const auto error = static_cast<cudaError_t>(emulated_mistake(which, out, bytes));
    return error == cudaSuccess ? "" : cudaGetErrorString(error);
}

int emulated_resident_warps() { return emulated::resident_warps; }

int emulated_queries() { return emulated::queries; }

int emulated_shape_bytes() { return sizeof(RenderShape); }

void emulated_settings(int processors, int shared, int order, uint64_t seed) {
    emulated::settings = {processors, shared, order, seed};
}

const char* emulated_render(const RenderShape* s, const RenderCudaInputs* in, const RenderOutputs<float>* out) {
    return said(*s, *in, [&](int64_t rays, int64_t) {
        emulated::watch("features", out->features, rays * s->outputs, true);
        emulated::watch("depth", out->depth, rays, true);
        emulated::watch("opacity", out->opacity, rays, true);
        render_cuda(*s, *in, *out, nullptr);
    });
}

int64_t emulated_partials(const RenderShape* s) { return render_cuda_partials(*s); }

const char* emulated_render_backward(const RenderShape* s, const RenderCudaInputs* in, const RenderGradients<float>* grads,
                                     float* partials) {
    return said(*s, *in, [&](int64_t rays, int64_t wide) {
        emulated::watch("d_features", grads->features, rays * s->outputs, false);
        emulated::watch("d_depth", grads->depth, rays, false);
        emulated::watch("d_opacity", grads->opacity, rays, false);
        emulated::watch("gradient of map", grads->map, 4 * s->batch * s->layout.texels(), true);
        emulated::watch("gradient of origins", grads->origins, 3 * rays, true);
        emulated::watch("gradient of directions", grads->directions, 3 * rays, true);
        emulated::watch("gradient of w1", grads->w1, 4 * s->hidden * s->layout.channels, true);
        emulated::watch("gradient of b1", grads->b1, 4 * s->hidden, true);
        emulated::watch("gradient of w2", grads->w2, wide * s->hidden, true);
        emulated::watch("gradient of b2", grads->b2, wide, true);
        emulated::watch("partials", partials, 4 * emulated_partials(s), true);
        render_backward_cuda(*s, *in, *grads, partials, nullptr);
    });
}

}  // extern "C"
