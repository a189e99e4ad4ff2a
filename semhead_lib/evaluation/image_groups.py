"""Which images show one head."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath


def grouped(names: Sequence[str], group: str, where: str) -> list[list[int]]:
    """Places of each head's images, heads and images by name: those of a folder ("folder"), each
    alone ("none"), or those whose names agree in what the regular expression `group` finds.

    Raises ValueError for a name in which it finds nothing, or what is no expression.

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
