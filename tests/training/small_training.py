"""Trainings that last seconds: a dataset of noise, and settings for the smallest preset."""

import functools
import importlib.util
import io
import sys
import tarfile
from pathlib import Path
from types import SimpleNamespace

from torch.nn.functional import normalize

sys.path.insert(0, str(Path(__file__).parents[1] / "data"))
from noise_source import NoiseSource

from semhead_lib.data.dataset.semantics import fill_semantics
from semhead_lib.data.jobs.synthesis import synthesize
from semhead_lib.training.settings import TrainSettings

ENCODER = "test-encoder [weights 0; input 32 px]"
SMALL = dict(
    preset="semhead-32",
    subjects_per_batch=2,
    views_per_subject=2,
    views_per_head=2,
    r1_interval=2,
    density_interval=2,
    log_every=1,
    blur_kimg=0.05,
    tick_kimg=1.0,
    snapshot_kimg=0.008,
    keep=2,
    kimg=0.024,
)


def small(**changes) -> TrainSettings:
    """Six steps of four images, unless changed."""
    return TrainSettings(**(SMALL | changes))


class PlainWriter:
    """What webdataset's TarWriter is asked for here, for a machine that is lent without it."""

    def __init__(self, file, user, group, mode, mtime, encoder):
        assert not encoder
        self.tar = tarfile.open(fileobj=file, mode="w|", format=tarfile.USTAR_FORMAT)  # noqa: SIM115
        self.of_all = dict(uname=user, gname=group, mode=mode, mtime=mtime)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.tar.close()

    def write(self, sample):
        for name, content in sorted(sample.items()):
            if not name.startswith("__"):
                entry = tarfile.TarInfo(f"{sample['__key__']}.{name}")
                entry.size = len(content)
                for key, value in self.of_all.items():
                    setattr(entry, key, value)
                self.tar.addfile(entry, io.BytesIO(content))


def make_noise(folder, semantic=True, geometry=True, resolution=32, subjects=8, views=4, seed=0):
    """Subjects with views from all around, masks where there is geometry, features of 16 numbers."""
    if importlib.util.find_spec("webdataset") is None:
        sys.modules["webdataset.writer"] = SimpleNamespace(TarWriter=PlainWriter)
        sys.modules["webdataset"] = SimpleNamespace(writer=sys.modules["webdataset.writer"])
    source = functools.partial(
        NoiseSource, seed=seed, views=views, resolution=resolution, geometry=geometry
    )
    synthesize(source, folder, subjects, shard_size=4, workers=0, progress=False)
    if semantic:
        fill_semantics(folder, _features, ENCODER, progress=False)
    return folder


def _features(images):  # [N, 3, H, W] uint8 -> [N, 16], unit length
    return normalize(images.float().flatten(1)[:, :16] - 127.5, dim=1)


class Static:
    """A result that stays in one place."""

    names, values = (), None


class Rerun:
    """Captures by remembering the function, and replays by running it: of the same memory, into the
    same memory."""

    def __init__(self, fails=False):
        self.fails, self.ran = fails, []

    def eagerly(self, function):
        self.ran.append("eager")
        return function()

    def capture(self, function):
        self.ran.append("capture")
        if self.fails:
            raise RuntimeError(
                "CUDA error: operation not permitted when stream is capturing\nCUDA kernel errors "
                "..."
            )
        result = Static()

        def replay():
            self.ran.append("replay")
            found = function()
            result.names = found.names
            result.values = (
                found.values.clone() if result.values is None else result.values.copy_(found.values)
            )

        return replay, result

    def finish(self):
        self.ran.append("finish")
