"""A packed dataset: as small as asked, near the original, the same bytes each time, and damage is
named."""

from __future__ import annotations

import functools
import io
import json
import tarfile
import zlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from noise_source import NoiseSource
from PIL import Image

from semhead_lib import cli
from semhead_lib.data.dataset import packed_archive, packing, packing_members
from semhead_lib.data.dataset.check import check
from semhead_lib.data.dataset.entries import decode_npy, encode_npy
from semhead_lib.data.dataset.memory import SubjectsInMemory
from semhead_lib.data.dataset.packed import load_packed
from semhead_lib.data.dataset.packed_archive import read_packed, write_packed
from semhead_lib.data.dataset.packing import pack_dataset
from semhead_lib.data.dataset.semantics import fill_semantics
from semhead_lib.data.jobs.synthesis import synthesize

SIDE = 48


class SmoothSource(NoiseSource):
    """Noise of few pixels, enlarged: as compressible as photographs are. Classes are 0 to 255, depth
    is 0 or 1.7 to 3.7."""

    def subject(self, index):
        subject = super().subject(index)
        grow = functools.partial(torch.nn.functional.interpolate, size=SIDE, mode="bicubic")
        colours = subject.views[:, :, :6, :6].float()
        colours = colours.mean(1, keepdim=True) + 0.3 * (colours - colours.mean(1, keepdim=True))
        masks = subject.masks[:, None, :6, :6].float() if self.geometry else colours
        views, masks = (grow(x).round().clamp(0, 255).to(torch.uint8) for x in (colours, masks))
        return type(subject)(
            **{
                n: getattr(subject, n)
                for n in ("id", "cameras", "attributes", "caption", "provenance", "licence")
            },
            views=views,
            frontal=views[0],
            masks=masks[:, 0] if self.geometry else None,
            depth=_blocks(subject.depth) if self.geometry else None,
            segmentation=_blocks(subject.segmentation) if self.geometry else None,
        )


def _blocks(pixels):  # [V, S, S]: of 8 pixels a side
    return pixels[:, :6, :6].repeat_interleave(8, 1).repeat_interleave(8, 2)


def make(folder, subjects=12, semantic=True, **settings):
    source = functools.partial(SmoothSource, resolution=SIDE, **settings)
    synthesize(source, folder, subjects, shard_size=5, workers=0, progress=False)
    if semantic:
        fill_semantics(folder, _features, "test-encoder", progress=False)
    return folder


def _features(images):  # [N, 3, H, W] uint8 -> [N, 16], unit length
    return torch.nn.functional.normalize(images.float().flatten(1)[:, :16] - 127.5, dim=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make(tmp_path_factory.mktemp("smooth") / "smooth", views=4)


@pytest.fixture(scope="module")
def file(folder):
    path = folder.parent / "heads.tar"
    pack_dataset(folder, path, 1.0, progress=False)
    return path


@pytest.fixture(scope="module")
def file_with_geometry(folder):
    path = folder.parent / "geometry.tar"
    pack_dataset(folder, path, 1.0, geometry=True, progress=False)
    return path


def psnr(one, other):
    return float(10 * torch.log10(255**2 / (one.double() - other.double()).square().mean()))


def test_what_is_packed_comes_back(folder, file):
    here, there = SubjectsInMemory.load(folder), load_packed(file, threads=3)
    assert len(there) == 12
    for one, other in zip(here, there, strict=True):
        for name in ("cameras", "masks", "semantic"):
            assert torch.equal(getattr(one, name), getattr(other, name))
        for name in ("id", "attributes", "caption", "licence", "semantic_encoder"):
            assert getattr(one, name) == getattr(other, name)
        assert psnr(one.views, other.views) > 33
    front = there[0]
    assert any(front.frontal.data_ptr() == view.data_ptr() for view in front.views), (
        "the nearest view, not a copy"
    )


def test_batches_are_those_of_the_folder(folder, file):
    one, other = (
        heads.batch(3, 2, 2, seed=7) for heads in (SubjectsInMemory.load(folder), load_packed(file))
    )
    for name in ("cameras", "subject", "semantics", "masks"):
        assert torch.equal(getattr(one, name), getattr(other, name))
    images, packed_images = one.images.double(), other.images.double()
    assert (images - packed_images).std() < 0.05 * images.std()


def test_manifest_is_carried(folder, file):
    here, there = SubjectsInMemory.load(folder).manifest, load_packed(file).manifest
    assert (there.licence, there.plan, there.cameras) == (here.licence, here.plan, here.cameras)
    assert there.layout.semantic == {"encoder": "test-encoder", "dimension": 16}
    assert there.layout.fields == ("views", "cameras", "frontal", "masks", "semantic")
    assert (there.subjects, there.views, there.layout.image_format) == (12, 48, "webp")
    assert (
        load_packed(file, limit=5).semantics(9)[0] == SubjectsInMemory.load(folder).semantics(5)[0]
    )


def test_the_same_dataset_gives_the_same_bytes(folder, file, tmp_path):
    pack_dataset(folder, tmp_path / "again.tar", 1.0, threads=5, progress=False)
    assert (tmp_path / "again.tar").read_bytes() == file.read_bytes()
    with pytest.raises(FileExistsError, match=r"again.tar exists already"):
        pack_dataset(folder, tmp_path / "again.tar", 1.0)


def test_quality_is_the_best_that_fits(folder, file, tmp_path):
    roomy = read_packed(file)[0]["packed"]
    images = len(read_packed(file)[1]["images.bin"])
    size = (file.stat().st_size - 0.2 * images) / 1e6
    report = pack_dataset(folder, tmp_path / "small.tar", size, psnr=25.0, progress=False)
    assert 0.85 * size * 1e6 < report.bytes <= size * 1e6, "what may be used is used"
    assert report.bytes == (tmp_path / "small.tar").stat().st_size
    assert (report.subjects, report.left_out) == (12, 0)
    assert 25 <= report.psnr < roomy["psnr_db"] and report.quality < roomy["quality"]
    there, here = load_packed(tmp_path / "small.tar"), SubjectsInMemory.load(folder)
    found = [
        psnr(a, b)
        for one, other in zip(here, there, strict=True)
        for a, b in zip(one.views, other.views, strict=True)
    ]
    assert np.mean(found) == pytest.approx(report.psnr, abs=0.5), (
        "the report says what was measured"
    )
    assert report.mask_iou == 1.0


def test_subjects_are_left_out_evenly_before_quality_falls_below_the_floor(folder, tmp_path):
    report = pack_dataset(folder, tmp_path / "floor.tar", 0.03, psnr=36.0, progress=False)
    assert report.bytes <= 30_000 and report.psnr >= 36 and report.mask_iou == 1.0
    assert 0 < report.subjects < 12 and report.left_out == 12 - report.subjects
    everyone = SubjectsInMemory.load(folder).semantics(12)[0]
    kept = [everyone.index(name) for name in load_packed(tmp_path / "floor.tar").semantics(12)[0]]
    assert kept[0] == 0 and kept[-1] == 11 and max(np.diff(kept)) - min(np.diff(kept)) <= 1
    with pytest.raises(ValueError, match=r"not one subject fits in 0\.017 MB"):
        pack_dataset(folder, tmp_path / "none.tar", 0.017, progress=False)
    with pytest.raises(ValueError, match=r"the best quality has a PSNR of .* dB, psnr asks for 60"):
        pack_dataset(folder, tmp_path / "none.tar", 1.0, psnr=60, progress=False)
    assert not (tmp_path / "none.tar").exists()


def test_without_masks_and_features(tmp_path):
    source = make(tmp_path / "bare", subjects=2, semantic=False, views=2, geometry=False)
    report = pack_dataset(source, tmp_path / "bare.tar", 1.0, progress=False)
    packed_subject = load_packed(tmp_path / "bare.tar")[1]
    assert (
        packed_subject.semantic is None and packed_subject.masks is None and report.mask_iou is None
    )
    assert psnr(packed_subject.views, SubjectsInMemory.load(source)[1].views) > 33


def test_a_mask_that_covers_all_is_kept(tmp_path, monkeypatch):
    content = functools.partial(SmoothSource.subject)

    def covered(self, index):
        subject = content(self, index)
        return type(subject)(
            **{f: getattr(subject, f) for f in subject.__dataclass_fields__}
            | {"masks": torch.full_like(subject.masks, 255)}
        )

    monkeypatch.setattr(SmoothSource, "subject", covered)
    pack_dataset(make(tmp_path / "full", subjects=2), tmp_path / "full.tar", 1.0, progress=False)
    assert bool((load_packed(tmp_path / "full.tar")[0].masks == 255).all())


def test_geometry_comes_back(folder, file_with_geometry):
    here = SubjectsInMemory.load(folder, geometry=("depth", "segmentation"))
    there = load_packed(file_with_geometry, threads=3)
    for one, other in zip(here, there, strict=True):
        assert other.segmentation.dtype == torch.uint8
        assert torch.equal(one.segmentation, other.segmentation)
        assert torch.equal(one.masks, other.masks) and psnr(one.views, other.views) > 33
        assert other.depth.dtype == torch.float32
        of, stored = one.depth[:, ::2, ::2], other.depth[:, ::2, ::2]
        assert torch.equal(stored == 0, of == 0) and 0 < (of == 0).sum() < of.numel()
        assert (stored - of).abs().max() <= 0.0015 + 1e-6
        assert not other.depth[:, 1::2].any() and not other.depth[:, :, 1::2].any()
    assert len({int(c) for subject in there for c in subject.segmentation.unique()}) > 200
    assert set(there.manifest.layout.fields) == {
        *("views", "cameras", "frontal", "masks", "depth", "segmentation", "semantic")
    }
    assert read_packed(file_with_geometry)[0]["packed"]["not_packed"] == []
    assert torch.equal(
        load_packed(file_with_geometry, limit=3)[2].segmentation, here[2].segmentation
    )


@pytest.mark.parametrize("wanted", [(), ("depth",), ("segmentation",), ("segmentation", "depth")])
def test_geometry_is_read_as_wanted(file_with_geometry, wanted):
    subject = load_packed(file_with_geometry, geometry=wanted, limit=1)[0]
    for name in ("depth", "segmentation"):
        assert (getattr(subject, name) is not None) == (name in wanted)


def test_geometry_that_is_not_there_is_missed(file):
    assert load_packed(file, geometry=(), limit=1)[0].depth is None
    message = r"heads\.tar: has no depth and no segmentation: pack the dataset with geometry=true"
    with pytest.raises(ValueError, match=message):
        load_packed(file, geometry=("segmentation", "depth"))
    with pytest.raises(ValueError, match="geometry may name depth, segmentation, got normals"):
        load_packed(file, geometry=("depth", "normals"))


def test_a_file_without_geometry_is_what_it_was(folder, file, file_with_geometry):
    content, members = read_packed(file)
    assert list(members) == [
        *("subjects.json", "lengths.npy", "cameras.npy", "semantics.npy", "images.bin")
    ]
    assert content["packed"]["not_packed"] == ["depth", "segmentation"]
    assert load_packed(file)[0].segmentation is None and load_packed(file)[0].depth is None
    with_geometry = read_packed(file_with_geometry)[1]
    assert list(with_geometry) == [
        *members,
        *("class_lengths.npy", "classes.bin", "depth_ranges.npy", "depth_lengths.npy", "depth.bin"),
    ]
    assert {name: with_geometry[name] for name in members} == members


def smaller(file):  # MB: the size of the file without a fifth of its images' bytes
    return (file.stat().st_size - 0.2 * len(read_packed(file)[1]["images.bin"])) / 1e6


@pytest.fixture
def qualities(monkeypatch):
    """The qualities at which the whole dataset is encoded, one after the other."""
    tried, members = [], packing.encode_members
    monkeypatch.setattr(
        packing, "encode_members", lambda *words: tried.append(words[3]) or members(*words)
    )
    return tried


def test_the_size_counts_the_geometry(folder, file_with_geometry, qualities, tmp_path):
    size, whole = smaller(file_with_geometry), read_packed(file_with_geometry)[1]
    classes, depth = len(whole["classes.bin"]), len(whole["depth.bin"])
    report = pack_dataset(
        folder, tmp_path / "small.tar", size, psnr=25.0, geometry=True, progress=False
    )
    assert len(qualities) == 1, "the sample promised what came"
    assert 0.85 * size * 1e6 < report.bytes <= size * 1e6 and report.left_out == 0
    members = read_packed(tmp_path / "small.tar")[1]
    assert all(members[name] == whole[name] for name in ("classes.bin", "depth.bin"))
    assert (report.class_bytes, report.depth_bytes) == (classes, depth)
    assert report.depth_step == pytest.approx(0.003)
    assert (
        f"classes exact in {classes / 1e6:.2f} MB, depth in steps of at most 0.003 in "
        f"{depth / 1e6:.2f} MB"
    ) in str(report)
    report = pack_dataset(folder, tmp_path / "bare.tar", size, psnr=25.0, progress=False)
    assert report.class_bytes is None and "classes" not in str(report)
    assert report.depth_bytes is None and "depth" not in str(report)


def test_geometry_is_encoded_once_for_all_qualities(
    folder, file_with_geometry, qualities, tmp_path, monkeypatch
):
    encoded, encode, judge = [], packing.encode_geometry, packing._Sample._encoded

    def promise_too_much(sample, quality):
        whole = judge(sample, quality)
        return replace(whole, mean_bytes=0.9 * whole.mean_bytes)

    def counted(*geometry):
        encoded.append(1)
        return encode(*geometry)

    for module in (packing, packing_members):
        monkeypatch.setattr(module, "encode_geometry", counted)
    monkeypatch.setattr(packing._Sample, "_encoded", promise_too_much)
    size = smaller(file_with_geometry)
    pack_dataset(folder, tmp_path / "small.tar", size, psnr=25.0, geometry=True, progress=False)
    assert len(qualities) > 1 and len(encoded) == 48 + 48, "of the sample, and of all views"


def test_geometry_that_is_not_there_is_missed_at_once(tmp_path):
    source = make(tmp_path / "bare", subjects=2, semantic=False, views=2, geometry=False)
    with pytest.raises(ValueError, match="bare: has no depth and no segmentation to pack"):
        pack_dataset(source, tmp_path / "bare.tar", 1.0, geometry=True, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["bare"]


@pytest.mark.parametrize("kind", ["file", "file_with_geometry"])
def test_every_damaged_byte_is_named_or_harmless(kind, tmp_path, request):
    file = request.getfixturevalue(kind)
    data, names = (
        file.read_bytes(),
        (
            *(
                "manifest",
                "subjects",
                "lengths",
                "cameras",
                "semantics",
                "images",
                "class",
                "depth",
            ),
            "packed",
        ),
    )
    whole = load_packed(file)
    broken = tmp_path / "broken.tar"
    named = 0
    for position in np.linspace(0, len(data) - 1, 120).astype(int):
        broken.write_bytes(data[:position] + bytes([data[position] ^ 0x10]) + data[position + 1 :])
        try:
            same = load_packed(broken)
        except ValueError as error:
            assert str(error).startswith(str(broken)) and any(name in str(error) for name in names)
            named += 1
        else:
            for a, b in zip(whole, same, strict=True):
                assert torch.equal(a.views, b.views)
                assert a.segmentation is None or torch.equal(a.segmentation, b.segmentation)
                assert a.depth is None or torch.equal(a.depth, b.depth)
    assert named > 60
    for length in (0, 700, len(data) // 2, len(data) - 10300):
        broken.write_bytes(data[:length])
        with pytest.raises(ValueError, match=r"broken\.tar: "):
            load_packed(broken)


def rewritten(file, path, change):
    """The archive with its content changed and its checksums right again: what a stranger may
    send."""
    content, members = read_packed(file)
    change(content, members)
    write_packed(
        path, {k: v for k, v in content.items() if k not in ("sha256", "members")}, members
    )
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c, m: m.update({"lengths.npy": m["lengths.npy"][:-4] + b"\xff\xff\xff\x7f"}), "add up to"),
        (lambda c, m: m.update({"lengths.npy": m["lengths.npy"][:-4]}), "lengths.npy: has"),
        (lambda c, m: m.update({"images.bin": m["images.bin"][:-9]}), "lengths.npy: must be " "positive and add up"),
        (lambda c, m: m.update({"images.bin": b"\0" * len(m["images.bin"])}), "is not a readable " "image"),
        (lambda c, m: m.update({"subjects.json": b"no"}), "subjects.json: is not readable"),
        (lambda c, m: m.pop("cameras.npy"), "members must name"),
        (lambda c, m: c.update(resolution=64), "is 48 x 48 pixels, expected 64 x 64"),
        (lambda c, m: c.update(subjects=5), "subjects is 5, subjects.json has 12"),
        (lambda c, m: c.update(plan={}), "manifest.json: "),
        (lambda c, m: m.pop("semantics.npy"), "semantics.npy: missing"),
        (lambda c, m: c.update(semantic={"encoder": "x"}), "semantic must have encoder and " "dimension"),
    ],
)  # fmt: skip
def test_contradictions_are_named(file, tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        load_packed(rewritten(file, tmp_path / "odd.tar", change))


def test_a_whole_file_has_no_problems(file, file_with_geometry, capsys):
    assert check(file) == [] == check(file_with_geometry)
    assert cli.main(["data", "check", str(file)]) == 0
    assert capsys.readouterr().out == f"{file}: no damage found\n"


def _of_two(content, members):
    """The first two subjects have one id, and the third an image that cannot be read."""
    table = json.loads(zlib.decompress(members["subjects.json"]))
    table[1]["id"] = table[0]["id"]
    members["subjects.json"] = zlib.compress(json.dumps(table).encode())
    start = int(decode_npy(members["lengths.npy"], "lengths", (48,), np.int32)[:8].sum())
    images = bytearray(members["images.bin"])
    images[start : start + 30] = bytes(30)
    members["images.bin"] = bytes(images)


def test_a_small_table_of_many_subjects_is_refused_before_it_is_read(file, tmp_path):
    def change(_, members):
        members["subjects.json"] = zlib.compress(b"[" + b"{}," * 5_000_000 + b"{}]", 9)

    rewritten(file, tmp_path / "x.tar", change)
    (line,) = check(tmp_path / "x.tar")
    assert "subjects.json: is not readable: " in line and "bytes unpack to more than" in line


def _turned(content, members):
    cameras = decode_npy(members["cameras.npy"], "cameras", (48, 25))
    cameras.view(48, -1)[:, [1, 2, 5, 6, 9, 10]] *= -1
    members["cameras.npy"] = encode_npy(cameras)


def test_checking_a_packed_dataset_names_every_problem(file, tmp_path):
    odd, ids = tmp_path / "odd.tar", [subject.id for subject in load_packed(file)]
    first, second = check(rewritten(file, odd, _of_two))
    assert first == f"{odd}: subject id {ids[0]!r} appears twice"
    assert second.startswith(f"{odd}: {ids[2]}, view 0: is not a readable image")
    (line,) = check(rewritten(file, odd, _turned))
    assert line.startswith(f"{odd}: the cameras look like OpenGL's camera axes")
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    odd.write_bytes(data)
    assert check(odd) == [f"{odd}: images.bin: damaged: its checksum is not the manifest's"]
    odd.write_bytes(data[: len(data) // 2])
    (line,) = check(odd)
    assert line.startswith(f"{odd}: images.bin: expected a plain file no larger than")
    odd.write_bytes(b"nothing")
    (line,) = check(odd)
    assert line.startswith(f"{odd}: is not a packed dataset: ")


@pytest.mark.parametrize("words", [["pack"], ["export"], ["encode"]])
def test_a_packed_dataset_is_not_made_into_others(file, tmp_path, capsys, words):
    out = [str(tmp_path / "out.tar")] * (words != ["encode"])
    before = file.read_bytes()
    assert cli.main(["data", *words, str(file), *out]) == 1
    assert f"{file}: is a file, expected the folder of a dataset" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [] and file.read_bytes() == before


def _coloured(of, name, side):
    """The first image of a member becomes one of random colours."""

    def change(content, members):
        tinted = Image.merge("RGB", [Image.effect_noise((side, side), 99) for _ in range(3)])
        image = io.BytesIO()
        tinted.save(image, "WEBP", lossless=True)
        lengths = decode_npy(members[of], "lengths", (48,), np.int32)
        rest = members[name][int(lengths[0]) :]
        lengths[0] = len(image.getvalue())
        members.update({of: encode_npy(lengths), name: image.getvalue() + rest})

    return change


def _cut(name, count):
    return lambda content, members: members.update({name: members[name][:-count]})


def _zeros(name):
    return lambda content, members: members.update({name: bytes(len(members[name]))})


def _without_field(name):
    return lambda content, members: content["fields"].remove(name)


def _ranges(value):
    values = torch.full((48, 2), 1.0)
    values[7, 1] = value
    return lambda content, members: members.update({"depth_ranges.npy": encode_npy(values)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c, m: m.pop("class_lengths.npy"), "class_lengths.npy: missing"),
        (lambda c, m: m.pop("classes.bin"), "classes.bin: missing"),
        (
            _without_field("segmentation"),
            "class_lengths.npy: is there, but the fields of manifest.json lack",
        ),
        (_cut("classes.bin", 9), "class_lengths.npy: must be positive .* bytes of classes.bin"),
        (_cut("class_lengths.npy", 4), "class_lengths.npy: has"),
        (_zeros("classes.bin"), "classes.bin: noise-0-0000., view 0: is not a readable image"),
        (
            _coloured("class_lengths.npy", "classes.bin", SIDE),
            "classes.bin: noise-0-00000, view 0: must be grey",
        ),
        (lambda c, m: m.pop("depth_ranges.npy"), "depth_ranges.npy: missing"),
        (lambda c, m: m.pop("depth_lengths.npy"), "depth_lengths.npy: missing"),
        (lambda c, m: m.pop("depth.bin"), "depth.bin: missing"),
        (_without_field("depth"), "depth_ranges.npy: is there, but the fields of .* lack depth"),
        (_cut("depth.bin", 9), "depth_lengths.npy: must be positive .* bytes of depth.bin"),
        (_cut("depth_lengths.npy", 4), "depth_lengths.npy: has"),
        (_cut("depth_ranges.npy", 4), "depth_ranges.npy: has"),
        (_ranges(float("nan")), "depth_ranges.npy: must be finite and not negative"),
        (_ranges(float("inf")), "depth_ranges.npy: must be finite and not negative"),
        (_ranges(-1.0), "depth_ranges.npy: must be finite and not negative"),
        (_zeros("depth.bin"), "depth.bin: noise-0-0000., view 0: is not a readable image"),
        (
            _coloured("depth_lengths.npy", "depth.bin", SIDE),
            "depth.bin: noise-0-00000, view 0: is 48 x 48 pixels, expected 24 x 24",
        ),
        (
            _coloured("depth_lengths.npy", "depth.bin", SIDE // 2),
            "depth.bin: noise-0-00000, view 0: blue must be 0",
        ),
    ],
)
def test_contradictions_of_geometry_are_named(file_with_geometry, tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        load_packed(rewritten(file_with_geometry, tmp_path / "odd.tar", change))


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("../manifest.json", tarfile.REGTYPE, "unexpected member '../manifest.json'"),
        ("manifest.json", tarfile.SYMTYPE, "manifest.json: expected a plain file"),
        ("images.bin", tarfile.GNUTYPE_SPARSE, "packed dataset|expected a plain file"),
    ],
)
def test_nothing_of_an_archive_is_trusted(tmp_path, name, kind, message):
    path = tmp_path / "bad.tar"
    with tarfile.open(path, "w") as tar:
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname = kind, "/etc/passwd"
        tar.addfile(entry, io.BytesIO())
    with pytest.raises(ValueError, match=message):
        load_packed(path)
    path.write_bytes(b"not a tar at all" * 99)
    with pytest.raises(ValueError, match=r"bad\.tar: is not a packed dataset"):
        load_packed(path)
    with pytest.raises(FileNotFoundError, match=r"nowhere\.tar does not exist"):
        load_packed(tmp_path / "nowhere.tar")


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE])
def test_a_header_larger_than_memory_is_no_more_than_damage(tmp_path, kind):
    entry = tarfile.TarInfo("manifest.json")
    entry.type, entry.size = kind, 1 << 50
    (tmp_path / "bad.tar").write_bytes(entry.tobuf(tarfile.GNU_FORMAT) + bytes(4096))
    with pytest.raises(
        ValueError, match=r"bad\.tar: is not a packed dataset: a header of it is too large"
    ):
        load_packed(tmp_path / "bad.tar")


@pytest.mark.parametrize(
    ("size", "psnr", "message"),
    [
        (0, 33, "size must be a positive number of megabytes, got 0"),
        (float("nan"), 33, "size must be a positive number of megabytes, got nan"),
        (float("inf"), 33, "size must be a positive number of megabytes, got inf"),
        (1, float("nan"), "psnr must be a finite number of decibels, got nan"),
    ],
)
def test_what_is_no_size_is_said(folder, tmp_path, size, psnr, message):
    with pytest.raises(ValueError, match=message):
        pack_dataset(folder, tmp_path / "new.tar", size, psnr=psnr, progress=False)
    with pytest.raises(ValueError, match="limit must be at least 1, got 0"):
        load_packed(tmp_path / "new.tar", limit=0)


def test_a_dataset_is_not_packed_into_itself(folder):
    before = sorted(folder.iterdir())
    with pytest.raises(ValueError, match=r"packed\.tar lies within"):
        pack_dataset(folder, folder / "packed.tar", 1, progress=False)
    assert sorted(folder.iterdir()) == before


def test_an_interrupted_writing_leaves_nothing(folder, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(packed_archive.tarfile.TarFile, "addfile", full)
    with pytest.raises(OSError, match=r"cannot write: No space left on device: .*full\.tar"):
        pack_dataset(folder, tmp_path / "full.tar", 1.0, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_the_command(folder, tmp_path, capsys):
    out = tmp_path / "heads.tar"
    assert cli.main(["data", "pack", str(folder), str(out), "size=0.03", "psnr=36"]) == 0
    said = capsys.readouterr()
    assert (
        "WebP quality" in said.out
        and "mask IoU 1.0000" in said.out
        and "own error is 25 dB" in said.out
    )
    assert "of 12 subjects are left out, evenly" in said.err
    assert json.loads(json.dumps(read_packed(out)[0]))["packed"]["subjects_left_out"] > 0
    assert packing.GENERATOR_PSNR < packing.FLOOR_PSNR
    words = ["data", "pack", str(folder), str(tmp_path / "geometry.tar"), "size=1", "geometry=true"]
    assert cli.main(words) == 0
    said = capsys.readouterr().out
    assert ", classes exact in " in said and ", depth in steps of at most 0.003 in " in said
    assert load_packed(tmp_path / "geometry.tar")[0].segmentation is not None
