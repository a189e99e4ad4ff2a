"""Several generators side by side: judged by one protocol, in one table, one plot and one page."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from PIL import Image

from semhead_lib.atomic import holds_out, write_atomically
from semhead_lib.errors import UsageError
from semhead_lib.evaluation.features import DEFAULT, FeatureExtractor
from semhead_lib.evaluation.image_sets import ImageSet
from semhead_lib.evaluation.judging import (
    AnySource,
    check_out,
    common_viewing,
    description,
    fixed_plan,
    heads_wanted,
    judge_heads,
    made_heads,
    reference_resolution,
    reference_subjects,
    source_of,
)
from semhead_lib.evaluation.page import (
    HEADS,
    METRICS,
    PAGE,
    POLAR,
    Entry,
    heads_sheet,
    write_evaluation,
    write_page,
)
from semhead_lib.evaluation.result import Evaluation
from semhead_lib.evaluation.samples import hashed
from semhead_lib.evaluation.settings import ImageSetSettings
from semhead_lib.evaluation.sources import FunctionSource
from semhead_lib.files import file_digest, in_file, read_json
from semhead_lib.metrics.azimuth import AzimuthBins
from semhead_lib.metrics.comparison import ALL
from semhead_lib.models.generator import WEIGHTS, folder_of

COMPARISON = "comparison.json"
_KEY = "key"  # in `about`: tells whether a finished evaluation is the one that is asked for
_OTHERWISE = ("judged",)  # in what protocols of comparable metrics differ


@holds_out
def compare(
    generators: Sequence[Path | str],
    reference: Path | str | None,
    out: Path | str,
    *,
    names: Sequence[str] | None = None,  # in tables; None: those of folders, files and functions
    heads: int | None = None,  # None: those of a plan, else 256 or what image sets have
    views: int | None = None,
    psi: float = 1.0,
    bins: AzimuthBins = AzimuthBins(),  # noqa: B008 (frozen)
    seed: int = 0,
    identity_heads: int = 0,
    features: str = DEFAULT,
    encoder: str = "headclip-64",
    sets: ImageSetSettings | None = None,
    store: Path | str | None = None,
    device: str = "cpu",
    progress: bool = True,
) -> list[Entry]:
    """Judge generators (what `source_of` takes) against one dataset and write a page; the same call
    goes on. What ends in .json was written by `semhead evaluate` and is taken as it is.

    Raises ValueError where two were not measured by one protocol, in data or in settings.
    """
    out, sets = Path(out), sets or ImageSetSettings()
    check_out(out, reference, *generators)
    called = _names(generators, names)
    entries: dict[str, Entry] = {}
    todo: list[tuple[str, AnySource, Path | str]] = []
    for name, target in zip(called, generators, strict=True):
        if str(target).endswith(".json"):
            entries[name] = load_entry(target, name)
        else:
            options: dict[str, Any] = dict(views=views, psi=psi, device=device, name=name)
            todo.append((name, source_of(target, sets, **options), target))
    if todo:
        if reference is None:
            raise UsageError(f"reference=... is needed to judge {todo[0][0]}: a dataset of ours")
        settings = dict(psi=psi, seed=seed, identity_heads=identity_heads)
        sources = [source for _, source, _ in todo]
        plan = fixed_plan(sources, sets.plan)
        count = heads_wanted(sources, plan, heads, views)
        subjects = reference_subjects(reference, 2 * count, progress)
        seen: dict[str, Any] = dict(heads=count, views=views, seed=seed)
        viewing = common_viewing(sources, subjects, plan, **seen)
        sides = [source.side for source in sources] + [reference_resolution(reference)]
        side = sets.resolution or min(sides)
        extractors = [FeatureExtractor.load(n, device=device) for n in (features, encoder)]
        settings |= {"features": [e.identity for e in extractors], "resolution": side}
        settings |= {
            "bins": bins.count,
            "data": subjects.digest,
            "cameras": hashed(viewing.cameras),
        }
        stats = words = None
        for name, source, target in todo:
            key = _key_of(source, target, settings)
            if (done := _finished(out / name, name, key)) is not None:
                entries[name] = done
                continue
            if stats is None or words is None:
                kept: dict[str, Any] = dict(bins=bins, seed=seed, store=store, progress=progress)
                stats, words = viewing.statistics(subjects, side, *extractors, **kept)
            judged = made_heads(source, viewing, stats, progress)
            about = description(source, target, viewing, words) | {_KEY: key}
            asked: dict[str, Any] = dict(identity_heads=identity_heads, progress=progress)
            found = judge_heads(judged, stats, about, **asked)
            entries[name] = Entry(name, found, heads_sheet(judged.samples, stats.bins))
            (out / name).mkdir(exist_ok=True)
            write_evaluation(out / name, entries[name])
    ordered = [entries[name] for name in called]
    for entry in ordered[1:]:
        check_comparable(ordered[0], entry)
    write_page(out, ordered, f"Comparison of {', '.join(called)}")
    whole = {entry.name: entry.found.as_json() for entry in ordered}
    write_atomically(out / COMPARISON, (json.dumps(whole, indent=1) + "\n").encode())
    return ordered


def load_entry(path: Path | str, name: str) -> Entry:
    """Metrics that `semhead evaluate` wrote, and the heads beside them, if there are any. Raises
    FileNotFoundError, or ValueError naming the file."""
    path = Path(path)
    content = read_json(path)
    try:
        found = Evaluation.from_json(content)
        if "frechet" not in found.generated.get("all", {}):
            raise ValueError("has no Fréchet distance over all views")
        _check_about(found.about)
        if wrong := [scope for scope in found.generated if not _is_scope(scope)]:
            raise ValueError(f"expected all and azimuths in degrees, got {wrong[0]!r:.60}")
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise ValueError(in_file(path, error)) from None
    sheet = path.with_name(HEADS) if path.name == METRICS else None
    if sheet is None or not sheet.is_file():
        return Entry(name, found)
    try:
        with Image.open(sheet, formats=("WEBP",)) as image:
            return Entry(name, found, image.convert("RGB"))
    except Exception as error:  # decoders meet damage with many kinds of exceptions
        raise ValueError(f"{sheet}: is not a readable image: {error}") from None


def _check_about(about: dict[str, Any]) -> None:
    """Raise ValueError for what no evaluation says of itself."""
    left_out = about.get("left_out", {})
    if not isinstance(about.get("seen", ""), str) or not isinstance(left_out, dict):
        raise ValueError("about: seen must be a text, and left_out texts by name")


def _is_scope(scope: str) -> bool:
    try:
        return scope == ALL or abs(float(scope)) <= 360
    except ValueError:
        return False


def check_comparable(one: Entry, other: Entry) -> None:
    """Raise ValueError naming the first metric that was measured otherwise, and in what."""
    for scope, named in one.found.generated.items():
        for metric, mine in named.items():
            its = other.found.generated.get(scope, {}).get(metric)
            if its is None:
                continue
            ours, theirs = (asdict(m.protocol) for m in (mine, its))
            for key, value in ours.items():
                if key not in _OTHERWISE and theirs[key] != value:
                    raise ValueError(
                        f"{one.name} and {other.name} cannot be compared: {metric} ({scope}) was "
                        f"measured with {key} {value} there and {theirs[key]} here"
                    )


def _names(generators: Sequence[Path | str], names: Sequence[str] | None) -> list[str]:
    """One name each; raises UsageError for names that are no names of folders, or twice there."""
    if names is not None and len(names) != len(generators):
        raise UsageError(f"names: {len(generators)} generators, {len(names)} names")
    found = list(names) if names is not None else [_name(str(target)) for target in generators]
    for name in found:
        taken = (PAGE, POLAR, COMPARISON)
        if not 0 < len(name) <= 80 or name in taken or "/" in name or name.startswith("."):
            raise UsageError(f"names: {name!r} cannot be the name of a folder")
        if found.count(name) > 1:
            raise UsageError(f"two generators are called {name!r}: give names=A,B,...")
    return found


def _name(target: str) -> str:
    path = Path(target)
    if ":" in target and not path.exists():
        return target.rpartition(":")[2]
    if path.name == METRICS or path.name == "generator":  # of a training: the folder's is the name
        path = path.resolve().parent
    return path.resolve().stem if path.suffix in (".json", ".zip") else path.resolve().name


def _key_of(source: AnySource, target: Path | str, settings: dict[str, Any]) -> str | None:
    """Of an evaluation: equal for equal images, settings and data; None for a function, of which
    nothing is known."""
    if isinstance(source, FunctionSource):
        return None
    if isinstance(source, ImageSet):
        whose = source.fingerprint()
    else:
        whose = file_digest(folder_of(target) / WEIGHTS)
    content = json.dumps([whose, settings], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _finished(folder: Path, name: str, key: str | None) -> Entry | None:
    if key is None or not (folder / METRICS).is_file():
        return None
    entry = load_entry(folder / METRICS, name)
    return entry if entry.found.about.get(_KEY) == key else None
