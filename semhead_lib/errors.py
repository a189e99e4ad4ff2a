"""Errors that a user makes and can mend, and the nearest name to a mistyped one."""

from __future__ import annotations

import difflib
import numbers
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


class UsageError(ValueError):
    """The command line asks for something that does not exist or is not allowed; the message is one
    line."""


@contextmanager
def usage_errors(where: str) -> Iterator[None]:
    """What fails within, for values that no code expects, as a UsageError that begins with `where`."""
    try:
        yield
    except UsageError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError) as error:
        raise UsageError(f"{where}: {' '.join(worded(error).split())[:300]}") from None


def worded(error: Exception) -> str:
    """The message of an error, after its class where that is none of those that say all in words.

    >>> worded(ValueError("size must be positive")), worded(KeyError("size"))
    ('size must be positive', "KeyError: 'size'")
    """
    kind = "" if isinstance(error, ValueError | OSError) else f"{type(error).__name__}: "
    return f"{kind}{error}"


def listed(names: Sequence[str], most: int = 5) -> str:
    """The first of `names`, and how many more there are.

    >>> listed(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def check_numbers(**named: object) -> None:
    """Raise ValueError for what is no number, such as a text that looks like one: Papermill hands
    those over that follow `-r`.

    >>> check_numbers(subjects="4")
    Traceback (most recent call last):
    ValueError: subjects must be a number, got '4'
    """
    for name, value in named.items():
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise ValueError(f"{name} must be a number, got {value!r:.60}")


def check_name(name: str, what: str) -> None:
    """Raise UsageError unless `name` can be that of a folder within another."""
    if not re.fullmatch(r"\w[\w.+-]*", name):
        raise UsageError(f"{what} {name!r}: expected letters, digits, '_', '-', '+' and '.'")


def did_you_mean(word: str, known: list[str]) -> str:
    """`: did you mean 'resolution'?` for the nearest of `known`, or nothing when none is near.

    >>> did_you_mean("resolutoin", ["out", "resolution"])
    ": did you mean 'resolution'?"
    """
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if not near:  # a group's key is often written without its group
        near = [
            name
            for name in known
            if difflib.get_close_matches(word, [name.rpartition(".")[2]], 1, 0.75)
        ]
    return f": did you mean '{near[0]}'?" if near else ""
