// The ops on CUDA. Point features there are the reference implementation's; the renderer is where the time goes.
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include "../render/cuda.h"
#include "render.h"

namespace semhead {
namespace {

MapType type_of(const Tensor& map) {
    switch (map.scalar_type()) {
        case at::kFloat: return MapType::kFloat;
        case at::kHalf: return MapType::kHalf;
        case at::kBFloat16: return MapType::kBfloat;
        default: TORCH_CHECK(false, "on CUDA feature maps are float32, float16 or bfloat16, got ", map.scalar_type());
    }
}

RenderCudaInputs inputs_of(const RenderTensors& t) {
    return {t.map.data_ptr(), type_of(t.map), pointer<float>(t.origins), pointer<float>(t.directions), pointer<float>(t.near),
            pointer<float>(t.far), pointer<float>(t.w1), pointer<float>(t.b1), pointer<float>(t.w2), pointer<float>(t.b2),
            pointer<float>(t.grid), pointer<int64_t>(t.seed)};
}

struct Cuda {
    static void forward(const RenderTensors& call, const RenderResults& results) {
        const c10::cuda::CUDAGuard guard(call.map.device());
        render_cuda(call.shape, inputs_of(call), results.outputs<float>(), c10::cuda::getCurrentCUDAStream().stream());
    }
    static void backward(const RenderTensors& call, const RenderBackward& back) {
        const c10::cuda::CUDAGuard guard(call.map.device());
        Tensor partials;
        if (back.w1.defined()) partials = at::empty({render_cuda_partials(call.shape)}, call.origins.options());
        render_backward_cuda(call.shape, inputs_of(call), back.gradients<float>(), pointer<float>(partials),
                             c10::cuda::getCurrentCUDAStream().stream());
    }
};

}  // namespace

TORCH_LIBRARY_IMPL(semhead, CUDA, m) {
    m.impl("render_rays", &render_rays<Cuda>);
    m.impl("render_rays_backward", &render_rays_backward<Cuda>);
}

}  // namespace semhead
