"""Meshes of heads with a texture: an atlas unwrapped by xatlas, its texels coloured by the field.

It needs fewer triangles than vertex colours for the same quality, and every glTF viewer shows
textures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from semhead_lib.models.generator import Generator
from semhead_lib.models.mesh import METRES_PER_UNIT, SCALE, colours_at, mesh

LARGEST = 8192  # texels a side
_PADDING = 4  # texels between charts


@dataclass(frozen=True)
class TexturedMesh:
    """A triangle mesh whose colours are an image."""

    vertices: np.ndarray  # [V, 3] float32 world; those on seams are there several times
    faces: np.ndarray  # [F, 3] int32, wound so that normals point outwards
    places: np.ndarray  # [V, 2] float32 in [0, 1] of the texture: x right, y up
    texture: np.ndarray  # [S, S, 3] uint8, its first row at y = 1

    def as_glb(self) -> bytes:
        """The same as a binary glTF 2.0 file with its image inside; the material is rough and no
        metal.

        Raises ModuleNotFoundError without the extra `data`.
        """
        import trimesh
        from trimesh.exchange.gltf import export_glb
        from trimesh.visual import TextureVisuals
        from trimesh.visual.material import PBRMaterial

        material = PBRMaterial(
            name="head",
            baseColorTexture=Image.fromarray(self.texture),
            metallicFactor=0.0,
            roughnessFactor=1.0,
        )
        head = trimesh.Trimesh(
            self.vertices,
            self.faces,
            process=False,
            visual=TextureVisuals(uv=self.places, material=material),
            metadata={"scale": SCALE, "metres_per_unit": METRES_PER_UNIT},
        )
        exported: Any = export_glb(trimesh.Scene(head))
        return exported


@torch.no_grad()
def textured(
    generator: Generator,
    w: Tensor,  # [W] one head, or its w+: [sum(num_ws), W]
    resolution: int = 64,
    side: int = 1024,  # texels of the texture
) -> TexturedMesh:
    """The head with style w as a mesh of `resolution` grid points a side, and its texture: the
    field's colour where each texel lies on the surface; between charts the nearest one's.

    Raises ModuleNotFoundError without the extra `data`, ValueError for a size out of range or a
    head without a surface.
    """
    import xatlas

    if not 16 <= side <= LARGEST:
        raise ValueError(f"texture must have 16 to {LARGEST} texels a side, got {side}")
    found = mesh(generator, w, resolution)
    atlas, charts, packing = xatlas.Atlas(), xatlas.ChartOptions(), xatlas.PackOptions()
    charts.straightness_weight = charts.roundness_weight = 0.0  # a third of the time
    packing.resolution, packing.padding = side, _PADDING
    atlas.add_mesh(found.vertices, found.faces.astype(np.uint32))
    atlas.generate(charts, packing)
    origins, faces, places = atlas[0]
    vertices, faces = found.vertices[origins], faces.astype(np.int32)
    texels, points = surface_of_texels(vertices, faces, places, side)
    texture = np.zeros((side, side, 3), np.uint8)
    texture[texels[:, 0], texels[:, 1]] = colours_at(generator, w, points)
    return TexturedMesh(vertices, faces, places.astype(np.float32), _spread(texture, texels))


def surface_of_texels(
    vertices: np.ndarray,  # [V, 3]
    faces: np.ndarray,  # [F, 3]
    places: np.ndarray,  # [V, 2] in [0, 1], y up
    side: int,
) -> tuple[np.ndarray, np.ndarray]:  # [N, 2] row and column, [N, 3]
    """The texels that a triangle covers, and the points of the surface at their middles."""
    corners = places[faces] * (side, -side) + (0, side)  # [F, 3, 2] x right, y down, in texels
    drawn = Image.new("I", (side, side), 0)
    pen = ImageDraw.Draw(drawn)
    for number, corner in enumerate(corners - 0.5, start=1):
        pen.polygon([tuple(point) for point in corner.tolist()], fill=number)
    owner = np.asarray(drawn)
    texels = np.argwhere(owner > 0)
    own = owner[texels[:, 0], texels[:, 1]] - 1
    a, b, c = corners[own].transpose(1, 0, 2)
    middle = texels[:, ::-1] + 0.5
    area = _cross(b - a, c - a)
    area = np.where(np.abs(area) < 1e-9, 1e-9, area)
    shares = np.stack([_cross(b - middle, c - middle), _cross(c - middle, a - middle)], 1)
    shares = (shares / area[:, None]).clip(0, 1)
    shares = np.concatenate([shares, (1 - shares.sum(1, keepdims=True)).clip(0, 1)], axis=1)
    shares /= shares.sum(1, keepdims=True)
    points = np.einsum("nk,nkd->nd", shares, vertices[faces[own]])
    return texels, points.astype(np.float32)


def _cross(one: np.ndarray, other: np.ndarray) -> np.ndarray:  # [N, 2] twice -> [N]
    return one[:, 0] * other[:, 1] - one[:, 1] * other[:, 0]


def _spread(texture: np.ndarray, texels: np.ndarray) -> np.ndarray:
    """Colours of the nearest covered texel wherever there is none, so that no seam shows."""
    from scipy.ndimage import distance_transform_edt

    empty = np.ones(texture.shape[:2], bool)
    empty[texels[:, 0], texels[:, 1]] = False
    nearest: Any = distance_transform_edt(empty, return_distances=False, return_indices=True)
    return texture[tuple(nearest)]
