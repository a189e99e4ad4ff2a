"""Which images show one head."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath


def grouped(names: Sequence[str], group: str, where: str) -> list[list[int]]:
    """Indices of each head's images, sorted by name: the images in one folder ("folder"), single
    images ("none"), or images with equal matches of the regular expression `group`.

    Raises ValueError for a name that does not match, or an invalid expression.

    >>> grouped(["a/0.png", "b/0.png", "a/1.png"], "folder", "")
    [[0, 2], [1]]
    """
    if group == "folder":
        keys = [PurePosixPath(name).parent.as_posix() for name in names]
    elif group == "none":
        keys = list(names)
    else:
        keys = [_key(name, group, where) for name in names]
    found: dict[str, list[int]] = {}
    for place, key in enumerate(keys):
        found.setdefault(key, []).append(place)
    return [found[key] for key in sorted(found)]


def _key(name: str, pattern: str, where: str) -> str:
    try:
        match = re.search(pattern, name)
    except re.error as error:
        raise ValueError(
            f"group must be folder, none or a regular expression, got {pattern!r}: {error}"
        ) from None
    if match is None:
        raise ValueError(f"{where}: group={pattern}: is not in the name {name}")
    return match[1] if match.lastindex else match[0]
