"""The head finder: poses from points, windows whose labels are right, a training that resumes, and
what the network that ships finds."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.data import astronaut

sys.path.insert(0, str(Path(__file__).parents[2] / "training"))
from small_training import make_noise

import semhead_lib as sh
from semhead_lib.cameras import FOCAL, degrees_apart, orbit_cameras, rays
from semhead_lib.data.dataset.memory import SubjectsInMemory
from semhead_lib.data.portraits import placement
from semhead_lib.data.portraits.alignment import align
from semhead_lib.data.portraits.head_finder import card, training
from semhead_lib.data.portraits.head_finder.card import errors, summary
from semhead_lib.data.portraits.head_finder.examples import (
    Views,
    as_photographed,
    surface_points,
    windows,
)
from semhead_lib.data.portraits.head_finder.network import (
    UNIT,
    FinderConfig,
    HeadFinder,
    Prediction,
)
from semhead_lib.data.portraits.head_finder.pose import by_points
from semhead_lib.data.portraits.head_finder.recipe import Recipe
from semhead_lib.data.portraits.head_finder.search import find_head, mask_of_crop
from semhead_lib.data.portraits.head_finder.training import train_head_finder

QUICK = Recipe(steps=6, batch=4, pool=8, fresh=2, side=32)


def balls(count: int = 24, side: int = 48) -> Views:
    """Views of a sphere, brighter on top and red on its front, from all sides."""
    rng = torch.Generator().manual_seed(0)
    angles = torch.rand(2, count, generator=rng)
    cameras = orbit_cameras(angles[0] * 360 - 180, angles[1] * 60 - 20)
    origins, directions = rays(cameras, side)
    along = (origins * directions).sum(-1)
    square = along.square() - origins.square().sum(-1) + 0.28**2
    hit = square > 0
    distance = -along - square.clamp_min(0).sqrt()
    points = origins + distance[..., None] * directions
    forward = cameras[:, [2, 6, 10]]
    depth = ((points - cameras[:, None, [3, 7, 11]]) * forward[:, None]).sum(-1) * hit
    shade = (points / 0.56 + 0.5).clamp(0, 1)
    colours = torch.where(hit[..., None], shade[..., [2, 1, 1]], torch.full_like(shade, 0.8))
    images = (colours.transpose(1, 2).reshape(count, 3, side, side) * 255).to(torch.uint8)
    masks = (hit.reshape(count, side, side) * 255).to(torch.uint8)
    return Views(images, masks, depth.reshape(count, side, side), cameras)


@pytest.fixture(scope="module")
def views():
    return balls()


def apart(one, other):
    return degrees_apart((one.azimuth, one.elevation), (other.azimuth, other.elevation))


def angles_of(made):
    x, y, z = made.direction.double().unbind(1)
    return torch.rad2deg(torch.atan2(x, z)), torch.rad2deg(torch.asin(y))


def oracle(made, noise: float = 0.0) -> Prediction:
    """The predictions of a network that knows the truth, but for noise in those for the whole image."""
    rng = torch.Generator().manual_seed(1)
    off = [torch.randn(x.shape, generator=rng) * noise for x in (made.direction, made.place)]
    return Prediction(
        (made.known - 0.5) * 20,
        made.points,
        torch.full_like(made.mask, -3.0),
        made.head * 20 - 10,
        made.direction + off[0],
        made.size + noise * 0.5,
        made.turn,
        made.place + off[1],
    )


def test_the_points_of_a_surface_lie_on_it(views):
    points = surface_points(views.depth[:, None], views.cameras)
    there = views.depth > 0
    assert (points.norm(dim=1)[there] - 0.28).abs().max() < 1e-4
    assert float(points.abs().sum(1)[~there].max()) == 0


def test_cameras_are_found_from_points_although_the_guess_is_off(views):
    """The labels of windows agree with each other, also mirrored, turned, moved and resized."""
    made = windows(views, torch.arange(24), 64, seed=3)
    found, there = by_points(oracle(made, noise=0.15), trust=0.0), made.head > 0
    azimuth, elevation = angles_of(made)
    off = ((found.azimuth - azimuth + 180) % 360 - 180)[there].abs()
    assert off.max() < 1.5 and (found.elevation - elevation)[there].abs().max() < 1.5
    assert (found.size.log() - made.size)[there].abs().max() < 0.03
    roll = torch.rad2deg(torch.atan2(made.turn[:, 1], made.turn[:, 0]))
    assert (found.roll - roll)[there].abs().max() < 1.5
    assert (found.similarity[:, :, 2] - made.place)[there].abs().max() < 0.03


def test_guess_and_points_are_averaged_as_they_are_trusted(views):
    made = windows(views, torch.arange(24), 64, seed=3)
    seen, there = oracle(made, noise=0.15), made.head > 0
    alone, both, guessed = (by_points(seen, trust=t) for t in (0.0, 1.0, 1e6))
    for name in ("azimuth", "elevation"):
        first, mean, last = (getattr(found, name)[there] for found in (alone, both, guessed))
        way = (last - first + 180) % 360 - 180
        far = way.abs() > 2
        share = ((mean - first + 180) % 360 - 180)[far] / way[far]
        assert far.sum() > 5 and share.min() > 0.2 and share.max() < 0.8
        assert share.mean() == pytest.approx(0.5, abs=0.05)


def test_points_that_are_known_badly_count_little(views):
    made = windows(views, torch.arange(8), 64, seed=3, placing=as_photographed)
    seen = oracle(made)
    wrong = torch.zeros_like(seen.mask, dtype=torch.bool)
    wrong[..., ::3] = True
    points = torch.where(wrong, seen.points + 0.3, seen.points)
    azimuth, _ = angles_of(made)

    def off(error):
        found = by_points(seen._replace(points=points, log_scale=error))
        return float(((found.azimuth - azimuth + 180) % 360 - 180).abs().max())

    unsaid, said = (
        seen.log_scale,
        torch.where(wrong, torch.full_like(seen.log_scale, 1.0), seen.log_scale),
    )
    assert off(said) < 2 < off(unsaid)


def test_windows_depend_on_their_seed(views):
    one, same, other = (windows(views, torch.arange(24), 32, seed=s) for s in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(one, same, strict=True))
    assert not torch.equal(one.images, other.images)
    assert (one.mask[one.head == 0] == 0).all() and one.mask.max() == 1
    assert one.points.abs().max() <= 0.29 / UNIT and FOCAL > 1


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("subjects") / "data"
    make_noise(folder, semantic=False, subjects=4, views=3)
    return folder


class OfBalls:
    """Stands in for subjects, whose views are balls."""

    digest = "balls"

    def __len__(self):
        return 24


@pytest.fixture
def trained_on_balls(monkeypatch, views):
    monkeypatch.setattr(training.Views, "of", classmethod(lambda cls, subjects: views))
    return lambda out, recipe, **more: train_head_finder(
        OfBalls(), out, recipe, progress=False, **more
    )


def test_a_training_learns_and_is_kept(trained_on_balls, tmp_path):
    steps = replace(QUICK, steps=120, batch=16, pool=64, fresh=4)
    network = trained_on_balls(tmp_path / "out", steps)
    log = [json.loads(line) for line in (tmp_path / "out" / "log.jsonl").read_text().splitlines()]
    assert log[1]["mask"] < 0.9 * log[0]["mask"] and log[1]["points"] < log[0]["points"]
    kept = {path.name for path in (tmp_path / "out").iterdir() if path.name[0] != "."}
    assert kept == {"recipe.json", "log.jsonl", "model.safetensors", "config.json"}
    loaded, images = HeadFinder.load(tmp_path / "out"), torch.rand(2, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        one, other = network(images), loaded(images)
    assert all((a - b).abs().max() < 0.05 for a, b in zip(one, other, strict=True))
    with pytest.raises(ValueError, match="begun with another recipe: steps is 120 there, 7 here"):
        trained_on_balls(tmp_path / "out", replace(steps, steps=7))


def test_a_stopped_training_goes_on_as_if_it_had_not(trained_on_balls, tmp_path, monkeypatch):
    whole = trained_on_balls(tmp_path / "whole", QUICK).state_dict()
    monkeypatch.setattr(training, "_SAVE_EVERY", 3)
    batch, count = training._Pool.batch, []

    def stopping(self, step):
        count.append(step)
        if len(count) == 5:
            raise KeyboardInterrupt
        return batch(self, step)

    monkeypatch.setattr(training._Pool, "batch", stopping)
    with pytest.raises(KeyboardInterrupt):
        trained_on_balls(tmp_path / "part", QUICK)
    again = trained_on_balls(tmp_path / "part", QUICK).state_dict()
    assert count == [0, 1, 2, 3, 4, 3, 4, 5], "from the third step on"
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_a_training_begins_with_a_network(trained_on_balls, tmp_path):
    before = tmp_path / "before"
    first = trained_on_balls(before, replace(QUICK, steps=60, batch=16, pool=64, fresh=4))
    out, little = tmp_path / "out", replace(QUICK, learning_rate=1e-9)
    network = trained_on_balls(out, little, init=before)
    for name, weights in first.named_parameters():
        assert (network.get_parameter(name) - weights).abs().max() < 0.01, name
    about = json.loads((out / "recipe.json").read_text())
    assert about["init"]["recipe"]["steps"] == 60 and about["init"]["subjects"] == 24
    with pytest.raises(ValueError, match="begun with other first weights than init=None"):
        trained_on_balls(out, little)
    with pytest.raises(ValueError, match="looks at 32 pixels a side, side=64 asks for others"):
        trained_on_balls(tmp_path / "other", replace(little, side=64), init=before)
    assert not (tmp_path / "other").exists()


def test_subjects_without_depth_are_refused(dataset, tmp_path):
    subjects = SubjectsInMemory.load(dataset)
    with pytest.raises(ValueError, match="4 of 4 subjects have no depth"):
        train_head_finder(subjects, tmp_path / "out", QUICK)


def test_a_damaged_folder_is_named(tmp_path):
    HeadFinder(FinderConfig(32, (8, 8))).save(tmp_path)
    (tmp_path / "config.json").write_text('{"side": 33, "widths": [8, 8]}')
    with pytest.raises(ValueError, match="side a multiple of 2 to the power"):
        HeadFinder.load(tmp_path)
    (tmp_path / "config.json").write_text('{"side": 32, "widths": [4096, 4096]}')
    with pytest.raises(ValueError, match=r"config\.json: .*a larger network than its weights"):
        HeadFinder.load(tmp_path)
    (tmp_path / "config.json").write_text('{"side": 32, "widths": [8, 16]}')
    with pytest.raises(ValueError, match=r"model\.safetensors does not fit its config\.json"):
        HeadFinder.load(tmp_path)
    with pytest.raises(FileNotFoundError):
        HeadFinder.load(tmp_path / "none")


@pytest.fixture(scope="module")
def head():
    """A head of the generator that ships, on a canvas of its own, with its crop's place there."""
    generator = sh.load("semhead-128", device="cpu")
    return generator.sample(seed=3, like=5)


def photograph(head, azimuth: float) -> torch.Tensor:  # [3, 260, 200]
    image = head.render(sh.orbit([azimuth]))[0]
    canvas = image[:, :1, :1].expand(3, 260, 200).clone()
    canvas[:, 40:168, 30:158] = image
    canvas[:, 168:, 30:158] = image[:, -1:]  # clothes go on below
    return canvas


@pytest.mark.parametrize("azimuth", [0.0, 90.0, -140.0, 180.0])
def test_the_shipped_network_finds_heads_from_all_sides(head, azimuth):
    found = find_head(photograph(head, azimuth))
    assert found is not None
    assert abs((found.fit.azimuth - azimuth + 180) % 360 - 180) < 20
    assert abs(found.fit.elevation) < 20 and abs(found.fit.roll) < 10
    assert found.fit.side / 128 == pytest.approx(1, abs=0.2)
    middle = found.fit.similarity @ (0.5, 0.5, 1)
    assert np.abs(middle - (94, 104)).max() < 0.15 * 128
    twice = torch.nn.functional.interpolate(photograph(head, azimuth)[None].float(), scale_factor=4)
    large = find_head(twice[0].byte(), found.fit.similarity * 4)
    assert apart(large.fit, found.fit) < 8 and large.fit.side == pytest.approx(
        found.fit.side * 4, rel=0.1
    )


def test_nothing_is_found_where_no_head_is():
    rng = torch.Generator().manual_seed(0)
    noise = (torch.rand(3, 120, 160, generator=rng) * 255).to(torch.uint8)
    assert find_head(noise) is None and mask_of_crop(noise[:, :, :120]) is None
    with pytest.raises(ValueError, match="noise: no head found"):
        align(noise, name="noise", finder="network")
    with pytest.raises(ValueError, match=r"image must be uint8 of shape \[3, H, W\]"):
        find_head(noise.float())
    with pytest.raises(ValueError, match="finder must be one of auto, landmarks, network"):
        align(noise, name="noise", finder="eyes")


def test_a_real_photograph_is_found_without_landmarks():
    image = torch.from_numpy(astronaut()).permute(2, 0, 1)
    portrait = align(image, name="astronaut", finder="network")
    assert abs(portrait.azimuth) < 20 and portrait.landmarks is None
    assert portrait.provenance["camera"] == portrait.provenance["mask"] == "head finder"
    assert not any("300-W" in note for note in portrait.notes)
    assert portrait.mask[100:140, 100:140].float().mean() > 250, "the face"
    assert portrait.mask[:20, :40].float().mean() < 20


def missing(count):
    raise ModuleNotFoundError("dlib is missing")


def test_auto_does_with_what_there_is(head, monkeypatch):
    image = torch.from_numpy(astronaut()).permute(2, 0, 1)
    pytest.importorskip("dlib")
    by_both = placement.place(image, "auto", 68, "astronaut")
    by_face = placement.place(image, "landmarks", 68, "astronaut")
    assert by_both.certainty and apart(by_both.fit, by_face.fit) < 25
    assert by_both.source["camera"] == "head finder, from landmarks"
    turned = placement.place(photograph(head, 150.0), "auto", 68, "turned")
    assert turned.landmarks is None and abs(turned.fit.azimuth) > 110
    far = replace(by_both.fit, azimuth=by_face.fit.azimuth + 40)
    there = placement.find_head(image, by_face.fit.similarity)
    monkeypatch.setattr(placement, "find_head", lambda *_: replace(there, fit=far))
    assert placement.place(image, "auto", 68, "astronaut").source == by_face.source
    monkeypatch.setattr(placement, "face_finder", missing)
    assert placement.place(image, "auto", 68, "astronaut").source["camera"] == "head finder"
    with pytest.raises(ModuleNotFoundError, match="dlib is missing"):
        placement.place(image, "landmarks", 68, "astronaut")


def test_what_is_found_is_judged_by_the_truth(views, monkeypatch):
    made = windows(views, torch.arange(6), 64, seed=3, placing=as_photographed)
    poses = by_points(oracle(made))
    found = []
    for k in range(6):
        matrix, shift = poses.similarity[k, :, :2].numpy(), poses.similarity[k, :, 2].numpy()
        corner = ((shift - matrix.sum(1) + 1) / 2 * 64)[:, None]
        fit = placement.CameraFit(
            float(poses.azimuth[k]),
            float(poses.elevation[k]),
            np.concatenate([matrix * 64, corner], axis=1),
            0.0,
        )
        found.append(placement.FoundHead(fit, 1.0))
    masks = iter(torch.cat([views.masks[k : k + 1] for k in (*range(6), *range(1, 6))]))
    monkeypatch.setattr(card, "mask_of_crop", lambda crop, network: next(masks))
    of = errors(found, made)
    assert np.abs(of["azimuth"]).max() < 1.5 and of["size"].max() < 0.05
    assert of["middle"].max() < 0.03 and (of["overlap"] > 0.85).all()
    lost = errors([None, *found[1:]], made)
    said = summary(lost)
    assert said["found"] == pytest.approx(5 / 6, abs=1e-3) and lost["overlap"][0] == 0
