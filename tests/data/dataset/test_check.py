"""`check` names every kind of damage in one line, and survives whatever it is given."""

from __future__ import annotations

import dataclasses
import gzip
import io
import json
import os
import random
import stat
import struct
import tarfile
import zipfile

import pytest
import torch
from noise_source import noise_subject
from test_eg3d_format import photo_set, png, write
from test_encoding import bomb, image_file

from semhead_lib.atomic import publish
from semhead_lib.cameras import Camera
from semhead_lib.data.dataset.check import check
from semhead_lib.data.dataset.encoding import encode_subject
from semhead_lib.data.dataset.entries import encode_npy
from semhead_lib.data.dataset.manifest import Manifest
from semhead_lib.data.dataset.shards import write_shard

SHARD = "shard-000001.tar"  # subjects 3, 4 and 5


def only(problems):
    assert len(problems) == 1 and "\n" not in problems[0], problems
    return problems[0]


def edit(dataset, change):
    """Rewrite SHARD with its entries ({name: bytes}) passed through `change`, and bring the
    manifest up to date."""
    with tarfile.open(dataset / SHARD) as tar:
        entries = change({member.name: tar.extractfile(member).read() for member in tar})
    with tarfile.open(dataset / SHARD, "w") as tar:
        for name, data in entries.items():
            member = data if isinstance(data, tarfile.TarInfo) else tarfile.TarInfo(name)
            member.size = 0 if data is member else len(data)
            tar.addfile(member, None if data is member else io.BytesIO(data))
    sign(dataset)


def sign(dataset):
    """Bring size and checksum of SHARD in the manifest up to date, so that only its content can be
    at fault."""
    import hashlib

    content = json.loads((dataset / "dataset.json").read_text())
    data = (dataset / SHARD).read_bytes()
    content["shards"][1] |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (dataset / "dataset.json").write_text(json.dumps(content))


def test_a_good_dataset_has_no_problems(dataset):
    assert check(dataset) == [] == check(str(dataset))
    edit(dataset, lambda entries: entries)
    assert check(dataset) == []


def test_truncated_and_altered_and_missing_shards(dataset):
    path = dataset / SHARD
    whole = path.read_bytes()
    path.write_bytes(whole[:15000])
    problems = check(dataset)
    assert problems[0] == f"{path}: truncated: 15000 of {len(whole)} bytes"
    assert any("is not a readable tar file" in p for p in problems[1:])
    path.write_bytes(whole[: len(whole) // 10240 * 10240 - 10240])
    assert check(dataset)[0].startswith(f"{path}: truncated")
    path.write_bytes(whole + b"more")
    assert (
        only(check(dataset))
        == f"{path}: has {len(whole) + 4} bytes, dataset.json says {len(whole)}"
    )
    flipped = bytearray(whole)
    flipped[-1] ^= 1
    path.write_bytes(flipped)
    assert only(check(dataset)).startswith(f"{path}: wrong checksum: SHA-256 is ")
    path.unlink()
    assert only(check(dataset)) == f"{path}: missing"


def test_files_that_do_not_belong(dataset):
    (dataset / "shard-000009.tar").write_bytes(b"")
    (dataset / ".shard-000001.tar.77.partial").write_bytes(b"")
    problems = check(dataset)
    assert [p.partition(": ")[2] for p in problems] == ["is not in dataset.json"] * 2


ID = "noise-0-00004"  # a subject of SHARD, 3 views


def replaced(name, data):
    return lambda entries: dict(sorted((entries | {f"{ID}.{name}": data}).items()))


nan = torch.full((3, 25), float("nan"))
bent = torch.stack([Camera.orbit(a, 0).label for a in (0, 90, 180)])
bent[1, 0] += 0.1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda e: {n: d for n, d in e.items() if n != f"{ID}.view_001.png"}, f"{ID}.view_001.png: missing"),
        (lambda e: {n: d for n, d in e.items() if n != f"{ID}.mask_002.png"}, f"{ID}.mask_002.png: missing"),
        (lambda e: {n: d for n, d in e.items() if n != f"{ID}.cameras.npy"}, f"{ID}.cameras.npy: " "missing"),
        (replaced("view_001.png", png(0, 32)), f"{ID}.view_001.png: is 32 x 32 pixels, expected " "16 x 16"),
        (replaced("view_001.png", image_file("RGBA", (16, 16))), f"{ID}.view_001.png: has mode " "RGBA, expected RGB"),
        (replaced("view_001.png", png(0)[:200]), f"{ID}.view_001.png: is not a readable image: "),
        (replaced("view_001.png", bomb(60000)), f"{ID}.view_001.png: is not a readable image: " "Image size"),
        (replaced("cameras.npy", encode_npy(nan)), f"{ID}.cameras.npy: row 0 has numbers that are " "not finite"),
        (replaced("cameras.npy", encode_npy(bent)), f"{ID}.cameras.npy: row 1 the pose is not " "rigid"),
        (replaced("cameras.npy", encode_npy(bent[:, :24].contiguous())), f"{ID}.cameras.npy: expected shape [3, 25]"),
        (replaced("code.pkl", b"cos\nsystem\n."), f"{ID}.code.pkl: unexpected entry"),
        (lambda e: {"noise-0-00001" + n[13:] if n.startswith(ID) else n: d for n, d in e.items()},
         "subject id 'noise-0-00001' appears twice, also in shard-000000.tar"),
    ],
)  # fmt: skip
def test_damage_within_a_shard(dataset, change, message):
    edit(dataset, change)
    problem = only(check(dataset))
    assert problem.startswith(f"{dataset / SHARD}: {message}")


def special(kind, name="noise-0-00004.x", link=""):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    return lambda entries: entries | {name: member}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda e: e | {"/etc/evil.png": b"x"}, "'/etc/evil.png': unsafe path: is absolute"),
        (lambda e: e | {"../evil.png": b"x"}, "'../evil.png': unsafe path: climbs out by '..'"),
        (lambda e: e | {"a/../../evil.png": b"x"}, "unsafe path: climbs out by '..'"),
        (lambda e: e | {"C:\\evil.png": b"x"}, "unsafe path: is absolute"),
        (lambda e: e | {"..\\evil.png": b"x"}, "unsafe path: climbs out by '..'"),
        (special(tarfile.SYMTYPE, link="/etc/passwd"), "is a link to '/etc/passwd'"),
        (special(tarfile.LNKTYPE, link="other"), "is a link to 'other'"),
        (special(tarfile.CHRTYPE), "is a device, folder or other special entry"),
        (special(tarfile.FIFOTYPE), "is a device, folder or other special entry"),
        (lambda e: e | {"folder/x.png": b"x"}, "'folder/x.png': is not named ID.ENTRY"),
        (lambda e: e | {"README": b"x"}, "'README': is not named ID.ENTRY"),
    ],
)
def test_unsafe_entries(dataset, change, message):
    edit(dataset, change)
    problem = only(check(dataset))
    assert problem.startswith(f"{dataset / SHARD}: ") and problem.endswith(message)


def test_a_doubled_entry_and_a_huge_one(dataset):
    with tarfile.open(dataset / SHARD, "a") as tar:
        for _ in range(2):
            member = tarfile.TarInfo("noise-0-00005.view_000.png")
            member.size = len(png(0))
            tar.addfile(member, io.BytesIO(png(0)))
    sign(dataset)
    assert f"{dataset / SHARD}: 'noise-0-00005.view_000.png': appears twice" in check(dataset)
    header = tarfile.TarInfo("noise-0-00009.view_000.png")
    header.size = 1 << 33
    (dataset / SHARD).write_bytes(header.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    assert any("8589934592 bytes, more than" in problem for problem in check(dataset))


def test_counts_and_layout_that_disagree(dataset):
    content = json.loads((dataset / "dataset.json").read_text())

    def with_manifest(change):
        altered = json.loads(json.dumps(content))
        change(altered)
        (dataset / "dataset.json").write_text(json.dumps(altered))
        return check(dataset)

    assert only(with_manifest(lambda m: m.update(subjects=12))).endswith(
        "subjects is 12, its shards together have 11"
    )
    assert only(with_manifest(lambda m: m.update(views=1))).endswith(
        "views is 1, its shards together have 38"
    )

    def more(m):
        m["shards"][1]["views"] += 1
        m["views"] += 1

    assert only(with_manifest(more)) == f"{dataset / SHARD}: has 11 views, dataset.json says 12"

    def plan(m):
        m["plan"]["subjects"] = 12

    assert only(with_manifest(plan)).endswith("its shards have 11 subjects, its plan 12")
    assert len(with_manifest(lambda m: m.update(resolution=32))) == 11
    problems = with_manifest(lambda m: m.update(views_per_subject=[3, 3]))
    assert len(problems) == 5 and all("has 4 views, expected 3 to 3" in p for p in problems)
    assert only(with_manifest(lambda m: m.update(version=2))).endswith(
        "expected format 'semhead-subjects', version 1"
    )
    assert "seed must be int | None, got 'x'" in only(
        with_manifest(lambda m: m["plan"].update(seed="x"))
    )
    assert "sha256 must be str" in only(with_manifest(lambda m: m["shards"][0].update(sha256=None)))
    assert "must be a plain file name" in only(
        with_manifest(lambda m: m["shards"][0].update(name="../x.tar"))
    )
    assert "shards must be a list that is not empty" in only(
        with_manifest(lambda m: m.update(shards=[]))
    )
    assert "two shards have one name" in only(
        with_manifest(lambda m: m["shards"][0].update(name=SHARD))
    )
    (dataset / "dataset.json").write_text("{")
    assert "dataset.json: is not JSON" in only(check(dataset))
    (dataset / "dataset.json").unlink()
    assert "does not exist: not a dataset" in only(check(dataset))
    assert only(check(dataset / "nowhere")).endswith("does not exist")


def test_mixed_semantics_are_a_problem(dataset):
    subjects = [noise_subject(i, views=3 + i % 2) for i in (3, 4, 5)]
    subjects = [
        dataclasses.replace(s, semantic=torch.ones(4), semantic_encoder="other") for s in subjects
    ]
    partial, record, _ = write_shard(dataset / SHARD, map(encode_subject, subjects))
    publish(partial, dataset / SHARD)
    manifest = Manifest.load(dataset)
    shards = (manifest.shards[0], record, *manifest.shards[2:])
    dataclasses.replace(manifest, shards=shards).save(dataset)
    problems = check(dataset)
    assert len(problems) == 3 and all("the subjects before it have" in p for p in problems)


@pytest.mark.parametrize("seed", range(60))
def test_any_damage_to_a_shard_is_found_and_nothing_raises(dataset, seed):
    """Random flips, cuts, insertions, overwritten stretches and header numbers; signed ones may at
    most go unseen."""
    rng = random.Random(seed)
    path, manifest = dataset / SHARD, (dataset / "dataset.json").read_bytes()
    whole = path.read_bytes()
    for _ in range(4):
        data = bytearray(whole)
        for _ in range(rng.choice((1, 3, 50))):
            place = rng.randrange(len(data))
            kind = rng.choice(("flip", "cut", "insert", "zero", "header", "swap"))
            if kind == "flip":
                data[place] ^= 1 << rng.randrange(8)
            elif kind == "cut":
                del data[place : place + rng.choice((1, 512, 100_000))]
            elif kind == "insert":
                data[place:place] = rng.randbytes(rng.choice((1, 512, 3000)))
            elif kind == "zero":
                data[place : place + 512] = bytes(len(data[place : place + 512]))
            elif kind == "header":
                data[place // 512 * 512 + 124 : place // 512 * 512 + 136] = rng.choice(
                    (b"777777777777", b"-00000000001")
                )
            else:
                other = rng.randrange(len(data)) // 512 * 512
                block = place // 512 * 512
                data[block : block + 512], data[other : other + 512] = (
                    data[other : other + 512],
                    data[block : block + 512],
                )
            if not data:
                data = bytearray(b"\0")
        path.write_bytes(data)
        if bytes(data) != whole:
            assert check(dataset) != []
        sign(dataset)
        assert all(isinstance(line, str) and line and "\n" not in line for line in check(dataset))
        (dataset / "dataset.json").write_bytes(manifest)


@pytest.mark.parametrize("seed", range(20))
def test_damage_to_the_manifest_or_a_zip_never_raises(dataset, tmp_path, seed):
    rng = random.Random(seed)
    photo_set(tmp_path / "in.zip", zipped=True)
    for path, target in (
        (dataset / "dataset.json", dataset),
        (tmp_path / "in.zip", tmp_path / "in.zip"),
    ):
        whole = path.read_bytes()
        for _ in range(5):
            data = bytearray(whole)
            for _ in range(rng.choice((1, 5, 40))):
                data[rng.randrange(len(data))] = rng.randrange(256)
            del data[rng.choice((len(data), rng.randrange(len(data)))) :]
            path.write_bytes(data)
            assert all(isinstance(line, str) and line for line in check(target))
        path.write_bytes(whole)
        assert check(target) == []


LABEL = Camera.orbit(20, 5).label.tolist()


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize(
    ("labels", "entries", "message"),
    [
        ([["a.png", LABEL]], {"b.png": png(1)}, "b.png: has no label"),
        ([["a.png", LABEL], ["b.png", LABEL]], {}, "b.png: has a label, but there is no such image"),
        ([["a.png", LABEL], ["a.png", LABEL]], {}, "a.png: has 2 labels"),
        ([["a.png", LABEL[:24]]], {}, "a.png: label expected 25 numbers, got 24"),
        ([["a.png", [*LABEL[:24], "x"]]], {}, "a.png: label 'x' is not a number"),
        ([["a.png", [*LABEL[:24], "inf"]]], {}, "a.png: label has numbers that are not finite"),
        ([["a.png", [0.5, *LABEL[1:]]]], {}, "a.png: label the pose is not rigid: its 3x3 block " "is no rotation"),
        (None, {}, "dataset.json: has no labels; each image needs its 25-number camera label"),
        ([["a.png", LABEL], ["b.png", LABEL]], {"b.png": png(1, 32)},
         "b.png: is 32 x 32 pixels, expected 16 x 16, as a.png is"),
        ([["a.png", LABEL], ["b.png", LABEL]], {"b.png": image_file("L", (16, 16))}, "b.png: has mode L, expected RGB"),
        ([["a.png", LABEL], ["b.png", LABEL]], {"b.png": image_file("RGB", (16, 8))},
         "b.png: is 16 x 8 pixels, expected 16 x 16"),
        ([["a.png", LABEL], ["b.png", LABEL]], {"b.png": b"GIF89a"}, "b.png: is not a readable image: of no "
         "known kind"),
    ],
)  # fmt: skip
def test_problems_of_eg3d_sets(tmp_path, labels, entries, message, zipped):
    path = tmp_path / ("in.zip" if zipped else "in")
    write(
        path,
        {"a.png": png(0), "dataset.json": json.dumps({"labels": labels}).encode()} | entries,
        zipped,
    )
    assert only(check(path)).startswith(f"{path}: {message}")


def test_problems_of_zip_files(tmp_path):
    path = tmp_path / "in.zip"
    link = zipfile.ZipInfo("link.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("dataset.json", json.dumps({"labels": [["a.png", LABEL]]}))
        archive.writestr("a.png", png(0))
        for name in ("../up.png", "/root.png", "x/../../y.png"):
            archive.writestr(name, png(0))
        archive.writestr(link, "/etc/passwd")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a.png", png(0))
        archive.writestr("__MACOSX/._a.png", b"ignored")
    assert [p.removeprefix(f"{path}: ") for p in check(path)] == [
        "'../up.png': unsafe path: climbs out by '..'",
        "'/root.png': unsafe path: is absolute",
        "'x/../../y.png': unsafe path: climbs out by '..'",
        "'link.png': is a link",
        "'a.png': appears twice",
    ]


def test_a_damaged_and_an_exploding_zip_entry(tmp_path):
    path = tmp_path / "in.zip"
    content = {"a.png": png(0), "dataset.json": json.dumps({"labels": [["a.png", LABEL]]}).encode()}
    write(path, content, zipped=True)
    data = bytearray(path.read_bytes())
    data[data.index(png(0)) + 100] ^= 255
    path.write_bytes(data)
    assert "a.png: cannot be read: Bad CRC-32" in only(check(path))
    write(path, content, zipped=True)
    data = bytearray(path.read_bytes())
    central = data.index(b"PK\x01\x02")
    data[central + 20 : central + 28] = struct.pack("<II", len(png(0)), 1 << 31)  # claims 2 GiB
    path.write_bytes(data)
    assert "a.png: larger than 268435456 bytes" in only(check(path))
    path.write_bytes(b"PK no zip")
    assert "is neither a folder nor a readable zip file" in only(check(path))


def test_a_file_that_only_looks_like_a_zip_is_not_unpacked(tmp_path, monkeypatch):
    """tarfile would unpack gzip to look within: a small file of a huge header takes minutes."""
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.XHDTYPE, 1 << 30
    (tmp_path / "x.zip").write_bytes(gzip.compress(header.tobuf(tarfile.USTAR_FORMAT)))
    monkeypatch.setattr(gzip.GzipFile, "read", lambda *_: pytest.fail("it was unpacked"))
    (line,) = check(tmp_path / "x.zip")
    assert "x.zip: is neither a folder nor a readable zip file" in line


def test_a_small_zip_of_many_labels_is_refused_before_they_are_read(tmp_path):
    labels = b'{"labels": [' + b"[]," * 2_000_000 + b"[]]}"
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", png(0))
        archive.writestr("dataset.json", labels)
    assert f"bytes unpack to {len(labels)}, more than 100 times" in check(tmp_path / "x.zip")[0]


def test_a_pipe_in_the_place_of_the_manifest_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "dataset.json")
    assert "dataset.json" in check(tmp_path)[0]


def test_a_folder_without_anything(tmp_path):
    assert "does not exist: not a dataset" in only(check(tmp_path))
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": [["a.png", LABEL]]}))
    assert [p.removeprefix(f"{tmp_path}: ") for p in check(tmp_path)] == [
        "a.png: has a label, but there is no such image",
        "has no images",
    ]
