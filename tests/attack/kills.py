"""Commands that are killed at random moments and started again, until they end: what they leave
must be what they leave when nobody disturbs them."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import psutil
import torch
from attempts import digest
from inputs import PROFILE, SMALL, face
from PIL import Image
from plain import tensors
from readers import ROOT, WANTED

from semhead_lib.cameras import Camera
from semhead_lib.cli import main
from semhead_lib.conditioning.bank import ConditionBank
from semhead_lib.conditioning.headclip import training
from semhead_lib.conditioning.headclip.recipe import Recipe
from semhead_lib.conditioning.modes import ConditionMode
from semhead_lib.conditioning.semantic import SemanticEncoder
from semhead_lib.data.kontext.inputs import choose_portraits
from semhead_lib.data.portraits import face_finder
from semhead_lib.models.config import preset
from semhead_lib.models.generator import Generator

Row = tuple[str, int, str, str, str]
MARK = "SEMHEAD_ATTACK"  # in the environment of all that a killed command started
CHAIN = 4  # kills of one result, one after the other
WRITES = ("is writing here", "is executing this run")  # what is left of a killed one still lives


@dataclass(frozen=True)
class Command:
    """A command in a folder of its own, and what counts of its result."""

    name: str
    prepare: Callable[[Path], None]
    run: Callable[[Path], int]  # with the folder as working directory; the exit code
    result: Callable[[Path], Any]


def _parts(path: Path, leave: tuple[str, ...] = ()) -> Any:
    """A JSON file, without what differs from one execution to the next."""

    def kept(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: kept(v) for k, v in value.items() if not any(word in k for word in leave)}
        return [kept(item) for item in value] if isinstance(value, list) else value

    return kept(json.loads(path.read_bytes()))


def _prepare_study(folder: Path) -> None:
    place = ROOT / "tests" / "ablation" / "conftest.py"
    spec = importlib.util.spec_from_file_location("tiny_study", place)
    tiny = importlib.util.module_from_spec(spec)  # type: ignore
    spec.loader.exec_module(tiny)  # type: ignore
    tiny._checkout(folder)
    (folder / "papermill_runs/profiles/ablations/tiny.yaml").write_text(
        tiny.STUDY.replace("  seeds: mode=semantic seed=0,1\n", "")
    )


def _ablate(folder: Path) -> int:
    return main(["ablate", "tiny", "launcher.devices=cpu", "report=false"])


def _study(folder: Path) -> Any:
    results = folder / "papermill_runs/ablations/tiny/results"
    rows = list(csv.DictReader(io.StringIO((results / "runs.csv").read_text())))
    states = [(row["run"], row["state"]) for row in rows]
    return (results / "metrics.csv").read_bytes(), states, sorted(os.listdir(results / "heads"))


def _prepare_inversion(folder: Path) -> None:
    labels = []
    for name, turn in (("anna.png", 8), ("ben.png", -12), ("carl.png", 0)):
        face(64, turn // 4).save(folder / name)
        labels.append([name, Camera.orbit(turn, 0).label.tolist()])
    (folder / "dataset.json").write_text(json.dumps({"labels": labels}))


def _save_generator(folder: Path) -> None:
    encoder = str(SemanticEncoder.load("headclip-64", device="cpu").identity)
    Generator(preset("semhead-32", condition_dim=128, **SMALL)).save(folder)
    features = torch.nn.functional.normalize(torch.randn(32, 128), dim=1)
    ConditionBank(ConditionMode("semantic", 128), encoder, features).save(folder)


def _invert(folder: Path) -> int:
    model = folder.parent / "generator"
    steps = ["steps=6", "tuning_steps=4", "candidates=4", "frames=4", "mesh=16"]
    return main(["invert", ".", "out=out", f"model={model}", "device=cpu", *steps])


def _heads(folder: Path) -> Any:
    found = {}
    for path in sorted((folder / "out").glob("[a-z]*")):
        metrics = _parts(path / "metrics.json", ("second",))
        names = sorted(os.listdir(path))
        found[path.name] = names, metrics, tensors(path / "latent.safetensors")
    return found


def _prepare_portraits(folder: Path) -> None:
    from skimage.data import astronaut

    (folder / "images").mkdir()
    whole = Image.fromarray(astronaut())
    for size in range(300, 500, 40):
        whole.resize((size, size)).save(folder / "images" / f"{size}.png")
    face().save(folder / "images" / "nobody.png")


def _choose(folder: Path) -> int:
    choose_portraits(folder / "images", folder / "out", WANTED, progress=False)
    return 0


def _out(folder: Path) -> Any:
    files = sorted((folder / "out").rglob("*"))
    return {str(f.relative_to(folder)): f.read_bytes() for f in files if f.is_file()}


RECIPE = Recipe(
    data_seed=5,
    subjects=20,
    views_per_subject=2,
    validation=8,
    steps=10,
    batch=6,
    warmup=2,
    merges=60,
)


def _headclip(folder: Path) -> int:
    training.make_subjects(RECIPE, folder / "people", 0, progress=False)
    training.train(RECIPE, folder / "people", folder / "out", save_every=2, progress=False)
    return 0


def _model(folder: Path) -> Any:
    log = [_parts_of(line) for line in (folder / "out" / "log.jsonl").read_text().splitlines()]
    files = {k: v for k, v in _out(folder).items() if not k.endswith(("log.jsonl", "config.json"))}
    return files, log


def _parts_of(line: str) -> Any:
    return {k: v for k, v in json.loads(line).items() if "second" not in k}


def _prepare_notebook(folder: Path) -> None:
    (folder / "notebooks").symlink_to(ROOT / "notebooks")
    (folder / "papermill_runs" / "profiles").mkdir(parents=True)
    first = PROFILE.partition("02_")[0] + "  identity_subjects: 0\n  views_per_subject: 2\n"
    (folder / "papermill_runs" / "profiles" / "one.yaml").write_text(first)


def _reproduce(folder: Path) -> int:
    return main(["reproduce", "one", "html=false"])


def _notebook(folder: Path) -> Any:
    run = folder / "papermill_runs" / "one" / "main"
    state = json.loads((run / "run.json").read_bytes())["notebooks"]["01_dataset_synthesis"]
    data = run / "01_dataset_synthesis"
    shards = {str(p.relative_to(data)): p.read_bytes() for p in sorted(data.rglob("*.tar"))}
    return state["status"], shards, sorted(p.name for p in data.iterdir())


COMMANDS = (
    Command("ablate", _prepare_study, _ablate, _study),
    Command("invert", _prepare_inversion, _invert, _heads),
    Command("data portraits", _prepare_portraits, _choose, _out),
    Command("headclip train", lambda folder: None, _headclip, _model),
    Command("01_dataset_synthesis by papermill", _prepare_notebook, _reproduce, _notebook),
)


def kills(count: int, seed: int, folder: Path, only: str = "") -> Iterator[Row]:
    """Outcomes of that many kills, evenly over the commands whose names hold `only`."""
    folder.mkdir(parents=True)
    os.environ[MARK] = str(folder)
    torch.manual_seed(0)
    torch.set_num_threads(1)
    _save_generator(folder / "generator")
    face_finder.face_finder()  # loaded before the forks
    chosen = [command for command in COMMANDS if only in command.name]
    for number, command in enumerate(chosen):
        wanted = count // len(chosen) + (number < count % len(chosen))
        yield from _kill(command, wanted, Random(f"{seed} {command.name}"), folder)


def _kill(command: Command, wanted: int, rng: Random, folder: Path) -> Iterator[Row]:
    place = folder / "undisturbed"
    began = time.monotonic()
    code, said = _finish(command, _fresh(command, place))
    took = time.monotonic() - began
    if code:
        raise RuntimeError(f"{command.name} fails undisturbed: {said[-2000:]}")
    truth, done = command.result(place), 0
    while done < wanted:
        place, moments = _fresh(command, folder / "killed"), []
        while len(moments) < min(CHAIN, wanted - done):
            moment, whole = rng.uniform(0, took), rng.random() < 0.5
            code, said = _started(command, place, moment, whole)
            if code == 0:  # it had ended before
                break
            moments.append(f"after {moment:.1f} of {took:.1f} s{', with its group' * whole}")
            if code is not None:
                break
        kind, words = _compared(command, place, truth)
        for moment in moments:
            yield command.name, done, kind, moment, words
            done += 1


def _fresh(command: Command, place: Path) -> Path:
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    command.prepare(place)
    return place


def _compared(command: Command, place: Path, truth: Any) -> tuple[str, str]:
    """What came of a chain of kills, after the same command was let end."""
    code, said = _finish(command, place)
    if code is None:
        return "hang", said[-300:]
    if code:
        return "unclear", said[-400:]
    try:
        found = command.result(place)
    except Exception as error:
        return "lost", f"{type(error).__name__}: {error}"
    if digest(found) != digest(truth):
        return "lost", f"other results: {', '.join(_differing(found, truth))[:400]}"
    if left := _left(20.0):
        return "hang", f"left behind: {left}"
    return "identical", ""


def _differing(one: Any, other: Any, where: str = "") -> Iterator[str]:
    """Places at which two values differ."""
    if digest(one) == digest(other):
        return
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted({*one, *other}, key=str):
            yield from _differing(one.get(key), other.get(key), f"{where}/{key}")
    elif isinstance(one, list | tuple) and len(one) == len(other):
        for number, pair in enumerate(zip(one, other, strict=True)):
            yield from _differing(*pair, f"{where}/{number}")
    else:
        yield f"{where}: {one!r:.60} in place of {other!r:.60}"


def _finish(command: Command, place: Path) -> tuple[int | None, str]:
    """Let it end; whoever was left behind by a kill may write for a while."""
    until = time.monotonic() + 120
    while True:
        code, said = _started(command, place, 600, False)
        if not code or time.monotonic() > until or not any(words in said for words in WRITES):
            return code, said
        time.sleep(0.5)


def _started(command: Command, place: Path, moment: float, whole: bool) -> tuple[int | None, str]:
    """Run in a fork, killed after `moment` seconds; the exit code (None: it was killed), and what
    was said."""
    printed = place.with_name(f"{place.name}.txt")
    pid = os.fork()
    if pid == 0:
        os.setsid()
        out = os.open(printed, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(out, 1)
        os.dup2(out, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w", 1), os.fdopen(2, "w", 1)
        code = 1
        try:
            os.chdir(place)
            code = command.run(place)
        except BaseException as error:
            print(f"{type(error).__name__}: {error}")
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    until, status = time.monotonic() + moment, None
    while status is None and time.monotonic() < until:
        done, status = os.waitpid(pid, os.WNOHANG)
        status = status if done else None
        time.sleep(0.01)
    if status is None:
        (os.killpg if whole else os.kill)(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    said = printed.read_text(errors="replace") if printed.exists() else ""
    return (None if status is None else os.waitstatus_to_exitcode(status)), said


def _left(seconds: float) -> list[str]:
    """Programs that killed commands had started, and which still run after so long."""
    until = time.monotonic() + seconds
    while True:
        found = []
        for process in psutil.process_iter(["pid", "cmdline"]):
            try:
                marked = process.environ().get(MARK) == os.environ[MARK]
                alive = process.status() != psutil.STATUS_ZOMBIE
            except psutil.Error:
                continue
            if marked and alive:
                found.append(" ".join(process.info["cmdline"] or [])[:100])
        if not found or time.monotonic() > until:
            return found
        time.sleep(0.5)
