"""The training loop: feeds batches to the step, logs, draws, saves; the same call goes on where it stopped."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import accelerate
import torch
from accelerate import Accelerator
from torch import Tensor

from semhead_lib.conditioning.bank import ConditionBank
from semhead_lib.conditioning.modes import ConditionMode
from semhead_lib.data.files import folder_lock, write_atomically
from semhead_lib.data.memory import SubjectsInMemory
from semhead_lib.data.on_disk import SubjectsOnDisk
from semhead_lib.devices import keep_freed_memory
from semhead_lib.models.discriminator import WEIGHTS as DISCRIMINATOR
from semhead_lib.models.discriminator import Discriminator
from semhead_lib.models.generator import Generator
from semhead_lib.training import grids
from semhead_lib.training.logs import Line, TrainingLog
from semhead_lib.training.settings import TrainSettings
from semhead_lib.training.snapshots import load_snapshot, save_snapshot
from semhead_lib.training.step import Networks, Step

SETTINGS, SNAPSHOTS, GRIDS, MODEL = "settings.json", "snapshots", "grids", "generator"
_GRID_HEADS, _GRID_SEED = 8, 0
_BANK = 1024  # features kept beside the weights
Subjects = SubjectsInMemory | SubjectsOnDisk


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
) -> Path:
    """Train until `settings.kimg` thousand real pictures were shown; returns the folder of the averaged generator.

    Into `out` go settings.json, log.jsonl, tensorboard/, grids/*.png (the averaged generator's heads from all around),
    snapshots/, and generator/ (model.safetensors, config.json, conditions.safetensors and the discriminator). When
    interrupted (Ctrl-C, or what schedulers send) it finishes its step, saves, and raises KeyboardInterrupt; the same
    call goes on, on one device and number of threads with the very numbers of an uninterrupted training.

    Args:
        data: subjects with the features that the mode needs, in memory or read from the disk as they are used.
        device: "auto", "cpu" or "cuda"; under `torchrun` or `accelerate launch`, the kind of each process's device.
        init: folder of a generator to begin with, as an earlier training left it, and of its discriminator, if there.
        listen: called with every line of the log.
        stop_after: seconds after which this call saves and returns, finished or not.

    Raises ValueError for data that do not suit the settings or settings other than `out` was begun with,
    FloatingPointError when a loss is no longer finite, BlockingIOError when another process trains into `out`.
    """
    out = Path(out)
    accelerator = Accelerator(cpu=_is_cpu(device), mixed_precision="bf16" if settings.precision == "bf16" else "no")
    out.mkdir(parents=True, exist_ok=True)
    if not accelerator.is_main_process:
        accelerator.wait_for_everyone()
        return _Trainer(settings, data, out, accelerator, init).run(False, None, stop_after)
    with folder_lock(out):
        _begin(settings, data, out, init, accelerator)
        accelerator.wait_for_everyone()
        return _Trainer(settings, data, out, accelerator, init).run(progress, listen, stop_after)


class _Trainer:
    def __init__(
        self, settings: TrainSettings, data: Subjects, out: Path, accelerator: Accelerator, init: Path | None
    ) -> None:
        if accelerator.device.type == "cpu":
            keep_freed_memory()
        else:
            torch.set_float32_matmul_precision("high")
        self.settings, self.data, self.out, self.accelerator = settings, data, out, accelerator
        dimension = _semantic_dimension(data)
        self.networks = Networks(settings, dimension, accelerator.device)
        self.mode = settings.condition_mode(dimension)
        self.bank = _bank(data, self.mode)
        self.step = load_snapshot(out / SNAPSHOTS, self.networks)
        if self.step == 0 and init is not None:
            _begin_with(self.networks, Path(init))
        self.do = Step(settings, self.networks, self.mode, accelerator)
        self.batch = settings.batch * accelerator.num_processes
        self.last = max(round(settings.kimg * 1000 / self.batch), 1)

    def run(self, progress: bool, listen: Callable[[Line], None] | None, stop_after: float | None) -> Path:
        main, s, began = self.accelerator.is_main_process, self.settings, time.monotonic()
        log = TrainingLog(self.out, self.step, s.kimg, progress, listen) if main else None
        batches = self._batches()
        try:
            with _interruptions() as interrupted:
                clock, counted = time.perf_counter(), 0
                while self.step < self.last:
                    values = self.do(self.step, next(batches))
                    self.step += 1
                    counted += 1
                    stop = interrupted() or (stop_after is not None and time.monotonic() - began >= stop_after)
                    stop = self._any(stop)
                    if self.step % s.log_every == 0 or self.step == self.last or stop:
                        line = self._line(values, counted / (time.perf_counter() - clock))
                        if main:
                            log.write(line)
                        clock, counted = time.perf_counter(), 0
                    self._write(log, stop)
                    if stop:
                        break
        finally:
            if main:
                log.close()
        if interrupted():
            raise KeyboardInterrupt
        return self.out / MODEL

    def _line(self, values: dict[str, Tensor], steps_per_second: float) -> Line:
        """A line of the log. Raises FloatingPointError when a loss is not finite: the last snapshot is kept."""
        numbers = {name: round(float(value), 5) for name, value in values.items()}
        if not all(torch.isfinite(values[name]) for name in ("loss_g", "loss_d")):
            raise FloatingPointError(
                f"step {self.step}: the losses are {numbers['loss_g']} and {numbers['loss_d']}; the last snapshot in "
                f"{self.out / SNAPSHOTS} is kept. Lower the learning rates or raise r1_gamma, into a new folder"
            )
        speed = round(steps_per_second * self.batch, 2)
        return {
            "step": self.step,
            "kimg": round(self.step * self.batch / 1000, 4),
            **numbers,
            "images_per_second": speed,
        }

    def _write(self, log: TrainingLog | None, stop: bool) -> None:
        """Grids and snapshots, when their time has come."""
        s, done = self.settings, self.step == self.last
        if not self.accelerator.is_main_process:
            return
        if self._passed(s.tick_kimg) or done:
            path = self.out / GRIDS / f"kimg-{self.step * self.batch / 1000:08.1f}.png"
            pictures = self.grid()
            grids.save_grid(path, pictures)
            sheet = torch.cat([torch.cat([*row], dim=2) for row in pictures], dim=1)
            log.board.add_image("heads", sheet, self.step)
        if self._passed(s.snapshot_kimg) or done or stop:
            self.networks.average.save(self.out / MODEL)
            self.networks.discriminator.save(self.out / MODEL)
            self.bank.save(self.out / MODEL)
            save_snapshot(self.out / SNAPSHOTS, self.networks, self.step, s.keep)

    def grid(self) -> Tensor:  # [8, 8, 3, S, S] uint8
        """Eight heads of the averaged generator, under the conditions of the first subjects, from all around."""
        semantics = None
        if self.mode.uses_semantics:
            features = self.bank.features
            semantics = features[torch.arange(_GRID_HEADS) % len(features)]
        z = grids.latents(_GRID_HEADS, self.networks.average.config.z_dim, _GRID_SEED)
        return grids.heads_around(self.networks.average, z, self.bank.told(semantics, _GRID_HEADS))

    def _passed(self, kimg: float) -> bool:
        """Whether this step went past a multiple of `kimg`."""
        now, before = (n * self.batch / 1000 // kimg for n in (self.step, self.step - 1))
        return now > before

    def _any(self, flag: bool) -> bool:
        """Whether any process wants to stop: then all do, after the same step."""
        if self.accelerator.num_processes == 1:
            return flag
        return bool(self.accelerator.reduce(torch.tensor(float(flag), device=self.accelerator.device), "sum") > 0)

    def _batches(self) -> Iterator:
        s = self.settings
        order = dict(seed=s.seed, rank=self.accelerator.process_index, world_size=self.accelerator.num_processes)
        for batch in self.data.batches(s.subjects_per_batch, s.views_per_subject, start=self.step, **order):
            yield batch.to(self.accelerator.device)


def _begin_with(networks: Networks, folder: Path) -> None:
    """Start from saved networks; from a generator without its discriminator, with a new one.

    Raises FileNotFoundError when there is no generator, ValueError when they are of other shapes.
    """
    beginnings = [(networks.generator, Generator.load(folder)), (networks.average, Generator.load(folder))]
    if (folder / DISCRIMINATOR).exists():
        beginnings.append((networks.discriminator, Discriminator.load(folder)))
    for network, saved in beginnings:
        try:
            network.load_state_dict(saved.state_dict())
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            raise ValueError(f"init={folder}: its networks are not those of these settings: {reason}") from None


def _semantic_dimension(data: Subjects) -> int:
    semantic = data.manifest.layout.semantic
    return semantic["dimension"] if semantic else 0


def _bank(data: Subjects, mode: ConditionMode) -> ConditionBank:
    """Features of the first subjects: enough to sample from, small enough to go with the weights."""
    if not mode.uses_semantics:
        return ConditionBank(mode, None, torch.zeros(0, mode.semantic_dimension))
    names, features = data.semantics(_BANK)
    return ConditionBank(mode, data.manifest.layout.semantic["encoder"], features, names)


@contextmanager
def _interruptions() -> Iterator[Callable[[], bool]]:
    """Within it, the first Ctrl-C is only noted, so that no step is torn; a second one stops at once.

    Elsewhere than in the main thread nothing can be noted, and KeyboardInterrupt is left to whoever raises it.
    """
    noted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield noted.is_set
        return

    def note(number, frame) -> None:
        if noted.is_set():
            raise KeyboardInterrupt
        noted.set()

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield noted.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _is_cpu(device: str) -> bool:
    from semhead_lib.devices import pick_device

    return pick_device(device) == "cpu"


def _begin(settings: TrainSettings, data: Subjects, out: Path, init, accelerator: Accelerator) -> None:
    """Write the settings into a new folder, or compare them with those of one that was begun; check the data."""
    identity = {
        "subjects": len(data),
        "views": data.manifest.layout.views_per_subject,
        "resolution": data.manifest.layout.resolution,
        "encoder": (data.manifest.layout.semantic or {}).get("encoder"),
        **data.order,
    }
    if getattr(data, "of_views", None) is not None:
        identity["told"] = "features of each view"
    mode, resolution = settings.condition_mode(_semantic_dimension(data) or 1), identity["resolution"]
    wanted = settings.generator_config(1).resolution
    if resolution != wanted:
        raise ValueError(f"preset {settings.preset} makes pictures of {wanted} pixels, the dataset has {resolution}")
    if mode.uses_semantics and not identity["encoder"]:
        raise ValueError(f"mode {settings.mode} needs semantic features: run 'semhead data encode' on the dataset")
    if "told" in identity and settings.views_per_head != 1:
        raise ValueError(f"views told features of their own need views_per_head 1, got {settings.views_per_head}")
    if settings.masks and "masks" not in data.manifest.layout.fields:
        raise ValueError("the dataset has no masks: train with masks=false")
    path = out / SETTINGS
    if path.exists():
        there = json.loads(path.read_text(encoding="utf-8"))
        different = settings.differences(there["settings"])
        here, began = json.loads(json.dumps(identity)), there["data"]
        different += [f"the data's {k} is {began.get(k)} there, {here.get(k)} here" for k in {**began, **here}
                      if here.get(k) != began.get(k)]  # fmt: skip
        if different:
            raise ValueError(f"{out} was begun with other settings: {'; '.join(different)}. Use another folder")
        there["settings"] = settings.as_json()
        content = there
    elif any(not entry.name.startswith(".") for entry in out.iterdir()):
        raise FileExistsError(f"{out} is not empty and holds no training; use another folder")
    else:
        versions = {"torch": torch.__version__, "accelerate": accelerate.__version__}
        content = {"settings": settings.as_json(), "data": identity, "init": init and str(init), "versions": versions,
                   "device": str(accelerator.device), "processes": accelerator.num_processes,
                   "threads": torch.get_num_threads()}  # fmt: skip
    write_atomically(path, json.dumps(content, indent=1).encode() + b"\n")
