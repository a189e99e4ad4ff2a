"""`gpu_quarter.sh --table OUT`: copies a lease's figures of a GPU into the repository and
docs/benchmarks.md.

The table stands between two markers and comes from papermill_runs/benchmarks/gpu_*.json alone.
Where there are none, it says that no GPU has been measured.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
BENCHMARKS, PAGE = Path("papermill_runs/benchmarks"), Path("docs/benchmarks.md")
BEGIN, END = (
    "<!-- gpu figures: written by environments/gpu_quarter.sh --table -->",
    "<!-- end of gpu figures -->",
)
NAMES = ("gpu_render.json", "gpu_step.json")
NONE = (
    "No GPU has been measured yet. Run `environments/gpu_quarter.sh` on a machine with a GPU to "
    "fill this section."
)


def main(words: list[str], root: Path = ROOT) -> int:
    """Exit code: 0 when the page has the table, 1 with a sentence when it cannot, 2 for other words
    than one OUT."""
    if len(words) != 1:
        missing = "OUT is missing" if not words else f"expected one OUT, got {' '.join(words)}"
        print(
            f"gpu_quarter --table: {missing}: the folder of a lease, with {' or '.join(NAMES)}",
            file=sys.stderr,
        )
        return 2
    try:
        print("\n".join(f"{path} is new" for path in take(Path(words[0]), root / BENCHMARKS)))
        write_page(root)
    except (OSError, ValueError, KeyError) as error:
        print(f"gpu_quarter --table: {error}", file=sys.stderr)
        return 1
    return 0


def take(out: Path, benchmarks: Path) -> list[Path]:
    """Copy the figures of a GPU that a lease brought. Raises ValueError when it brought none, or
    those of a CPU."""
    found = [out / name for name in NAMES if (out / name).is_file()]
    if not found:
        raise ValueError(f"{out} has neither of {', '.join(NAMES)}")
    for path in found:
        content = json.loads(path.read_text(encoding="utf-8"))
        if (
            not content["rows"]
            or not content["versions"]["cuda"]
            or content["device"].startswith("CPU")
        ):
            raise ValueError(f"{path} holds no figures of a GPU (device {content['device']!r})")
        (benchmarks / path.name).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return [benchmarks / path.name for path in found]


def write_page(root: Path) -> None:
    """Replace what stands between the markers. Raises ValueError when the page has not both, in
    order."""
    path = root / PAGE
    text = path.read_text(encoding="utf-8")
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{path} needs the lines '{BEGIN}' and '{END}', in this order")
    path.write_text(f"{head}{BEGIN}\n{section(root / BENCHMARKS)}\n{END}{tail}", encoding="utf-8")


def section(benchmarks: Path) -> str:
    """The section in Markdown; links are relative to docs/."""
    render, step = (
        json.loads((benchmarks / name).read_text(encoding="utf-8"))
        if (benchmarks / name).is_file()
        else None
        for name in NAMES
    )
    if not render and not step:
        return NONE
    parts = []
    if render:
        parts.append(_render(render))
    if step:
        parts.append(_step(step))
    return "\n\n".join(parts)


_KINDS = ("ours", "ours, density grid", "reference", "compiled reference")


def _render(figures: dict[str, Any]) -> str:
    """Times and memory of the renderer, ours and the reference implementation's."""
    lines = [
        f"Times of the renderer on one {_where(figures)} "
        f"([benchmark](../{BENCHMARKS / NAMES[0]})). Workload: {figures['what']}.",
        "",
        "| planes | fused: forward / with backward, ms | fused, with a density grid | reference | "
        "reference by torch.compile | "
        "memory with backward, MB: fused / reference | share of the GPU's fp32 peak |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in figures["rows"].items():
        if not any(isinstance(value, float) for value in row.values()):
            continue  # not reached in time
        kinds = [_pair(row, kind, "ms") for kind in _KINDS]
        memory = " / ".join(
            _number(row.get(f"{kind} both MB"), 0) for kind in ("ours", "reference")
        )
        lines.append(
            f"| {_named(name, row)} | {' | '.join(kinds)} | {memory} | "
            f"{_number(row.get('share of fp32'), 2)} |"
        )
    return "\n".join(lines)


def _step(figures: dict[str, Any]) -> str:
    """Images a second of each preset, by how the step is run."""
    names = {key.removesuffix(" images/s"): None for row in figures["rows"].values() for key in row}
    kinds = [
        name for name in names if any(f"{name} images/s" in row for row in figures["rows"].values())
    ]
    lines = [
        f"Training speed on one {_where(figures)}, in images per second "
        f"([benchmark](../{BENCHMARKS / NAMES[1]})):",
        "",
        f"| preset | batch | {' | '.join(kinds)} | peak memory, GB |",
        "|---|---|" + "---|" * (len(kinds) + 1),
    ]
    for name, row in figures["rows"].items():
        if "batch" not in row:
            continue  # not reached in time
        speeds = [_number(row.get(f"{kind} images/s"), 0) for kind in kinds]
        peaks = [row[f"{kind} peak MB"] for kind in kinds if f"{kind} peak MB" in row]
        peak = _number(max(peaks) / 1000 if peaks else None, 1)
        lines.append(
            f"| {_named(f'`{name}`', row)} | {row.get('batch', '–')} | {' | '.join(speeds)} | "
            f"{peak} |"
        )
    return "\n".join(lines)


def _named(name: str, row: dict[str, Any]) -> str:
    return f"{name} (disturbed: {row['disturbed']})" if "disturbed" in row else name


def _where(figures: dict[str, Any]) -> str:
    versions = figures["versions"]
    return f"{figures['device']} (torch {versions['torch']}, {figures['date']})"


def _pair(row: dict[str, Any], kind: str, unit: str) -> str:
    return " / ".join(_number(row.get(f"{kind} {what} {unit}"), 2) for what in ("forward", "both"))


def _number(value: Any, digits: int) -> str:
    return f"{value:,.{digits}f}" if isinstance(value, int | float) else "–"
