"""Meshes of heads: marching cubes through the density, coloured from the field."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from semhead_lib.models.generator import Generator
from semhead_lib.ops import Box

if TYPE_CHECKING:
    import trimesh

_CHUNK = 1 << 17  # points at a time
METRES_PER_UNIT = 0.6  # of a grown-up; heads of all sizes are 0.4 scene units from chin to crown
SCALE = (
    f"scene units: chin to crown is about 0.4, one unit about {METRES_PER_UNIT} m; y up, the "
    "face towards +z"
)
LEVEL = 10.0  # density of the surface, per scene unit: a tenth of a unit behind it is dark


@dataclass(frozen=True)
class Mesh:
    """A triangle mesh, wound so that normals point outwards."""

    vertices: np.ndarray  # [V, 3] float32 world
    faces: np.ndarray  # [F, 3] int32
    colours: np.ndarray  # [V, 3] uint8

    def as_trimesh(self) -> trimesh.Trimesh:
        """The same for `trimesh`, whose `export` writes GLB, PLY, OBJ and more; its metadata name
        the unit.

        Raises ModuleNotFoundError without the extra `data`.
        """
        import trimesh

        opaque = np.concatenate(
            [self.colours, np.full((len(self.colours), 1), 255, np.uint8)], axis=1
        )
        metadata = {"scale": SCALE, "metres_per_unit": METRES_PER_UNIT}
        return trimesh.Trimesh(
            self.vertices, self.faces, vertex_colors=opaque, process=False, metadata=metadata
        )

    def as_glb(self) -> bytes:
        """The same as a binary glTF 2.0 file: colours are linear, as COLOR_0 has to be (section
        3.7.2.1), and the material is rough and no metal, so that viewers show the colours.

        Raises ModuleNotFoundError without the extra `data`.
        """
        import trimesh
        from trimesh.exchange.gltf import export_glb

        share = self.colours.astype(np.float64) / 255
        linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
        attributes: dict[str, Any] = {"color": linear.astype(np.float32)}
        metadata = {"scale": SCALE, "metres_per_unit": METRES_PER_UNIT}
        head = trimesh.Trimesh(
            self.vertices,
            self.faces,
            process=False,
            metadata=metadata,
            vertex_attributes=attributes,
        )
        return export_glb(trimesh.Scene(head), tree_postprocessor=_with_material)


def _with_material(tree: dict[str, Any]) -> None:
    """Name a glTF's own attribute of colours COLOR_0, and give its mesh a material."""
    rough = {"baseColorFactor": [1, 1, 1, 1], "metallicFactor": 0, "roughnessFactor": 1}
    tree["materials"] = [{"name": "head", "pbrMetallicRoughness": rough}]
    (primitive,) = tree["meshes"][0]["primitives"]
    primitive["attributes"]["COLOR_0"] = primitive["attributes"].pop("_color")
    primitive["material"] = 0


def surface(
    density: Callable[[Tensor], Tensor],  # [N, 3] world -> [N]
    resolution: int,  # grid points along each side
    box: Box,  # scene units
    level: float,
) -> tuple[np.ndarray, np.ndarray]:  # vertices [V, 3] float32 world, faces [F, 3] int32
    """The surface where density is `level`, on a grid of points whose corners are those of the box.

    Marching cubes places vertices on edges of the grid, by linear interpolation; each is then moved
    along its edge to where the density is `level` (`_roots`). The surface is closed: where the
    density reaches the box's sides, they close it.

    Raises ValueError if the density is nowhere, or everywhere, above the level.
    """
    from skimage.measure import marching_cubes

    if resolution < 2:
        raise ValueError(f"resolution must be at least 2, got {resolution}")
    index = torch.arange(resolution**3)
    grid = torch.stack(
        [index // resolution**2, index // resolution % resolution, index % resolution], dim=-1
    )
    step = 2 * torch.tensor(box.half) / (resolution - 1)
    first = torch.tensor(box.center) - torch.tensor(box.half)
    volume = torch.cat([density(part * step + first).cpu() for part in grid.float().split(_CHUNK)])
    volume = volume.view(resolution, resolution, resolution).numpy()
    low, high = float(volume.min()), float(volume.max())
    if not low < level < high:
        raise ValueError(
            f"no surface: density lies in {low:.3g}...{high:.3g}, the level is {level:g}"
        )
    # densities fall outwards: "ascent" winds triangles for that
    padded = np.pad(volume, 1, constant_values=min(low, 0.0, 2 * level - high))
    vertices, faces, _, _ = marching_cubes(padded, level, gradient_direction="ascent")
    vertices = (vertices - 1).clip(0, resolution - 1)

    def above(nodes: np.ndarray) -> np.ndarray:  # [N, 3] in steps of the grid -> [N]
        points = torch.from_numpy(nodes.astype(np.float32)) * step + first
        return torch.cat([density(part).cpu() for part in points.split(_CHUNK)]).numpy() - level

    start, end = np.floor(vertices), np.ceil(vertices)
    on_edge = (start != end).sum(1) == 1  # others are nodes, or inside of a cube
    f, g = (volume[tuple(nodes[on_edge].astype(int).T)] - level for nodes in (start, end))
    vertices[on_edge] = _roots(above, start[on_edge], end[on_edge], f, g)
    return (vertices * step.numpy() + first.numpy()).astype(np.float32), faces.astype(np.int32)


def _roots(
    above: Callable[[np.ndarray], np.ndarray],  # [N, 3] -> [N]
    start: np.ndarray,  # [N, 3] of edges, at whose ends the values differ in sign
    end: np.ndarray,  # [N, 3]
    at_start: np.ndarray,  # [N] values at the ends
    at_end: np.ndarray,  # [N]
    steps: int = 5,
) -> np.ndarray:  # [N, 3]
    """Where a function is zero on edges, by the Illinois method (Dowell and Jarratt, 1971).

    >>> to_half = lambda points: points[:, 0] ** 3 - 0.125
    >>> ends = np.zeros((1, 3)), np.eye(3)[:1]
    >>> float(_roots(to_half, *ends, *map(to_half, ends), steps=6)[0, 0])
    0.500...
    """
    a, b = np.zeros(len(start)), np.ones(len(start))
    fa, fb = at_start.astype(np.float64), at_end.astype(np.float64)

    def crossing() -> np.ndarray:  # [N] of the lines through (a, fa) and (b, fb)
        return (a * fb - b * fa) / np.where(fb == fa, 1.0, fb - fa)

    for _ in range(steps):
        t = crossing()
        f = above(start + t[:, None] * (end - start)).astype(np.float64)
        between = np.sign(f) != np.sign(fb)  # the root lies between t and b
        a, fa = np.where(between, b, a), np.where(between, fb, fa / 2)
        b, fb = t, f
    return start + crossing()[:, None] * (end - start)


@torch.no_grad()
def mesh(
    generator: Generator,
    w: Tensor,  # [W] one head, or its w+: [sum(num_ws), W]
    resolution: int = 128,
    level: float = LEVEL,
) -> Mesh:
    """The head with style w as a mesh, with the field's colours at its surface. See
    `surface`.

    The density is softplus(raw - 1), which is 0 wherever the raw density is well below 1: linear
    interpolation between grid points would put the surface too far out, by an amount that depends
    on where the grid points lie, and leave terraces. So the surface is found in the raw density,
    which is about linear there.
    """
    features = generator.feature_map(w[None])
    if level <= 0:
        raise ValueError(f"level must be above 0, got {level:g}")
    raw_level = 1 + level + math.log(-math.expm1(-level))  # softplus(raw_level - 1) = level

    def field(points: Tensor) -> Tensor:
        return generator.renderer.field(features, points[None].to(features))[0][0] - raw_level

    try:
        vertices, faces = surface(field, resolution, generator.renderer.settings.box, 0.0)
    except ValueError:
        if resolution < 2:
            raise
        where = f"nowhere, or everywhere, above the level {level:g}"
        raise ValueError(f"no surface: the density is {where}") from None
    return Mesh(vertices, faces, colours_at(generator, w, vertices, features))


@torch.no_grad()
def colours_at(
    generator: Generator,
    w: Tensor,  # [W] one head, or its w+: [sum(num_ws), W]
    points: np.ndarray,  # [N, 3] float32 world
    features: Tensor | None = None,  # the backbone's of w, when they are known already
) -> np.ndarray:  # [N, 3] uint8
    """The field's colours at points."""
    features = generator.feature_map(w[None]) if features is None else features
    parts = [
        generator.renderer.field(features, part[None].to(features))[1][0, :, :3].cpu()
        for part in torch.from_numpy(points).split(_CHUNK)
    ]
    return (torch.cat(parts).clamp(0, 1) * 255).round().to(torch.uint8).numpy()
