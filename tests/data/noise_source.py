"""A source of small subjects for tests: deterministic noise seen by true orbit cameras."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import torch

from semhead_lib.cameras import orbit_cameras
from semhead_lib.data.subjects import Subject


class NoiseSource:
    """Subject i is noise drawn from (seed, i).

    `fail_at` raises there, `die_at` kills its process there, `hang` says so in that file and then
    takes an hour.
    """

    name = "noise"
    licence = "CC0-1.0"

    def __init__(
        self,
        seed=0,
        views=3,
        resolution=16,
        geometry=True,
        varied=False,
        delay=0.0,
        fail_at=-1,
        die_at=-1,
        hang=None,
    ):
        self.seed, self.views, self.resolution, self.geometry, self.varied = (
            seed,
            views,
            resolution,
            geometry,
            varied,
        )
        self.delay, self.fail_at, self.die_at, self.hang = delay, fail_at, die_at, hang

    def describe(self):
        return {
            "seed": self.seed,
            "views": self.views,
            "resolution": self.resolution,
            "range": (0, 1),
        }

    def subject(self, index):
        if index == self.fail_at:
            raise ArithmeticError("the noise ran out")
        if index == self.die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.hang:
            Path(self.hang).touch()
            time.sleep(3600)
        time.sleep(self.delay)
        return noise_subject(
            index,
            self.seed,
            self.views + (index % 2 if self.varied else 0),
            self.resolution,
            self.geometry,
        )


def noise_subject(index=0, seed=0, views=3, resolution=16, geometry=True, semantic=None):
    generator = np.random.default_rng((seed, index))

    def pixels(*shape):
        return torch.from_numpy(generator.integers(0, 256, shape, dtype=np.uint8))

    azimuths = torch.arange(views) * 360.0 / views - 180.0
    depth = torch.from_numpy(
        generator.uniform(1.7, 3.7, (views, resolution, resolution)).astype(np.float32)
    )
    extra = {}
    if geometry:
        extra = {
            "masks": pixels(views, resolution, resolution),
            "depth": depth * (torch.from_numpy(generator.random(depth.shape)) > 0.3),
            "normals": pixels(views, 3, resolution, resolution),
            "segmentation": pixels(views, resolution, resolution),
        }
    return Subject(
        id=f"noise-{seed}-{index:05d}",
        views=pixels(views, 3, resolution, resolution),
        cameras=orbit_cameras(azimuths, torch.full((views,), 5.0 * (index % 4))),
        frontal=pixels(3, resolution, resolution),
        semantic=semantic,
        semantic_encoder=None if semantic is None else "test-encoder",
        attributes={"index": index, "even": index % 2 == 0, "name": "Zoë"},
        caption=f"noise number {index}",
        provenance={"source": "noise", "seed": seed},
        licence="CC0-1.0",
        **extra,
    )


def same_subject(one, other, but=("depth",)):
    """Whether two subjects are equal in every field not in `but`."""
    for name in one.__dataclass_fields__:
        mine, its = getattr(one, name), getattr(other, name)
        equal = (
            torch.equal(mine, its)
            if isinstance(mine, torch.Tensor) and its is not None
            else mine is its or mine == its
        )
        if not equal and name not in but:
            return False
    return True


def files_of(folder):
    """Name -> bytes of every file in a folder, hidden ones included."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def flipped(path):
    """Flip a bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
