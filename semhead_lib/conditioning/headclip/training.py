"""Training of headclip-64: CLIP's contrastive loss on parametric heads and their captions, resumed
by the same call."""

from __future__ import annotations

import io
import json
import math
import time
from functools import partial
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import save
from torch import Tensor, nn
from tqdm import tqdm

from semhead_lib.atomic import folder_lock, write_atomically
from semhead_lib.conditioning.headclip.contrasts import ContrastBatch
from semhead_lib.conditioning.headclip.pairs import Pairs
from semhead_lib.conditioning.headclip.recipe import (
    CONFIG,
    PREPROCESSING,
    VOCABULARY,
    WEIGHTS,
    Recipe,
    open_clip_config,
)
from semhead_lib.conditioning.headclip.vocabulary import learn_merges, write_vocabulary
from semhead_lib.data.dataset.memory import SubjectsInMemory
from semhead_lib.data.jobs.synthesis import synthesize
from semhead_lib.files import read_state
from semhead_lib.recipes import begin, cut_log, learning_rate, parameter_groups

SETTINGS, LOG, STATE = "config.json", "log.jsonl", "state.pt"
_CAPTIONS_EACH = 4  # captions of every subject that the vocabulary is learnt from
_HIGHEST_SCALE = math.log(100)  # of the logits, as in CLIP


def make_subjects(recipe: Recipe, folder: Path, workers: int, progress: bool = True) -> None:
    """Make the subjects to train on, unless they are there already; interrupted, the same call goes
    on."""
    from semhead_lib.data.parametric.source import ParametricSource

    source = partial(
        ParametricSource,
        seed=recipe.data_seed,
        resolution=PREPROCESSING["size"],
        views_per_subject=recipe.views_per_subject,
        channels=(),
    )
    synthesize(source, folder, recipe.subjects, shard_size=100, workers=workers, progress=progress)


def train(
    recipe: Recipe,
    data: Path | str,
    out: Path | str,
    *,
    device: str = "cpu",
    save_every: int = 100,
    stop_after: int | None = None,
    progress: bool = True,
) -> Path:
    """Train on the dataset `data` (see `make_subjects`) and write a model folder that open_clip
    reads as `local-dir:`.

    The state is saved every `save_every` steps, and when interrupted: the same call goes on there
    and, on one device and one number of threads, ends with the same weights. `stop_after` ends this
    call after that many steps.
    Returns the path of the weights, which exist only when the training is finished.

    Raises ValueError for data or a recipe other than those `out` was begun with, FloatingPointError
    when the loss is no longer finite, BlockingIOError when another process trains into `out`.
    """
    data, out = Path(data), Path(out)
    out.mkdir(parents=True, exist_ok=True)
    with folder_lock(out):
        versions = {"torch": torch.__version__, "open_clip": open_clip.__version__}
        about = {"versions": versions, "device": device, "threads": torch.get_num_threads()}
        begin(recipe, out, SETTINGS, "headclip-64", **about)
        if (out / WEIGHTS).exists():
            return out / WEIGHTS
        subjects = SubjectsInMemory.load(data, progress=progress)
        _check(recipe, subjects, data)
        pairs = Pairs(subjects[: -recipe.validation], recipe)
        unseen = Pairs(subjects[-recipe.validation :], recipe)
        del subjects
        if not (out / VOCABULARY).exists():
            size = write_vocabulary(
                learn_merges(pairs.captions(_CAPTIONS_EACH), recipe.merges), out / VOCABULARY
            )
            write_atomically(
                out / CONFIG, json.dumps(open_clip_config(size), indent=2).encode() + b"\n"
            )
        return _Training(recipe, out, device, pairs, unseen).run(save_every, stop_after, progress)


class _Training:
    def __init__(self, recipe: Recipe, out: Path, device: str, pairs: Pairs, unseen: Pairs) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.out, self.device, self.pairs = recipe, out, device, pairs
        self.model = open_clip.CLIP(
            **json.loads((out / CONFIG).read_text(encoding="utf-8"))["model_cfg"]
        )
        move: Any = self.model.to  # torch's overloads leave memory_format out
        move(device, memory_format=torch.channels_last)
        self.tokens = open_clip.get_tokenizer(f"local-dir:{out}", bpe_path=str(out / VOCABULARY))
        groups = parameter_groups(self.model, recipe.weight_decay)
        self.optimiser = torch.optim.AdamW(
            groups, lr=recipe.learning_rate, betas=(0.9, 0.98), eps=1e-6
        )
        self.loss = open_clip.ClipLoss()
        self.step = 0
        self.unseen = unseen.images[:, -1].float() / 255, [caption for _, caption in unseen.who]
        if (out / STATE).exists():
            self._restore()

    def run(self, save_every: int, stop_after: int | None, progress: bool) -> Path:
        last = (
            self.recipe.steps
            if stop_after is None
            else min(self.recipe.steps, self.step + stop_after)
        )
        bar = tqdm(
            total=self.recipe.steps,
            initial=self.step,
            unit="step",
            desc=self.out.name,
            disable=not progress,
        )
        with bar, open(self.out / LOG, "a", encoding="utf-8") as log:
            try:
                while self.step < last:
                    line = self._one_step()
                    if self.step % save_every == 0 or self.step == self.recipe.steps:
                        line |= self.validate()
                        self._save()
                    log.write(json.dumps(line) + "\n")
                    log.flush()
                    bar.set_postfix(loss=line["loss"], accuracy=line["accuracy"], refresh=False)
                    bar.update()
            except KeyboardInterrupt:
                self._save()
                raise
        if self.step < self.recipe.steps:
            self._save()
        else:
            state = {
                name: tensor.cpu().contiguous() for name, tensor in self.model.state_dict().items()
            }
            tensors = {name: t.half() if t.is_floating_point() else t for name, t in state.items()}
            write_atomically(self.out / WEIGHTS, save(tensors, metadata={"format": "pt"}))
            (self.out / STATE).unlink(missing_ok=True)
        return self.out / WEIGHTS

    def _one_step(self) -> dict[str, Any]:
        r, start = self.recipe, time.perf_counter()
        batch = self.pairs.batch(self.step)
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.step, r.learning_rate, r.warmup, r.steps)
        self.model.train()
        images, tokens = (
            normalise(batch.images).to(self.device),
            self.tokens(batch.captions).to(self.device),
        )
        with torch.autocast(
            torch.device(self.device).type, torch.bfloat16, self.recipe.precision == "bf16"
        ):
            image = self.model.encode_image(images)
        image = nn.functional.normalize(image.float(), dim=-1)
        text, scale = self.model.encode_text(tokens, normalize=True), self.model.logit_scale.exp()
        pairs_loss = self.loss(image, text, scale)
        contrast_loss = self._contrast(image, batch.asked, scale)
        loss = pairs_loss + self.recipe.contrast * contrast_loss
        if not loss.isfinite():
            raise FloatingPointError(
                f"step {self.step}: the loss is {loss.item()}; the last saved state is kept"
            )
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step()
        with torch.no_grad():
            self.model.logit_scale.clamp_(0, _HIGHEST_SCALE)
            found = (image @ text.T).argmax(1) == torch.arange(len(image), device=image.device)
        self.step += 1
        seconds = time.perf_counter() - start
        return {
            "step": self.step,
            "loss": round(pairs_loss.item(), 4),
            "contrast": round(contrast_loss.item(), 4),
            "accuracy": round(found.float().mean().item(), 4),
            "scale": round(scale.item(), 2),
            "pairs_per_second": round(len(images) / seconds, 1),
        }

    def _contrast(self, image: Tensor, asked: list[ContrastBatch], scale: Tensor) -> Tensor:
        """CLIP's loss of images against texts that differ in one attribute only: the weighted mean
        over attributes."""
        tokens = self.tokens([text for one in asked for text in one.texts]).to(self.device)
        texts = self.model.encode_text(tokens, normalize=True).split(
            [len(one.texts) for one in asked]
        )
        losses = [
            nn.functional.cross_entropy(
                scale * image[torch.tensor(one.images)] @ text.T,
                torch.tensor(one.values, device=self.device),
            )
            for one, text in zip(asked, texts, strict=True)
        ]
        weights = torch.tensor([one.weight for one in asked], device=self.device)
        return (torch.stack(losses) * weights).sum() / weights.sum()

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Unseen subjects: how often a full caption finds its frontal image first, and at which
        rank in the median."""
        images, captions = self.unseen
        self.model.eval()
        encoded = [
            self.model.encode_image(part.to(self.device)) for part in normalise(images).split(64)
        ]
        image = nn.functional.normalize(torch.cat(encoded), dim=-1)
        text = self.model.encode_text(self.tokens(captions).to(self.device), normalize=True)
        score = text @ image.T
        rank = (score > score.diagonal()[:, None]).sum(1) + 1.0
        return {
            "validation_first": (rank == 1).float().mean().item(),
            "validation_rank": rank.median().item(),
        }

    def _save(self) -> None:
        data = io.BytesIO()
        state = {
            "step": self.step,
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }
        torch.save(state, data)
        write_atomically(self.out / STATE, data.getvalue())

    def _restore(self) -> None:
        state = read_state(self.out / STATE, self.device)
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step = state["step"]
        cut_log(self.out / LOG, self.step)


def normalise(images: Tensor) -> Tensor:  # [B, 3, R, R] in [0, 1]
    """As the model wants images (`PREPROCESSING`)."""
    mean, std = (torch.tensor(PREPROCESSING[key]).view(3, 1, 1) for key in ("mean", "std"))
    return ((images - mean) / std).contiguous(memory_format=torch.channels_last)


def _check(recipe: Recipe, subjects: SubjectsInMemory, data: Path) -> None:
    """Raise ValueError unless `subjects` are those of the recipe."""
    found = subjects.manifest
    expected = {
        "source": ("parametric", found.plan.source["name"]),
        "seed": (recipe.data_seed, found.plan.seed),
        "subjects": (recipe.subjects, len(subjects)),
        "resolution": (PREPROCESSING["size"], found.layout.resolution),
        "views_per_subject": ((recipe.views_per_subject,) * 2, found.layout.views_per_subject),
    }
    for name, (wanted, came) in expected.items():
        if wanted != came:
            raise ValueError(f"{data}: {name} should be {wanted}, is {came}")
