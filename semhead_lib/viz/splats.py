"""Heads as Gaussian splats: a PLY file as 3-D Gaussian splatting writes it (Kerbl et al., 2023), which
viewers of splats open."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from semhead_lib.atomic import write_atomically
from semhead_lib.models.mesh import SCALE, Mesh

_CONSTANT = 0.28209479177387814  # the spherical harmonic of degree 0: colour = 0.5 + it * f_dc
_WIDE, _FLAT = 0.8, 0.2  # standard deviations along the surface and across it, in spacings
_OPACITY = 0.98
_NAMES = (
    *("x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", "opacity"),
    *("scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"),
)


def write_splats(path: Path | str, mesh: Mesh, count: int = 60_000, seed: int = 0) -> None:
    """`count` flat Gaussians spread evenly over a mesh, in its colours; y points up, as in the mesh.

    Raises ValueError for fewer than 1 or another suffix than .ply, ModuleNotFoundError without the
    extra `data`.
    """
    if Path(path).suffix.lower() != ".ply":
        raise ValueError(f"{path}: splats are written as .ply")
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    rows = splats(mesh, count, seed)
    properties = "".join(f"property float {name}\n" for name in _NAMES)
    header = (
        f"ply\nformat binary_little_endian 1.0\ncomment {SCALE}\n"
        f"element vertex {len(rows)}\n{properties}end_header\n"
    )
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    write_atomically(Path(path), header.encode() + rows.astype("<f4").tobytes())


def splats(mesh: Mesh, count: int, seed: int = 0) -> np.ndarray:  # [count, 17] float32
    """Their numbers in the file's order; scales are logarithms, the opacity is a logit, rotations
    are quaternions (w, x, y, z) that turn z to the surface's normal."""
    from trimesh.sample import sample_surface
    from trimesh.triangles import points_to_barycentric

    surface = mesh.as_trimesh()
    drawn: Any = sample_surface(surface, count, seed=seed)
    points, faces = drawn
    weights = points_to_barycentric(surface.triangles[faces], points)
    colours = np.einsum("nk,nkc->nc", weights, mesh.colours[mesh.faces[faces]] / 255.0)
    normals = surface.face_normals[faces]
    spacing = np.sqrt(surface.area / count)
    scales = np.log(np.array([_WIDE, _WIDE, _FLAT]) * spacing)
    # the rotation by half the angle between z and the normal, about their cross product
    turns = np.stack(
        [1 + normals[:, 2], -normals[:, 1], normals[:, 0], np.zeros(len(normals))], axis=1
    )
    turns[normals[:, 2] < -0.99999] = (0, 1, 0, 0)
    turns /= np.linalg.norm(turns, axis=1, keepdims=True)
    rows = [
        points,
        normals,
        (colours - 0.5) / _CONSTANT,
        np.full((count, 1), np.log(_OPACITY / (1 - _OPACITY))),
        np.broadcast_to(scales, (count, 3)),
        turns,
    ]
    return np.concatenate(rows, axis=1).astype(np.float32)
