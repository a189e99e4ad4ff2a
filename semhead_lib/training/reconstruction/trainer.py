"""The training by reconstruction; the same call goes on where it stopped."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from semhead_lib import old_names
from semhead_lib.atomic import folder_lock, write_atomically
from semhead_lib.conditioning.bank import ConditionBank
from semhead_lib.conditioning.modes import ConditionMode
from semhead_lib.data.dataset.memory import SubjectsInMemory
from semhead_lib.data.subjects import Subject, all_present
from semhead_lib.devices import keep_freed_memory, pick_device, threads_of_one_core
from semhead_lib.files import read_json, read_json_lines, read_state
from semhead_lib.models import sampling
from semhead_lib.models.generator import Generator
from semhead_lib.progress import progress_bar
from semhead_lib.training import run_folder
from semhead_lib.training.reconstruction.batches import SubjectBatches, facing
from semhead_lib.training.reconstruction.reconstructor import Reconstructor, save_encoder
from semhead_lib.training.reconstruction.settings import ReconstructionSettings
from semhead_lib.training.run_folder import GRIDS, MODEL, SETTINGS
from semhead_lib.training.snapshots import all_finite

STATE, LOG = "state.pt", "log.jsonl"
_LOG_EVERY = 20  # steps
_BANK, _GRID_SUBJECTS, _GRID_VIEWS = 1024, 6, 6
_ENCODED, _ATTRIBUTES = 1024, 20_000  # images and attributes that the prior is estimated from


def reconstruct(
    settings: ReconstructionSettings,
    data: SubjectsInMemory,
    out: Path | str,
    *,
    device: str = "auto",
    init: Path | str | None = None,
    progress: bool = True,
    stop_after: float | None = None,
    clock: Callable[[], float] = time.monotonic,
    listen: Callable[[dict[str, Any]], None] = lambda line: None,
) -> Path:
    """Train until `settings.kimg` thousand images were looked at; returns the folder of the
    averaged generator.

    Into `out` go settings.json, log.jsonl, state.pt, grids/*.png (subjects, their reconstructions,
    and heads of drawn latents) and generator/, which an adversarial training takes as `init`:
    model.safetensors, config.json, conditions.safetensors, and what encodes subjects
    (encoder.safetensors, or attribute_encoder.safetensors).

    Args:
        data: subjects with semantic features, masks, depth and segmentation, in memory
            (`geometry=...`).
        init: folder of a generator to begin with, and of its encoder, if there.
        stop_after: seconds after which this call saves and returns, finished or not, by `clock`.
        listen: gets every line of the log; what it raises ends the training.

    Raises ValueError for data that do not suit the settings, or settings or data other than `out`
    was begun with; FloatingPointError when a loss or weight is no longer finite; BlockingIOError
    when another process trains into it.
    """
    device, out = pick_device(device), Path(out)
    if device == "cpu":
        keep_freed_memory()
    else:
        torch.set_float32_matmul_precision("high")
    run_folder.check_data(settings.adversarial, data)
    batches = SubjectBatches(data, settings, device)
    out.mkdir(parents=True, exist_ok=True)
    with folder_lock(out):
        content = _begun(settings, data, out)
        trainer = _Trainer(settings, data, batches, out, device, init)
        write_atomically(out / SETTINGS, content)  # when nothing can fail any more
        return trainer.run(progress, stop_after, clock, listen)


class _Trainer:
    def __init__(
        self,
        settings: ReconstructionSettings,
        data: SubjectsInMemory,
        batches: SubjectBatches,
        out: Path,
        device: str,
        init: Path | str | None,
    ) -> None:
        self.settings, self.data, self.batches, self.out, self.device = (
            settings,
            data,
            batches,
            out,
            device,
        )
        dimension = run_folder.semantic_dimension(data)
        self.networks = Reconstructor(settings, dimension, device, attributes=batches.attributes)
        self.step = 0
        names, features = data.semantics(_BANK)
        encoder = (data.manifest.layout.semantic or {}).get("encoder")
        self.bank = ConditionBank(ConditionMode("semantic", dimension), encoder, features, names)
        if (out / STATE).exists():
            state = read_state(out / STATE)
            self.networks.restore(state)
            self.step = state["step"]
            kept = [line for line in read_json_lines(out / LOG) if line["step"] <= self.step]
            text = "".join(json.dumps(line) + "\n" for line in kept)
            write_atomically(out / LOG, text.encode())
        elif init is not None:
            self.networks.begin_with(Path(init))
            self._fit_prior()

    def run(
        self,
        progress: bool,
        stop_after: float | None,
        clock: Callable[[], float],
        listen: Callable[[dict[str, Any]], None],
    ) -> Path:
        s, began = self.settings, clock()
        bar = progress_bar(s.kimg, "kimg", initial=self.step * s.batch / 1000, shown=progress)
        with (
            bar,
            threads_of_one_core(1) as reader,
            open(self.out / LOG, "a", encoding="utf-8") as log,
        ):
            ahead, sums, count, since = (
                reader.submit(self.batches, self.step),
                {},
                0,
                time.perf_counter(),
            )
            try:
                while self.step < s.steps:
                    sample, ahead = ahead.result(), reader.submit(self.batches, self.step + 1)
                    for name, value in self.networks.step(
                        sample.to(self.device), self.step
                    ).items():
                        sums[name] = sums.get(name, 0.0) + value
                    self.step, count = self.step + 1, count + 1
                    bar.update(s.batch / 1000)
                    late = stop_after is not None and clock() - began >= stop_after
                    if count == _LOG_EVERY or self.step == s.steps or late:
                        line = self._line(sums, count, since)
                        log.write(json.dumps(line) + "\n")
                        log.flush()
                        listen(line)
                        bar.set_postfix(
                            {"image": line["image"], "mask": line["mask"]}, refresh=False
                        )
                        sums, count, since = {}, 0, time.perf_counter()
                    if self.step % s.save_every == 0 and self.step < s.steps and not late:
                        self._save()
                        self._draw()
                    if late:
                        break
            except KeyboardInterrupt:
                self._save()
                raise
        self._save()
        self._draw()
        return self.out / MODEL

    def _line(self, sums: dict[str, Tensor], count: int, since: float) -> dict[str, Any]:
        means = {name: round(float(value) / count, 5) for name, value in sums.items()}
        if not torch.tensor(list(means.values())).isfinite().all():
            raise FloatingPointError(f"step {self.step}: {means}; the last saved state is kept")
        s, speed = self.settings, count * self.settings.batch / (time.perf_counter() - since)
        return {
            "step": self.step,
            "kimg": round(self.step * s.batch / 1000, 3),
            **means,
            "images_per_second": round(speed, 1),
        }

    @property
    def average(self) -> Generator:
        """What is kept."""
        assert self.networks.average is not None  # the networks were made here
        return self.networks.average

    def _fit_prior(self) -> None:
        """Estimate which latents subjects have, evenly from all."""
        if self.average.mapping.prior is None:
            return
        attributes, count = self.batches.attributes, len(self.data)
        most = min(count, _ENCODED if attributes is None else _ATTRIBUTES)
        chosen = [k * count // most for k in range(most)]
        subjects = [self.data[k] for k in chosen]
        if attributes is None:
            encoded = torch.stack([_seen(subject).float() / 127.5 - 1 for subject in subjects])
        else:
            encoded = attributes[chosen]
        semantics = all_present((x.semantic for x in subjects), "semantic features")
        self.networks.fit_prior(encoded, torch.stack(semantics))

    def _save(self) -> None:
        self._fit_prior()
        state = self.networks.state()
        if not all_finite(state):
            raise FloatingPointError(
                f"step {self.step}: weights are not finite; the last saved state is kept"
            )
        content = io.BytesIO()
        torch.save(state | {"step": self.step}, content)
        write_atomically(self.out / STATE, content.getvalue())
        self.average.save(self.out / MODEL)
        self.bank.save(self.out / MODEL)
        save_encoder(self.networks.encoder, self.out / MODEL)
        if self.networks.adversary is not None:
            self.networks.adversary.discriminator.save(self.out / MODEL, half=True)

    @torch.no_grad()
    def _draw(self) -> None:
        """Subjects above their reconstructions, then heads of drawn latents under the same
        semantics."""
        average, encoder, rows = self.average, self.networks.encoder, []
        some = [self.data[i] for i in range(min(_GRID_SUBJECTS, len(self.data)))]
        attributes = self.batches.attributes
        semantics = torch.stack(
            all_present((subject.semantic for subject in some), "semantic features")
        )
        for k, (subject, condition) in enumerate(zip(some, semantics, strict=True)):
            image = _seen(subject)
            encoded = image.float() / 127.5 - 1 if attributes is None else attributes[k]
            mean, _ = encoder(encoded[None].to(self.device))
            w = average.mapping(mean, condition[None].to(self.device), encoded=True)
            cameras = subject.cameras[:_GRID_VIEWS].to(self.device)
            rows.append(torch.cat([image[None], subject.views[:_GRID_VIEWS]]))
            rows.append(
                torch.cat(
                    [subject.frontal[None], sampling.to_uint8(average.synthesize(w, cameras).image)]
                )
            )
        z = sampling.latents(len(some), average.config.z_dim, 0)
        around = torch.linspace(-90, 90, rows[0].shape[0]).tolist()
        drawn = sampling.heads_around(average, z, semantics, tuple(around))
        images = torch.cat([torch.stack(rows), drawn])
        sampling.save_grid(self.out / GRIDS / f"step-{self.step:06d}.png", images)


def _seen(subject: Subject) -> Tensor:  # [3, S, S] uint8
    """The image of a subject that its latent is inferred from."""
    views = facing(subject.cameras)
    return subject.views[views[0]] if views else subject.frontal


def _begun(settings: ReconstructionSettings, data: SubjectsInMemory, out: Path) -> bytes:
    """The content of settings.json, compared with what is there where something was trained
    already."""
    path, here = out / SETTINGS, {"settings": settings.as_json(), "data": run_folder.identity(data)}
    if path.exists() and (out / STATE).exists():
        there = read_json(path)
        if not all(isinstance(there.get(name), dict) for name in ("settings", "data")):
            raise ValueError(f"{path} is damaged: expected the settings and the data")
        different = settings.differences(old_names.today(old_names.SETTINGS, there["settings"]))
        different += [
            f"the data's {key} is {there['data'].get(key)} there, {value} here"
            for key, value in here["data"].items()
            if there["data"].get(key) != value
        ]
        if different:
            raise ValueError(
                f"{out} was begun with other settings: {'; '.join(different)}. Use another folder"
            )
    elif not path.exists() and any(not entry.name.startswith(".") for entry in out.iterdir()):
        raise FileExistsError(
            f"{out} is not empty and holds no training; use another folder ({path.name} is missing)"
        )
    here["versions"] = {"torch": torch.__version__}
    return json.dumps(here, indent=1).encode() + b"\n"
