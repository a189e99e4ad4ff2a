"""Portraits become subjects: what passes is kept with the camera it shows, what fails is asked for
again."""

import functools
from collections import Counter

import pytest
import torch
from PIL import Image
from stand_in import ASKED, StandIn, cast

from semhead_lib.cameras import orbit_angles
from semhead_lib.cli import main
from semhead_lib.conditioning.kontext import kontext_source
from semhead_lib.conditioning.semantic import SemanticEncoder
from semhead_lib.data.dataset.check import check
from semhead_lib.data.dataset.reading import infos, load_subject
from semhead_lib.data.jobs.distributed import synthesize_distributed
from semhead_lib.data.jobs.synthesis import synthesize
from semhead_lib.data.kontext.prompts import View, views_of
from semhead_lib.data.kontext.quality import Limits
from semhead_lib.data.kontext.settings import KontextSettings
from semhead_lib.data.kontext.source import KontextSource

for needed in ("anny", "dlib", "cv2"):
    pytest.importorskip(needed)
pytestmark = pytest.mark.slow

LOOSE = Limits(turned=60, likeness=0.1, face=0.9, size=2.5, background=0.5)


def encoder():
    return SemanticEncoder.load("headclip-64", device="cpu").images


def portraits(folder, images):
    for i, image in enumerate(images):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"{i:06d}.png")
    return str(folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return portraits(tmp_path_factory.mktemp("portraits"), StandIn(2).portraits)


def source(folder, editor, **settings):
    settings = (
        dict(resolution=64, views_per_subject=4, tries=1, attempts=3, limits=LOOSE) | settings
    )
    return KontextSource(folder, encode=encoder, encoder="headclip-64", editor=editor, **settings)


def test_views_that_pass_become_a_subject(folder):
    editor = StandIn(2)
    made = source(folder, editor)
    subject = made.subject(1).validate()
    wanted = views_of(1, 4)
    assert subject.views.shape == (4, 3, 64, 64) and subject.masks is not None and len(made) == 2
    assert subject.attributes == {"complete": True, "views kept": 3, "views asked": 3}
    angles = orbit_angles(subject.cameras)
    for view, (azimuth, elevation, _) in zip(
        [View(0, 0), *wanted[1:]], angles.tolist(), strict=True
    ):
        assert (
            abs((azimuth - view.azimuth + 180) % 360 - 180) < 25
            and abs(elevation - view.elevation) < 20
        )
    assert subject.views[0].equal(subject.frontal) and subject.licence.startswith(
        "CC0-1.0 Portraits: not stated"
    )
    told = subject.provenance["views"]
    assert [t["asked"]["azimuth"] for t in told] == [v.azimuth for v in wanted[1:]]
    assert all(t["seen"]["certainty"] > 0.3 and len(t["checks"]) == 7 for t in told)
    again = source(folder, StandIn(2)).subject(1)
    assert torch.equal(again.views, subject.views) and again.provenance == subject.provenance


def test_cameras_are_nearer_to_the_truth_than_what_was_asked(folder):
    """The editor obeys loosely: it turns heads 15 degrees too far."""
    too_far = StandIn(2)

    def one(image, words, seed):
        view = ASKED[words]
        (person,) = [
            i for i, portrait in enumerate(too_far.portraits) if torch.equal(portrait, image)
        ]
        return cast(too_far.seed, person, too_far.side, View(view.azimuth + 15, view.elevation))[0]

    too_far._one = one
    subject = source(folder, too_far, views_per_subject=6).subject(0)
    asked = torch.tensor([t["asked"]["azimuth"] for t in subject.provenance["views"]])
    found = orbit_angles(subject.cameras[1:])[:, 0]
    off = ((found - (asked + 15) + 180) % 360 - 180).abs()
    assert len(asked) == 5 and off.mean() < 10


def test_failures_are_asked_for_again_and_counted(folder):
    """The profile from the left always fails, the back at first."""
    tries = Counter()

    def fault(person, view, seed):
        tries[view] += 1
        if view.azimuth == 90:
            return "copied"
        return "another angle" if view.azimuth == 180 and tries[view] < 3 else "right"

    strict = Limits(turned=40, likeness=0.1, face=0.9, size=2.5, background=0.5)
    editor = StandIn(2, fault)
    subject = source(folder, editor, limits=strict).subject(0)
    assert tries[View(90, 20)] == 3 and tries[View(-90, -15)] < 3
    rejected = {r["asked"]["azimuth"]: r for r in subject.provenance["rejected"]}
    assert not rejected[90]["kept"] and rejected[90]["failed"]["view"] == 3
    assert len(subject.views) == 1 and not subject.attributes["complete"], (
        "balanced: all views or the front"
    )
    tries.clear()
    some = source(folder, StandIn(2, fault), limits=strict, balance="any").subject(0)
    assert 90 not in [t["asked"]["azimuth"] for t in some.provenance["views"]]
    assert len(some.views) == 1 + some.attributes["views kept"] > 1


def test_a_dataset_by_the_tiny_model(tiny, tmp_path):
    """Noise passes no check: every portrait is a subject all the same, and what failed is on
    record."""
    folder = portraits(tmp_path, StandIn(3, side=64).portraits)
    made = functools.partial(
        kontext_source,
        folder,
        model=str(tiny),
        pixels=32,
        steps=1,
        dtype="float32",
        device="cpu",
        views_per_subject=3,
        resolution=32,
        tries=1,
        attempts=2,
        seed=0,
        input_terms="CC0-1.0",
    )
    report = synthesize_distributed(made, tmp_path / "dataset", 3, shard_size=2, progress=False)
    assert report.manifest.subjects == 3 and check(tmp_path / "dataset") == []
    told = infos(tmp_path / "dataset")
    assert [info.provenance["portrait"] for info in told] == [
        "000000.png",
        "000001.png",
        "000002.png",
    ]
    assert all(len(info.provenance["rejected"]) == 2 for info in told)
    assert load_subject(tmp_path / "dataset", 0).views.shape[0] == 1
    assert (
        "CC0-1.0" in report.manifest.licence
        and report.manifest.plan.source["settings"]["editor"]["steps"] == 1
    )
    again = synthesize(made, tmp_path / "alone", 3, shard_size=2, workers=0, progress=False)
    assert again.manifest == report.manifest


def test_the_command(tiny, folder, tmp_path, capsys):
    """In this process, however many cores there are; what it would take is said without writing
    anything."""
    settings = dict(
        portraits=folder,
        model=tiny,
        pixels=32,
        steps=1,
        dtype="float32",
        views_per_subject=3,
        resolution=32,
        tries=1,
        attempts=1,
        out=tmp_path / "made",
    )
    words = ["synthesize", "source=kontext", *(f"{key}={value}" for key, value in settings.items())]
    assert main([*words, "dry_run=true", "passing=1", "subjects=2"]) == 0
    said = capsys.readouterr().out
    assert "on one device, measured" in said
    assert (
        said.startswith("2 subjects, 6 views kept, 4 images made")
        and "s of a device for each kept view; as reported, the paper's 11.2 million images" in said
        and not (tmp_path / "made").exists()
    )
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "licence of what is made: as the model's" in said and "2 subjects" in said
    assert check(tmp_path / "made") == [] and len(infos(tmp_path / "made")) == 2


def test_settings_out_of_range(folder, tmp_path):
    def fails(kind, message, **settings):
        with pytest.raises(kind, match=message):
            kontext_source(settings.pop("portraits", folder), **settings)

    fails(
        ValueError,
        "views must be one of 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, got 5",
        views_per_subject=5,
    )
    fails(ValueError, "balance must be one of complete, any, got 'some'", balance="some")
    fails(ValueError, "views of Kontext are balanced", view_sampling="front_heavy")
    fails(ValueError, "no portraits in it", portraits=str(tmp_path))
    fails(
        FileNotFoundError, "'semhead data portraits' makes one", portraits=str(tmp_path / "nowhere")
    )
    assert KontextSettings().model.endswith("Kontext-dev")
