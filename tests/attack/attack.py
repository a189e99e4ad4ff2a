"""`make attack MINUTES=10`: damaged inputs for everything that reads, and kills for what goes on.

    python tests/attack/attack.py [--minutes 10] [--seed 0] [--only TEXT] [--number N] [--out FILE]

Fifty damaged inputs and six kills a minute, in two processes. Each damaged input must be refused in
one line that names the file, or give what the good one gives, or what the file now says by another
reader. After each kill the same command must go on to the result of one that never stopped. Prints
what is bad as it happens and a table at the end; exit code 1 when anything was bad.
`--only READER --number N` with the same seed repeats one attempt.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from random import Random

HERE = Path(__file__).parent
TESTS = HERE.parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]
sys.path += [str(TESTS / name) for name in ("data", "training", "ablation")]
os.environ.setdefault("OMP_NUM_THREADS", "1")
A_MINUTE = {"inputs": 50, "kills": 6}

Row = tuple[str, int, str, str, str]  # of what, number, outcome, what was done, what was said


def damaged_inputs(
    count: int, seed: int, folder: Path, only: str = "", number: int | None = None
) -> Iterator[Row]:
    """Outcomes of that many damaged inputs, evenly over all readers whose names hold `only`."""
    import attempts
    import mutations
    from inputs import make_inputs
    from readers import READERS, Reader

    inputs, work, truth = folder / "inputs", folder / "work", {}
    make_inputs(inputs)
    chosen = [reader for reader in READERS if only in reader.name]

    def fresh(reader: Reader) -> Path:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        source, place = inputs / reader.source, work / reader.source
        return Path((shutil.copytree if source.is_dir() else shutil.copy)(source, place))

    for turn in range(count) if number is None else [number * len(chosen)]:
        reader, place = chosen[turn % len(chosen)], None
        if reader.name not in truth:
            place = fresh(reader)
            read, plain = partial(reader.read, place), partial(reader.plain or reader.read, place)
            good, found = attempts.attempt(read, None, None, place, folder, seconds=120)
            same, _ = attempts.attempt(plain, None, found, place, folder)
            if good.kind != "identical" or (reader.plain and same.kind != "identical"):
                raise RuntimeError(f"{reader.name}: the good input gives {good} and {same}")
            truth[reader.name] = found
        at = turn // len(chosen)
        rng, place = Random(f"{seed} {reader.name} {at}"), fresh(reader)
        path = _chosen(rng, reader, place)
        done = mutations.mutate(rng, path, pixels=reader.whole)
        plain = reader.plain and partial(reader.plain, place)
        read, expected = partial(reader.read, place), truth[reader.name]
        outcome, _ = attempts.attempt(read, plain, expected, path, folder)
        yield reader.name, at, outcome.kind, f"{path.relative_to(work)}: {done}", outcome.said


def _chosen(rng: Random, reader, place: Path) -> Path:
    if place.is_file():
        return place
    patterns = reader.damaged.split(",")
    files = sorted({p for pattern in patterns for p in place.glob(pattern) if p.is_file()})
    kinds = sorted({path.suffix for path in files})  # each kind as often as another
    kind = rng.choice(kinds)
    return rng.choice([path for path in files if path.suffix == kind])


def table(rows: Sequence[Row]) -> str:
    """Attempts and outcomes in Markdown, a line each reader or command."""
    import attempts

    kinds = [
        kind for kind in (*attempts.GOOD, *attempts.BAD) if any(row[2] == kind for row in rows)
    ]
    lines = [f"| | attempts | {' | '.join(kinds)} |", "|---|--:|" + "--:|" * len(kinds)]
    for name in [*dict.fromkeys(row[0] for row in rows), "all"]:
        counts = Counter(row[2] for row in rows if name in (row[0], "all"))
        shown = " | ".join(str(counts[kind] or "") for kind in kinds)
        lines.append(f"| {name} | {sum(counts.values())} | {shown} |")
    return "\n".join(lines)


def _run(part: str, arguments: argparse.Namespace, folder: str, found: Path) -> None:
    """One half of the attack; its rows go into a file of JSON lines."""
    import attempts
    import torch

    torch.set_num_threads(1)
    count = round(A_MINUTE[part] * arguments.minutes)
    if part == "inputs":
        rows = damaged_inputs(count, arguments.seed, Path(folder), arguments.only, arguments.number)
    else:
        from kills import kills

        rows = kills(count, arguments.seed, Path(folder), arguments.only)
    began = time.monotonic()
    with open(found, "w", encoding="utf-8") as file:
        for done, row in enumerate(rows, 1):
            file.write(json.dumps(row) + "\n")
            file.flush()
            if row[2] in attempts.BAD or arguments.number is not None:
                name, number, kind, what, said = row
                print(f"{kind.upper()}: {name} --number {number}: {what}\n    {said}", flush=True)
            if done % 50 == 0 or (part == "kills" and done % 6 == 0):
                print(f"{part}: {done} of {count}, {time.monotonic() - began:.0f} s", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description="damaged inputs, and kills")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="readers or commands whose names hold this")
    parser.add_argument("--number", type=int, help="one attempt of one reader alone")
    parser.add_argument("--part", choices=("inputs", "kills"), help="this half alone")
    parser.add_argument("--out", type=Path, help="Markdown file to write the table to")
    arguments = parser.parse_args()
    import attempts

    with tempfile.TemporaryDirectory(prefix="attack-") as folder:
        parts, context = [arguments.part] if arguments.part else [*A_MINUTE], multiprocessing
        found = {part: Path(folder) / f"{part}.jsonl" for part in parts}
        running = [
            context.get_context("spawn").Process(
                target=_run, args=(part, arguments, f"{folder}/{part}", path)
            )
            for part, path in found.items()
        ]
        for process in running:
            process.start()
        for process in running:
            process.join()
        rows = [tuple(json.loads(x)) for f in found.values() for x in f.read_text().splitlines()]
    print(text := table(rows))
    if arguments.out:
        arguments.out.write_text(text + "\n")
    bad = sum(row[2] in attempts.BAD for row in rows)
    print(f"{len(rows)} attempts, seed {arguments.seed}: {bad or 'none'} bad")
    return 1 if bad or any(process.exitcode for process in running) else 0


if __name__ == "__main__":
    sys.exit(main())
