"""Step `finish`: what of a training goes home: its log, its heads in a part of the time, and its
compact state."""

from __future__ import annotations

import contextlib
import sys
import time
from pathlib import Path

import torch

from semhead_lib.atomic import write_atomically
from semhead_lib.conditioning.bank import ConditionBank
from semhead_lib.models import sampling
from semhead_lib.models.generator import WEIGHTS, Generator
from semhead_lib.reproduce.quarter.job import Job, use_the_reference
from semhead_lib.training.compact import compact_state
from semhead_lib.training.logs import LOG
from semhead_lib.training.reconstruction.reconstructor import ATTRIBUTE_ENCODER, ENCODER
from semhead_lib.training.reconstruction.trainer import STATE
from semhead_lib.training.run_folder import MODEL, SNAPSHOTS
from semhead_lib.training.snapshots import snapshots

_FILES, _PART = 8, 16.0  # of the state: files, megabytes of each
_BESIDE = (  # a generator, the most needed first
    "conditions.safetensors",
    ENCODER,
    ATTRIBUTE_ENCODER,
    "discriminator.json",
    "discriminator.safetensors",
)
_HEADS, _PIXELS = 8, 128  # of heads.png: rows, pixels of a head at most
_DRAWING = 0.3  # of the time: rows that are not drawn by then are left out


def main(words: list[str]) -> str | None:
    """Why it failed; None when all is there."""
    job = Job.read(words)
    run, out = Path(job.work) / "run", Path(job.out)
    if job.reference:
        use_the_reference()
    reconstructs = job.training == "reconstruct"
    if not (run / STATE).is_file() if reconstructs else not snapshots(run / SNAPSHOTS):
        return "nothing was trained: there is no snapshot"
    with contextlib.suppress(OSError):  # a disk that is full: the state may fit
        write_atomically(out / LOG, (run / LOG).read_bytes())
    if (run / MODEL / WEIGHTS).is_file():
        for device in dict.fromkeys((job.device, "cpu")):
            try:
                draw(run / MODEL, out / "heads.png", device, time.time() + _DRAWING * job.left)
                break
            # of the card: the processor draws, too; the state comes home whatever it is
            except Exception as error:
                print(f"on {device}: {(str(error).splitlines() or [''])[0]}")
    files = min(_FILES, job.files - 1 if job.files else _FILES)
    if reconstructs:
        bring(run / MODEL, out / "state", files)
        return None
    try:
        state = compact_state(run, out / "state", files=files, part=_PART, total=job.state_mb)
        print(
            f"state of step {state.step}: {state.parts + 1} files, {state.bytes / 1e6:.1f} MB; "
            f"lost: {state.lost}"
        )
        job.answer(state_step=state.step, state_bytes=state.bytes, state_lost=state.lost)
        failed = None
    except (
        ValueError,
        OSError,
    ) as error:  # too large, damaged, or no room: log and heads go home all the same
        failed = str(error)
    return failed


def bring(model: Path, out: Path, files: int) -> None:
    """Write the averaged generator into `out` in half precision, with what encodes subjects, its
    conditions and its discriminator: the first of them that `files` have room for."""
    generator = Generator.load(model)
    generator.save(out, half=True)
    for name in _BESIDE:
        if (model / name).is_file() and len(list(out.iterdir())) < files:
            write_atomically(out / name, (model / name).read_bytes())


@torch.no_grad()
def draw(model: Path, path: Path, device: str, until: float) -> int:
    """Eight heads of a generator, each from eight azimuths, as one PNG; the number of those that
    were begun before the time `until`, at least one."""
    generator, bank = Generator.load(model, device), ConditionBank.load(model)
    semantics = None
    if bank.mode.uses_semantics:
        semantics = bank.features[torch.arange(_HEADS) % len(bank.features)]
    z, condition, rows = (
        sampling.latents(_HEADS, generator.config.z_dim, 0),
        bank.mapping_condition(semantics, _HEADS),
        [],
    )
    while len(rows) < _HEADS and (not rows or time.time() < until):
        one = slice(len(rows), len(rows) + 1)
        images = sampling.heads_around(
            generator, z[one], None if condition is None else condition[one]
        )  # [1, 8, 3, S, S] uint8
        if images.shape[-1] > _PIXELS:
            small = torch.nn.functional.adaptive_avg_pool2d(images.flatten(0, 1).float(), _PIXELS)
            images = small.round().to(torch.uint8).unflatten(0, images.shape[:2])
        rows.append(images)
    sampling.save_grid(path, torch.cat(rows))
    return len(rows)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
