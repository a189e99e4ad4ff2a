"""Tuning of the planes: detail of a photograph is learnt at the pivot, and saved with the
generator."""

from dataclasses import replace

import pytest
import torch
from own_heads import photographs

from semhead_lib.inversion.losses import Objective
from semhead_lib.inversion.plane_tuning import roughness, tune_planes, with_residual
from semhead_lib.inversion.search import Inverted, Search
from semhead_lib.inversion.settings import InversionSettings
from semhead_lib.models.generator import Generator

QUICK = InversionSettings(
    steps=0, tuning_steps=25, planes_lr=0.1, smoothness=0.3, camera_lr=0.0, gain=0.0, grid=0
)


@pytest.fixture(scope="module")
def objective(generator, others, clip):
    """A photograph of a head that no style gives: its map has a residual."""
    drawn = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    other = with_residual(generator, others[:1], others)
    residual = other.backbone.residual.map
    smooth = torch.nn.functional.interpolate(drawn, residual.shape[-1], mode="bicubic")
    residual += smooth * generator.feature_map(others[:1]).std((2, 3), keepdim=True)
    return Objective(photographs(other, others[:1]), clip)


@pytest.fixture(scope="module")
def fitted(generator, objective, others):
    return Inverted(generator, others[:1], objective.target.cameras, Search())


@pytest.fixture(scope="module")
def tuned(fitted, objective, others):
    return tune_planes(fitted, objective, others, QUICK)


def distance(found, objective):
    return objective(found.generator.synthesize(found.w, found.cameras))["all"].item()


def elsewhere(found, generator, others):
    cameras = photographs(generator, others[:1], (120.0, 200.0, 280.0)).cameras
    with torch.no_grad():
        return found.generator.synthesize(found.w, cameras).image


def test_it_learns_the_photograph(generator, fitted, tuned, objective):
    assert distance(tuned, objective) < 0.3 * distance(fitted, objective)
    assert len(tuned.tuning.losses) == 25 and tuned.tuning.stopped == "finished"
    assert generator.backbone.residual is None and not generator.config.residual, "a copy was tuned"
    assert tuned.generator.renderer.settings == generator.renderer.settings


def test_locality_holds_other_sides(generator, others, fitted, objective):
    free, held = (
        tune_planes(fitted, objective, others, replace(QUICK, locality=weight))
        for weight in (0.0, 20.0)
    )
    was = elsewhere(fitted, generator, others)
    changed = [(elsewhere(f, generator, others) - was).square().mean() for f in (free, held)]
    assert changed[1] < 0.6 * changed[0]


def test_other_heads_stay_as_they_were(generator, others, tuned):
    before = generator.feature_map(others)
    away = (tuned.generator.feature_map(others) - before).flatten(1).norm(dim=1)
    assert away[1:].max() < 0.2 * away[0]
    near = torch.lerp(others[:1], others[1:2], 0.1)
    kept = tuned.generator.feature_map(near) - generator.feature_map(near)
    assert 0.8 * away[0] < kept.norm() < away[0]


def test_a_residual_that_moves_keeps_the_head_there(others, tuned):
    w = torch.lerp(others[:1], others[1:2], 0.2)
    moved = with_residual(tuned.generator, w, others)
    assert torch.allclose(moved.feature_map(w), tuned.generator.feature_map(w), atol=1e-5)
    assert moved.backbone.residual.share(w).item() == 1


def test_smoothness_holds_neighbours_together(fitted, objective, others):
    rough, smooth = (
        tune_planes(fitted, objective, others, replace(QUICK, smoothness=weight)).generator
        for weight in (0.0, 1000.0)
    )
    assert roughness(smooth.backbone.residual.map) < 0.3 * roughness(rough.backbone.residual.map)


def test_the_residual_is_saved_and_tuned_on(tuned, objective, others, tmp_path):
    tuned.generator.save(tmp_path)
    again = Generator.load(tmp_path)
    assert torch.equal(again.backbone.residual.map, tuned.generator.backbone.residual.map)
    assert torch.equal(again.feature_map(tuned.w), tuned.generator.feature_map(tuned.w))
    more = tune_planes(
        replace(tuned, generator=again), objective, others, replace(QUICK, planes_lr=0.02)
    )
    assert distance(more, objective) < distance(tuned, objective)
    assert not torch.equal(more.generator.backbone.residual.map, again.backbone.residual.map)


def test_equal_seeds_give_equal_heads(fitted, objective, others):
    few = replace(QUICK, tuning_steps=4)
    one, same, other = (
        tune_planes(
            fitted, objective, others, replace(few, seed=seed)
        ).generator.backbone.residual.map
        for seed in (0, 0, 1)
    )
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_no_steps_change_nothing(generator, fitted, objective, others):
    none = tune_planes(fitted, objective, others, replace(QUICK, tuning_steps=0))
    assert torch.equal(none.generator.feature_map(fitted.w), generator.feature_map(fitted.w))


def test_a_density_grid_is_used_and_put_back(fitted, objective, others, monkeypatch):
    generator, seen = fitted.generator, []
    render = type(generator.renderer).density_grid
    monkeypatch.setattr(
        type(generator.renderer),
        "density_grid",
        lambda self, features: seen.append(self.settings.grid) or render(self, features),
    )
    found = tune_planes(fitted, objective, others, replace(QUICK, tuning_steps=2, grid=24))
    assert set(seen) == {24}
    assert found.generator.renderer.settings == fitted.generator.renderer.settings


def test_ctrl_c_keeps_what_there_is(fitted, objective, others):
    class Interrupted(Objective):
        calls = 0

        def __call__(self, render):
            Interrupted.calls += 1
            if Interrupted.calls == 15:
                raise KeyboardInterrupt
            return super().__call__(render)

    found = tune_planes(fitted, Interrupted(objective.target, objective.encoder), others, QUICK)
    assert found.tuning.stopped == "interrupted" and len(found.tuning.losses) == 14
    assert distance(found, objective) < distance(fitted, objective)


def test_a_residual_that_is_no_number_is_refused(fitted, objective, others):
    wild = replace(QUICK, tuning_steps=1, locality=1e38)
    with pytest.raises(ValueError, match="the residual is no number any more; lower planes_lr"):
        tune_planes(fitted, objective, others, wild)
