"""What may happen to files: bits that flip, ends that are missing, values that nobody expects,
places that are something else. Each change is drawn by a random generator and described in words."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import struct
import tarfile
import zipfile
from pathlib import Path
from random import Random
from typing import Any

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 9\n"
VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    7,
    0.5,
    1 << 40,
    10**30,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "x",
    "x" * 5000,
    "../../x",
    "/etc/hostname",
    "a\0b",
    "<img src=x onerror=alert(1)>",
    [],
    {},
    [[]],
    [None],
    {"a": 1},
)


def of_bytes(rng: Random, data: bytes) -> tuple[bytes, str]:
    """Damage to a file of any kind."""
    at = rng.randrange(len(data)) if data else 0
    length = rng.choice((1, 16, 512, max(len(data) // 3, 1)))
    kind = rng.choice(
        ("flip", "flip", "zeros", "noise", "cut", "cut off", "twice", "longer", "empty", "pointer")
    )
    junk = rng.randbytes(length)
    changed = {
        "flip": data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
        if data
        else b"",
        "zeros": data[:at] + bytes(len(data[at : at + length])) + data[at + length :],
        "noise": data[:at] + junk[: len(data) - at] + data[at + length :],
        "cut": data[:at] + data[at + length :],
        "cut off": data[:at],
        "twice": data[: at + length] + data[at:],
        "longer": data + junk,
        "empty": b"",
        "pointer": POINTER,
    }[kind]
    return changed, f"{kind} at {at} of {len(data)}, {length} bytes"


def of_json(rng: Random, content: Any) -> tuple[Any, str]:
    """A JSON value with one place of it changed."""
    places = [place for place in _places(content) if place]
    place = rng.choice(places) if places else ()
    value, kind = rng.choice(VALUES), rng.choice(("put", "put", "near", "remove", "add", "deep"))
    if not place:
        return value, f"put {value!r:.40} in place of all"
    holder = content = json.loads(json.dumps(content))
    for key in place[:-1]:
        holder = holder[key]
    key, name = place[-1], "/".join(map(str, place))
    if kind == "near" and isinstance(holder[key], int | float):
        value = rng.choice((holder[key] + 1, -holder[key], holder[key] * 1.001, str(holder[key])))
    elif kind == "remove":
        del holder[key]
        return content, f"remove {name}"
    elif kind == "add" and isinstance(holder, dict):
        holder[rng.choice(("x", "", "__class__", f"{key} "))] = value
        return content, f"add {value!r:.40} beside {name}"
    elif kind == "deep":
        value = 0
        for _ in range(400):
            value = [value]
    holder[key] = value
    return content, f"put {value!r:.40} at {name}"


def _places(value: Any, path: tuple = ()) -> list[tuple]:
    """Paths of a value's parts; of a long list the first ones."""
    parts = value.items() if isinstance(value, dict) else enumerate(value[:30])
    return [path] + [
        place
        for key, part in parts
        for place in (
            _places(part, (*path, key)) if isinstance(part, dict | list) else [(*path, key)]
        )
    ]


def of_json_text(rng: Random, data: bytes) -> tuple[bytes, str]:
    """A JSON file, or one of JSON lines, with one value changed, or as other text."""
    try:
        content: Any = json.loads(data)
        changed, words = of_json(rng, content)
        return json.dumps(changed).encode(), words
    except ValueError:
        lines = data.split(b"\n")
        at = rng.randrange(len(lines))
        try:
            changed, words = of_json(rng, json.loads(lines[at]))
            lines[at] = json.dumps(changed).encode()
        except ValueError:
            words = "nothing"
        return b"\n".join(lines), f"line {at + 1}: {words}"


def of_table(rng: Random, data: bytes) -> tuple[bytes, str]:
    """A CSV file with a cell, a row or a column changed."""
    rows = list(csv.reader(io.StringIO(data.decode())))
    at = rng.randrange(len(rows))
    column = rng.randrange(len(rows[at]))
    kind = rng.choice(("cell", "cell", "cell", "less", "twice", "column", "short", "none", "open"))
    value = str(rng.choice(VALUES)).replace("\0", "")
    if kind == "cell":
        rows[at][column] = value
    elif kind == "less":
        del rows[at]
    elif kind == "twice":
        rows.insert(at, rows[at])
    elif kind == "column":
        rows = [row[:column] + row[column + 1 :] for row in rows]
    elif kind == "short":
        rows[at] = rows[at][: max(column, 1)]
    elif kind == "none":
        rows = rows[:1]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    found = text.getvalue().encode()
    if kind == "open":
        found = found.replace(b",", b',"', 1)
    return found, f"{kind} at row {at}, column {column}: {value!r:.40}"


def of_yaml(rng: Random, data: bytes) -> tuple[bytes, str]:
    """A YAML file with one value changed."""
    import yaml

    changed, words = of_json(rng, yaml.safe_load(data))
    return json.dumps(changed).encode(), words  # which is YAML, too


def of_tar(rng: Random, data: bytes) -> tuple[bytes, str]:
    """A tar file whose members are others, in whole blocks: every header is right."""
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        members = [(member, tar.extractfile(member).read()) for member in tar]  # type: ignore
    at = rng.randrange(len(members))
    member, content = members[at]
    kind, words = rng.choice(("content", "content", "content", "name", "less", "twice", "link")), ""
    if kind == "content":
        change = of_json_text if member.name.endswith("json") else of_bytes
        content, words = change(rng, content)
        member.size = len(content)
        members[at] = member, content
    elif kind == "name":
        member.name = rng.choice(("../x.json", "/x.json", "x", member.name.upper(), "é.json"))
    elif kind == "less":
        del members[at]
    elif kind == "twice":
        members.insert(at, members[at])
    else:
        member.type, member.linkname, member.size = tarfile.SYMTYPE, "/etc/hostname", 0
    found = io.BytesIO()
    with tarfile.open(fileobj=found, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for member, content in members:
            tar.addfile(member, io.BytesIO(content))
    return found.getvalue(), f"{kind} of {member.name}: {words}"


def of_zip(rng: Random, data: bytes) -> tuple[bytes, str]:
    """A zip file whose entries are others; every checksum is right."""
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        entries = [(name, file.read(name)) for name in file.namelist()]
    at = rng.randrange(len(entries)) if rng.random() < 0.6 else 0
    entries.sort(key=lambda entry: entry[0] != "dataset.json")
    name, content = entries[at]
    kind, words = rng.choice(("content", "content", "name", "less", "twice", "folder")), ""
    if kind == "content":
        content, words = (of_json_text if name.endswith("json") else of_bytes)(rng, content)
        entries[at] = name, content
    elif kind == "name":
        entries[at] = rng.choice(("../x.png", "/x.png", "x.png", name.upper())), content
    elif kind == "less":
        del entries[at]
    elif kind == "twice":
        entries.insert(at, entries[at])
    else:
        entries = [(f"top/{name}", content) for name, content in entries]
    found = io.BytesIO()
    with zipfile.ZipFile(found, "w") as file:
        for name, content in entries:
            file.writestr(name, content)
    return found.getvalue(), f"{kind} of {name}: {words}"


def of_tensors(rng: Random, data: bytes) -> tuple[bytes, str]:
    """A safetensors file with another header, or with a number that is none."""
    (length,) = struct.unpack("<Q", data[:8])
    header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    if rng.random() < 0.5:
        header, words = of_json(rng, header)
        text = json.dumps(header).encode()
        return struct.pack("<Q", len(text)) + text + body, f"header: {words}"
    name = rng.choice([name for name in header if name != "__metadata__"])
    begin, end = header[name]["data_offsets"]
    value = {"F16": b"\x00\x7e", "F32": b"\x00\x00\xc0\x7f"}.get(header[name]["dtype"], b"\xff")
    value = value * ((end - begin) // len(value) if rng.random() < 0.5 else 1)
    body = body[:begin] + value[: end - begin] + body[begin + len(value) :]
    return data[: 8 + length] + body, f"NaN in {name}"


def of_place(rng: Random, path: Path) -> str:
    """A file's place taken by something else, or by nothing."""
    kind = rng.choice(("nothing", "folder", "pipe", "circle", "endless", "sibling"))
    siblings = [other for other in path.parent.iterdir() if other.is_file() and other != path]
    if kind == "sibling" and siblings:
        other = rng.choice(sorted(siblings))
        shutil.copy(other, path)
        return f"{other.name} in its place"
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "circle":
        path.symlink_to(path.name)
    elif kind == "endless":
        path.symlink_to("/dev/zero")
    return f"{kind} in its place"


_BY_KIND = {
    ".json": of_json_text,
    ".jsonl": of_json_text,
    ".csv": of_table,
    ".yaml": of_yaml,
    ".tar": of_tar,
    ".zip": of_zip,
    ".safetensors": of_tensors,
}


def mutate(rng: Random, path: Path, pixels: bool = True) -> str:
    """Change a file, or its place, in one way; what was done, in words. Without `pixels` its length
    changes, and nothing within."""
    if rng.random() < 0.12:
        return of_place(rng, path)
    data = path.read_bytes()
    change = _BY_KIND.get(path.suffix, of_bytes)
    if not pixels and path.suffix not in (".json", ".jsonl"):
        path.write_bytes(data[: rng.randrange(len(data))])
        return f"cut off, {len(data)} bytes before"
    if rng.random() < 0.4:
        change = of_bytes
    changed, words = change(rng, data)
    path.write_bytes(changed)
    return words
