"""Comparison of several generators by one protocol: one table, one plot and one page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from semhead_lib.atomic import holds_out, write_atomically
from semhead_lib.errors import UsageError
from semhead_lib.evaluation.features import DEFAULT, FeatureExtractor
from semhead_lib.evaluation.finished import KEY, Finished, finished, key_of, load_entry
from semhead_lib.evaluation.judging import (
    check_extras,
    common_viewing,
    description,
    fixed_plan,
    heads_wanted,
    judge_heads,
    made_heads,
    reference_resolution,
    reference_subjects,
)
from semhead_lib.evaluation.page import (
    METRICS,
    PAGE,
    POLAR,
    Entry,
    heads_sheet,
    write_evaluation,
    write_page,
)
from semhead_lib.evaluation.reference_statistics import ReferenceStatistics
from semhead_lib.evaluation.samples import hashed
from semhead_lib.evaluation.settings import ImageSetSettings
from semhead_lib.evaluation.targets import AnySource, check_out, source_of
from semhead_lib.metrics.azimuth import AzimuthBins
from semhead_lib.metrics.comparison import ALL
from semhead_lib.metrics.names import display_name

COMPARISON = "comparison.json"
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
    """Evaluate generators (as `source_of` takes them) against one dataset and write a page; the
    same call resumes. Names that end in .json are results of `semhead evaluate` and are used as
    they are.

    Raises ValueError if two protocols differ in data or settings.
    """
    out, sets = Path(out), sets or ImageSetSettings()
    check_out(out, reference, *generators)
    check_extras(identity_heads)
    called = _names(generators, names)
    for name in called:
        if (out / name).exists() and not (out / name).is_dir():
            raise UsageError(f"names: {out / name} is a file, expected a folder or nothing")
    entries: dict[str, Entry] = {}

    def add(entry: Entry) -> None:
        for first in list(entries.values())[:1]:
            check_comparable(first, entry)
        entries[entry.name] = entry

    todo: list[tuple[str, AnySource, Path | str]] = []
    for name, target in zip(called, generators, strict=True):
        if str(target).endswith(".json"):
            add(load_entry(target, name))
        else:
            options: dict[str, Any] = dict(views=views, psi=psi, device=device, name=name)
            todo.append((name, source_of(target, sets, **options), target))
    asked = dict(heads=heads, views=views, identity_heads=identity_heads or None, plan=sets.plan)
    if not todo and (unused := [name for name, value in asked.items() if value is not None]):
        raise UsageError(f"{', '.join(unused)}: nothing is judged, every generator is a .json")
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
            "cameras": [viewing.kind, viewing.seed, hashed(viewing.cameras)],
        }
        stats = words = None
        keys = {name: key_of(source, target, settings) for name, source, target in todo}
        there = finished(out, keys.values(), called)
        for name, source, target in todo:
            key = keys[name]
            if (done := there.get(key or "")) is not None:
                add(done.named(name, out / name, target))
                continue
            if stats is None or words is None:
                kept: dict[str, Any] = dict(bins=bins, seed=seed, store=store, progress=progress)
                stats, words = viewing.statistics(subjects, side, *extractors, **kept)
                for first in list(entries.values())[:1]:
                    _check_protocol(first, name, stats)
            judged = made_heads(source, viewing, stats, progress)
            about = description(source, target, viewing, words) | {KEY: key}
            how: dict[str, Any] = dict(identity_heads=identity_heads, progress=progress)
            found = judge_heads(judged, stats, about, **how)
            entry = Entry(name, found, heads_sheet(judged.samples, stats.bins))
            add(entry)
            (out / name).mkdir(exist_ok=True)
            write_evaluation(out / name, entry)
            if key is not None:
                there[key] = Finished(out / name, entry)
    ordered = [entries[name] for name in called]
    write_page(out, ordered, f"Comparison of {', '.join(called)}")
    whole = {entry.name: entry.found.as_json() for entry in ordered}
    write_atomically(out / COMPARISON, (json.dumps(whole, indent=1) + "\n").encode())
    return ordered


def check_comparable(one: Entry, other: Entry) -> None:
    """Raise ValueError naming the first metric whose protocol differs, and the difference."""
    for scope, named in one.found.generated.items():
        for metric, mine in named.items():
            its = other.found.generated.get(scope, {}).get(metric)
            if its is None:
                continue
            ours, theirs = (asdict(m.protocol) for m in (mine, its))
            for key, value in ours.items():
                if key not in _OTHERWISE and theirs[key] != value:
                    where = "" if scope == ALL else f" at {scope}°"
                    what = f"{display_name(metric)}{where}"
                    raise ValueError(_unlike(one.name, other.name, what, key, value, theirs[key]))


def _check_protocol(one: Entry, other: str, stats: ReferenceStatistics) -> None:
    """Raise ValueError where the heads of `other` would be measured otherwise: before they are."""
    protocol = one.found.generated[ALL]["frechet"].protocol
    known: dict[str, Any] = dict(features=stats.extractor.identity, heads=len(stats.matched))
    known |= dict(resolution=stats.matched_samples.resolution, seed=stats.seed, data=stats.data)
    for key, value in known.items():
        if (its := getattr(protocol, key)) != value:
            raise ValueError(_unlike(one.name, other, display_name("frechet"), key, its, value))


def _unlike(one: str, other: str, what: str, key: str, its: Any, value: Any) -> str:
    return (
        f"{one} and {other} cannot be compared: {what} is measured with {key} {its} of {one}, and "
        f"{value} of {other}"
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
