"""Training of a head finder on rendered heads made photographs. It is saved now and then, and the
same command goes on from there."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import save
from torch import Tensor
from tqdm import tqdm

from semhead_lib.atomic import folder_lock, write_atomically
from semhead_lib.data.dataset.memory import SubjectsInMemory
from semhead_lib.data.portraits.head_finder.examples import Views, Windows, windows
from semhead_lib.data.portraits.head_finder.network import (
    WEIGHTS,
    FinderConfig,
    HeadFinder,
    Prediction,
    prepared,
)
from semhead_lib.data.portraits.head_finder.recipe import Recipe
from semhead_lib.files import read_json, read_tensors
from semhead_lib.recipes import begin, cut_log, learning_rate, parameter_groups

SETTINGS, LOG, STATE = "recipe.json", "log.jsonl", "state.safetensors"
_WARMUP, _LOG_EVERY, _SAVE_EVERY = 100, 50, 250
_DRAWN_ON = 0.3  # weight of the mask where a view's edges were drawn on
WEIGHTS_OF_LOSSES = {"mask": 2.0, "points": 0.5, "head": 0.2, "direction": 1.0, "place": 1.0}


def losses(predicted: Prediction, truth: Windows) -> dict[str, Tensor]:
    """What is wrong: cross-entropy of mask and of heads; negative log-likelihood of the points
    (Laplace's distribution, with the predicted scale); squared error of the direction;
    absolute error of the place, the roll and the log size."""
    weight = truth.inside + _DRAWN_ON * (1 - truth.inside)
    mask = F.binary_cross_entropy_with_logits(predicted.mask, truth.mask, weight)
    away = (predicted.points - truth.points).abs().mean(1, keepdim=True)
    error = predicted.log_scale.clamp(-6, 2)
    likely = (away * (-error).exp() + error) * truth.known
    there = truth.head
    count = there.sum().clamp_min(1)
    direction = ((predicted.direction - truth.direction).square().sum(1) * there).sum() / count
    place = (
        (predicted.place - truth.place).abs().sum(1)
        + (predicted.size - truth.size).abs()
        + (predicted.turn - truth.turn).abs().sum(1)
    )
    return {
        "mask": mask,
        "points": likely.sum() / truth.known.sum().clamp_min(1),
        "head": F.binary_cross_entropy_with_logits(predicted.head, truth.head),
        "direction": direction,
        "place": (place * there).sum() / count,
    }


class _Pool:
    """Windows that batches are drawn from; the oldest are replaced step by step. What it holds at a
    step depends on the recipe and the step alone."""

    def __init__(self, recipe: Recipe, views: Views, step: int) -> None:
        self.recipe, self.views = recipe, views
        self.size = max(recipe.pool // recipe.fresh, 1)
        parts = [self._made(n) for n in tqdm(range(step, step + self.size), desc="windows")]
        self.parts = dict(zip(range(step, step + self.size), parts, strict=True))

    def _made(self, number: int) -> Windows:
        r = self.recipe
        rng = torch.Generator().manual_seed(r.seed * 1_000_003 + number)
        rows = torch.randint(len(self.views.images), (r.fresh,), generator=rng)
        made = windows(self.views, rows, r.side, r.seed * 1_000_003 + number * 2)
        return made._replace(points=made.points.half())

    def batch(self, step: int) -> Windows:
        """The batch of a step, after the oldest part made room for a new one."""
        rng = torch.Generator().manual_seed(self.recipe.seed * 7_000_003 + step)
        r, first = self.recipe, step
        chosen = torch.randint(self.size * r.fresh, (r.batch,), generator=rng).tolist()
        picked = [(first + c // r.fresh, c % r.fresh) for c in chosen]
        found = [[x[row] for x in self.parts[part]] for part, row in picked]
        self.parts.pop(step)
        self.parts[step + self.size] = self._made(step + self.size)
        stacked = [torch.stack(parts).float() for parts in zip(*found, strict=True)]
        return Windows(*stacked)


def fit(
    recipe: Recipe,
    views: Views,
    out: Path,
    device: str = "cpu",
    progress: bool = True,
    first: HeadFinder | None = None,  # network to begin with, whose weights are changed
) -> HeadFinder:
    """A head finder; `out` holds its log and its state, which the training goes on from."""
    r, state, begun = recipe, out / STATE, 0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(r.seed)
        network = HeadFinder(FinderConfig(r.side)) if first is None else first
    network = network.to(device).requires_grad_(True)
    for kernel in (p for p in network.parameters() if p.ndim == 4):
        kernel.data = kernel.data.contiguous(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(parameter_groups(network, r.weight_decay))
    if state.is_file():
        begun = _restore(read_tensors(state), network, optimiser)
    cut_log(out / LOG, begun // _LOG_EVERY)
    network.train()
    pool, sums = _Pool(r, views, begun), {}
    bar = tqdm(total=r.steps, initial=begun, unit="step", desc="head finder", disable=not progress)
    with bar, open(out / LOG, "a") as log:
        for step in range(begun, r.steps):
            truth = Windows(*(x.to(device) for x in pool.batch(step)))
            images = prepared(truth.images).contiguous(memory_format=torch.channels_last)
            found = losses(network(images), truth)
            weighted = [found[name] * weight for name, weight in WEIGHTS_OF_LOSSES.items()]
            loss = torch.stack(weighted).sum()
            if not loss.isfinite():
                raise FloatingPointError(f"step {step}: the loss is {loss.item()}")
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(step, r.learning_rate, _WARMUP, r.steps)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimiser.step()
            for name, value in found.items():
                sums[name] = sums.get(name, 0.0) + float(value.detach())
            bar.update()
            if (step + 1) % _LOG_EVERY == 0:
                line = {"step": step + 1} | {
                    name: round(value / _LOG_EVERY, 5) for name, value in sums.items()
                }
                log.write(json.dumps(line) + "\n")
                log.flush()
                bar.set_postfix_str(
                    " ".join(f"{name} {line[name]:.3f}" for name in sums), refresh=False
                )
                sums = {}
            if (step + 1) % _SAVE_EVERY == 0 and step + 1 < r.steps:
                write_atomically(state, save(_state(step + 1, network, optimiser)))
    return network.eval()


def train_head_finder(
    subjects: SubjectsInMemory,
    out: Path | str,
    recipe: Recipe | None = None,
    device: str = "cpu",
    progress: bool = True,
    init: Path | str | None = None,
) -> HeadFinder:
    """Train on a dataset with masks and depth and write weights, config and log into `out`.

    Args:
        init: folder of a head finder to begin with; None = random weights.

    Raises ValueError for subjects without masks or depth, a network to begin with that looks at
    another number of pixels than the recipe says, or another recipe than the one begun there;
    FileNotFoundError where there is no network to begin with; FileExistsError for a folder that
    holds something else.
    """
    out, recipe = Path(out), recipe or Recipe()
    first = None if init is None else HeadFinder.load(init)
    if first is not None and first.config.side != recipe.side:
        raise ValueError(
            f"init={init} looks at {first.config.side} pixels a side, side={recipe.side} asks for "
            "others"
        )
    about = {"subjects": len(subjects), "data": subjects.digest}
    if first is not None and init is not None:
        about["init"] = _trained_before(Path(init))
    out.mkdir(parents=True, exist_ok=True)
    views = Views.of(subjects)
    with folder_lock(out):
        begin(recipe, out, SETTINGS, "a head finder", **about)
        if read_json(out / SETTINGS).get("init") != about.get("init"):
            raise ValueError(
                f"{out} was begun with other first weights than init={init}. Use another folder"
            )
        network = fit(recipe, views, out, device, progress, first)
        network.cpu().save(out)
        (out / STATE).unlink(missing_ok=True)
    return network


def _trained_before(folder: Path) -> dict[str, Any]:
    """How the network in a folder was trained, and which weights it has."""
    recipe = folder / SETTINGS
    weights = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()[:16]
    return {"weights": weights} | (read_json(recipe) if recipe.is_file() else {})


def _state(step: int, network: HeadFinder, optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    tensors = {f"network.{k}": v for k, v in network.state_dict().items()}
    for k, values in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{k}.{name}": value for name, value in values.items()}
    tensors["step"] = torch.tensor(step)
    return {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}


def _restore(
    tensors: dict[str, Tensor], network: HeadFinder, optimiser: torch.optim.Optimizer
) -> int:
    network.load_state_dict({k[8:]: v for k, v in tensors.items() if k.startswith("network.")})
    kept = optimiser.state_dict()
    for name, value in tensors.items():
        if name.startswith("optimiser."):
            _, k, what = name.split(".", 2)
            kept["state"].setdefault(int(k), {})[what] = value
    optimiser.load_state_dict(kept)
    return int(tensors["step"])
