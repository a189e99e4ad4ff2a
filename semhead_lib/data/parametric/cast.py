"""Ray casting of a head with warp: one kernel source for CPU and CUDA, exact ground truth beside the picture.

Each pixel takes `samples` rays for colour and coverage, with a ray to a point of the (soft) key light each (on hair, one for two). The first goes
through the pixel's centre and alone gives depth, normal and class, so that ground truth is never an average over an edge.

Shading is plain: softened diffuse with a red terminator for skin, the strand highlight of Kajiya and Kay (1989) for hair,
Blinn-Phong for the rest; linear light is mapped to 8 bits by the sRGB curve.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import warp as wp
from torch import Tensor

from semhead_lib.data.parametric.materials import BACKGROUND, EYE_SHADER, HAIR_SHADER, SKIN_SHADER
from semhead_lib.data.parametric.scene import Light, Scene

_FAR = 1.0e6
_EPSILON = 5.0e-4  # how far a shadow ray starts from the surface, scene units

_SKIN = wp.constant(SKIN_SHADER)
_HAIR = wp.constant(HAIR_SHADER)
_EYE = wp.constant(EYE_SHADER)


@wp.struct
class _Surface:
    """What a hit is shaded from. Arrays over vertices, but for `material` (over triangles) and `parameters`."""

    faces: wp.array(dtype=wp.int32)
    normals: wp.array(dtype=wp.vec3)
    colours: wp.array(dtype=wp.vec3)  # linear albedo
    tangents: wp.array(dtype=wp.vec3)  # hair: along the strand; eyes: direction from the eye's centre, gaze along +z
    strands: wp.array(dtype=wp.vec2)  # across, along: where the fine texture is looked up
    occlusion: wp.array(dtype=wp.float32)  # 1 open to the sky, 0 hidden
    material: wp.array(dtype=wp.int32)
    parameters: wp.array2d(dtype=wp.float32)  # [M, 6] shader, class, specular, gloss, texture depth, soft
    iris: wp.vec3
    gaze: wp.vec2  # iris and pupil radius, radians


@wp.struct
class _Lamps:
    """Key light with a soft edge, fill light without shadow, and a sky-to-ground ambient."""

    key_direction: wp.vec3
    key: wp.vec3
    key_spread: wp.float32
    fill_direction: wp.vec3
    fill: wp.vec3
    sky: wp.vec3
    ground: wp.vec3
    background: wp.vec3


@wp.func
def _hash(x: wp.int32, y: wp.int32) -> wp.float32:
    state = wp.uint32(x) * wp.uint32(374761393) + wp.uint32(y) * wp.uint32(668265263)
    state = (state ^ (state >> wp.uint32(13))) * wp.uint32(1274126177)
    state = state ^ (state >> wp.uint32(16))
    return wp.float32(state & wp.uint32(0xFFFFFF)) / 16777216.0


@wp.func
def _value_noise(x: wp.float32, y: wp.float32) -> wp.float32:
    i, j = wp.int32(wp.floor(x)), wp.int32(wp.floor(y))
    u, v = x - wp.floor(x), y - wp.floor(y)
    u, v = u * u * (3.0 - 2.0 * u), v * v * (3.0 - 2.0 * v)
    top = wp.lerp(_hash(i, j), _hash(i + 1, j), u)
    return wp.lerp(top, wp.lerp(_hash(i, j + 1), _hash(i + 1, j + 1), u), v)


@wp.func
def _srgb(x: wp.float32) -> wp.float32:
    x = wp.clamp(x, 0.0, 1.0)
    if x <= 0.0031308:
        return 12.92 * x
    return 1.055 * wp.pow(x, 1.0 / 2.4) - 0.055


@wp.func
def _eye_albedo(direction: wp.vec3, s: _Surface) -> wp.vec3:
    """Sclera, limbal ring, streaked iris and pupil from the angle to the gaze."""
    d = wp.normalize(direction)
    angle = wp.acos(wp.clamp(d[2], -1.0, 1.0))
    white = wp.vec3(0.74, 0.70, 0.68) * (1.0 - 0.25 * wp.smoothstep(0.5, 1.1, angle))
    turn = wp.atan2(d[1], d[0])
    streak = 0.75 + 0.5 * _value_noise(turn * 7.0, angle * 12.0)
    ring = 1.0 - 0.75 * wp.smoothstep(s.gaze[0] * 0.78, s.gaze[0], angle)
    iris = s.iris * (streak * ring * (0.75 + 0.6 * angle / s.gaze[0]))
    colour = wp.lerp(iris, white, wp.smoothstep(s.gaze[0] * 0.95, s.gaze[0] * 1.08, angle))
    return wp.lerp(wp.vec3(0.004, 0.004, 0.004), colour, wp.smoothstep(s.gaze[1] * 0.85, s.gaze[1] * 1.1, angle))


@wp.func
def _normal_at(s: _Surface, face: wp.int32, u: wp.float32, v: wp.float32, flat: wp.vec3, direction: wp.vec3) -> wp.vec3:
    """Smoothed normal on the side that is seen; `flat` is the triangle's own normal."""
    a, b, c = s.faces[3 * face], s.faces[3 * face + 1], s.faces[3 * face + 2]
    n = wp.normalize(s.normals[a] * u + s.normals[b] * v + s.normals[c] * (1.0 - u - v))
    if wp.dot(flat, direction) > 0.0:
        n = -n  # the back of a lock of hair
    if wp.dot(n, direction) > 0.0:
        n = n - direction * (1.001 * wp.dot(n, direction))  # a smoothed normal may lean away at a silhouette
        n = wp.normalize(n)
    return n


@wp.func
def _shade(
    mesh: wp.uint64, s: _Surface, l: _Lamps, face: wp.int32, u: wp.float32, v: wp.float32,
    flat: wp.vec3, point: wp.vec3, direction: wp.vec3, seed: wp.int32, sample: wp.int32, before: wp.float32,
) -> wp.vec4:  # linear RGB, and whether the key light was seen  # fmt: skip
    a, b, c = s.faces[3 * face], s.faces[3 * face + 1], s.faces[3 * face + 2]
    w = 1.0 - u - v
    n = _normal_at(s, face, u, v, flat, direction)
    albedo = s.colours[a] * u + s.colours[b] * v + s.colours[c] * w
    open_sky = s.occlusion[a] * u + s.occlusion[b] * v + s.occlusion[c] * w
    m = s.material[face]
    shader = wp.int32(s.parameters[m, 0])
    specular, gloss, depth, soft = s.parameters[m, 2], s.parameters[m, 3], s.parameters[m, 4], s.parameters[m, 5]

    # Fine texture along strands: two scales of noise, much finer across than along.
    st = s.strands[a] * u + s.strands[b] * v + s.strands[c] * w
    fine = 0.65 * _value_noise(st[0], st[1]) + 0.35 * _value_noise(st[0] * 2.7 + 31.0, st[1] * 1.7)
    albedo = albedo * (1.0 - depth * fine)

    # Soft key light: one jittered shadow ray a sample.
    jitter = wp.vec3(_hash(seed, 3 * sample), _hash(seed, 3 * sample + 1), _hash(seed, 3 * sample + 2))
    to_key = wp.normalize(l.key_direction + (jitter - wp.vec3(0.5, 0.5, 0.5)) * (2.0 * l.key_spread))
    cosine = wp.dot(n, to_key)
    lit = wp.float32(0.0)
    if shader == _HAIR and sample % 2 == 1 and before >= 0.0:
        lit = before  # neighbouring samples of hair share a shadow ray: it is too fine to tell
    elif cosine > 0.0:
        start = point + n * _EPSILON
        lit = wp.where(wp.mesh_query_ray_anyhit(mesh, start, to_key, 1.5), 0.0, 1.0)
    half = wp.normalize(to_key - direction)
    ambient = wp.lerp(l.ground, l.sky, 0.5 + 0.5 * n[1]) * open_sky
    fill = wp.max(wp.dot(n, l.fill_direction) * 0.75 + 0.25, 0.0) * open_sky

    if shader == _HAIR:
        t = wp.normalize(s.tangents[a] * u + s.tangents[b] * v + s.tangents[c] * w)
        th, tl = wp.dot(t, half), wp.dot(t, to_key)
        diffuse = wp.sqrt(wp.max(1.0 - tl * tl, 0.0)) * wp.max(0.35 + 0.65 * cosine, 0.0)
        shine = wp.pow(wp.sqrt(wp.max(1.0 - th * th, 0.0)), gloss) * (1.0 - 0.8 * fine) * wp.max(cosine, 0.0)
        tone = albedo * 0.75 + wp.vec3(0.25, 0.25, 0.25) * specular
        light = wp.cw_mul(albedo, ambient + l.fill * fill + l.key * (diffuse * lit))
        light = light + wp.cw_mul(tone, l.key) * (specular * shine * lit)
        return wp.vec4(light[0], light[1], light[2], lit)

    if shader == _EYE:
        albedo = _eye_albedo(s.tangents[a] * u + s.tangents[b] * v + s.tangents[c] * w, s)
    diffuse_key = wp.pow(wp.max(cosine, 0.0), 1.0 - soft) * lit
    light = wp.cw_mul(albedo, ambient + l.fill * fill)
    key = l.key * diffuse_key
    if shader == _SKIN:  # light that enters near the terminator comes out red
        rim = wp.max(1.0 - wp.abs(cosine) * 3.0, 0.0) * lit
        key = key + wp.cw_mul(l.key, wp.vec3(0.10, 0.025, 0.012)) * rim
    grazing = wp.pow(1.0 - wp.max(-wp.dot(n, direction), 0.0), 5.0)
    shine = wp.pow(wp.max(wp.dot(n, half), 0.0), gloss) * lit * wp.where(cosine > 0.0, 1.0, 0.0)
    reflected = l.key * (specular * shine) + l.sky * (specular * grazing * 0.5 * open_sky)
    light = light + wp.cw_mul(albedo, key) + reflected
    return wp.vec4(light[0], light[1], light[2], lit)


@wp.func
def _ray(labels: wp.array2d(dtype=wp.float32), k: wp.int32, x: wp.float32, y: wp.float32) -> wp.vec3:
    local = wp.vec3((x - labels[k, 18]) / labels[k, 16], (y - labels[k, 21]) / labels[k, 20], 1.0)
    return wp.normalize(
        wp.vec3(labels[k, 0], labels[k, 4], labels[k, 8]) * local[0]
        + wp.vec3(labels[k, 1], labels[k, 5], labels[k, 9]) * local[1]
        + wp.vec3(labels[k, 2], labels[k, 6], labels[k, 10])
    )


@wp.kernel(enable_backward=False)
def _cast(
    mesh: wp.uint64,
    s: _Surface,
    l: _Lamps,
    labels: wp.array2d(dtype=wp.float32),
    samples: wp.int32,
    image: wp.array4d(dtype=wp.uint8),  # [V, R, R, 3]
    mask: wp.array3d(dtype=wp.uint8),
    depth: wp.array3d(dtype=wp.float32),
    normal: wp.array4d(dtype=wp.uint8),
    classes: wp.array3d(dtype=wp.uint8),
):
    k, row, column = wp.tid()
    size = wp.float32(image.shape[1])
    origin = wp.vec3(labels[k, 3], labels[k, 7], labels[k, 11])
    forward = wp.vec3(labels[k, 2], labels[k, 6], labels[k, 10])
    seed = (row * 4096 + column) * 64

    colour = wp.vec3(0.0, 0.0, 0.0)
    hits = wp.float32(0.0)
    lit = wp.float32(-1.0)
    for i in range(samples):  # the R2 sequence (Roberts 2018), from the centre: well spread for any number
        dx = 0.5 + 0.7548776662466927 * wp.float32(i)
        dy = 0.5 + 0.5698402909980532 * wp.float32(i)
        x = (wp.float32(column) + dx - wp.floor(dx)) / size
        y = (wp.float32(row) + dy - wp.floor(dy)) / size
        direction = _ray(labels, k, x, y)
        query = wp.mesh_query_ray(mesh, origin, direction, _FAR)
        if query.result:
            point = origin + direction * query.t
            shaded = _shade(mesh, s, l, query.face, query.u, query.v, query.normal, point, direction, seed, i, lit)
            colour = colour + wp.vec3(_srgb(shaded[0]), _srgb(shaded[1]), _srgb(shaded[2]))
            lit = shaded[3]
            hits = hits + 1.0
            if i == 0:  # the first sample is the pixel's centre: ground truth is taken there alone
                depth[k, row, column] = query.t * wp.dot(direction, forward)
                classes[k, row, column] = wp.uint8(s.parameters[s.material[query.face], 1])
                n = _normal_at(s, query.face, query.u, query.v, query.normal, direction)
                for channel in range(3):
                    normal[k, row, column, channel] = wp.uint8(127.5 * (n[channel] + 1.0) + 0.5)
        else:
            colour = colour + l.background
            lit = wp.float32(-1.0)
    scale = 255.0 / wp.float32(samples)
    for channel in range(3):
        image[k, row, column, channel] = wp.uint8(colour[channel] * scale + 0.5)
    mask[k, row, column] = wp.uint8(hits * scale + 0.5)


@wp.kernel(enable_backward=False)
def _occlude(
    mesh: wp.uint64,
    points: wp.array(dtype=wp.vec3),
    normals: wp.array(dtype=wp.vec3),
    count: wp.int32,
    reach: wp.float32,
    occlusion: wp.array(dtype=wp.float32),
):
    i = wp.tid()
    n = wp.normalize(normals[i])
    side = wp.where(wp.abs(n[1]) < 0.9, wp.vec3(0.0, 1.0, 0.0), wp.vec3(1.0, 0.0, 0.0))
    t = wp.normalize(wp.cross(n, side))
    b = wp.cross(n, t)
    free = wp.float32(0.0)
    for k in range(count):  # cosine-weighted directions on a Fibonacci spiral
        r = wp.sqrt((wp.float32(k) + 0.5) / wp.float32(count))
        phi = 2.399963229728653 * wp.float32(k)
        d = t * (r * wp.cos(phi)) + b * (r * wp.sin(phi)) + n * wp.sqrt(1.0 - r * r)
        if not wp.mesh_query_ray_anyhit(mesh, points[i] + n * (2.0 * _EPSILON), d, reach):
            free = free + 1.0
    occlusion[i] = free / wp.float32(count)


@dataclass(frozen=True)
class Views:
    """What `cast` returns for V cameras at R x R pixels."""

    images: Tensor  # [V, 3, R, R] uint8 RGB
    masks: Tensor  # [V, R, R] uint8, share of the pixel's rays that hit, 0..255
    depth: Tensor  # [V, R, R] float32 camera z at the pixel's centre, scene units, 0 where nothing is hit
    normals: Tensor  # [V, 3, R, R] uint8 world normal at the pixel's centre, 127.5 * (n + 1), 0 where nothing is hit
    labels: Tensor  # [V, R, R] uint8 class at the pixel's centre (materials.CLASSES), 0 where nothing is hit


class Caster:
    """A scene on a device, ready to be seen from any number of cameras."""

    def __init__(self, scene: Scene, device: str = "cpu") -> None:
        self.device = device
        m = scene.mesh
        points = self._array(m.vertices, wp.vec3)
        faces = self._array(m.faces.reshape(-1), wp.int32)
        self.mesh = wp.Mesh(points=points, indices=faces, bvh_leaf_size=4)
        surface = _Surface()
        surface.faces = faces
        surface.normals = self._array(m.normals, wp.vec3)
        surface.colours = self._array(m.colours, wp.vec3)
        surface.tangents = self._array(m.tangents, wp.vec3)
        surface.strands = self._array(m.strands, wp.vec2)
        surface.material = self._array(m.material, wp.int32)
        surface.parameters = self._array(scene.materials, wp.float32)
        surface.iris = wp.vec3(*map(float, scene.iris))
        surface.gaze = wp.vec2(*map(float, scene.gaze))
        occlusion = self._array(m.occlusion, wp.float32)
        if scene.occluded is not None:  # sky seen by the skin, under hair, brim and chin
            rows = scene.occluded.rows
            found = wp.zeros(len(rows), dtype=wp.float32, device=device)
            wp.launch(
                _occlude,
                dim=len(rows),
                inputs=[
                    self.mesh.id,
                    self._array(m.vertices[rows], wp.vec3),
                    self._array(m.normals[rows], wp.vec3),
                    scene.occluded.rays,
                    scene.occluded.reach,
                ],
                outputs=[found],
                device=device,
            )
            values = m.occlusion.copy()
            values[scene.occluded.targets] *= scene.occluded.spread @ found.numpy()
            occlusion = self._array(values, wp.float32)
        surface.occlusion = occlusion
        self.surface = surface

    def _array(self, values: np.ndarray, dtype: type) -> wp.array:
        return wp.array(np.ascontiguousarray(values), dtype=dtype, device=self.device)

    def cast(self, cameras: Tensor, resolution: int, light: Light, samples: int = 4) -> Views:
        """Pictures and ground truth of the scene from `cameras` [V, 25] at `resolution` pixels a side.

        `samples` rays a pixel, each with a shadow ray; raises ValueError below 1.
        """
        if samples < 1 or resolution < 1:
            raise ValueError(f"samples and resolution must be at least 1, got {samples} and {resolution}")
        lamps = _Lamps()
        for name in ("key_direction", "key", "fill_direction", "fill", "sky", "ground", "background"):
            setattr(lamps, name, wp.vec3(*map(float, getattr(light, name))))
        lamps.key_spread = float(light.key_spread)
        v, r = len(cameras), resolution
        image = wp.empty((v, r, r, 3), dtype=wp.uint8, device=self.device)
        mask = wp.empty((v, r, r), dtype=wp.uint8, device=self.device)
        depth = wp.zeros((v, r, r), dtype=wp.float32, device=self.device)
        normal = wp.zeros((v, r, r, 3), dtype=wp.uint8, device=self.device)
        classes = wp.full((v, r, r), BACKGROUND, dtype=wp.uint8, device=self.device)
        labels = self._array(cameras.numpy().astype(np.float32), wp.float32)
        wp.launch(
            _cast,
            dim=(v, r, r),
            inputs=[self.mesh.id, self.surface, lamps, labels, samples],
            outputs=[image, mask, depth, normal, classes],
            device=self.device,
        )
        images, masks, depths, normals, found = (
            torch.from_numpy(x.numpy().copy()) for x in (image, mask, depth, normal, classes)
        )
        return Views(
            images.permute(0, 3, 1, 2).contiguous(), masks, depths, normals.permute(0, 3, 1, 2).contiguous(), found
        )
