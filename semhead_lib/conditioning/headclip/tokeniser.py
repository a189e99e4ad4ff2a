"""Texts to headclip's tokens, by its own vocabulary (`vocabulary`): the numbers that open_clip's
tokeniser gives."""

from __future__ import annotations

import gzip
import html
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path

import regex
import torch
from torch import Tensor

from semhead_lib.conditioning.headclip.vocabulary import WORDS, byte_letters, merged

VOCABULARY = "bpe.txt.gz"  # in a model folder
_ENDS = ("<start_of_text>", "<end_of_text>")
_PIECES = regex.compile("|".join((*_ENDS, WORDS.pattern)), regex.IGNORECASE)


class Tokeniser:
    """Byte pair encoding (Sennrich et al., 2016) of lower-case words.

    Raises FileNotFoundError, or OSError, EOFError or UnicodeError for a file that is no vocabulary.
    """

    def __init__(self, path: Path, length: int) -> None:
        with gzip.open(path) as file:
            lines = file.read().decode().split("\n")[1:]
        pairs = [tuple(line.split()) for line in lines]
        letters = list(byte_letters().values())
        tokens = [*letters, *(f"{x}</w>" for x in letters), *map("".join, pairs), *_ENDS]
        self._numbers = {token: i for i, token in enumerate(tokens)}
        self._ranks = {pair: i for i, pair in enumerate(pairs)}
        self.length, self.vocab_size = length, len(self._numbers)
        self._parts = cache(self._split)

    def __call__(self, texts: Sequence[str]) -> Tensor:  # [N, length] int64
        """Tokens between a start and an end, then zeros. What is too long is cut off before its
        end."""
        rows = torch.zeros(len(texts), self.length, dtype=torch.long)
        start, end = (self._numbers[token] for token in _ENDS)
        for row, text in zip(rows, texts, strict=True):
            tokens = [self._numbers[part] for word in _words(text) for part in self._parts(word)]
            tokens = [start, *tokens[: self.length - 2], end]
            row[: len(tokens)] = torch.tensor(tokens)
        return rows

    def _split(self, word: str) -> list[str]:
        """A word's parts: pairs are merged in the order in which they were learnt."""
        if word in _ENDS:
            return [word]
        *head, last = (byte_letters()[byte] for byte in word.encode())
        parts, never = [*head, f"{last}</w>"], len(self._ranks)
        while len(parts) > 1:
            best = min(pairwise(parts), key=lambda pair: self._ranks.get(pair, never))
            if best not in self._ranks:
                break
            parts = merged(parts, best)
        return parts


def _words(text: str) -> list[str]:
    import ftfy

    clean = html.unescape(html.unescape(ftfy.fix_text(text)))
    return _PIECES.findall(" ".join(clean.split()).lower())
