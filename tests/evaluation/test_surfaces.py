"""Consistency of heads that were rendered elsewhere, from images and depth, against what the generator
itself is measured to have."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_heads import small_generator

from semhead_lib.conditioning.modes import ConditionMode
from semhead_lib.data.dataset.archives import ImageArchive
from semhead_lib.evaluation import plan_renderer
from semhead_lib.evaluation.generated_views import head_consistency
from semhead_lib.evaluation.render_plan import DEPTH, DEPTH_HEADS, RenderPlan, depth_heads
from semhead_lib.evaluation.surfaces import depths, planned_differences
from semhead_lib.metrics.azimuth import AzimuthBins
from semhead_lib.models.eg3d_interface import EG3DGenerator

HEADS = 2


@pytest.fixture(scope="module")
def generator():
    return EG3DGenerator(
        small_generator(ConditionMode("none", 8)), ConditionMode("none", 8), torch.zeros(0, 8)
    )


@pytest.fixture(scope="module")
def rendered(generator, tmp_path_factory):
    """The summary of a plan, and a folder of its part `depth`."""
    folder = tmp_path_factory.mktemp("set")
    plan = RenderPlan.of_bins(HEADS, 1, parts=("front", DEPTH))
    plan.save(folder / "plan.json")
    content = plan_renderer.read_plan(folder / "plan.json")
    content["images"] = [image for image in content["images"] if image[0].startswith(DEPTH)]
    plan_renderer.render_plan(generator, content, folder, batch=8, say=len)
    return plan.summary, folder


def read(folder: Path):
    from semhead_lib.data.portraits.photos import read_photo

    return lambda name: read_photo(folder / name)


def test_a_plan_asks_for_pairs_of_views_of_some_heads(tmp_path):
    plan = RenderPlan.of_bins(40, 8)
    assert plan.save(tmp_path / "plan.json") == 40 * (3 * 8 + 1) + DEPTH_HEADS * 16
    images = json.loads((tmp_path / "plan.json").read_text())["images"]
    assert sum(name.startswith("depth-") for name, *_ in images) == DEPTH_HEADS * 16
    assert RenderPlan.load(tmp_path / "plan.json").summary == plan.summary
    assert depth_heads(RenderPlan.of_bins(40, 8, parts=("front", "view")).summary) == 0


def test_images_and_depth_give_what_the_generator_has(generator, rendered):
    summary, folder = rendered
    found = planned_differences(ImageArchive(folder), summary, read(folder))
    content = plan_renderer.read_plan(folder / "plan.json")
    seeds = list(dict.fromkeys(seed for name, seed, *_ in content["images"] if DEPTH in name))
    z = torch.cat([plan_renderer.latent(seed, generator.z_dim) for seed in seeds])
    w = generator.network.mapping(z, None)
    own = head_consistency(generator.network, w, AzimuthBins().centres)
    assert len(found.pixels) == len(own.pixels) == HEADS * 8
    assert found.seen_twice() == pytest.approx(own.seen_twice(), abs=0.1)
    assert found.psnr() == pytest.approx(own.psnr(), abs=2.0), "images are 8 bits"
    assert own.psnr() < 60 and found.seen_twice() > 0.3


def test_views_that_contradict_each_other_are_noticed(rendered, tmp_path):
    summary, folder = rendered
    archive, image = ImageArchive(folder), read(folder)
    whole = planned_differences(archive, summary, image).psnr()
    turn = {f"{DEPTH}-{h:05d}/{v:02d}.png": 40 * (v % 2) for h in range(HEADS) for v in range(16)}
    bent = planned_differences(archive, summary, lambda n: (image(n).int() + turn[n]).clamp(0, 255))
    assert bent.psnr() < whole - 5


def test_depth_that_is_none_or_damaged(generator, rendered, tmp_path):
    summary, folder = rendered
    fewer = RenderPlan.of_bins(HEADS, 1, parts=("front",)).summary
    assert planned_differences(ImageArchive(folder), fewer, read(folder)) is None
    archive = ImageArchive(tmp_path)
    assert planned_differences(archive, summary, read(tmp_path)) is None, "no depth at all"
    for path in folder.rglob("*.*"):
        (tmp_path / path.relative_to(folder).parent).mkdir(exist_ok=True)
        (tmp_path / path.relative_to(folder)).write_bytes(path.read_bytes())
    before = depths(ImageArchive(tmp_path), summary)
    place = tmp_path / "depth-00001/03.npy"
    for wrong, words in (
        (np.zeros((2, 3, 4), np.float32), r"finite numbers \[2, R, R\], got \[2, 3, 4\]"),
        (np.full((2, 8, 8), np.nan, np.float32), "finite"),
        (np.zeros((2, 8, 8)), "expected float32"),
    ):
        np.save(place, wrong)
        assert depths(ImageArchive(tmp_path), summary) != before
        with pytest.raises(ValueError, match=f"depth-00001/03.npy: .*{words}"):
            planned_differences(ImageArchive(tmp_path), summary, read(tmp_path))
