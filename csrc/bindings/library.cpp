// The schemas of all ops. What they compute is told by their reference implementations in semhead_lib/ops/.
#include <torch/library.h>

// `layout` is Layout.numbers() of semhead_lib/ops/layout.py; `box` is the centre and the half-extents of the planes' box;
// `seed` is one int64 on the feature map's device, negative for the middle of strata.
TORCH_LIBRARY(semhead, m) {
    m.def(
        "render_rays(Tensor feature_map, Tensor origins, Tensor directions, Tensor near, Tensor far, Tensor w1, Tensor b1, "
        "Tensor w2, Tensor b2, Tensor? grid, Tensor seed, int[] layout, float[] box, float slope, float radius, int coarse, "
        "int fine) -> (Tensor features, Tensor depth, Tensor opacity)");
    m.def(
        "render_rays_backward(Tensor d_features, Tensor d_depth, Tensor d_opacity, Tensor feature_map, Tensor origins, "
        "Tensor directions, Tensor near, Tensor far, Tensor w1, Tensor b1, Tensor w2, Tensor b2, Tensor? grid, "
        "Tensor seed, int[] layout, float[] box, float slope, float radius, int coarse, int fine, bool for_feature_map, "
        "bool for_rays, bool for_network) "
        "-> (Tensor feature_map, Tensor origins, Tensor directions, Tensor w1, Tensor b1, Tensor w2, Tensor b2)");
    m.def(
        "density_grid(Tensor feature_map, Tensor w1, Tensor b1, Tensor w2, Tensor b2, int[] layout, float slope, float radius, "
        "int side) -> Tensor");
    m.def("sample_planes(Tensor feature_map, Tensor points, int[] layout) -> Tensor");
    m.def(
        "sample_planes_backward(Tensor d_features, Tensor feature_map, Tensor points, int[] layout, bool for_feature_map, "
        "bool for_points) -> (Tensor feature_map, Tensor points)");
}
