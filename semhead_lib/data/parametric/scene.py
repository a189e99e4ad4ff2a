"""A head's geometry as one triangle mesh with what each vertex and triangle is shaded from, and its
light."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from semhead_lib.data.parametric.materials import material


@dataclass(frozen=True)
class Mesh:
    """Triangles in scene units, y up. Parts of a head are meshes of this kind, joined by `join`."""

    vertices: np.ndarray  # [N, 3] float32
    faces: np.ndarray  # [F, 3] int32, wound anticlockwise seen from outside
    normals: np.ndarray  # [N, 3] float32 unit
    colours: np.ndarray  # [N, 3] float32 linear albedo, 0..1
    material: np.ndarray  # [F] int32 index into materials.MATERIALS
    tangents: (
        np.ndarray
    )  # [N, 3] float32: hair, along the strand; eyes, direction from the eye's centre
    strands: np.ndarray  # [N, 2] float32 coordinates of the fine texture, across and along
    occlusion: np.ndarray  # [N] float32 share of the sky that is seen

    @classmethod
    def part(
        cls,
        vertices: np.ndarray,  # [N, 3]
        faces: np.ndarray,  # [F, 3]
        colours: np.ndarray,  # [N, 3] or [3]
        name: str,  # of the material
        normals: np.ndarray | None = None,  # [N, 3], worked out when not given
        tangents: np.ndarray | None = None,  # [N, 3], zero when not given
        strands: np.ndarray | None = None,  # [N, 2], zero when not given
        occlusion: np.ndarray | float = 1.0,  # [N] or one number
    ) -> Mesh:
        """A mesh of one material; what is not given takes its plain value."""
        n = len(vertices)
        vertices = np.asarray(vertices, np.float32)
        faces = np.asarray(faces, np.int32)

        def filled(value, width):
            return np.ascontiguousarray(np.broadcast_to(np.asarray(value, np.float32), (n, width)))

        return cls(
            vertices=vertices,
            faces=faces,
            normals=vertex_normals(vertices, faces) if normals is None else filled(normals, 3),
            colours=filled(colours, 3),
            material=np.full(len(faces), material(name), np.int32),
            tangents=filled(0.0 if tangents is None else tangents, 3),
            strands=filled(0.0 if strands is None else strands, 2),
            occlusion=filled(np.asarray(occlusion, np.float32).reshape(-1, 1), 1)[:, 0],
        )


def join(parts: list[Mesh]) -> Mesh:
    """All parts as one mesh, in their order."""
    starts = np.cumsum([0] + [len(p.vertices) for p in parts[:-1]])
    columns = {
        f.name: np.concatenate([getattr(p, f.name) for p in parts])
        for f in fields(Mesh)
        if f.name != "faces"
    }
    faces = np.concatenate([p.faces + start for p, start in zip(parts, starts, strict=True)])
    return Mesh(faces=faces.astype(np.int32), **columns)


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Unit normals at the vertices, triangles weighted by their area. [N, 3], [F, 3] -> [N, 3]
    float32."""
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    area = np.cross(b - a, c - a)
    total = np.stack(
        [
            np.bincount(faces.ravel(), np.repeat(area[:, i], 3), minlength=len(vertices))
            for i in range(3)
        ],
        axis=-1,
    )
    length = np.linalg.norm(total, axis=-1, keepdims=True)
    return (total / np.maximum(length, 1e-20)).astype(np.float32)


@dataclass(frozen=True)
class Occluded:
    """Which vertices ask the caster how much sky they see, and how the answers spread to finer
    vertices."""

    rows: np.ndarray  # [n] vertices that cast rays
    targets: slice  # vertices whose occlusion is multiplied by `spread @ answers`
    spread: object  # [len(targets), n] scipy sparse matrix
    rays: int = 8  # rays a vertex
    reach: float = 0.25  # scene units


@dataclass(frozen=True)
class Light:
    """Directions are unit vectors towards the light, colours linear RGB; so is the background's."""

    key_direction: np.ndarray  # [3]
    key: np.ndarray  # [3]
    fill_direction: np.ndarray  # [3]
    fill: np.ndarray  # [3]
    sky: np.ndarray  # [3] ambient from above
    ground: np.ndarray  # [3] ambient from below
    key_spread: float = 0.05  # half-width of the key light, radians: how soft shadows are
    background: tuple[float, float, float] = (0.64, 0.64, 0.64)  # a light grey, 0..1


@dataclass(frozen=True)
class Scene:
    """A head ready to be cast."""

    mesh: Mesh
    materials: np.ndarray  # [M, 6] from materials.parameters()
    iris: np.ndarray  # [3] linear albedo
    gaze: tuple[float, float]  # iris and pupil radius, radians
    occluded: Occluded | None = None
