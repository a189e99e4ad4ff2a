import json
import shutil
from functools import partial

import pytest
import torch

from semhead_lib import old_names
from semhead_lib.conditioning.semantic import ASSETS
from semhead_lib.data.dataset.memory import SubjectsInMemory
from semhead_lib.evaluation.face_crops import face_crops, frontal
from semhead_lib.evaluation.features import FeatureExtractor
from semhead_lib.evaluation.headjudge.card import card, held_out, ship
from semhead_lib.evaluation.headjudge.network import HeadJudge
from semhead_lib.evaluation.headjudge.recipe import Recipe
from semhead_lib.evaluation.headjudge.targets import JudgeData, judge_config
from semhead_lib.evaluation.headjudge.training import load_subjects, make_subjects, train


@pytest.fixture(scope="module")
def subjects(tmp_path_factory):
    folder = tmp_path_factory.mktemp("subjects")
    make_subjects(folder, 6, 3, seed=5, workers=1, progress=False)
    return folder


@pytest.fixture(scope="module")
def data(subjects):
    heads = load_subjects(subjects)
    return JudgeData(
        heads, judge_config(heads, tuple(heads.manifest.plan.source["settings"]["classes"]))
    )


def config_of(subjects):
    heads = load_subjects(subjects)
    return judge_config(heads, tuple(heads.manifest.plan.source["settings"]["classes"]))


def test_targets_are_the_truth_of_the_data(subjects, data):
    """Normals face the camera, depth and classes are where the mask is, and a whole image is the
    image."""
    targets = data.batch(torch.arange(len(data)))
    heads = load_subjects(subjects)
    views = torch.cat([s.views for s in heads]).float() / 127.5 - 1
    assert torch.allclose(targets.images, views, atol=1e-5)
    towards_camera = targets.normals[:, 2][targets.hit]
    assert (towards_camera < 0.1).double().mean() > 0.97  # z points into the scene
    masks = torch.cat([s.masks for s in heads])[:, ::2, ::2] > 127
    assert (targets.hit == masks).double().mean() > 0.97
    assert targets.depth[targets.hit].abs().max() * 0.25 < 0.8  # clothes reach furthest


def test_crops_show_the_same_surface(data):
    rows = torch.arange(len(data))
    whole, crops = data.batch(rows), data.batch(rows, torch.Generator().manual_seed(1))
    assert not torch.equal(whole.classes, crops.classes)
    seen = lambda t: t.classes.flatten(1).eq(1).any(1)  # noqa: E731 (skin)
    assert (seen(crops) <= seen(whole)).all()
    again = data.batch(rows, torch.Generator().manual_seed(1))
    assert torch.equal(crops.images, again.images)


def test_training_learns_resumes_and_ships(subjects, data, tmp_path):
    recipe = Recipe(steps=30, batch=6, warmup=2, subjects=6, views_per_subject=3)
    whole = train(recipe, subjects, tmp_path / "whole", progress=False)
    train(recipe, subjects, tmp_path / "parts", stop_after=11, progress=False)
    parts = train(recipe, subjects, tmp_path / "parts", progress=False)
    assert whole.read_bytes() == parts.read_bytes()
    judge = HeadJudge.load(tmp_path / "whole")
    begun = HeadJudge(judge.config).eval()
    extractor = FeatureExtractor.load(f"headjudge/{tmp_path / 'whole'}", device="cpu")
    features = extractor.images(data.views[:4])
    assert features.shape == (4, extractor.dimension) and "headjudge [weights" in extractor.identity
    trained, fresh = held_out(judge, data), held_out(begun, data)
    assert trained["normals, median degrees"] < 0.85 * fresh["normals, median degrees"]
    assert trained["iou"]["background"] > max(fresh["iou"]["background"], 0.5)
    (tmp_path / "whole" / "metrics.json").write_text(json.dumps(trained))
    recipe_there = json.loads((tmp_path / "whole" / "recipe.json").read_text())["recipe"]
    text = card(tmp_path / "whole", judge, recipe_there, trained)
    (tmp_path / "whole" / "card.md").write_text(text)
    assert "Trained for 30 steps of 6 images on 6 parametric heads" in text and "CC0-1.0" in text
    assert (
        "`semhead judge train OUT subjects=6 views_per_subject=3 steps=30 batch=6 warmup=2`" in text
    )
    ship(tmp_path / "whole", tmp_path / "shipped")
    files = {path.name for path in (tmp_path / "shipped").iterdir()}
    assert files == {"model.safetensors", "config.json", "metrics.json", "card.md", "log.jsonl"}
    assert (tmp_path / "shipped" / "model.safetensors").read_bytes() == whole.read_bytes()
    with pytest.raises(ValueError, match="begun with another recipe: steps is 30 there, 31 here"):
        train(
            Recipe(steps=31, batch=6, warmup=2, subjects=6, views_per_subject=3),
            subjects,
            tmp_path / "whole",
        )


def test_what_ships_with_the_package():
    """Small, trained to the end on subjects that nothing else has seen, and its card tells what was
    measured."""
    folder = ASSETS / "headjudge"
    assert (folder / "model.safetensors").stat().st_size <= 6e6
    judge, metrics = (
        HeadJudge.load(folder),
        json.loads(old_names.existing(folder / "metrics.json").read_text()),
    )
    assert set(metrics["iou"]) == set(judge.config.classes) and metrics["images"] == 256 * 6
    text = (folder / "card.md").read_text()
    assert f"| normals, median error | {metrics['normals, median degrees']:.1f} degrees |" in text
    for name in ("glasses", "hair_style"):
        right, commonest = metrics["accuracy"][name], metrics["commonest answer"][name]
        assert (
            right > commonest + 0.1
            and f"| {name.replace('_', ' ')} | {right:.2f} | {commonest:.2f} |" in text
        )
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert len(lines) <= 200 and f"Trained for {lines[-1]['step']} steps" in text
    assert lines[-1]["loss"] < 0.7 * lines[0]["loss"] and "CC0-1.0" in text


def test_damaged_weights_are_named(subjects, tmp_path):
    HeadJudge(config_of(subjects)).save(tmp_path)
    HeadJudge.load(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(Exception, match=str(tmp_path)):
        HeadJudge.load(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"scalars": {"age": float("inf")}},
        {"scalars": {"age": [48.0, 0.0]}},
        {"categories": []},
        {"widths": [24, 48, 96, 1 << 20]},
        {"decoder": None},
    ],
)
def test_a_damaged_config_is_named(tmp_path, change):
    folder = shutil.copytree(ASSETS / "headjudge", tmp_path / "judge")
    content = json.loads((folder / "config.json").read_text()) | change
    (folder / "config.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"config\.json: is no config of a judge"):
        HeadJudge.load(folder)


def test_subjects_without_geometry_are_refused(subjects):
    heads = SubjectsInMemory.load(subjects)
    with pytest.raises(ValueError, match="has no depth, normals, segmentation"):
        JudgeData(heads, config_of(subjects))


def test_face_crops_hold_the_face(subjects):
    heads = load_subjects(subjects)
    cameras = torch.cat([s.cameras for s in heads])
    front = frontal(cameras)
    skin = (torch.cat([s.segmentation for s in heads])[front] <= 5) & (
        torch.cat([s.segmentation for s in heads])[front] > 0
    )
    share = partial(torch.mean, dim=(1, 2, 3))
    whole = skin[:, None].float()
    crops = face_crops(whole.expand(-1, 3, -1, -1), cameras[front])
    assert (share(crops) > 1.5 * share(whole)).all()
