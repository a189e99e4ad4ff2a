"""Files that come from anywhere, read within bounds: whatever they hold, an error names the file."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import zlib
from collections.abc import Collection, Mapping
from dataclasses import fields
from math import inf, isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semhead_lib.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

_MOST = 64 << 20  # bytes of a text
LARGEST_LOG = 1 << 30  # bytes of a log
_MOST_UNPACKED = 256 << 20  # bytes of a table of gzip
_MOST_CELLS, _ROW = 20_000_000, 4  # of a table, and as many as a row takes room for beside its own
_DEEPEST = 40  # levels of a YAML file, which others read by recursion
_NODES = 100_000  # of a YAML file, with every alias written out


def read_bytes(path: Path | str, most: int = _MOST) -> bytes:
    """The content of a file. Raises FileNotFoundError, or ValueError for what has no end (a pipe, a
    device), for a folder, and for more than `most` bytes."""
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(2, "no such file", str(path))
    if not path.is_file():
        raise ValueError(f"{path}: is no file that can be read to an end")
    if (size := path.stat().st_size) > most:
        raise ValueError(f"{path}: has {size} bytes, expected at most {most}")
    return path.read_bytes()


def read_json(path: Path | str) -> dict[str, Any]:
    """An object from a JSON file. Raises FileNotFoundError, or ValueError naming the file."""
    try:
        content = json.loads(read_bytes(path))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{path}: is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a JSON object, got {content!r:.60}")
    return content


def read_json_lines(path: Path | str) -> list[dict[str, Any]]:
    """The objects of a file of JSON lines; none where there is no file. A last line that was cut off
    is left out. Raises ValueError naming the file and the line that is none."""
    path = Path(path)
    lines = read_bytes(path, LARGEST_LOG).split(b"\n") if path.exists() else []
    found = []
    for number, line in enumerate(lines, 1):
        try:
            if line.strip():
                found.append(dict(json.loads(line)))
        except (ValueError, TypeError, RecursionError):
            if number < len(lines):
                raise ValueError(f"{path}, line {number}: expected a JSON object") from None
    return found


def read_rows(path: Path | str, numbers: Collection[str] = ()) -> list[dict[str, str]]:
    """The rows of a CSV table with a header, each as wide as that; columns named in `numbers` hold
    finite numbers, or nothing. The file may be one of gzip, `.csv.gz`. Raises FileNotFoundError,
    or ValueError naming the file, and the line and column that are wrong."""
    rows, size = [], 0
    try:
        content = read_bytes(path, LARGEST_LOG)
        if Path(path).suffix == ".gz":
            with gzip.GzipFile(fileobj=io.BytesIO(content)) as unpacked:
                content = unpacked.read(_MOST_UNPACKED + 1)
            if len(content) > _MOST_UNPACKED:
                raise ValueError(f"{path}: unpacks to more than {_MOST_UNPACKED} bytes")
        text = io.TextIOWrapper(io.BytesIO(content), "utf-8", newline="")
        for row in csv.reader(text, strict=True):
            size += len(row) + _ROW
            if size > _MOST_CELLS:
                raise ValueError(f"{path}: has more than {_MOST_CELLS // (1 + _ROW)} rows")
            if row:
                rows.append(row)
    except (UnicodeDecodeError, csv.Error, OSError, EOFError, zlib.error) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise ValueError(f"{path}: is no CSV table: {error}") from None
    if not rows:
        raise ValueError(f"{path}: is no CSV table: it is empty")
    header, rows = rows[0], rows[1:]
    if len(set(header)) != len(header) or b"\0" in content:
        raise ValueError(f"{path}: is no CSV table: two columns of one name, or a zero byte")
    for line, row in enumerate(rows, 2):
        if len(row) != len(header):
            raise ValueError(f"{path}, row {line}: expected {len(header)} cells, got {len(row)}")
        for name, cell in zip(header, row, strict=True):
            if name in numbers and cell and not _is_number(cell):
                raise ValueError(f"{path}, row {line}: {name} must be a number, got {cell!r:.60}")
    return [dict(zip(header, row, strict=True)) for row in rows]


def _is_number(cell: str) -> bool:
    try:
        return isfinite(float(cell))
    except ValueError:
        return False


def read_state(path: Path | str, device: str = "cpu") -> dict[str, Any]:
    """What a training saved of itself (`torch.load` without code). Raises FileNotFoundError, or
    ValueError naming a file that is damaged."""
    import torch

    if not Path(path).is_file():
        raise FileNotFoundError(2, "no such file", str(path))
    try:
        return dict(torch.load(path, map_location=device, weights_only=True))
    except Exception as error:  # damage is met with many kinds of exceptions
        words = " ".join(str(error).split())[:200]
        raise ValueError(f"{path}: is no readable state of a training: {words}") from None


def read_weights(path: Path | str) -> dict[str, Any]:
    """The tensors of a safetensors file, or of another that `torch.load` reads without code. Raises
    FileNotFoundError, or ValueError naming a file that is damaged or holds more than tensors."""
    import torch

    path = Path(path)
    if path.suffix == ".safetensors":
        return read_tensors(path)
    if not path.is_file():
        raise FileNotFoundError(2, "no such file", str(path))
    try:
        return dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # damage is met with many kinds of exceptions
        raise ValueError(
            f"{path} holds more than tensors, or is damaged: {type(error).__name__}"
        ) from error


def file_digest(path: Path | str) -> str:
    """First 16 hex digits of the SHA-256 of a file."""
    with open(path, "rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()[:16]


def in_file(path: Path | str, error: Exception) -> str:
    """The message of an error about a file's content, with the file's name once."""
    message = str(error)
    return message if str(path) in message else f"{path}: {message}"


def check_fields(values: Any, ranges: Mapping[str, tuple[float, float]]) -> None:
    """Raise ValueError naming the field of a dataclass that has not its annotation's type, is no
    finite number, or leaves its range."""
    kinds = {"int": int, "float": (int, float), "str": str, "bool": bool}
    for f in fields(values):
        value: Any = getattr(values, f.name)
        kind = str(f.type).partition("[")
        inner = kind[2].partition(",")[0] if kind[0] == "tuple" else kind[0]
        if kind[0] == "tuple" and not isinstance(value, (tuple, list)):
            raise ValueError(f"{f.name} must be {f.type}, got {value!r:.60}")
        items: list[Any] = list(value) if kind[0] == "tuple" else [value]
        for item in items:
            right = isinstance(item, kinds[inner]) and (inner == "bool") == isinstance(item, bool)
            if not right:
                raise ValueError(f"{f.name} must be {f.type}, got {value!r:.60}")
            low, high = ranges.get(f.name, (-inf, inf))
            if inner in ("int", "float") and not isfinite(item):
                raise ValueError(f"{f.name} must be finite, got {item}")
            if inner in ("int", "float") and not low <= item <= high:
                raise ValueError(f"{f.name} must lie in {low:g}...{high:g}, got {item}")


def read_yaml(path: Path | str) -> str:
    """The text of a YAML file, as `checked_yaml`. Raises FileNotFoundError, or UsageError naming the
    file."""
    try:
        return checked_yaml(read_bytes(path, 1 << 20).decode("utf-8"), path)
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: is not UTF-8: {error}") from None
    except ValueError as error:
        raise UsageError(str(error)) from None


def checked_yaml(text: str, path: Path | str) -> str:
    """YAML text that can be parsed and is not large, aliases written out: a few lines of aliases of
    aliases may stand for billions. Raises UsageError naming the file."""
    from yaml import SafeLoader, YAMLError, compose

    try:
        node = compose(text, SafeLoader)
        if _size(node, {}) > _NODES:
            raise UsageError(f"{path}: expected at most {_NODES} values, aliases written out")
        if _depth(node) > _DEEPEST:
            raise RecursionError
    except RecursionError:
        raise UsageError(f"{path}: is nested too deeply") from None
    except YAMLError as error:
        raise UsageError(f"{path}: {' '.join(str(error).split())}") from None
    return text


def read_tensors(path: Path | str) -> dict[str, Tensor]:
    """The tensors of a safetensors file. Raises FileNotFoundError, or ValueError naming the file
    where it is none, is damaged, or holds numbers that are not finite."""
    from safetensors.torch import load_file

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(2, "no such file", str(path))
    try:
        tensors = load_file(path)
    except Exception as error:  # damage is met with many kinds of exceptions
        with open(path, "rb") as file:
            hint = ": it is a pointer of Git LFS" if file.read(11) == b"version htt" else ""
        raise ValueError(f"{path}: is no readable safetensors file{hint}: {error}") from None
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise ValueError(f"{path}: {name} has numbers that are not finite")
    return tensors


def _depth(node: Any, levels: int = 0) -> int:
    """Levels of a YAML document; more than `_DEEPEST` are not counted."""
    if node is None or isinstance(node.value, str) or levels > _DEEPEST:
        return levels
    parts = [p for pair in node.value for p in (pair if isinstance(pair, tuple) else (pair,))]
    return max((_depth(part, levels + 1) for part in parts), default=levels + 1)


def _size(node: Any, known: dict[int, int]) -> int:
    """Nodes of a YAML document, each as often as it is pointed to."""
    if node is None or isinstance(node.value, str):
        return 1
    if id(node) not in known:
        known[id(node)] = _NODES + 1  # within itself: without end
        parts = [p for pair in node.value for p in (pair if isinstance(pair, tuple) else (pair,))]
        known[id(node)] = 1 + sum(_size(part, known) for part in parts)
    return known[id(node)]
