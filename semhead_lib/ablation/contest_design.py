"""One design of a contest: trained for its minutes, and judged."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from semhead_lib.ablation.designs import METRICS_FILE, Contest, Entry, load_contest
from semhead_lib.ablation.orphans import end_with, wait_for
from semhead_lib.atomic import folder_lock, write_atomically
from semhead_lib.devices import pick_device
from semhead_lib.files import read_json_lines

HEADS = "heads.png"


def execute(plan: Contest, entry: Entry, root: Path) -> None:
    """Train one design for its minutes and judge it."""
    import shutil

    from semhead_lib.data.dataset.memory import SubjectsInMemory
    from semhead_lib.models import sampling
    from semhead_lib.training.reconstruction.trainer import reconstruct
    from semhead_lib.training.trainer import train

    folder, seconds, begin = root / plan.folder / entry.name, plan.minutes * 60, None
    clock = time.process_time if pick_device("auto") == "cpu" else time.monotonic
    for part in ("begin", "run"):  # of a call that was interrupted: its time is not known
        shutil.rmtree(folder / part, ignore_errors=True)
    geometry = (
        ("depth", "segmentation") if entry.beginning or entry.settings.reconstruct_every else ()
    )
    subjects = SubjectsInMemory.load(plan.dataset("training", root), geometry=geometry)
    if entry.beginning:
        share = float(entry.reconstruct["share"])
        first: dict[str, Any] = dict(progress=False, stop_after=seconds * share, clock=clock)
        begin = reconstruct(entry.beginning, subjects, folder / "begin", **first)
        seconds *= 1 - share
    run = folder / "run"
    last: dict[str, Any] = dict(init=begin, progress=False, stop_after=seconds, clock=clock)
    if entry.ending:
        model = reconstruct(entry.ending, subjects, run, **last)
    else:
        model = train(entry.settings, subjects, run, **last)
    del subjects
    found = judged(plan, model, root)
    images = found.pop("heads")
    sampling.save_grid(folder / HEADS, images)
    found |= {"kimg": _last(folder / "run"), "reconstructed_kimg": _last(folder / "begin")}
    write_atomically(folder / METRICS_FILE, (json.dumps(found, indent=1) + "\n").encode())


def judged(plan: Contest, model: Path, root: Path) -> dict[str, Any]:
    """The metrics of a generator, and images of its heads."""
    from semhead_lib.conditioning.bank import ConditionBank
    from semhead_lib.data.dataset.memory import SubjectsInMemory
    from semhead_lib.evaluation.features import FeatureExtractor
    from semhead_lib.evaluation.report import evaluate
    from semhead_lib.models import sampling
    from semhead_lib.models.generator import Generator

    generator, bank = Generator.load(model), ConditionBank.load(model)
    unseen = SubjectsInMemory.load(plan.dataset("unseen", root), limit=2 * plan.heads)
    encoder = FeatureExtractor.load("headclip-64")
    store = root / plan.folder / "datasets" / "features"
    found = evaluate(
        generator,
        unseen,
        bank.mode,
        FeatureExtractor.load(),
        encoder,
        heads=plan.heads,
        identity_heads=plan.heads,
        store=store,
    )
    _, semantics = unseen.semantics(6)
    z = sampling.latents(6, generator.config.z_dim, 0)
    condition = bank.mapping_condition(semantics if bank.mode.uses_semantics else None, 6)
    heads = sampling.heads_around(generator, z, condition, (-90, -45, 0, 0, 45, 180))
    return {"evaluation": found.as_json(), "heads": heads}


def _last(folder: Path) -> float:
    """Thousands of images that a training saw."""
    log = folder / "log.jsonl"
    lines = read_json_lines(log)
    return lines[-1]["kimg"] if lines else 0.0


def main(file: str, name: str, root: str, parent: str) -> None:
    """`python -m semhead_lib.ablation.contest_design FILE ENTRY ROOT PARENT`: one design, in a
    process of its own, which ends with its parent."""
    end_with(int(parent))
    plan = load_contest(file, Path(root))
    entry = next(entry for entry in plan.entries if entry.name == name)
    wait_for(lambda: folder_lock(Path(root) / plan.folder / entry.name))
    with folder_lock(Path(root) / plan.folder / entry.name):
        execute(plan, entry, Path(root))


if __name__ == "__main__":
    main(*sys.argv[1:])
