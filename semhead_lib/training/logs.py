"""What a training tells while it runs: a JSON line now and then, TensorBoard's curves, and a bar with the time left."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tqdm import tqdm

from semhead_lib.data.files import write_atomically

LOG, BOARD = "log.jsonl", "tensorboard"
Line = dict[str, Any]


class TrainingLog:
    """Writes lines to log.jsonl and TensorBoard, hands them to `listen`, and shows the last one beside a bar."""

    def __init__(
        self,
        folder: Path,
        step: int,  # that the training starts from: lines of later steps are cut off, those steps are made again
        total: float,  # kimg
        progress: bool,
        listen: Callable[[Line], None] | None = None,
    ) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.path, self.listen = folder / LOG, listen
        kept = [line for line in read_log(folder) if line["step"] <= step]
        write_atomically(self.path, "".join(json.dumps(line) + "\n" for line in kept).encode())
        self._file = open(self.path, "a", encoding="utf-8")  # noqa: SIM115 (closed by close)
        self.board = SummaryWriter(folder / BOARD, purge_step=step)
        done = kept[-1]["kimg"] if kept else 0.0
        self._bar = tqdm(total=total, initial=done, unit="kimg", disable=not progress, bar_format=_BAR)

    def write(self, line: Line) -> None:
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        for name, value in line.items():
            if name not in ("step", "kimg") and math.isfinite(value):
                self.board.add_scalar(name, value, line["step"])
        shown = {name: f"{line[name]:.2f}" for name in ("loss_g", "loss_d") if name in line}
        self._bar.set_postfix(shown | {"img/s": f"{line['images_per_second']:.0f}"}, refresh=False)
        self._bar.update(line["kimg"] - self._bar.n)
        if self.listen is not None:
            self.listen(line)

    def close(self) -> None:
        self._bar.close()
        self._file.close()
        self.board.close()


_BAR = "{l_bar}{bar}| {n:.1f}/{total:.1f} kimg [{elapsed}<{remaining}{postfix}]"


def read_log(folder: Path | str) -> list[Line]:
    """The lines of a training's log; a last line that was cut off is left out."""
    path = Path(folder) / LOG
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    found = []
    for number, line in enumerate(lines, 1):
        try:
            found.append(json.loads(line))
        except ValueError:
            if number < len(lines):
                raise ValueError(f"{path}, line {number} is not JSON: {line[:80]!r}") from None
    return found
