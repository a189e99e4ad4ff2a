"""The training loop: feeds batches to the step, logs, draws, saves; the same call goes on where it
stopped."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor

from semhead_lib.atomic import folder_lock
from semhead_lib.devices import keep_freed_memory, pick_device
from semhead_lib.models import sampling
from semhead_lib.models.generator import WEIGHTS
from semhead_lib.training import run_folder
from semhead_lib.training.beginnings import bank_of, begin_with
from semhead_lib.training.distributed import agree_to_stop, from_the_first
from semhead_lib.training.finite import finite_means
from semhead_lib.training.interruptions import interruptions
from semhead_lib.training.logs import IntervalMeans, Line, TrainingLog
from semhead_lib.training.reconstruction.anchor import Anchor
from semhead_lib.training.run_folder import GRIDS, MODEL, SETTINGS, SNAPSHOTS, Subjects
from semhead_lib.training.settings import TrainSettings
from semhead_lib.training.snapshots import (
    load_snapshot,
    pack,
    put_state,
    save_snapshot,
    state_of,
    unpack,
)
from semhead_lib.training.step import Networks, Step

__all__ = ["GRIDS", "MODEL", "SETTINGS", "SNAPSHOTS", "Subjects", "train"]
_GRID_HEADS, _GRID_SEED = 8, 0


def train(
    settings: TrainSettings,
    data: Subjects,
    out: Path | str,
    *,
    device: str = "auto",
    init: Path | str | None = None,
    progress: bool = True,
    listen: Callable[[Line], None] | None = None,
    stop_after: float | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Path:
    """Train until `settings.kimg` thousand real images were shown; returns the folder of the
    averaged generator.

    Into `out` go settings.json, log.jsonl, tensorboard/, grids/*.png (the averaged generator's
    heads from all around), snapshots/, and generator/ (model.safetensors, config.json,
    conditions.safetensors and the discriminator). When interrupted (Ctrl-C, or what schedulers
    send) it finishes its step, saves, and raises KeyboardInterrupt; the same call goes on, on one
    device and number of threads with the very numbers of an uninterrupted training. A call that
    fails before its first snapshot does not bind later ones to its settings.

    Of several processes the first one alone reads and writes `out` and reads `init`. They stop
    together, within 16 steps.

    Args:
        data: subjects with the features that the mode needs, in memory or read from the disk as
            they are used.
        device: "auto", "cpu" or "cuda"; under `torchrun` or `accelerate launch`, the kind of each
            process's device.
        init: folder of a generator to begin with, as an earlier training left it, and of its
            discriminator, if there.
        listen: called with every line of the log.
        stop_after: seconds after which this call saves and returns, finished or not, by `clock`.

    Raises ValueError for data that do not suit the settings, settings, data or a number of
    processes other than `out` was begun with, or snapshots all of which are damaged or gone;
    FloatingPointError when a loss or a weight is no longer finite; BlockingIOError when another
    process trains into `out`.
    """
    accelerator = Accelerator(cpu=pick_device(device) == "cpu")
    trainer = _Trainer(settings, data, Path(out), accelerator)
    with ExitStack() as held:
        if accelerator.is_main_process:
            try:
                trainer.out.mkdir(parents=True, exist_ok=True)
                held.enter_context(folder_lock(trainer.out))
                trainer.begin(init)
            except BaseException:
                from_the_first(None, accelerator)
                raise
        trainer.begin_with_the_first()
        return trainer.run(progress, listen, stop_after, clock)


class _Trainer:
    def __init__(
        self, settings: TrainSettings, data: Subjects, out: Path, accelerator: Accelerator
    ) -> None:
        if accelerator.device.type == "cpu":
            keep_freed_memory()
        else:
            torch.set_float32_matmul_precision("high")
        run_folder.check_data(settings, data)
        self.settings, self.data, self.out, self.accelerator = settings, data, out, accelerator
        dimension = run_folder.semantic_dimension(data)
        self.networks = Networks(settings, dimension, accelerator.device)
        self.mode = settings.condition_mode(dimension)
        self.bank = bank_of(data, self.mode)
        self.anchor = None
        if settings.reconstruct_every:
            if accelerator.num_processes > 1:
                raise ValueError(
                    f"reconstruct_every needs one process, got {accelerator.num_processes}"
                )
            self.anchor = Anchor(
                settings, data, dimension, self.networks.generator, accelerator.device
            )
        self.means, self.step = IntervalMeans(), 0

    def begin(self, init: Path | str | None) -> None:
        """Go on from the newest snapshot, or begin; settings.json is written when nothing can fail
        any more."""
        accelerator = self.accelerator
        self.settings, content = run_folder.begin(
            self.settings,
            self.data,
            self.out,
            init,
            str(accelerator.device),
            accelerator.num_processes,
        )
        state = load_snapshot(self.out / SNAPSHOTS, self.networks)
        if state is not None:
            self.step = int(state["step"])
            self.means.restore(state.get("log", {}), accelerator.device)
            if self.anchor:
                self.anchor.restore(state["reconstruction"])
        elif init is not None:
            begin_with(self.networks, Path(init))
            if self.anchor:
                self.anchor.begin_with(Path(init))
        run_folder.write_settings(self.out, content)

    def begin_with_the_first(self) -> None:
        """Take over what the first process begins with: only that one reads files."""
        if self.accelerator.num_processes > 1:
            content = None
            if self.accelerator.is_main_process:
                state = state_of(self.networks, self.step, self.means.state())
                content = pack(state | {"settings": json.dumps(self.settings.as_json())})
            content = from_the_first(content, self.accelerator)
            if content is not None and not self.accelerator.is_main_process:
                state = unpack(content)
                put_state(state, self.networks)
                self.settings, self.step = (
                    TrainSettings.from_json(json.loads(state["settings"])),
                    state["step"],
                )
                self.means.restore(state["log"], self.accelerator.device)
        self.do = Step(self.settings, self.networks, self.mode, self.accelerator)
        self.batch = self.settings.batch * self.accelerator.num_processes
        self.last = max(round(self.settings.kimg * 1000 / self.batch), 1)

    def run(
        self,
        progress: bool,
        listen: Callable[[Line], None] | None,
        stop_after: float | None,
        clock: Callable[[], float],
    ) -> Path:
        main, s, began = self.accelerator.is_main_process, self.settings, clock()
        log = TrainingLog(self.out, self.step, s.kimg, progress, listen) if main else None
        try:
            if (
                main
                and self.step
                and (self.step >= self.last or not (self.out / MODEL / WEIGHTS).exists())
            ):
                # that of the snapshot: the process may have been killed between the two
                self._save_model()
            with (
                interruptions() as interrupted,
                self.do.ahead(self._batches(), self.step) as batches,
            ):
                since, counted, removed = time.perf_counter(), 0, False
                while self.step < self.last:
                    if s.without_condition(self.step * self.batch) and not removed:
                        self.networks.remove_condition()
                        removed = True
                    self.means.add(self.do(self.step, next(batches)))
                    if self.anchor and self.step % s.reconstruct_every == 0:
                        self.means.add(self.anchor.step(self.step // s.reconstruct_every))
                    self.step += 1
                    counted += 1
                    late = stop_after is not None and clock() - began >= stop_after
                    done = self.step == self.last
                    stop = agree_to_stop(
                        interrupted() or late, self.step, self.last, self.accelerator
                    )
                    line_due = self.step % s.log_every == 0 or done or stop
                    grid_due = self._passed(s.tick_kimg) or done
                    save_due = self._passed(s.snapshot_kimg) or done or stop
                    if line_due or grid_due or save_due:
                        means = finite_means(
                            self.means,
                            self.networks,
                            self.step,
                            self.out,
                            self.accelerator,
                            weights=save_due,
                        )
                        paused = time.perf_counter()
                        if line_due:
                            line = self._line(means, counted / (paused - since))
                            self.means.clear()
                            since, counted = paused, 0
                            if log is not None:
                                log.write(line)
                        if log is not None and grid_due:
                            self._draw(log)
                        if main and save_due:
                            self._save()
                        since += (
                            time.perf_counter() - paused
                        )  # speed is that of steps, not of what is written
                    if stop:
                        break
        finally:
            if log is not None:
                log.close()
        if interrupted():
            raise KeyboardInterrupt
        return self.out / MODEL

    def _line(self, means: dict[str, float], steps_per_second: float) -> Line:
        """A line of the log."""
        return {
            "step": self.step,
            "kimg": round(self.step * self.batch / 1000, 4),
            **{name: round(value, 5) for name, value in means.items()},
            "r1_gamma": self.settings.r1_gamma,
            "images_per_second": round(steps_per_second * self.batch, 2),
        }

    def _draw(self, log: TrainingLog) -> None:
        """A grid of heads, as a file and for TensorBoard."""
        images = self.grid()
        sampling.save_grid(
            self.out / GRIDS / f"kimg-{self.step * self.batch / 1000:08.1f}.png", images
        )
        log.show("heads", torch.cat([torch.cat([*row], dim=2) for row in images], dim=1), self.step)

    def _save(self) -> None:
        """A snapshot, then the model: where there is a model, there is a snapshot to go on from."""
        state = state_of(self.networks, self.step, self.means.state())
        if self.anchor:
            state["reconstruction"] = self.anchor.state()
        save_snapshot(self.out / SNAPSHOTS, state, self.settings.keep)
        self._save_model()

    def _save_model(self) -> None:
        self.networks.average.save(self.out / MODEL)
        self.networks.discriminator.save(self.out / MODEL)
        self.bank.save(self.out / MODEL)
        if self.anchor:
            self.anchor.save(self.out / MODEL)

    def grid(self) -> Tensor:  # [8, 8, 3, S, S] uint8
        """Eight heads of the averaged generator, under the conditions of the first subjects, from
        all around."""
        semantics = None
        if self.mode.uses_semantics:
            features = self.bank.features
            semantics = features[torch.arange(_GRID_HEADS) % len(features)]
        z = sampling.latents(_GRID_HEADS, self.networks.average.config.z_dim, _GRID_SEED)
        return sampling.heads_around(
            self.networks.average, z, self.bank.mapping_condition(semantics, _GRID_HEADS)
        )

    def _passed(self, kimg: float) -> bool:
        """Whether this step went past a multiple of `kimg`."""
        now, before = (n * self.batch / 1000 // kimg for n in (self.step, self.step - 1))
        return now > before

    def _batches(self) -> Iterator:
        s = self.settings
        order = dict(
            seed=s.seed,
            rank=self.accelerator.process_index,
            world_size=self.accelerator.num_processes,
        )
        return self.data.batches(
            s.subjects_per_batch, s.views_per_subject, start=self.step, **order
        )
