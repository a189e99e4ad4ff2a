"""Readers of our files that share nothing with the library's: what they find in a changed file is
what it says."""

from __future__ import annotations

import csv
import io
import json
import struct
import tarfile
import zipfile
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

_ARRAYS = {"view": "views", "mask": "masks", "normal": "normals", "segmentation": "segmentation"}
_TYPES = {
    "F16": "<f2",
    "F32": "<f4",
    "F64": "<f8",
    "I64": "<i8",
    "I32": "<i4",
    "U8": "u1",
    "BOOL": "?",
}


def pixels(data: bytes) -> np.ndarray:  # [C, H, W] or [H, W] uint8
    """An image, upright, as it is stored."""
    with Image.open(io.BytesIO(data)) as image:
        found = np.asarray(image)
    return found.transpose(2, 0, 1) if found.ndim == 3 else found


def photo(data: bytes) -> np.ndarray:  # [3, H, W] uint8
    """A photograph over white, upright."""
    with Image.open(io.BytesIO(data)) as image:
        turn = {6: Image.Transpose.ROTATE_270, 3: Image.Transpose.ROTATE_180}.get(
            image.getexif().get(0x0112, 1)
        )
        if image.mode.startswith("I"):
            grey = np.asarray(image).astype(np.float32) / 257
            image = Image.fromarray(grey.round().clip(0, 255).astype(np.uint8))
        found = image.convert("RGBA")
    if turn is not None:
        found = found.transpose(turn)
    ground = Image.new("RGBA", found.size, "white")
    ground.alpha_composite(found)
    return np.asarray(ground.convert("RGB")).transpose(2, 0, 1)


def subject(key: str, entries: dict[str, bytes]) -> dict[str, Any]:
    """What a sample of a shard says, as `described` says it of a Subject."""
    info = json.loads(entries["json"])
    views = info["views"]
    found: dict[str, Any] = {
        "id": key,
        "attributes": info["attributes"],
        "caption": info["caption"],
        "cameras": np.load(io.BytesIO(entries["cameras.npy"])),
        "semantic": np.load(io.BytesIO(entries["semantic.npy"])),
    }
    for stem, field in _ARRAYS.items():
        kind = info["image_format"] if stem == "view" else "png"
        if field in info["fields"]:
            found[field] = np.stack(
                [pixels(entries[f"{stem}_{view:03d}.{kind}"]) for view in range(views)]
            )
    return found


def dataset(folder: Path) -> list[dict[str, Any]]:
    """The subjects of the shards that `dataset.json` lists."""
    found = []
    for record in json.loads((folder / "dataset.json").read_bytes())["shards"]:
        with tarfile.open(folder / record["name"]) as tar:
            for key, group in groupby(tar, lambda member: member.name.partition(".")[0]):
                members = ((m.name.partition(".")[2], tar.extractfile(m)) for m in group)
                entries = {name: file.read() for name, file in members if file}
                found.append(subject(key, entries))
    return found


def archive(path: Path) -> dict[str, bytes]:
    """The files of a folder or zip in EG3D's form by their names."""
    if path.is_dir():
        return {
            str(file.relative_to(path)): file.read_bytes()
            for file in path.rglob("*")
            if file.is_file()
        }
    with zipfile.ZipFile(path) as file:
        found = {name: file.read(name) for name in file.namelist()}
    if "dataset.json" in found:
        return found
    return {name.partition("/")[2]: content for name, content in found.items()}


def eg3d(path: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Images and labels in EG3D's form, by the order of names."""
    files = archive(path)
    labels = json.loads(files["dataset.json"])["labels"]
    labels = dict(labels)
    return [
        (pixels(files[name]), np.float32([float(v) for v in labels[name]]))
        for name in sorted(name for name in files if name.endswith(".png"))
    ]


def tensors(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a safetensors file; numbers with a fraction as float32."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    header.pop("__metadata__", None)
    found = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        array = np.frombuffer(body[begin:end], _TYPES[entry["dtype"]]).reshape(entry["shape"])
        found[name] = array.astype(np.float32) if array.dtype.kind == "f" else array
    return found


def table(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    return list(csv.DictReader(io.StringIO(path.read_bytes().decode(), newline="")))


def lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a file of JSON lines; a last one that was cut off is left out."""
    rows = path.read_bytes().split(b"\n")
    found = []
    for number, row in enumerate(rows, 1):
        try:
            found += [json.loads(row)] if row.strip() else []
        except ValueError:
            if number < len(rows):
                raise
    return found
