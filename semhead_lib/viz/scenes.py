"""3-D scenes of heads with k3d: meshes in colour, cameras around them, and snapshots that stay in a
saved notebook."""

from __future__ import annotations

import html
from collections.abc import Sequence

import k3d
import numpy as np
from IPython.display import HTML
from torch import Tensor

from semhead_lib.cameras import FOCAL
from semhead_lib.models.mesh import Mesh
from semhead_lib.ops import Box

_LIGHTING = 0.6  # of k3d's 1.5

# k3d's own up is z: the world's (x, y, z) is shown as (x, -z, y), so that heads stand upright and
# face the reader.
_TURN = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]], np.float32)


def _shown(points: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.asarray(points, np.float32) @ _TURN.T)


def add_mesh(
    plot: k3d.plot.Plot,
    vertices: np.ndarray,  # [N, 3] world
    faces: np.ndarray,  # [F, 3]
    colours: np.ndarray | None = None,  # [N, 3] linear albedo, 0..1
    name: str = "head",
) -> None:
    """Add a surface, coloured by vertex when colours are given."""
    options = {"color": 0xC8A08C}
    if colours is not None:
        options = {"colors": _packed((np.clip(colours, 0, 1) ** (1 / 2.2) * 255).astype(np.uint8))}
    plot += k3d.mesh(
        _shown(vertices), np.asarray(faces, np.uint32), side="double", name=name, **options
    )


def surface(mesh: Mesh) -> k3d.objects.Mesh:
    """A head's surface in its colours."""
    options = {"colors": _packed(mesh.colours), "side": "double", "name": "head"}
    return k3d.mesh(_shown(mesh.vertices), np.asarray(mesh.faces, np.uint32), **options)


def points(mesh: Mesh, size: float = 0.006) -> k3d.objects.Points:
    """The surface's vertices as dots, `size` scene units wide."""
    options = {
        "colors": _packed(mesh.colours),
        "point_size": size,
        "shader": "flat",
        "name": "head",
    }
    return k3d.points(_shown(mesh.vertices), **options)


def volume(density: np.ndarray, box: Box) -> k3d.objects.Volume:  # [N, N, N] indexed z, y, x
    """A density over a box as a cloud."""
    (left, right), (bottom, top), (back, front) = (
        (center - half, center + half) for center, half in zip(box.center, box.half, strict=True)
    )
    turned = density.transpose(1, 0, 2)[:, ::-1]  # to (y, -z, x): k3d's z, y, x
    return k3d.volume(
        np.ascontiguousarray(turned, np.float32),
        color_range=[0.0, 4.0],
        color_map=k3d.basic_color_maps.Binary,
        bounds=[left, right, -front, -back, bottom, top],
        alpha_coef=30.0,
        name="density",
    )


def show_only(plot: k3d.plot.Plot, *things: k3d.objects.Drawable) -> None:
    """Take everything out of a scene but `things`."""
    before = list(plot.objects)
    for thing in things:
        plot += thing
    for thing in before:
        plot -= thing


def _packed(rgb: np.ndarray) -> np.ndarray:  # [N, 3] uint8 -> [N] uint32
    rgb = rgb.astype(np.uint32)
    return rgb[:, 0] << 16 | rgb[:, 1] << 8 | rgb[:, 2]


def add_cameras(
    plot: k3d.plot.Plot, cameras: Tensor, size: float = 0.18, name: str = "cameras"
) -> None:  # [V, 25]
    """Add each camera as the pyramid of what it sees, `size` scene units long."""
    corners, lines = [], []
    for k, label in enumerate(cameras.numpy().astype(np.float64)):
        pose, intrinsics = label[:16].reshape(4, 4), label[16:].reshape(3, 3)
        image = np.array([[0, 0, 1], [1, 0, 1], [1, 1, 1], [0, 1, 1]]) @ np.linalg.inv(intrinsics).T
        corners.append(
            np.concatenate([pose[None, :3, 3], pose[:3, 3] + size * image @ pose[:3, :3].T])
        )
        base = 5 * k
        lines += [(base, base + i) for i in (1, 2, 3, 4)] + [
            (base + i, base + i % 4 + 1) for i in (1, 2, 3, 4)
        ]
    plot += k3d.lines(
        _shown(np.concatenate(corners)),
        np.array(lines, np.uint32),
        indices_type="segment",
        color=0x0072B2,
        width=0.008,
        shader="simple",
        name=name,
    )


def new_plot(height: int = 480) -> k3d.plot.Plot:
    """An empty scene without axes, on white."""
    return k3d.plot(
        height=height,
        grid_visible=False,
        menu_visibility=True,
        camera_auto_fit=False,
        camera_fov=40,
        background_color=0xFFFFFF,
    )


def as_the_generator(plot: k3d.plot.Plot) -> None:
    """See a scene as the generator's cameras do, in a light that leaves the colours of heads their
    own shades."""
    plot.camera_fov = float(np.degrees(2 * np.arctan(0.5 / FOCAL)))
    plot.lighting = _LIGHTING


def look(plot: k3d.plot.Plot, azimuth: float, elevation: float, radius: float) -> None:
    """Place the viewer at azimuth and elevation (degrees) and `radius` (scene units), looking at
    the origin."""
    a, e = np.radians([azimuth, elevation])
    eye = _shown(radius * np.array([[np.sin(a) * np.cos(e), np.sin(e), np.cos(a) * np.cos(e)]]))[0]
    plot.camera = [*map(float, eye), 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]


def angles(eye: Sequence[float]) -> tuple[float, float]:  # [3] in k3d's axes
    """Azimuth and elevation, degrees, of a viewer who looks at the origin: what `look` was
    conditioned on.

    >>> [round(a, 3) for a in angles(_shown(np.array([[1.0, 0.0, 1.0]]))[0])]
    [45.0, 0.0]
    """
    x, y, z = np.asarray(eye, float) @ _TURN
    return float(np.degrees(np.arctan2(x, z))), float(np.degrees(np.arctan2(y, np.hypot(x, z))))


def embed(plot: k3d.plot.Plot, alt: str, height: int = 480) -> HTML:
    """The scene as a self-contained frame: it stays alive in executed notebooks and HTML pages,
    without a kernel.

    `alt` says in words what the scene shows.
    """
    page = html.escape(plot.get_snapshot(), quote=True)
    frame = (
        f'<iframe title="{html.escape(alt)}" srcdoc="{page}" '
        f'style="width:100%;height:{height}px;border:0"></iframe>'
    )
    return HTML(f"<div>{frame}</div>")
