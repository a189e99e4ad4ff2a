"""Finished evaluations, found by the content that was evaluated, whatever its name.

Each evaluation of a comparison stores a key: a digest of the evaluated images or weights and of all
that its metrics depend on, but not of the generator's name or path.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Container
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image

from semhead_lib.evaluation.image_sets import ImageSet
from semhead_lib.evaluation.page import HEADS, METRICS, Entry, write_evaluation
from semhead_lib.evaluation.result import Evaluation
from semhead_lib.evaluation.sources import FunctionSource
from semhead_lib.evaluation.targets import AnySource
from semhead_lib.files import file_digest, in_file, read_json
from semhead_lib.metrics.comparison import ALL
from semhead_lib.models.generator import CONFIG, WEIGHTS, folder_of

KEY = "key"  # in `about`
_OF_OURS = ("psi",)  # settings that images which were rendered elsewhere do not depend on


@dataclass(frozen=True)
class Finished:
    """An evaluation in a comparison's folder."""

    folder: Path
    entry: Entry
    sheet: bytes | None = None  # heads.webp, where it was read

    def named(self, name: str, folder: Path, target: Path | str) -> Entry:
        """The same evaluation under a name in `folder`, written if it is not there yet."""
        about = self.entry.found.about | {"name": name, "source": str(target)}
        entry = Entry(name, replace(self.entry.found, about=about), self.entry.heads)
        if folder != self.folder or about != self.entry.found.about:
            folder.mkdir(exist_ok=True)
            write_evaluation(folder, entry, self.sheet)
        return entry


def key_of(source: AnySource, target: Path | str, settings: dict[str, Any]) -> str | None:
    """Key of an evaluation: equal for equal images or generators, settings and data; None for a
    function, whose content is unknown."""
    if isinstance(source, FunctionSource):
        return None
    if isinstance(source, ImageSet):
        whose = source.fingerprint()
        settings = {name: value for name, value in settings.items() if name not in _OF_OURS}
    else:
        files = [file_digest(folder_of(target) / file) for file in (WEIGHTS, CONFIG)]
        whose = f"{' '.join(files)} {source.bank.mode} {source.bank.encoder}"
    content = json.dumps([whose, settings], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def finished(out: Path, keys: Container[str | None], prefer: Container[str]) -> dict[str, Finished]:
    """The requested evaluations in the folders of `out`, by key; of several with the same key, one
    with a preferred name. Unreadable ones count as not finished."""
    found: dict[str, Finished] = {}
    for path in sorted(out.glob(f"*/{METRICS}"), key=lambda p: (p.parent.name not in prefer, p)):
        try:
            entry = load_entry(path, path.parent.name)
            sheet = path.with_name(HEADS).read_bytes() if entry.heads is not None else None
        except (OSError, ValueError):
            continue
        key = entry.found.about.get(KEY)
        if isinstance(key, str) and key in keys:
            found.setdefault(key, Finished(path.parent, entry, sheet))
    return found


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
