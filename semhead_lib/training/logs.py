"""What a training tells while it runs: a JSON line now and then, TensorBoard's curves, and a bar
with the time left."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from semhead_lib.atomic import write_atomically
from semhead_lib.files import LARGEST_LOG, read_bytes
from semhead_lib.progress import progress_bar

LOG, BOARD = "log.jsonl", "tensorboard"
Line = dict[str, Any]


class IntervalMeans:
    """The mean of each term over those steps since the last line in which it was computed.

    R1 and the density regularisation are not computed in every step, so that the last step's value
    alone would seldom be one of theirs. Sums stay on the device: adding to them waits for nothing.
    """

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, values: dict[str, Tensor]) -> None:
        """One step's terms, [] each."""
        known = [name for name in values if name in self._sums]
        if known:
            torch._foreach_add_([self._sums[n] for n in known], [values[n] for n in known])
        for name, value in values.items():
            self._counts[name] = self._counts.get(name, 0) + 1
            if name not in known:
                self._sums[name] = value.detach().float().clone()

    def read(self, accelerator: Accelerator) -> dict[str, float]:
        """The means so far, over all processes; every process must ask, and gets the same numbers.
        Waits for the device once."""
        if not self._sums:
            return {}
        sums = torch.stack(list(self._sums.values()))
        if accelerator.num_processes > 1:
            sums = torch.as_tensor(accelerator.reduce(sums, "mean"))
            self._sums = dict(zip(self._sums, sums.clone().unbind(), strict=True))
        return {
            name: x / self._counts[name] for name, x in zip(self._sums, sums.tolist(), strict=True)
        }

    def clear(self) -> None:
        """Begin a new interval."""
        self._sums, self._counts = {}, {}

    def state(self) -> dict[str, Any]:
        """For a snapshot: the next line of a training that goes on is that of one which never
        stopped."""
        return {
            "sums": {name: x.cpu() for name, x in self._sums.items()},
            "counts": dict(self._counts),
        }

    def restore(self, state: dict[str, Any], device: torch.device | str) -> None:
        """Go on from `state`, or from nothing, if it is empty."""
        self._sums = {name: x.to(device).clone() for name, x in state.get("sums", {}).items()}
        self._counts = dict(state.get("counts", {}))


class TrainingLog:
    """Writes lines to log.jsonl and TensorBoard, hands them to `listen`, and shows the last one
    beside a bar.

    Where TensorBoard is not installed there are no curves of it.
    """

    def __init__(
        self,
        folder: Path,
        # that the training starts from: lines of later steps are cut off, those steps are made
        # again
        step: int,
        total: float,  # kimg
        progress: bool,
        listen: Callable[[Line], None] | None = None,
    ) -> None:
        self.path, self.listen = folder / LOG, listen
        kept = [line for line in read_log(folder) if line["step"] <= step]
        write_atomically(self.path, "".join(json.dumps(line) + "\n" for line in kept).encode())
        self._file = open(self.path, "a", encoding="utf-8")  # noqa: SIM115 (closed by close)
        self._board = _board(folder, step)
        done = kept[-1]["kimg"] if kept else 0.0
        self._bar = progress_bar(total, "kimg", initial=done, shown=progress, bar_format=_BAR)

    def write(self, line: Line) -> None:
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        for name, value in line.items():
            if self._board is not None and name not in ("step", "kimg") and math.isfinite(value):
                self._board.add_scalar(name, value, line["step"])
        shown = {name: f"{line[name]:.2f}" for name in ("loss_g", "loss_d") if name in line}
        self._bar.set_postfix(shown | {"img/s": f"{line['images_per_second']:.0f}"}, refresh=False)
        self._bar.update(line["kimg"] - self._bar.n)
        if self.listen is not None:
            self.listen(line)

    def show(self, name: str, sheet: Tensor, step: int) -> None:  # [3, H, W] uint8
        """An image for TensorBoard."""
        if self._board is not None:
            self._board.add_image(name, sheet, step)

    def close(self) -> None:
        self._bar.close()
        self._file.close()
        if self._board is not None:
            self._board.close()


_BAR = "{l_bar}{bar}| {n:.1f}/{total:.1f} kimg [{elapsed}<{remaining}{postfix}]"


def _board(folder: Path, step: int) -> Any:
    """TensorBoard's writer, None where it is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(folder / BOARD, purge_step=step)


def read_log(folder: Path | str) -> list[Line]:
    """The lines of a training's log; a last line that was cut off is left out. Raises ValueError
    naming another that is none, or the log where it cannot be read to an end."""
    path = Path(folder) / LOG
    data = read_bytes(path, LARGEST_LOG) if path.exists() else b""
    lines = data.decode("utf-8", errors="replace").splitlines()
    found = []
    for number, text in enumerate(lines, 1):
        try:
            line = json.loads(text)
            if not all(isinstance(line[name], int | float) for name in ("step", "kimg")):
                raise TypeError
            found.append(line)
        except (ValueError, TypeError, KeyError, RecursionError):
            if number < len(lines):
                raise ValueError(
                    f"{path}, line {number} is no line of a log: {text[:80]!r}"
                ) from None
    return found
