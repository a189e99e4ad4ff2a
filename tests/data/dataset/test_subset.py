"""Parts of datasets: which views they have, and that every reader shows the same ones."""

import functools
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from noise_source import NoiseSource, same_subject

from semhead_lib.cameras import orbit_angles
from semhead_lib.data.dataset.check import check
from semhead_lib.data.dataset.manifest import Manifest
from semhead_lib.data.dataset.memory import SubjectsInMemory
from semhead_lib.data.dataset.packed import load_packed
from semhead_lib.data.dataset.packing import pack_dataset
from semhead_lib.data.dataset.semantics import fill_semantics
from semhead_lib.data.dataset.streaming_dataset import SubjectsOnDisk
from semhead_lib.data.dataset.subset import limited_sample, spread_views, write_part
from semhead_lib.data.jobs.synthesis import synthesize
from semhead_lib.training.data import training_data
from semhead_lib.training.run_folder import identity
from semhead_lib.training.settings import TrainSettings
from semhead_lib.view_samplers import sample_balanced, sample_front_heavy

SUBJECTS, VIEWS, LIMIT = 7, 8, 3


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """7 subjects with 8 views in 3 shards, with features."""
    out = tmp_path_factory.mktemp("whole") / "noise"
    source = functools.partial(NoiseSource, views=VIEWS)
    synthesize(source, out, SUBJECTS, shard_size=3, workers=0, progress=False)
    encode = lambda images: images.float().mean((2, 3))  # noqa: E731
    fill_semantics(out, encode, "mean colour [weights 0; input any]", progress=False)
    return out


def azimuths(cameras: torch.Tensor) -> torch.Tensor:
    return orbit_angles(cameras)[:, 0]


@pytest.mark.parametrize("limit", [2, 4, 8, 16])
def test_views_are_spread_around_the_head(limit):
    """One view in each of as many sectors as there are views, but for the jitter of the strata; and
    every view of the dataset is used by some subject."""
    used = torch.zeros(32)
    for subject in range(200):
        views = sample_balanced(32, np.random.default_rng(subject))
        kept = spread_views(subject, 32, limit)
        assert len(set(kept)) == limit and kept == sorted(kept)
        azimuth = views[kept, 0]
        steps = torch.diff(torch.cat([azimuth, azimuth[:1] + 360]))
        assert (steps - 360 / limit).abs().max() < 2 * 360 / 32
        used[kept] += 1
    assert used.min() > 0.5 * used.mean(), "each view is used about as often as any other"


def test_any_number_of_views_is_spread():
    for limit in (3, 5, 12):
        steps = [
            np.diff([*kept, kept[0] + 24])
            for kept in (spread_views(s, 24, limit) for s in range(40))
        ]
        assert max(step.max() for step in steps) <= 2 * 24 / limit + 1


def test_fewer_views_are_a_part_of_more():
    for subject in range(20):
        parts = [set(spread_views(subject, 32, limit)) for limit in (1, 2, 5, 8, 16, 31)]
        assert all(few < many for few, many in pairwise(parts))
    assert (
        spread_views(3, 4, None) == spread_views(3, 4, 4) == spread_views(3, 4, 9) == [0, 1, 2, 3]
    )


def test_photographs_views_stay_as_photographs_have_them():
    """A part of front-heavy views is front-heavy: no side is preferred."""
    shares = []
    for subject in range(400):
        views = sample_front_heavy(16, np.random.default_rng(subject))
        kept = views[spread_views(subject, 16, 4), 0].abs() < 45
        shares.append([kept.double().mean(), (views[:, 0].abs() < 45).double().mean()])
    few, all_of_them = torch.tensor(shares).mean(0)
    assert few == pytest.approx(float(all_of_them), abs=0.03) and few > 0.7


def test_all_readers_show_the_same_views(whole, tmp_path):
    every = SubjectsInMemory.load(whole)
    some = SubjectsInMemory.load(whole, limit=5, views_limit=LIMIT)
    assert len(some) == 5 and some.manifest.layout.views_per_subject == (LIMIT, LIMIT)
    for i, subject in enumerate(some):
        kept = spread_views(i, VIEWS, LIMIT)
        for name in ("views", "cameras", "masks"):
            assert torch.equal(getattr(subject, name), getattr(every[i], name)[kept])
        assert torch.equal(subject.frontal, every[i].frontal)
        assert torch.equal(subject.semantic, every[i].semantic)
    assert some.digest != SubjectsInMemory.load(whole, limit=5).digest

    pack_dataset(whole, tmp_path / "packed.tar", 1.0, psnr=5.0)
    packed = load_packed(tmp_path / "packed.tar", limit=5, views_limit=LIMIT)
    for mine, its in zip(packed, some, strict=True):
        assert torch.equal(mine.cameras, its.cameras) and torch.equal(mine.masks, its.masks)
        assert mine.views.shape == its.views.shape

    stream = SubjectsOnDisk(whole, views_limit=LIMIT, workers=0)
    seen = {}
    batches = stream.batches(1, LIMIT)
    for _ in range(SUBJECTS):
        batch = next(batches)
        order = batch.cameras[:, 0].argsort()
        seen[int(batch.subject[0])] = azimuths(batch.cameras).sort().values
        assert len(order) == LIMIT
    for i in range(SUBJECTS):
        kept = spread_views(i, VIEWS, LIMIT)
        assert torch.equal(seen[i], azimuths(every[i].cameras[kept]).sort().values)


def test_streams_and_memory_show_the_same_views_at_the_same_time(whole):
    """Which views a subject shows in an epoch is a function of seed, epoch and subject."""
    memory = SubjectsInMemory.load(whole, views_limit=5)
    stream = SubjectsOnDisk(whole, views_limit=5, workers=0)
    shown = {}
    for data in (memory, stream):
        batches = data.batches(1, 2, seed=3)
        for _ in range(SUBJECTS):
            batch = next(batches)
            shown.setdefault(int(batch.subject[0]), []).append(batch.images)
    assert len(shown) == SUBJECTS
    assert all(torch.equal(one, other) for one, other in shown.values())


def test_a_training_knows_its_views(whole):
    settings = TrainSettings(preset="semhead-32")
    part = training_data(whole, settings, views_limit=4, progress=False)
    assert part.manifest.layout.views_per_subject == (4, 4)
    streams = [
        training_data(whole, settings, stream=True, workers=0, views_limit=n) for n in (None, 4, 5)
    ]
    found = [identity(data) for data in streams]
    assert "views_limit" not in found[0], "trainings that were begun before go on"
    assert found[1] != found[2] and found[1]["views_limit"] == 4 and found[1]["views"] == [4, 4]
    with pytest.raises(ValueError, match=r"views_per_subject must be 1 to 2 .*, got 4"):
        next(training_data(whole, settings, views_limit=2, progress=False).batches(2, 4))
    with pytest.raises(ValueError, match=r"views_per_subject must be 1 to 2 .*, got 4"):
        next(training_data(whole, settings, stream=True, workers=0, views_limit=2).batches(2, 4))
    for wrong in (0, 1.5, float("nan"), True, "2"):
        for way in (dict(), dict(stream=True, workers=0)):
            with pytest.raises(ValueError, match="views_limit must be an integer >= 1 or null"):
                training_data(whole, settings, views_limit=wrong, progress=False, **way)


def test_a_part_is_written_into_a_folder_of_its_own(whole, tmp_path):
    for asked in ((2.5, 1), (2, 1.5), (2, float("nan")), ("2", 1), (True, 1)):
        with pytest.raises(ValueError, match=r"(subjects|views) must be an integer, got"):
            write_part(whole, tmp_path / "none", *asked)
    assert not (tmp_path / "none").exists()
    out = tmp_path / "part"
    manifest = write_part(whole, out, 5, LIMIT)
    (out / "dataset.json").unlink()  # as when it was interrupted
    (out / ".shard-000001.tar.partial").write_bytes(b"half")
    with pytest.raises(FileExistsError, match=r"part holds something else: shard-000001\.tar"):
        write_part(whole, out, 2, LIMIT)
    assert write_part(whole, out, 5, LIMIT).digest == manifest.digest and check(out) == []
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.txt").write_text("of somebody")
    with pytest.raises(FileExistsError, match=r"thesis holds something else: thesis\.txt"):
        write_part(whole, tmp_path / "thesis", 5, LIMIT)


def test_a_part_is_a_dataset_of_its_own(whole, tmp_path):
    out = tmp_path / "part"
    manifest = write_part(whole, out, 5, LIMIT)
    assert check(out) == [] and (manifest.subjects, manifest.views) == (5, 5 * LIMIT)
    assert [record.subjects for record in manifest.shards] == [3, 2]
    settings, of = manifest.plan.source["settings"], Manifest.load(whole)
    assert settings["views_per_subject"] == LIMIT
    assert settings["part_of"] == {"subjects": 7, "views_per_subject": 8, "digest": of.digest}
    limited = SubjectsInMemory.load(
        whole, limit=5, views_limit=LIMIT, geometry=("depth", "normals")
    )
    for mine, its in zip(
        SubjectsInMemory.load(out, geometry=("depth", "normals")), limited, strict=True
    ):
        assert same_subject(mine, its, but=()), mine.id
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert write_part(whole, out, 5, LIMIT) == manifest
    write_part(whole, tmp_path / "again", 5, LIMIT)
    assert before == {path.name: path.read_bytes() for path in out.iterdir()}
    assert before == {p.name: p.read_bytes() for p in (tmp_path / "again").iterdir()}


def test_a_part_that_lacks_the_frontal_view_keeps_the_image(tmp_path):
    """Where the frontal image is one of the views it is stored once; a part may be without it."""

    class Fronts(NoiseSource):
        def subject(self, index):
            subject = super().subject(index)
            return replace(subject, frontal=subject.views[index % 8].clone())

    synthesize(
        functools.partial(Fronts, views=8), tmp_path / "fronts", 8, workers=0, progress=False
    )
    write_part(tmp_path / "fronts", tmp_path / "part", 8, 2)
    every, part = (SubjectsInMemory.load(tmp_path / name) for name in ("fronts", "part"))
    kept = [i % 8 in spread_views(i, 8, 2) for i in range(8)]
    assert any(kept) and not all(kept)
    for mine, its in zip(part, every, strict=True):
        assert torch.equal(mine.frontal, its.frontal) and len(mine.views) == 2


def test_mistakes_about_parts(whole, tmp_path):
    for subjects, views in ((8, 2), (0, 2), (7, 9), (7, 0)):
        with pytest.raises(
            ValueError, match=r"noise: has 7 subjects of 8 views or more, no part of"
        ):
            write_part(whole, tmp_path / "part", subjects, views)
    write_part(whole, tmp_path / "part", 4, 2)
    with pytest.raises(FileExistsError, match=r"part is another dataset: .*subjects is 4 there, 5"):
        write_part(whole, tmp_path / "part", 5, 2)
    with pytest.raises(FileNotFoundError):
        write_part(tmp_path / "nothing", tmp_path / "other", 1, 1)
    with pytest.raises(ValueError, match="json: missing"):
        limited_sample({"__key__": "x"}, 0, 1)
