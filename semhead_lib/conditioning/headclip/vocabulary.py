"""A small vocabulary in the form of open_clip's: byte pair encoding (Sennrich et al., 2016) learnt
from captions."""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path

import regex

from semhead_lib.atomic import write_atomically

WORDS = regex.compile(
    r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"
)  # as open_clip splits text
BASE = (
    2 * 256 + 2
)  # bytes, bytes that end a word, start and end of text: the vocabulary before the first merge


def learn_merges(texts: Iterable[str], most: int) -> list[tuple[str, str]]:
    """The pairs to merge, most frequent first; ties in alphabetical order, so equal texts give
    equal merges.

    Ends early when every word of `texts` has become one token.

    >>> learn_merges(["hair hair hair hat"], 3)
    [('h', 'a'), ('ha', 'i'), ('hai', 'r</w>')]
    """
    letters = byte_letters()
    counts = Counter(word for text in texts for word in WORDS.findall(text.lower()))
    words = {}
    for word in counts:
        *head, last = (letters[byte] for byte in word.encode())
        words[word] = [*head, f"{last}</w>"]
    merges: list[tuple[str, str]] = []
    while len(merges) < most:
        pairs = Counter()
        for word, parts in words.items():
            for pair in pairwise(parts):
                pairs[pair] += counts[word]
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        words = {word: merged(parts, best) for word, parts in words.items()}
    return merges


def write_vocabulary(merges: list[tuple[str, str]], path: Path) -> int:
    """Write `merges` as open_clip's `SimpleTokenizer(bpe_path=...)` reads them; returns the
    vocabulary's size."""
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    write_atomically(path, gzip.compress("\n".join(lines).encode(), mtime=0))
    return BASE + len(merges)


@cache
def byte_letters() -> dict[int, str]:
    """A letter that can be seen for each byte, as open_clip has them: printable Latin-1 letters
    stand for themselves, the others follow from the 256th on."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    found = {byte: chr(byte) for byte in printable}
    return found | {byte: chr(256 + k) for k, byte in enumerate(others)}


def merged(parts: Sequence[str], pair: tuple[str, str]) -> list[str]:
    """Parts of a word after each pair of them has become one.

    >>> merged(["h", "a", "h", "a", "t"], ("h", "a"))
    ['ha', 'ha', 't']
    """
    joined, i = [], 0
    while i < len(parts):
        if tuple(parts[i : i + 2]) == pair:
            joined.append(parts[i] + parts[i + 1])
            i += 2
        else:
            joined.append(parts[i])
            i += 1
    return joined
