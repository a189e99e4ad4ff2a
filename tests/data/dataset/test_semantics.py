"""Features are filled in atomically, resumed, replaced, and never mixed."""

from __future__ import annotations

import functools
import json
import os
import shutil

import pytest
import torch
from noise_source import NoiseSource, files_of, flipped

from semhead_lib.data.dataset.check import check
from semhead_lib.data.dataset.manifest import Manifest
from semhead_lib.data.dataset.reading import subjects
from semhead_lib.data.dataset.semantics import LOG, fill_semantics
from semhead_lib.data.dataset.shards import read_shard
from semhead_lib.data.jobs.synthesis import synthesize

fill = functools.partial(fill_semantics, progress=False)


class Encoder:
    """Mean colours; counts the images it saw and stops like a killed process after `limit` calls."""

    def __init__(self, limit=None):
        self.images, self.calls, self.limit = 0, 0, limit

    def __call__(self, frontals):
        if self.calls == self.limit:
            raise KeyboardInterrupt
        self.calls, self.images = self.calls + 1, self.images + len(frontals)
        return frontals.float().mean(dim=(2, 3)) / 255


def test_features_fill_the_slot_and_change_nothing_else(dataset):
    before = {
        sample["__key__"]: sample
        for path in sorted(dataset.glob("*.tar"))
        for _, sample in read_shard(path)
    }
    manifest = fill(dataset, Encoder(), "mean", batch=2)
    assert manifest == Manifest.load(dataset)
    assert manifest.layout.semantic == {"encoder": "mean", "dimension": 3}
    after = {
        sample["__key__"]: sample
        for path in sorted(dataset.glob("*.tar"))
        for _, sample in read_shard(path)
    }
    assert list(before) == list(after)
    for key, sample in after.items():
        assert {n: v for n, v in sample.items() if n not in ("json", "semantic.npy")} == {
            n: v for n, v in before[key].items() if n != "json"
        }


def test_interrupted_filling_goes_on_and_equals_an_uninterrupted_one(
    dataset, shared_dataset, tmp_path
):
    listing = Manifest.load(dataset)
    with pytest.raises(KeyboardInterrupt):
        fill(dataset, Encoder(limit=2), "mean")
    assert Manifest.load(dataset) == listing, "the dataset was not valid in between"
    assert len(list(subjects(dataset))) == 11
    again = Encoder()
    fill(dataset, again, "mean")
    assert again.images == 11 - 6, "finished shards were encoded again"
    assert check(dataset) == []
    assert len(list(dataset.glob("*.tar"))) == 4
    whole = tmp_path / "whole"
    synthesize(
        functools.partial(NoiseSource, varied=True),
        whole,
        11,
        shard_size=3,
        workers=0,
        progress=False,
    )
    fill(whole, Encoder(), "mean")
    assert files_of(dataset) == files_of(whole)
    for subject in subjects(dataset):
        assert torch.allclose(subject.semantic, subject.frontal.float().mean(dim=(1, 2)) / 255)
        assert subject.semantic_encoder == "mean"


def test_features_there_already_are_kept_and_others_replaced(dataset):
    fill(dataset, Encoder(), "mean")
    idle = Encoder()
    fill(dataset, idle, "mean")
    assert idle.images == 0
    manifest = fill(dataset, lambda frontals: torch.ones(len(frontals), 5), "ones")
    assert manifest.layout.semantic == {"encoder": "ones", "dimension": 5}
    assert check(dataset) == [] and len(list(dataset.glob("*.tar"))) == 4
    assert all(
        s.semantic.tolist() == [1.0] * 5 and s.semantic_encoder == "ones" for s in subjects(dataset)
    )


def test_a_filled_dataset_is_still_finished_for_synthesis(dataset):
    fill(dataset, Encoder(), "mean")
    source = functools.partial(NoiseSource, varied=True)
    assert synthesize(source, dataset, 11, shard_size=3, workers=0, progress=False).views_made == 0


@pytest.mark.parametrize(
    "features",
    [torch.ones(2, 5), torch.ones(3), torch.full((3, 5), float("nan"))],
    ids=["count", "rank", "nan"],
)
def test_wrong_features_are_refused(dataset, features):
    before = files_of(dataset)
    with pytest.raises(ValueError, match=r"bad: expected finite features of shape \[3, D\]"):
        fill(dataset, lambda frontals: features, "bad")
    assert files_of(dataset) == before
    with pytest.raises(ValueError, match="encoder must name"):
        fill(dataset, Encoder(), "")


def test_the_frontal_view_may_be_one_of_the_views(tmp_path):
    class FrontalIsView(NoiseSource):
        def subject(self, index):
            subject = super().subject(index)
            subject.frontal.copy_(subject.views[2])
            return subject

    synthesize(FrontalIsView, tmp_path / "out", 2, workers=0, progress=False)
    fill(tmp_path / "out", Encoder(), "mean")
    for subject in subjects(tmp_path / "out"):
        assert torch.allclose(subject.semantic, subject.views[2].float().mean(dim=(1, 2)) / 255)


def test_damage_gets_no_checksum_of_its_own(dataset):
    flipped(dataset / "shard-000002.tar")
    before, found = files_of(dataset), check(dataset)
    with pytest.raises(ValueError, match=r"shard-000002\.tar: wrong checksum") as caught:
        fill(dataset, Encoder(), "mean")
    assert str(caught.value).partition(";")[0] == found[0]
    after = files_of(dataset)
    assert {name: after[name] for name in before} == before, "the original was replaced"
    assert [line for line in check(dataset) if line in found] == found


def test_damage_to_what_was_made_before_an_interruption_is_made_again(dataset, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        fill(dataset, Encoder(limit=2), "mean")
    made = next(dataset.glob("shard-000000.semantic-*.tar"))
    whole = made.read_bytes()
    flipped(made)
    again = Encoder()
    fill(dataset, again, "mean")
    assert again.images == 11 - 3 and made.read_bytes() == whole and check(dataset) == []
    assert not (dataset / "semantics.jsonl").exists()


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("layout", {"semantic": {"encoder": "mean", "dimension": 3, "x": -1}}),
        ("layout", {"resolution": 17}),
        ("shard", {"subjects": 2}),
    ],
)
def test_a_log_that_describes_its_shard_wrongly_lets_it_be_made_again(dataset, what, change):
    with pytest.raises(KeyboardInterrupt):
        fill(dataset, Encoder(limit=2), "mean")
    first, line, *rest = (dataset / LOG).read_text().splitlines()
    content = json.loads(line)
    content[what] |= change
    (dataset / LOG).write_text("\n".join([first, json.dumps(content), *rest]) + "\n")
    again = Encoder()
    fill(dataset, again, "mean")
    assert check(dataset) == [] and again.images == 11 - 3


def test_only_what_an_encoding_wrote_is_deleted(dataset):
    mine = dataset / "shard-000000-of-mine.tar"
    mine.write_bytes(b"somebody's")
    with pytest.raises(KeyboardInterrupt):
        fill(dataset, Encoder(limit=2), "another")
    fill(dataset, Encoder(), "mean")
    assert mine.read_bytes() == b"somebody's"
    mine.unlink()
    assert check(dataset) == [] and len(list(dataset.glob("*.tar"))) == 4


def test_a_file_in_the_way_is_not_overwritten(dataset, shared_dataset):
    fill(dataset, Encoder(), "mean")
    name = Manifest.load(dataset).shards[1].name
    other = dataset.with_name("other")
    shutil.copytree(shared_dataset, other)
    (other / name).write_bytes(b"somebody's")
    with pytest.raises(FileExistsError, match=f"{name} is not in semantics.jsonl"):
        fill(other, Encoder(), "mean")
    assert (other / name).read_bytes() == b"somebody's"


def test_a_pipe_in_place_of_the_log_is_not_waited_for(dataset):
    os.mkfifo(dataset / LOG)
    with pytest.raises(ValueError, match=rf"{LOG}: is no file that can be read to an end"):
        fill_semantics(dataset, lambda images: images, "test-encoder", progress=False)
