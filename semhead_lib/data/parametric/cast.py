"""Casting a head: images with exact ground truth from any cameras, on CPU or CUDA."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from semhead_lib.data.parametric.kernels import Lamps, Surface, occlude_kernel, shade_kernel
from semhead_lib.data.parametric.materials import BACKGROUND
from semhead_lib.data.parametric.quiet_warp import wp
from semhead_lib.data.parametric.scene import Light, Scene
from semhead_lib.data.parametric.visibility import (
    NOTHING,
    cover_kernel,
    project_kernel,
    sample_offsets,
)


@dataclass(frozen=True)
class Views:
    """What `cast` returns for V cameras at R x R pixels."""

    images: Tensor  # [V, 3, R, R] uint8 RGB
    masks: Tensor  # [V, R, R] uint8, share of the pixel's samples that hit, 0..255
    # [V, R, R] float32 camera z at the pixel's centre, scene units, 0 where nothing is hit
    depth: Tensor
    # [V, 3, R, R] uint8 world normal at the pixel's centre, 127.5 * (n + 1), 0 where nothing is hit
    normals: Tensor
    # [V, R, R] uint8 class at the pixel's centre (materials.CLASSES), 0 where nothing is hit
    segmentation: Tensor


class Caster:
    """A scene on a device, ready to be seen from any number of cameras."""

    def __init__(self, scene: Scene, device: str = "cpu") -> None:
        self.device = device
        m = scene.mesh
        points = self._array(m.vertices, wp.vec3)
        faces = self._array(m.faces.reshape(-1), wp.int32)
        self.mesh = wp.Mesh(points=points, indices=faces, bvh_leaf_size=4)
        surface = Surface()
        surface.points, surface.faces = points, faces
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
            at, facing = (
                self._array(m.vertices[rows], wp.vec3),
                self._array(m.normals[rows], wp.vec3),
            )
            rays, reach = scene.occluded.rays, scene.occluded.reach
            self._launch(
                occlude_kernel, len(rows), [self.mesh.id, at, facing, rays, reach], [found]
            )
            values = m.occlusion.copy()
            values[scene.occluded.targets] *= scene.occluded.spread @ found.numpy()
            occlusion = self._array(values, wp.float32)
        surface.occlusion = occlusion
        self.surface = surface

    def _array(self, values: np.ndarray, dtype: type) -> wp.array:
        return wp.array(np.ascontiguousarray(values), dtype=dtype, device=self.device)

    def _launch(
        self, kernel: wp.Kernel, dim: int | tuple[int, ...], inputs: list, outputs: list
    ) -> None:
        wp.launch(kernel, dim=dim, inputs=inputs, outputs=outputs, device=self.device)

    def cast(self, cameras: Tensor, resolution: int, light: Light, samples: int = 4) -> Views:
        """Images and ground truth of the scene from `cameras` [V, 25] at `resolution` pixels a
        side.

        Each pixel takes `samples` samples; raises ValueError for less than one of them or of
        pixels.
        """
        if samples < 1 or resolution < 1:
            raise ValueError(
                f"samples and resolution must be at least 1, got {samples} and {resolution}"
            )
        lamps = Lamps()
        for name in (
            "key_direction",
            "key",
            "fill_direction",
            "fill",
            "sky",
            "ground",
            "background",
        ):
            setattr(lamps, name, wp.vec3(*map(float, getattr(light, name))))
        lamps.key_spread = float(light.key_spread)
        v, r = len(cameras), resolution
        image = wp.empty((v, r, r, 3), dtype=wp.uint8, device=self.device)
        mask = wp.empty((v, r, r), dtype=wp.uint8, device=self.device)
        depth = wp.zeros((v, r, r), dtype=wp.float32, device=self.device)
        normal = wp.zeros((v, r, r, 3), dtype=wp.uint8, device=self.device)
        classes = wp.full((v, r, r), BACKGROUND, dtype=wp.uint8, device=self.device)
        labels = self._array(cameras.numpy().astype(np.float32), wp.float32)
        offsets = self._array(sample_offsets(samples), wp.vec2)
        nearest = wp.empty((r, r, samples), dtype=wp.int64, device=self.device)
        points, faces = self.surface.points, self.surface.faces
        screen = wp.empty(len(points), dtype=wp.vec3, device=self.device)
        for k in range(v):
            nearest.fill_(int(NOTHING))
            self._launch(project_kernel, len(points), [points, labels, k, float(r)], [screen])
            self._launch(cover_kernel, len(faces) // 3, [faces, screen, offsets], [nearest])
            self._launch(
                shade_kernel,
                (r, r),
                [self.mesh.id, self.surface, lamps, labels, k, offsets, nearest],
                [image, mask, depth, normal, classes],
            )
        images, masks, depths, normals, found = (
            torch.from_numpy(x.numpy().copy()) for x in (image, mask, depth, normal, classes)
        )
        return Views(
            images.permute(0, 3, 1, 2).contiguous(),
            masks,
            depths,
            normals.permute(0, 3, 1, 2).contiguous(),
            found,
        )
