"""Whom photographs show, and what the folder of each person is called."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from semhead_lib.data.dataset.archives import folder_labels
from semhead_lib.data.portraits.photos import SUFFIXES, find_photos


def gather(photos: Sequence[Path | str]) -> dict[str, list[Path]]:
    """Group photographs by person: those in one subfolder show one person, each other one shows
    another person.

    Raises FileNotFoundError for a missing path, ValueError if there is no photograph or the labels
    of photographs are damaged.
    """
    subjects: dict[str, list[Path]] = {}
    known: set[tuple[str, Path]] = set()  # a photograph that is given twice shows one person
    for path in map(Path, photos):
        if not path.exists():
            raise FileNotFoundError(2, "no such photograph or folder", str(path))
        alone = path.stem if path.stem.strip(".") else path.name  # no folder is called ".."
        found = find_photos(path) if path.is_dir() else [(alone, path)]
        place = path if path.is_dir() else path.parent
        if any(file.parent == place for _, file in found):  # of all of them: said once if damaged
            for folder in place.absolute(), place.absolute().parent:
                folder_labels(folder)
        for name, file in found:
            name = name.encode(errors="surrogateescape").decode(errors="replace")
            if (name, file.absolute()) in known:
                continue
            known.add((name, file.absolute()))
            unique = name
            while unique in subjects and subjects[unique][0].parent != file.parent:
                unique += "_"
            if (
                unique in subjects and file.parent.name != name
            ):  # two files of one folder with one stem
                unique = f"{name}_{file.suffix[1:].lower()}"
                while unique in subjects:
                    unique += "_"
            subjects.setdefault(unique, []).append(file)
    if not subjects:
        raise ValueError(f"no photographs: expected {', '.join(SUFFIXES)}")
    return subjects
