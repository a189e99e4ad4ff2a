"""Readers give every subject once per epoch, multi-view batches that belong together, and orders to
go on with."""

from __future__ import annotations

import functools
import json
import re
import shutil
import tarfile
from collections import Counter
from itertools import islice

import pytest
import torch
from noise_source import NoiseSource, noise_subject, same_subject
from torch.utils.data import DataLoader

from semhead_lib.data.dataset.batches import choose_views, to_model_range
from semhead_lib.data.dataset.eg3d_format import export_dataset
from semhead_lib.data.dataset.memory import SubjectsInMemory
from semhead_lib.data.dataset.packing import pack_dataset
from semhead_lib.data.dataset.reading import infos, load_subject, subjects
from semhead_lib.data.dataset.semantics import fill_semantics
from semhead_lib.data.dataset.streaming import SubjectStream
from semhead_lib.data.dataset.streaming_dataset import SubjectsOnDisk
from semhead_lib.data.jobs.synthesis import synthesize
from semhead_lib.data.subjects import Batch


def mean_colours(frontals):
    return torch.nn.functional.normalize(frontals.float().mean(dim=(2, 3)), dim=-1)


@pytest.fixture(scope="module")
def encoded(tmp_path_factory):
    """11 subjects of 3 or 4 views in 4 shards, with semantics."""
    out = tmp_path_factory.mktemp("encoded") / "noise"
    synthesize(
        functools.partial(NoiseSource, varied=True),
        out,
        11,
        shard_size=3,
        workers=0,
        progress=False,
    )
    fill_semantics(out, mean_colours, "mean-colours", progress=False)
    return out


@pytest.fixture(scope="module")
def memory(encoded):
    return SubjectsInMemory.load(encoded)


def equal(one: Batch, other: Batch) -> bool:
    return all(torch.equal(getattr(one, n), getattr(other, n)) for n in one.__dataclass_fields__)


def check_batch(batch, k):
    """Rows belong to their subject: image, camera, mask and semantic are of one view of it; views
    are adjacent."""
    assert (
        batch.images.dtype == batch.masks.dtype == torch.uint8
        and batch.subject.dtype == torch.int64
    )
    assert batch.images.shape == (len(batch), 3, 16, 16) and batch.masks.shape == (
        len(batch),
        1,
        16,
        16,
    )
    for group in range(0, len(batch), k):
        (index,) = set(batch.subject[group : group + k].tolist())
        truth, seen = noise_subject(index, views=3 + index % 2), []
        for row in range(group, group + k):
            pixels = batch.images[row]
            (view,) = (v for v in range(len(truth.views)) if torch.equal(truth.views[v], pixels))
            assert torch.equal(batch.cameras[row], truth.cameras[view])
            assert torch.equal(batch.masks[row, 0], truth.masks[view])
            assert torch.equal(batch.semantics[row], mean_colours(truth.frontal[None])[0])
            seen.append(view)
        assert len(set(seen)) == k, "a view appears twice"


@pytest.mark.parametrize("k", [1, 3])
def test_batches_of_both_readers_belong_together(encoded, memory, k):
    batch = memory.batch(0, 4, k)
    check_batch(batch, k)
    assert len(batch) == 4 * k
    for batch in SubjectStream(encoded, 4, k, epochs=1):
        check_batch(batch, k)


def test_images_span_the_models_range(memory):
    images = to_model_range(memory.batch(0, 11, 3).images)
    assert images.min() == -1 and images.max() == 1


def seen_by(streams):
    return Counter(i for stream in streams for batch in stream for i in batch.subject.tolist())


@pytest.mark.parametrize("shuffle", [0, 2, 100])
@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_ranks_share_an_epoch_exactly(encoded, ranks, shuffle):
    streams = [
        SubjectStream(encoded, 2, epochs=1, shuffle=shuffle, rank=r, world_size=ranks)
        for r in range(ranks)
    ]
    assert seen_by(streams) == dict.fromkeys(range(11), 1)
    sizes = [sum(len(batch) for batch in stream) for stream in streams]
    assert max(sizes) - min(sizes) <= 1


def test_two_ranks_of_two_loader_workers_see_each_subject_once_per_epoch(encoded):
    streams = [
        SubjectStream(encoded, 2, 3, epochs=2, seed=5, rank=rank, world_size=2) for rank in range(2)
    ]
    loaders = [DataLoader(stream, batch_size=None, num_workers=2) for stream in streams]
    assert seen_by(loaders) == dict.fromkeys(range(11), 2 * 3)


def test_more_readers_than_shards_or_subjects(encoded):
    streams = [SubjectStream(encoded, 1, epochs=3, rank=r, world_size=11) for r in range(11)]
    assert seen_by(streams) == dict.fromkeys(range(11), 3)
    with pytest.raises(ValueError, match="has 11 subjects, too few for 12 readers"):
        next(iter(SubjectStream(encoded, 1, rank=0, world_size=12)))


def orders(encoded, **options):
    return [batch.subject.tolist() for batch in SubjectStream(encoded, 11, epochs=3, **options)]


def test_the_order_changes_with_epoch_and_seed_only(encoded):
    first, second, third = orders(encoded)
    assert first != second != third != first
    assert orders(encoded) == [first, second, third] != orders(encoded, seed=1)
    assert orders(encoded, shuffle=0) == [list(range(11))] * 3


def test_a_buffer_never_holds_more_than_it_may(encoded):
    for order in orders(encoded, shuffle=3):
        shards = [index // 3 for index in order]
        rank_of_shard = {shard: place for place, shard in enumerate(dict.fromkeys(shards))}
        assert len(rank_of_shard) == 4
    stream = SubjectStream(encoded, 1, epochs=1, shuffle=3)
    opened = [subject for _, subject, _, _ in stream._read(0, 0, 11, set(range(11)))]
    for given, (index,) in enumerate(batch.subject.tolist() for batch in stream):
        assert opened.index(index) < given + 3


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("start", [1, 4, 9])
def test_an_endless_stream_goes_on_where_it_was_left(encoded, workers, start):
    def batches(start, count):
        stream = SubjectStream(encoded, 2, 2, seed=3, start=start, rank=0, world_size=1)
        return list(islice(DataLoader(stream, batch_size=None, num_workers=workers), count))

    whole, rest = batches(0, start + 5), batches(start, 5)
    assert all(len(batch) == 4 for batch in whole)
    assert all(equal(a, b) for a, b in zip(whole[start:], rest, strict=True))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_dataset_on_disk_is_a_stream_with_its_first_features(encoded, memory, workers):
    disk = SubjectsOnDisk(encoded, workers=workers, shuffle=4)
    for count in (2, 5, 1024):
        (names, features), (same_names, same) = disk.semantics(count), memory.semantics(count)
        assert names == same_names and torch.equal(features, same) and len(names) == min(count, 11)
    assert (
        len(disk) == 11
        and disk.order == {"stream_workers": workers, "stream_shuffle": 4}
        and memory.order == {}
    )
    state = torch.get_rng_state()
    whole, rest = (
        list(islice(disk.batches(2, 3, start=start, seed=1), 9 - start)) for start in (0, 5)
    )
    assert torch.equal(state, torch.get_rng_state())
    assert all(equal(a, b) for a, b in zip(whole[5:], rest, strict=True))
    check_batch(whole[3], 3)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_shard_is_named_once(encoded, tmp_path, workers):
    folder = shutil.copytree(encoded, tmp_path / "damaged")
    (shard,) = folder.glob("shard-000002*.tar")
    shard.write_bytes(shard.read_bytes()[:4096])
    with pytest.raises(ValueError, match=rf"^{re.escape(str(shard))}: [^\n]+$"):
        list(islice(SubjectsOnDisk(folder, workers=workers).batches(1), 11))
    with pytest.raises(ValueError, match="workers must be at least 0, got -1"):
        SubjectsOnDisk(encoded, workers=-1)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_shard_that_is_gone_is_named_once(encoded, tmp_path, workers):
    folder = shutil.copytree(encoded, tmp_path / "incomplete")
    (shard,) = folder.glob("shard-000002*.tar")
    shard.unlink()
    with pytest.raises(FileNotFoundError, match=rf"^[^\n]*{re.escape(str(shard))}[^\n]*$"):
        list(islice(SubjectsOnDisk(folder, workers=workers).batches(1), 11))


def test_views_are_chosen_evenly():
    counts = Counter(view for epoch in range(3000) for view in choose_views(0, epoch, 4, 6, 2))
    assert (
        set(counts) == set(range(6)) and min(counts.values()) > 900 and max(counts.values()) < 1100
    )


def test_only_the_needed_entries_are_read(encoded):
    stream = SubjectStream(encoded, 1, 2, epochs=1)
    for _, subject, _, sample in stream._read(0, 0, 11, set(range(11))):
        assert sum(name.startswith("view_") for name in sample) == 2, subject
        assert not any(
            name.startswith(("depth", "normal", "segmentation", "frontal")) for name in sample
        )


def test_memory_holds_the_subjects(encoded, memory):
    assert len(memory) == 11 and [s.id for s in memory] == [f"noise-0-{i:05d}" for i in range(11)]
    heavy = ("depth", "normals", "segmentation")
    assert same_subject(
        memory[4], noise_subject(4, views=3), but=(*heavy, "semantic", "semantic_encoder")
    )
    assert all(getattr(memory[4], name) is None for name in heavy)
    assert SubjectsInMemory.load(encoded, geometry=heavy, limit=2)[1].depth.shape == (4, 16, 16)
    assert len(SubjectsInMemory.load(encoded, limit=5)) == 5
    with pytest.raises(
        ValueError, match="geometry may name depth, normals, segmentation, got hair"
    ):
        SubjectsInMemory.load(encoded, geometry=["hair"])


def test_memory_filters_by_attributes_and_keeps_the_index(memory):
    even = memory.filter(lambda attributes: attributes["even"])
    assert (
        len(even) == 6 and even.indices == [0, 2, 4, 6, 8, 10] and even[1].attributes["index"] == 2
    )
    assert set(even.batch(0, 6).subject.tolist()) == {0, 2, 4, 6, 8, 10}
    check_batch(even.batch(1, 5, 2), 2)
    with pytest.raises(ValueError, match="no subjects to make a batch of"):
        memory.filter(lambda attributes: False).batch(0, 1)


@pytest.mark.parametrize("ranks", [1, 2])
def test_memory_epochs_are_exact_over_ranks(memory, ranks):
    """Steps of all ranks, laid end to end, are whole epochs: 2 epochs of 11 subjects in batches of
    2 are 11 batches."""
    batches = [
        memory.batch(step, 2, seed=1, rank=r, world_size=ranks)
        for step in range(11)
        for r in range(ranks)
    ]
    seen = [i for batch in batches for i in batch.subject.tolist()]
    epochs = [seen[i : i + 11] for i in range(0, len(seen), 11)]
    assert all(sorted(epoch) == list(range(11)) for epoch in epochs) and len(epochs) == 2 * ranks
    assert epochs[0] != epochs[1]


def test_memory_batches_are_functions_of_the_step(memory):
    steps = list(islice(memory.batches(3, 2, seed=9), 12))
    rest = list(islice(memory.batches(3, 2, seed=9, start=7), 5))
    assert all(equal(a, b) for a, b in zip(steps[7:], rest, strict=True))
    assert equal(memory.batch(4, 3, 2, seed=9), steps[4])
    assert not equal(memory.batch(4, 3, 2, seed=8), steps[4])
    assert memory.batch(1, 4, shuffle=False).subject.tolist() == [4, 5, 6, 7]
    assert len(memory.batch(0, 30)) == 30, (
        "a batch larger than the dataset reaches into further epochs"
    )


def test_arguments_are_checked(encoded, memory, tmp_path):
    for make in (lambda k: memory.batch(0, 2, k), lambda k: SubjectStream(encoded, 2, k)):
        for k in (0, 4):
            with pytest.raises(
                ValueError, match=r"views_per_subject must be 1 to 3 \(subjects have 3 to 4 views\)"
            ):
                make(k)
    for options in ({"subjects_per_batch": 0}, {"shuffle": -1}, {"start": -1}, {"epochs": 0}):
        with pytest.raises(ValueError, match="expected subjects_per_batch >= 1"):
            SubjectStream(encoded, **{"subjects_per_batch": 2} | options)
    with pytest.raises(ValueError, match="start works for endless streams"):
        SubjectStream(encoded, 2, start=1, epochs=1)
    with pytest.raises(ValueError, match="rank must be within 0 to 1, got 2"):
        SubjectStream(encoded, 2, rank=2, world_size=2)
    with pytest.raises(ValueError, match="expected subjects_per_batch >= 1, step >= 0"):
        memory.batch(-1, 2)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        SubjectStream(tmp_path / "none", 2)


def test_damage_is_named_while_reading(dataset):
    shard = dataset / "shard-000001.tar"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:20000])
    for read in (
        lambda: list(SubjectStream(dataset, 2, epochs=1)),
        lambda: SubjectsInMemory.load(dataset),
    ):
        with pytest.raises(ValueError, match=r"shard-000001\.tar"):
            read()
    shard.write_bytes(whole)
    (dataset / "shard-000002.tar").unlink()
    with pytest.raises(FileNotFoundError, match=r"shard-000002\.tar"):
        list(SubjectStream(dataset, 2, epochs=1, shuffle=0, rank=1, world_size=2))


def test_batches_pin_and_move(memory):
    batch = memory.batch(0, 2)
    assert equal(batch.to("cpu"), batch)
    if torch.cuda.is_available():
        assert batch.pin_memory().images.is_pinned()


def shortened(path, filled):
    """Cut a shard before its last subject, or fill it with zeros from there on."""
    with tarfile.open(path) as tar:
        members = tar.getmembers()
    last = members[-1].name.partition(".")[0]
    start = next(m.offset for m in members if m.name.startswith(f"{last}."))
    data = path.read_bytes()
    path.write_bytes(data[:start] + bytes(len(data) - start) * filled)


READERS = {
    "memory": SubjectsInMemory.load,
    "stream": lambda folder: list(SubjectStream(folder, 2, epochs=1)),
    "first features": lambda folder: SubjectsOnDisk(folder).semantics(11),
    "subjects": lambda folder: list(subjects(folder)),
    "one subject": lambda folder: load_subject(folder, 5),
    "infos": infos,
    "export": lambda folder: export_dataset(folder, folder.with_name("sent"), progress=False),
    "pack": lambda folder: pack_dataset(folder, folder.with_name("packed"), 1.0, psnr=1.0),
    "encode": lambda folder: fill_semantics(folder, mean_colours, "other", progress=False),
}


@pytest.mark.parametrize("filled", [False, True], ids=["cut", "zeros"])
@pytest.mark.parametrize("reader", READERS)
def test_a_shard_that_ends_early_is_named_by_every_reader(encoded, tmp_path, reader, filled):
    folder = shutil.copytree(encoded, tmp_path / "noise")
    name = SubjectsOnDisk(folder).manifest.shards[1].name
    shortened(folder / name, filled)
    with pytest.raises(ValueError, match=name):
        READERS[reader](folder)


@pytest.mark.parametrize("reader", ["memory", "subjects", "export", "pack", "encode"])
def test_a_bit_that_flipped_is_found_by_all_who_read_all(encoded, tmp_path, reader):
    """Of a camera or an attribute: no image's own checksum is wrong."""
    folder = shutil.copytree(encoded, tmp_path / "noise")
    path = folder / SubjectsOnDisk(folder).manifest.shards[1].name
    path.write_bytes(path.read_bytes().replace(b"noise number", b"noisy number", 1))
    with pytest.raises(ValueError, match=f"{path.name}: wrong checksum"):
        READERS[reader](folder)


def test_a_manifest_that_contradicts_itself_is_refused(encoded, tmp_path):
    folder = shutil.copytree(encoded, tmp_path / "noise")
    content = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps(content | {"semantic": None}))
    with pytest.raises(ValueError, match=r"dataset\.json: semantic is None, fields are"):
        pack_dataset(folder, tmp_path / "packed.tar", 1.0, psnr=1.0)
