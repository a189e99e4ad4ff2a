"""Filters that score images: plug-ins by name, pairs of texts, their order, and what they answer to
bad ones."""

import sys
from types import ModuleType

import pytest
import torch

from semhead_lib.conditioning import kontext
from semhead_lib.conditioning.kontext import kontext_source
from semhead_lib.conditioning.semantic import SemanticEncoder
from semhead_lib.conditioning.zero_shot import PAIRS, pair_scores
from semhead_lib.data.kontext.attempts import ask
from semhead_lib.data.kontext.filters import Filter, load_score
from semhead_lib.data.kontext.prompts import View, frontal_instruction, instruction
from semhead_lib.data.kontext.quality import CHECKS, SCORED, Inspector

IMAGES = torch.stack([torch.full((3, 32, 32), v, dtype=torch.uint8) for v in (0, 100, 200)])


@pytest.fixture
def plug_in(monkeypatch):
    """A module with functions that score by brightness, and what they were asked."""
    module = ModuleType("brightness")
    module.asked = []

    def check(images, prompts):
        module.asked.append((len(images), list(prompts)))
        return [float(image.float().mean()) / 255 for image in images]

    module.check, module.number = check, 7
    module.three = lambda images, prompts: torch.ones(3)
    module.far = lambda images, prompts: torch.full((len(images),), 1.5)
    module.unknown = lambda images, prompts: torch.full((len(images),), float("nan"))
    module.words = lambda images, prompts: ["good"] * len(images)
    module.breaks = lambda images, prompts: {}["size"]
    monkeypatch.setitem(sys.modules, "brightness", module)
    load_score.cache_clear()
    yield module
    load_score.cache_clear()


def made_by(function, name="artefacts", least=0.5):
    return Filter(name, function, least, load_score(name, function))


def test_a_plug_in_is_given_images_and_prompts(plug_in):
    assert made_by("brightness:check")(list(IMAGES), ["a", "b", "c"]) == pytest.approx(
        [0, 100 / 255, 200 / 255]
    )
    assert plug_in.asked == [(3, ["a", "b", "c"])]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("brightness", "artefacts must be none, clip .*, or package.module:function, got 'bright"),
        ("brightness:", "or package.module:function, got 'brightness:'"),
        ("nowhere.at_all:check", "artefacts=nowhere.at_all:check cannot be imported: ModuleNot"),
        ("brightness:missing", "artefacts=brightness:missing cannot be imported: AttributeError"),
        ("brightness:number", "artefacts=brightness:number is no function, but int"),
    ],
)
def test_one_that_cannot_be_had(plug_in, function, message):
    with pytest.raises(ValueError, match=message):
        load_score("artefacts", function)


@pytest.mark.parametrize(
    ("function", "came"),
    [("three", r"shape \[3\]"), ("far", "1.5"), ("unknown", "nan"), ("words", "'good', 'good'")],
)
def test_one_that_answers_something_else(plug_in, function, came):
    message = f"artefacts=brightness:{function} must return 2 numbers in 0...1 for 2 images, got "
    with pytest.raises(ValueError, match=message + (came if "'" not in came else r"\[" + came)):
        made_by(f"brightness:{function}")(list(IMAGES[:2]), ["", ""])


def test_one_that_fails_is_named(plug_in, monkeypatch, tmp_path):
    with pytest.raises(RuntimeError, match="artefacts=brightness:breaks failed: KeyError: 'size'"):
        made_by("brightness:breaks")(list(IMAGES[:2]), ["", ""])
    (tmp_path / "a_program.py").write_text("raise SystemExit(0)\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match="quality=a_program:f cannot be imported: SystemExit: 0"):
        load_score("quality", "a_program:f")


def test_the_second_filter_sees_what_the_first_one_left(plug_in):
    first, second = made_by("brightness:check", "quality", 0.3), made_by("brightness:check")
    inspector = Inspector(lambda images: torch.ones(len(images), 1), filters=[first, second])
    found = inspector._scored(list(IMAGES), ["a", "b", "c"])
    assert [[(c.name, c.passed) for c in checks] for checks in found] == [
        [("quality", False)],
        [("quality", True), ("artefacts", False)],
        [("quality", True), ("artefacts", True)],
    ]
    assert plug_in.asked[1] == (2, ["b", "c"])
    assert found[1][1].reason == "its score of artefacts is 0.39, 0.5 is wanted"
    assert CHECKS[:4] == (*SCORED, "view", "person")


class Verdict:
    """What `ask` needs of one."""

    score = 1.0

    def __init__(self, *failed):
        self.failed, self.passed = list(failed), not failed


def test_each_view_says_which_filter_dropped_it():
    """The first check that failed, in the order of the filters, of every image."""
    answers = {90: [Verdict("artefacts", "view"), Verdict("view"), Verdict()], 180: [Verdict()] * 3}
    wanted = [View(90, 0), View(180, 0)]

    class Editor:
        def edit(self, images, words, seeds):
            self.words = words
            return torch.zeros(len(images), 3, 8, 8, dtype=torch.uint8)

    def inspector(made, views, origin, prompts):
        assert prompts == editor.words
        return [answers[view.azimuth].pop(0) for view in views]

    editor, origin = Editor(), type("Origin", (), {"image": torch.zeros(3, 8, 8)})
    found = ask(
        editor, inspector, origin, wanted, instruction, lambda a, i: 10 * a + i, tries=1, attempts=3
    )
    assert list(found.best) == wanted and found.best[wanted[0]].seed == 20
    assert found.rejected == [
        {
            "asked": {"azimuth": 90, "elevation": 0},
            "kept": True,
            "failed": {"artefacts": 1, "view": 2},
            "dropped_by": {"artefacts": 1, "view": 1},
        }
    ]
    assert frontal_instruction(1) != instruction(View(0, 0), 1)


class Clip:
    """An encoder in which the second text of each pair is far from dark images."""

    loaded = 0

    @classmethod
    def load(cls, name, device):
        cls.loaded += 1
        return cls()

    def images(self, images):
        bright = torch.stack([image.float().mean() / 255 for image in images])
        return torch.stack([bright, 1 - bright], dim=1)

    def texts(self, texts):
        bad = {worse for pairs in PAIRS.values() for _, worse in pairs}
        return torch.tensor([[0.0, 0.04] if text in bad else [0.04, 0.0] for text in texts])


@pytest.mark.parametrize("what", SCORED)
def test_pairs_of_texts(what):
    dark, grey, bright = pair_scores(Clip(), list(IMAGES), PAIRS[what]).tolist()
    assert dark < 0.05 < grey < 0.5 < 0.9 < bright
    assert grey == pytest.approx(1 / (1 + torch.tensor(4 * (1 - 200 / 255)).exp().item()))


def test_texts_that_a_real_encoder_reads():
    encoder = SemanticEncoder.load("headclip-64", device="cpu")
    scores = pair_scores(encoder, list(IMAGES), PAIRS["artefacts"])
    assert scores.shape == (3,) and scores.min() >= 0 and scores.max() <= 1


def test_the_source_makes_the_filters(monkeypatch, plug_in, tmp_path):
    from PIL import Image

    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    monkeypatch.setattr(kontext, "SemanticEncoder", Clip)
    kontext._encoder.cache_clear()
    settings = dict(judged_by="some/clip", views_per_subject=4, resolution=32)
    plain = kontext_source(str(tmp_path), **settings)
    known = (
        "views_per_subject resolution tries attempts balance seed encoder portraits limits editor"
    )
    assert plain._filters == []
    assert plain.describe().keys() == {*known.split(), "input terms"}, "as before: datasets go on"
    source = kontext_source(
        str(tmp_path), quality="clip", artefacts="brightness:check", artefacts_least=0.7, **settings
    )
    first, second = source._filters
    assert (first.name, first.function, first.least) == ("quality", "clip", 0.5)
    assert first(list(IMAGES), [""] * 3)[2] > 0.9 and second.least == 0.7
    said = source.describe()
    assert said["artefacts"] == "brightness:check" and said["quality_least"] == 0.5
    assert Clip.loaded == 1
    with pytest.raises(ValueError, match="artefacts=clip needs an encoder that has seen photogr"):
        kontext_source(str(tmp_path), artefacts="clip")
    with pytest.raises(ValueError, match=r"quality=no\.where:f cannot be imported"):
        kontext_source(str(tmp_path), quality="no.where:f")
    with pytest.raises(ValueError, match="artefacts_least must be a number >= 0 and < 1, got 1"):
        kontext_source(str(tmp_path), artefacts_least=1.0)
    kontext._encoder.cache_clear()
