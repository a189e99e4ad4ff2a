"""Which triangle each sample of each pixel sees, by projection: exact, and faster than sending a
ray for each sample.

`cover_kernel` runs once a triangle and keeps, for every sample, the smallest camera z with its
triangle in one 64-bit number (the bits of a positive float grow with it). The minimum does not
depend on the order of triangles, so CPU and CUDA give one answer. A ray cast through the same
sample finds the same triangle (tested).
"""

import numpy as np

from semhead_lib.data.parametric.quiet_warp import wp

NOTHING = wp.constant(wp.int64(0x7FFFFFFFFFFFFFFF))  # a sample that sees no triangle
_NEAR = wp.constant(
    1.0e-3
)  # triangles that come nearer to the camera's plane than this are left out, scene units
_SLACK = wp.constant(
    -1.0e-5
)  # barycentric: neighbouring triangles overlap by rounding rather than leave a crack


def sample_offsets(count: int) -> np.ndarray:
    """Places of `count` samples in a pixel, [count, 2] in 0..1: the R2 sequence (Roberts 2018),
    from the centre."""
    steps = np.arange(count)[:, None] * np.array([0.7548776662466927, 0.5698402909980532])
    return ((0.5 + steps) % 1.0).astype(np.float32)


@wp.kernel(enable_backward=False)
def project_kernel(
    points: wp.array(dtype=wp.vec3),
    cameras: wp.array2d(dtype=wp.float32),
    k: wp.int32,  # which camera
    resolution: wp.float32,
    screen: wp.array(dtype=wp.vec3),  # pixels right, pixels down, camera z
):
    i = wp.tid()
    local = points[i] - wp.vec3(cameras[k, 3], cameras[k, 7], cameras[k, 11])
    z = wp.dot(local, wp.vec3(cameras[k, 2], cameras[k, 6], cameras[k, 10]))
    x = wp.dot(local, wp.vec3(cameras[k, 0], cameras[k, 4], cameras[k, 8])) / z
    y = wp.dot(local, wp.vec3(cameras[k, 1], cameras[k, 5], cameras[k, 9])) / z
    u = (cameras[k, 16] * x + cameras[k, 17] * y + cameras[k, 18]) * resolution
    screen[i] = wp.vec3(u, (cameras[k, 20] * y + cameras[k, 21]) * resolution, z)


@wp.kernel(enable_backward=False)
def cover_kernel(
    faces: wp.array(dtype=wp.int32),
    screen: wp.array(dtype=wp.vec3),
    offsets: wp.array(dtype=wp.vec2),
    nearest: wp.array3d(dtype=wp.int64),  # [R, R, S], NOTHING to begin with
):
    face = wp.tid()
    a, b, c = screen[faces[3 * face]], screen[faces[3 * face + 1]], screen[faces[3 * face + 2]]
    if wp.min(a[2], wp.min(b[2], c[2])) < _NEAR:
        return
    last = nearest.shape[0] - 1
    left = wp.max(wp.int32(wp.floor(wp.min(a[0], wp.min(b[0], c[0])))), 0)
    right = wp.min(wp.int32(wp.floor(wp.max(a[0], wp.max(b[0], c[0])))), last)
    top = wp.max(wp.int32(wp.floor(wp.min(a[1], wp.min(b[1], c[1])))), 0)
    bottom = wp.min(wp.int32(wp.floor(wp.max(a[1], wp.max(b[1], c[1])))), last)
    area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
    if wp.abs(area) < 1.0e-12:
        return
    scale = 1.0 / area
    for row in range(top, bottom + 1):
        for column in range(left, right + 1):
            for i in range(nearest.shape[2]):
                x, y = wp.float32(column) + offsets[i][0], wp.float32(row) + offsets[i][1]
                wa = ((b[0] - x) * (c[1] - y) - (b[1] - y) * (c[0] - x)) * scale
                wb = ((c[0] - x) * (a[1] - y) - (c[1] - y) * (a[0] - x)) * scale
                wc = 1.0 - wa - wb
                if wp.min(wa, wp.min(wb, wc)) >= _SLACK:
                    z = 1.0 / (wa / a[2] + wb / b[2] + wc / c[2])  # 1 / z is linear on the screen
                    seen = (wp.int64(wp.cast(z, wp.int32)) << wp.int64(32)) | wp.int64(face)
                    wp.atomic_min(nearest, row, column, i, seen)
