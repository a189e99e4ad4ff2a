"""Portraits that are turned get a frontal view first, which takes their place."""

import pytest
import torch
from stand_in import StandIn, cast
from test_kontext_source import LOOSE, encoder, portraits

from semhead_lib.cameras import orbit_angles
from semhead_lib.data.kontext.prompts import FRONT, View
from semhead_lib.data.kontext.source import KontextSource

for needed in ("anny", "dlib", "cv2"):
    pytest.importorskip(needed)
pytestmark = pytest.mark.slow
TURNED = 35.0  # degrees


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two people who are turned; portraits.csv knows that of the first one alone."""
    folder = tmp_path_factory.mktemp("turned")
    portraits(folder, StandIn(2, turned=TURNED).portraits)
    rows = [
        "image,portrait,reason,azimuth,elevation,sharpness,pixels,sha256",
        f"a.jpg,000000.png,,{TURNED},2.0,0.1,128,",
        "b.jpg,000001.png,,-3.0,1.0,0.1,128,",
        "c.jpg,,no face: none,,,,,",
    ]
    (folder / "portraits.csv").write_text("\n".join(rows) + "\n")
    return str(folder)


def source(folder, editor, **settings):
    settings = (
        dict(resolution=64, views_per_subject=3, tries=1, attempts=2, limits=LOOSE) | settings
    )
    return KontextSource(folder, encode=encoder, encoder="headclip-64", editor=editor, **settings)


def angle(camera):
    return orbit_angles(camera[None])[0, 0].item()


def test_a_turned_portrait_is_turned_to_the_front(folder):
    editor = StandIn(2, turned=TURNED)
    subject = source(folder, editor).subject(0).validate()
    asked = [(person, view) for person, view, _ in editor.asked]
    assert asked[0] == (0, FRONT) and {person for person, _ in asked} == {0}
    assert len(subject.views) == 3 and subject.attributes["complete"]
    record = subject.provenance["frontalised"]
    assert record["kept"] and record["photograph"] == {"azimuth": TURNED, "elevation": 2.0}
    assert {"checks", "seen", "seed", "wording"} <= record.keys()
    assert abs(angle(subject.cameras[0])) < 15 and subject.views[0].equal(subject.frontal)
    front, side = (cast(4000, 0, 64, View(a, 0))[0].float() for a in (0, TURNED))
    made = subject.frontal.float()
    assert (made - front).abs().mean() < (made - side).abs().mean()
    again = source(folder, StandIn(2, turned=TURNED)).subject(0)
    assert torch.equal(again.views, subject.views) and again.provenance == subject.provenance


def test_one_that_is_frontal_is_not(folder):
    editor = StandIn(2, turned=TURNED)
    subject = source(folder, editor, views_per_subject=2).subject(1)
    assert FRONT not in [view for _, view, _ in editor.asked]
    assert "frontalised" not in subject.provenance and angle(subject.cameras[0]) == 0


def never(person, view, seed):
    return "another angle" if view == FRONT else "right"


def test_a_photograph_that_cannot_be_is_kept_alone_as_it_was_taken(folder):
    editor = StandIn(2, never, turned=TURNED)
    strict = LOOSE.__class__(turned=20, likeness=0.1, face=0.9, size=2.5, background=0.5)
    subject = source(folder, editor, limits=strict).subject(0).validate()
    assert {view for _, view, _ in editor.asked} == {FRONT} and len(editor.asked) == 2
    assert len(subject.views) == 1 and abs(angle(subject.cameras[0]) - TURNED) < 1e-3
    record = subject.provenance["frontalised"]
    assert not record["kept"] and record["failed"]["view"] == 2 == sum(
        record["dropped_by"].values()
    )
    assert subject.attributes == {"complete": False, "views kept": 0, "views asked": 2}


def test_all_portraits(folder):
    """A frontal one whose frontal view fails is its own."""
    editor = StandIn(2, never, turned=0.0)
    strict = LOOSE.__class__(turned=20, likeness=0.1, face=0.9, size=2.5, background=0.5)
    editor.portraits = StandIn(2, turned=TURNED).portraits
    made = source(folder, editor, frontalise="all", limits=strict, balance="any", attempts=1)
    subject = made.subject(1)
    assert editor.asked[0][:2] == (1, FRONT) and made.frontalised == 1.0
    assert len(editor.asked) == 3 and not subject.provenance["frontalised"]["kept"]
    assert angle(subject.cameras[0]) == 0


def test_what_is_refused_and_what_goes_on(folder, tmp_path):
    editor = StandIn(2, turned=TURNED)
    with pytest.raises(
        ValueError, match="1 of 2 portraits are turned by more than 15 degrees, 000000"
    ):
        source(folder, editor, frontalise="none")
    wide = source(folder, editor, frontalise="none", frontal_within=40.0)
    legacy = source(folder, editor, frontal_within=40.0)
    assert wide.describe() == legacy.describe() and wide.frontalised == 0
    some = source(folder, editor)
    assert some.frontalised == 0.5 and some.describe()["frontalise"] == "turned"
    assert some.describe() != source(folder, editor, frontal_within=2.0).describe()
    with pytest.raises(ValueError, match="frontalise must be one of turned, all, none, got 'side'"):
        source(folder, editor, frontalise="side")
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    portraits(damaged, editor.portraits[:1])
    (damaged / "portraits.csv").write_text("image,portrait,reason,azimuth\na,000000.png,,x\n")
    with pytest.raises(
        ValueError, match=r"portraits\.csv: expected azimuth and elevation of every"
    ):
        source(str(damaged), editor)
    for angles in ("nan,0", "0,inf"):  # neither is more than any limit, or has a camera
        text = f"image,portrait,reason,azimuth,elevation\na,000000.png,,{angles}\n"
        (damaged / "portraits.csv").write_text(text)
        with pytest.raises(ValueError, match=r"portraits\.csv: expected azimuth .*000000.png has"):
            source(str(damaged), editor)
