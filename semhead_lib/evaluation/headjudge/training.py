"""Training of headjudge on parametric heads of seeds that nothing else uses; the same call
resumes."""

from __future__ import annotations

import io
import json
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from semhead_lib.atomic import folder_lock, write_atomically
from semhead_lib.data.dataset.memory import SubjectsInMemory
from semhead_lib.data.jobs.synthesis import synthesize
from semhead_lib.evaluation.headjudge.network import SIDE, WEIGHTS, HeadJudge, Judgement
from semhead_lib.evaluation.headjudge.recipe import Recipe
from semhead_lib.evaluation.headjudge.targets import JudgeData, Targets, judge_config
from semhead_lib.files import read_state
from semhead_lib.recipes import begin, cut_log, learning_rate, parameter_groups

SETTINGS, LOG, STATE = "recipe.json", "log.jsonl", "state.pt"
GEOMETRY = ("depth", "normals", "segmentation")
TRAIN_SEED, UNSEEN_SEED = (
    515001,
    515002,
)  # of subjects that no dataset, encoder or generator here is made from
UNSEEN_SUBJECTS = 256


def make_subjects(
    folder: Path, subjects: int, views: int, seed: int, workers: int, progress: bool = True
) -> None:
    """Make subjects with all channels at 128 pixels, unless they exist; the same call resumes."""
    from semhead_lib.data.parametric.source import ParametricSource

    source = partial(ParametricSource, seed=seed, resolution=SIDE, views_per_subject=views)
    synthesize(source, folder, subjects, image_format="webp", workers=workers, progress=progress)


def load_subjects(folder: Path, progress: bool = False) -> SubjectsInMemory:
    """Subjects with the channels that the training needs."""
    return SubjectsInMemory.load(folder, geometry=GEOMETRY, progress=progress)


def class_weights(
    segmentation: Tensor, count: int
) -> Tensor:  # [..., H, W] uint8 -> [count], mean 1
    """Of the loss: rarer classes count more, by the root of their rarity, so that lips and brows
    are learnt."""
    share = (
        torch.bincount(segmentation[::8].flatten().int(), minlength=count).double()
        / segmentation[::8].numel()
    )
    weights = share.clamp_min(1e-5).rsqrt()
    return (weights / weights.mean()).float()


def losses(judged: Judgement, targets: Targets, weights: Tensor) -> dict[str, Tensor]:
    """Losses: cross-entropies (nats), absolute errors of depth (in DEPTH_SCALE), 1 - cosine
    of normals, squared errors of numbers (variances)."""
    hit = targets.hit.float()
    count = hit.sum().clamp_min(1)
    cosine = (judged.normals * targets.normals).sum(1)
    answers = zip(judged.categories.values(), targets.categories.unbind(1), strict=True)
    return {
        "classes": F.cross_entropy(judged.classes, targets.classes, weights),
        "normals": ((1 - cosine) * hit).sum() / count,
        "depth": ((judged.depth - targets.depth).abs() * hit).sum() / count,
        "categories": torch.stack(
            [F.cross_entropy(logits, right) for logits, right in answers]
        ).mean(),
        "scalars": F.mse_loss(judged.scalars, targets.scalars),
        "direction": F.mse_loss(judged.direction, targets.direction),
    }


def train(
    recipe: Recipe,
    data: Path | str,
    out: Path | str,
    *,
    device: str = "cpu",
    save_every: int = 200,
    stop_after: int | None = None,
    progress: bool = True,
) -> Path:
    """Train on the dataset `data` (see `make_subjects`); returns the path of the weights (beside:
    config, log).

    The state is saved every `save_every` steps and when interrupted; the same call resumes.
    `stop_after` ends this call after that many steps. Raises ValueError for a recipe other than the
    one `out` was begun with, FloatingPointError when the loss is no longer finite, BlockingIOError
    when another process trains into `out`.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    with folder_lock(out):
        begin(recipe, out, SETTINGS, "headjudge", versions={"torch": torch.__version__})
        if (out / WEIGHTS).exists():
            return out / WEIGHTS
        subjects = load_subjects(Path(data), progress)
        classes = tuple(subjects.manifest.plan.source["settings"]["classes"])
        config = judge_config(subjects, classes)
        judged = JudgeData(subjects, config)
        del subjects
        torch.manual_seed(recipe.seed)
        judge = HeadJudge(config).to(device)
        return _Training(recipe, out, device, judge, judged).run(save_every, stop_after, progress)


class _Training:
    def __init__(
        self, recipe: Recipe, out: Path, device: str, judge: HeadJudge, data: JudgeData
    ) -> None:
        self.recipe, self.out, self.device, self.judge, self.data = recipe, out, device, judge, data
        self.weights = class_weights(data.classes, len(judge.config.classes)).to(device)
        groups = parameter_groups(judge, recipe.weight_decay)
        self.optimiser = torch.optim.AdamW(groups, lr=recipe.learning_rate)
        self.step = 0
        if (out / STATE).exists():
            self._restore()

    def run(self, save_every: int, stop_after: int | None, progress: bool) -> Path:
        r = self.recipe
        last = r.steps if stop_after is None else min(r.steps, self.step + stop_after)
        bar = tqdm(
            total=r.steps, initial=self.step, unit="step", desc="headjudge", disable=not progress
        )
        with bar, open(self.out / LOG, "a", encoding="utf-8") as log:
            try:
                while self.step < last:
                    line = self._one_step()
                    log.write(json.dumps(line) + "\n")
                    log.flush()
                    bar.set_postfix(loss=line["loss"], refresh=False)
                    bar.update()
                    if self.step % save_every == 0:
                        self._save()
            except KeyboardInterrupt:
                self._save()
                raise
        if self.step < r.steps:
            self._save()
        else:
            self.judge.eval().save(self.out)
            (self.out / STATE).unlink(missing_ok=True)
        return self.out / WEIGHTS

    def _one_step(self) -> dict[str, Any]:
        r, start = self.recipe, time.perf_counter()
        epoch, place = divmod(self.step, max(len(self.data) // r.batch, 1))
        order = torch.randperm(
            len(self.data), generator=torch.Generator().manual_seed(r.seed * 100003 + epoch)
        )
        rng = torch.Generator().manual_seed(r.seed * 1000003 + self.step)
        targets = self.data.batch(order[place * r.batch : (place + 1) * r.batch], rng)
        targets = Targets(**{name: value.to(self.device) for name, value in vars(targets).items()})
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.step, r.learning_rate, r.warmup, r.steps)
        found = losses(self.judge.train()(targets.images), targets, self.weights)
        maps = found["classes"] + found["normals"] + found["depth"]
        loss = r.maps_weight * maps + found["categories"] + found["scalars"] + found["direction"]
        if not loss.isfinite():
            raise FloatingPointError(
                f"step {self.step}: the loss is {loss.item()}; the last saved state is kept"
            )
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.judge.parameters(), 5.0)
        self.optimiser.step()
        self.step += 1
        speed = round(r.batch / (time.perf_counter() - start), 1)
        numbers = {name: round(value.item(), 4) for name, value in found.items()}
        return {
            "step": self.step,
            "loss": round(loss.item(), 4),
            **numbers,
            "images_per_second": speed,
        }

    def _save(self) -> None:
        content = io.BytesIO()
        state = {
            "step": self.step,
            "judge": self.judge.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }
        torch.save(state, content)
        write_atomically(self.out / STATE, content.getvalue())

    def _restore(self) -> None:
        state = read_state(self.out / STATE, self.device)
        self.judge.load_state_dict(state["judge"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step = state["step"]
        cut_log(self.out / LOG, self.step)
