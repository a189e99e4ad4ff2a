"""How time and memory are measured on a device, what the device can do at most, and how figures are
written."""

from __future__ import annotations

import datetime
import json
import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from semhead_lib.devices import available_cores
from semhead_lib.ops import compiled

CUT_OFF = "cut off"  # of a kind that was being measured when the process ended
# processes that wait for a core or have one, a core, beyond which times are not to be trusted
_BUSY = 1.5


@dataclass(frozen=True)
class Meter:
    """Measures calls on one device."""

    device: str  # "cuda" or "cpu"
    runs: int = 9

    def milliseconds(self, call: Callable[[], Any], warm_up: int = 2) -> float:
        """Median of `runs`: by events on a card, by the clock on a processor."""
        for _ in range(warm_up):
            call()
        times = sorted(self._once(call) for _ in range(self.runs))
        return times[self.runs // 2]

    def _once(self, call: Callable[[], Any]) -> float:
        if self.device == "cuda":
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            call()
            end.record()
            end.synchronize()
            return start.elapsed_time(end)
        began = time.perf_counter()
        call()
        return 1000 * (time.perf_counter() - began)

    def seconds(self, call: Callable[[], Any]) -> float:
        """Of one call, all that it started on the device included."""
        self.wait()
        began = time.perf_counter()
        call()
        self.wait()
        return time.perf_counter() - began

    def wait(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()

    def peak_megabytes(self, call: Callable[[], Any]) -> float | None:
        """Most memory that the call holds beyond what was held before; None where that is not
        known."""
        if self.device != "cuda":
            return None
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        self.wait()
        return (torch.cuda.max_memory_allocated() - before) / 1e6

    def ceilings(self) -> dict[str, float]:
        """What the device reaches: TFLOP/s of products in fp32 (without tensor cores) and bf16,
        TB/s of a copy."""
        side, length = (8192, 1 << 28) if self.device == "cuda" else (512, 1 << 22)
        before = torch.backends.cuda.matmul.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = False
        found = {}
        for name, dtype in (("fp32_tflops", torch.float32), ("bf16_tflops", torch.bfloat16)):
            a = torch.randn(side, side, device=self.device, dtype=dtype)
            found[name] = 2 * side**3 / self.milliseconds(lambda a=a: a @ a) / 1e9
        torch.backends.cuda.matmul.allow_tf32 = before
        big = torch.empty(length, device=self.device)
        found["copy_tbps"] = 2 * big.numel() * 4 / self.milliseconds(big.clone) / 1e9
        return {name: round(value, 3) for name, value in found.items()}


@dataclass
class Measurements:
    """A file of figures in the form of papermill_runs/benchmarks, written again after each row."""

    path: Path
    what: str
    device: str
    ceilings: dict[str, float] = field(default_factory=dict)
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)

    def begin(self, name: str, kind: str) -> None:
        """Mark a kind as cut off until figures of its row are added."""
        self.rows.setdefault(name, {})[kind] = CUT_OFF
        self._write()

    def add(self, name: str, **values: Any) -> None:
        """Put values into a row, rounded, with the machine's load where that disturbs them, and
        write the file."""
        row = self.rows.setdefault(name, {})
        for kind in [key for key, value in row.items() if value == CUT_OFF]:
            del row[kind]
        load, cores = os.getloadavg()[0], available_cores()
        if load > _BUSY * cores:
            row["disturbed"] = f"load {load:.1f} on {cores} cores"
        row |= {
            key: round(value, 3) if isinstance(value, float) else value
            for key, value in values.items()
        }
        print(f"{name}: {json.dumps({key: row[key] for key in values})}", flush=True)
        self._write()

    def _write(self) -> None:
        card = (
            torch.cuda.get_device_name()
            if self.device == "cuda"
            else f"CPU, {torch.get_num_threads()} threads"
        )
        content = {
            "what": self.what,
            "device": card,
            "ceilings": self.ceilings,
            "rows": self.rows,
            "ops": compiled.COMPILED.detail,
            "machine": f"{platform.system()} {platform.machine()}, Python "
            f"{platform.python_version()}",
            "versions": {"torch": torch.__version__, "cuda": torch.version.cuda},
            "date": datetime.date.today().isoformat(),
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_name(f".{self.path.name}.partial")
        partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        partial.replace(self.path)
