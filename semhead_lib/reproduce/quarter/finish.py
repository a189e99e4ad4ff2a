"""Step `finish`: what of a training goes home, its compact state first, then its log and its heads."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from semhead_lib.conditioning.bank import ConditionBank
from semhead_lib.data.files import write_atomically
from semhead_lib.models.generator import WEIGHTS, Generator
from semhead_lib.reproduce.quarter.job import Job, use_the_reference
from semhead_lib.training import grids
from semhead_lib.training.compact import compact_state
from semhead_lib.training.logs import LOG
from semhead_lib.training.run_folder import MODEL, SNAPSHOTS
from semhead_lib.training.snapshots import snapshots

_FILES, _PART = 8, 16.0  # of the state: files, megabytes of each
_HEADS, _PIXELS = 8, 128  # of heads.png: rows, pixels of a head at most


def main(words: list[str]) -> str | None:
    """Why it failed; None when all is there."""
    job = Job.read(words)
    run, out = Path(job.work) / "run", Path(job.out)
    if job.reference:
        use_the_reference()
    if not snapshots(run / SNAPSHOTS):
        return "nothing was trained: there is no snapshot"
    files = min(_FILES, job.files - 1 if job.files else _FILES)
    try:
        state = compact_state(run, out / "state", files=files, part=_PART, total=job.state_mb)
        print(f"state of step {state.step}: {state.parts + 1} files, {state.bytes / 1e6:.1f} MB; lost: {state.lost}")
        job.answer(state_step=state.step, state_bytes=state.bytes, state_lost=state.lost)
        failed = None
    except (ValueError, OSError) as error:  # too large, damaged, or no room: log and heads go home all the same
        failed = str(error)
    if (run / LOG).is_file():
        write_atomically(out / LOG, (run / LOG).read_bytes())
    if (run / MODEL / WEIGHTS).is_file():
        for device in dict.fromkeys((job.device, "cpu")):
            try:
                draw(run / MODEL, out / "heads.png", device)
                break
            except RuntimeError as error:  # of the card: the processor draws, too
                print(f"on {device}: {(str(error).splitlines() or [''])[0]}")
    return failed


@torch.no_grad()
def draw(model: Path, path: Path, device: str) -> None:
    """Eight heads of a generator, each from eight azimuths, as one PNG."""
    generator, bank = Generator.load(model, device), ConditionBank.load(model)
    semantics = None
    if bank.mode.uses_semantics:
        semantics = bank.features[torch.arange(_HEADS) % len(bank.features)]
    z = grids.latents(_HEADS, generator.config.z_dim, 0)
    images = grids.heads_around(generator, z, bank.told(semantics, _HEADS))  # [8, 8, 3, S, S] uint8
    if images.shape[-1] > _PIXELS:
        small = torch.nn.functional.adaptive_avg_pool2d(images.flatten(0, 1).float(), _PIXELS)
        images = small.round().to(torch.uint8).unflatten(0, images.shape[:2])
    grids.save_grid(path, images)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
