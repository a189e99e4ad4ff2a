"""The caster's shading kernels in warp, the same source for CPU and CUDA.

Each pixel has several samples for colour and coverage; two in a row that both see the subject share
a ray to a point of the (soft) key light. The first sample is the pixel's centre and alone gives
depth, normal and class, so that ground truth is never an average over an edge.

Shading is plain: softened diffuse with a red terminator for skin, the strand highlight of Kajiya
and Kay (1989) for hair, Blinn-Phong for the rest; samples are averaged in linear light and mapped
to 8 bits by the sRGB curve.
"""

from semhead_lib.data.parametric.materials import EYE_SHADER, HAIR_SHADER, SKIN_SHADER
from semhead_lib.data.parametric.quiet_warp import wp
from semhead_lib.data.parametric.visibility import NOTHING

_EPSILON = 5.0e-4  # how far a shadow ray starts from the surface, scene units

_SKIN = wp.constant(SKIN_SHADER)
_HAIR = wp.constant(HAIR_SHADER)
_EYE = wp.constant(EYE_SHADER)


@wp.struct
class Surface:
    """What a hit is shaded from. Arrays over vertices, but for `material` (over triangles) and
    `parameters`."""

    points: wp.array(dtype=wp.vec3)
    faces: wp.array(dtype=wp.int32)
    normals: wp.array(dtype=wp.vec3)
    colours: wp.array(dtype=wp.vec3)  # linear albedo
    tangents: wp.array(
        dtype=wp.vec3
    )  # hair: along the strand; eyes: direction from the eye's centre, gaze along +z
    strands: wp.array(dtype=wp.vec2)  # across, along: where the fine texture is looked up
    occlusion: wp.array(dtype=wp.float32)  # 1 open to the sky, 0 hidden
    material: wp.array(dtype=wp.int32)
    parameters: wp.array2d(
        dtype=wp.float32
    )  # [M, 6] shader, class, specular, gloss, texture depth, soft
    iris: wp.vec3
    gaze: wp.vec2  # iris and pupil radius, radians


@wp.struct
class Lamps:
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
def _eye_albedo(direction: wp.vec3, s: Surface) -> wp.vec3:
    """Sclera, limbal ring, streaked iris and pupil from the angle to the gaze."""
    d = wp.normalize(direction)
    angle = wp.acos(wp.clamp(d[2], -1.0, 1.0))
    white = wp.vec3(0.74, 0.70, 0.68) * (1.0 - 0.25 * wp.smoothstep(0.5, 1.1, angle))
    turn = wp.atan2(d[1], d[0])
    streak = 0.75 + 0.5 * _value_noise(turn * 7.0, angle * 12.0)
    ring = 1.0 - 0.75 * wp.smoothstep(s.gaze[0] * 0.78, s.gaze[0], angle)
    iris = s.iris * (streak * ring * (0.75 + 0.6 * angle / s.gaze[0]))
    colour = wp.lerp(iris, white, wp.smoothstep(s.gaze[0] * 0.95, s.gaze[0] * 1.08, angle))
    return wp.lerp(
        wp.vec3(0.004, 0.004, 0.004),
        colour,
        wp.smoothstep(s.gaze[1] * 0.85, s.gaze[1] * 1.1, angle),
    )


@wp.func
def _normal_at(
    s: Surface, face: wp.int32, u: wp.float32, v: wp.float32, flat: wp.vec3, direction: wp.vec3
) -> wp.vec3:
    """Smoothed normal on the side that is seen; `flat` is the triangle's own normal."""
    a, b, c = s.faces[3 * face], s.faces[3 * face + 1], s.faces[3 * face + 2]
    n = wp.normalize(s.normals[a] * u + s.normals[b] * v + s.normals[c] * (1.0 - u - v))
    if wp.dot(flat, direction) > 0.0:
        n = -n  # the back of a lock of hair
    if wp.dot(n, direction) > 0.0:
        n = n - direction * (
            1.001 * wp.dot(n, direction)
        )  # a smoothed normal may lean away at a silhouette
        n = wp.normalize(n)
    return n


@wp.func
def _shade(
    mesh: wp.uint64,
    s: Surface,
    lamps: Lamps,
    face: wp.int32,
    u: wp.float32,
    v: wp.float32,
    flat: wp.vec3,
    point: wp.vec3,
    direction: wp.vec3,
    seed: wp.int32,
    sample: wp.int32,
    before: wp.float32,
) -> wp.vec4:  # linear RGB; key light seen (1), hidden (0), not asked (-1)
    a, b, c = s.faces[3 * face], s.faces[3 * face + 1], s.faces[3 * face + 2]
    w = 1.0 - u - v
    n = _normal_at(s, face, u, v, flat, direction)
    albedo = s.colours[a] * u + s.colours[b] * v + s.colours[c] * w
    open_sky = s.occlusion[a] * u + s.occlusion[b] * v + s.occlusion[c] * w
    m = s.material[face]
    shader = wp.int32(s.parameters[m, 0])
    specular, gloss, depth, soft = (
        s.parameters[m, 2],
        s.parameters[m, 3],
        s.parameters[m, 4],
        s.parameters[m, 5],
    )

    # Fine texture along strands: two scales of noise, much finer across than along.
    st = s.strands[a] * u + s.strands[b] * v + s.strands[c] * w
    fine = wp.float32(0.0)
    if depth > 0.0:
        fine = 0.65 * _value_noise(st[0], st[1]) + 0.35 * _value_noise(
            st[0] * 2.7 + 31.0, st[1] * 1.7
        )
        albedo = albedo * (1.0 - depth * fine)

    # Soft key light: a jittered shadow ray, which the next sample of the pixel shares.
    jitter = wp.vec3(
        _hash(seed, 3 * sample), _hash(seed, 3 * sample + 1), _hash(seed, 3 * sample + 2)
    )
    to_key = wp.normalize(
        lamps.key_direction + (jitter - wp.vec3(0.5, 0.5, 0.5)) * (2.0 * lamps.key_spread)
    )
    cosine = wp.dot(n, to_key)
    lit = wp.float32(0.0)
    known = wp.float32(-1.0)
    if sample % 2 == 1 and before >= 0.0:
        lit = before
        known = before
    elif cosine > 0.0:
        start = point + n * _EPSILON
        lit = wp.where(wp.mesh_query_ray_anyhit(mesh, start, to_key, 1.5), 0.0, 1.0)
        known = lit
    half = wp.normalize(to_key - direction)
    ambient = wp.lerp(lamps.ground, lamps.sky, 0.5 + 0.5 * n[1]) * open_sky
    fill = wp.max(wp.dot(n, lamps.fill_direction) * 0.75 + 0.25, 0.0) * open_sky

    if shader == _HAIR:
        t = wp.normalize(s.tangents[a] * u + s.tangents[b] * v + s.tangents[c] * w)
        th, tl = wp.dot(t, half), wp.dot(t, to_key)
        diffuse = wp.sqrt(wp.max(1.0 - tl * tl, 0.0)) * wp.max(0.35 + 0.65 * cosine, 0.0)
        shine = (
            wp.pow(wp.sqrt(wp.max(1.0 - th * th, 0.0)), gloss)
            * (1.0 - 0.8 * fine)
            * wp.max(cosine, 0.0)
        )
        tone = albedo * 0.75 + wp.vec3(0.25, 0.25, 0.25) * specular
        light = wp.cw_mul(albedo, ambient + lamps.fill * fill + lamps.key * (diffuse * lit))
        light = light + wp.cw_mul(tone, lamps.key) * (specular * shine * lit)
        return wp.vec4(light[0], light[1], light[2], known)

    if shader == _EYE:
        albedo = _eye_albedo(s.tangents[a] * u + s.tangents[b] * v + s.tangents[c] * w, s)
    facing = wp.max(cosine, 0.0)
    diffuse_key = facing * (1.0 + soft * (1.0 - facing)) * lit
    light = wp.cw_mul(albedo, ambient + lamps.fill * fill)
    key = lamps.key * diffuse_key
    if shader == _SKIN:  # light that enters near the terminator comes out red
        rim = wp.max(1.0 - wp.abs(cosine) * 3.0, 0.0) * lit
        key = key + wp.cw_mul(lamps.key, wp.vec3(0.10, 0.025, 0.012)) * rim
    away = 1.0 - wp.max(-wp.dot(n, direction), 0.0)
    grazing = away * away * away * away * away
    shine = wp.pow(wp.max(wp.dot(n, half), 0.0), gloss) * lit * wp.where(cosine > 0.0, 1.0, 0.0)
    reflected = lamps.key * (specular * shine) + lamps.sky * (specular * grazing * 0.5 * open_sky)
    light = light + wp.cw_mul(albedo, key) + reflected
    return wp.vec4(light[0], light[1], light[2], known)


@wp.kernel(enable_backward=False)
def shade_kernel(
    mesh: wp.uint64,
    s: Surface,
    lamps: Lamps,
    cameras: wp.array2d(dtype=wp.float32),
    k: wp.int32,  # which camera
    offsets: wp.array(dtype=wp.vec2),
    nearest: wp.array3d(dtype=wp.int64),  # [R, R, S] from cover_kernel
    image: wp.array4d(dtype=wp.uint8),  # [V, R, R, 3]
    mask: wp.array3d(dtype=wp.uint8),
    depth: wp.array3d(dtype=wp.float32),
    normal: wp.array4d(dtype=wp.uint8),
    classes: wp.array3d(dtype=wp.uint8),
):
    row, column = wp.tid()
    size, samples = wp.float32(nearest.shape[0]), nearest.shape[2]
    origin = wp.vec3(cameras[k, 3], cameras[k, 7], cameras[k, 11])
    right = wp.vec3(cameras[k, 0], cameras[k, 4], cameras[k, 8])
    down = wp.vec3(cameras[k, 1], cameras[k, 5], cameras[k, 9])
    forward = wp.vec3(cameras[k, 2], cameras[k, 6], cameras[k, 10])
    down = (down - right * (cameras[k, 17] / cameras[k, 16])) / (
        cameras[k, 20] * size
    )  # one pixel, at camera z 1
    right = right / (cameras[k, 16] * size)
    seed = (row * 4096 + column) * 64

    colour = wp.vec3(0.0, 0.0, 0.0)
    hits = wp.float32(0.0)
    lit = wp.float32(-1.0)
    for i in range(samples):
        seen = nearest[row, column, i]
        if seen == NOTHING:
            colour = colour + lamps.background
            lit = wp.float32(-1.0)
        else:
            face = wp.int32(seen & wp.int64(0x7FFFFFFF))
            z = wp.cast(wp.int32(seen >> wp.int64(32)), wp.float32)
            x = wp.float32(column) + offsets[i][0] - cameras[k, 18] * size
            y = wp.float32(row) + offsets[i][1] - cameras[k, 21] * size
            ray = forward + right * x + down * y
            point, direction = origin + ray * z, wp.normalize(ray)
            a, b, c = (
                s.points[s.faces[3 * face]],
                s.points[s.faces[3 * face + 1]],
                s.points[s.faces[3 * face + 2]],
            )
            flat = wp.cross(b - a, c - a)
            whole = wp.max(wp.dot(flat, flat), 1.0e-20)
            u = wp.clamp(wp.dot(wp.cross(c - b, point - b), flat) / whole, 0.0, 1.0)
            v = wp.clamp(wp.dot(wp.cross(a - c, point - c), flat) / whole, 0.0, 1.0 - u)
            shaded = _shade(mesh, s, lamps, face, u, v, flat, point, direction, seed, i, lit)
            colour = colour + wp.vec3(
                wp.min(shaded[0], 1.0), wp.min(shaded[1], 1.0), wp.min(shaded[2], 1.0)
            )
            lit = shaded[3]
            hits = hits + 1.0
            if i == 0:  # the first sample is the pixel's centre: ground truth is taken there alone
                depth[k, row, column] = z
                classes[k, row, column] = wp.uint8(s.parameters[s.material[face], 1])
                n = _normal_at(s, face, u, v, flat, direction)
                for channel in range(3):
                    normal[k, row, column, channel] = wp.uint8(127.5 * (n[channel] + 1.0) + 0.5)
    for channel in range(3):
        image[k, row, column, channel] = wp.uint8(
            255.0 * _srgb(colour[channel] / wp.float32(samples)) + 0.5
        )
    mask[k, row, column] = wp.uint8(255.0 * hits / wp.float32(samples) + 0.5)


@wp.kernel(enable_backward=False)
def occlude_kernel(
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
