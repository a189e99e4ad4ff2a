"""Images of heads that were rendered elsewhere, and functions that render."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import toy_renderer
from PIL import Image
from plan_of_toys import planned_set
from toy_heads import BINS, ENCODER, EXTRACTOR, around, codes, draw, heads

import semhead_lib as sh
from semhead_lib.cameras import orbit_cameras
from semhead_lib.evaluation.comparison import compare
from semhead_lib.evaluation.image_sets import ImageSet, is_image_set
from semhead_lib.evaluation.judging import (
    common_viewing,
    evaluate_images,
    heads_wanted,
    reference_subjects,
)
from semhead_lib.evaluation.matching import Viewing, nearest_real_samples
from semhead_lib.evaluation.render_plan import RenderPlan, head_seed
from semhead_lib.evaluation.result import Evaluation
from semhead_lib.evaluation.settings import ImageSetSettings
from semhead_lib.evaluation.sources import FunctionSource
from semhead_lib.evaluation.targets import check_out, source_of

HERE = Path(__file__).parent
HEADS = 48


def write_set(folder, images, cameras, name="{head:03d}/{view}.png", conditions=None, plan=None):
    """[N, V, 3, S, S], [N, V, 25] in EG3D's form."""
    labels, on = [], []
    for head in range(len(images)):
        for view in range(len(images[head])):
            file = name.format(head=head, view=view)
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(images[head][view].permute(1, 2, 0).numpy()).save(folder / file)
            labels.append([file, cameras[head][view].double().tolist()])
            if conditions is not None:
                on.append([file, conditions[head][view].double().tolist()])
    content = {"labels": labels} | ({"condition_cameras": on} if on else {})
    (folder / "dataset.json").write_text(json.dumps(content | ({"plan": plan} if plan else {})))
    return folder


def judged(target, data, group="folder", plan=None, **settings) -> Evaluation:
    sets = ImageSetSettings(group, plan=plan and str(plan))
    options = dict(heads=HEADS, bins=BINS) | settings
    return evaluate_images(target, data, EXTRACTOR, ENCODER, sets, **options)[0]


def values(found: Evaluation) -> dict:
    return {
        (scope, name): (m.value, m.low, m.high)
        for scope, named in found.generated.items()
        for name, m in named.items()
    }


@pytest.fixture(scope="module")
def reference(tmp_path_factory) -> Path:
    return toy_renderer.dataset(tmp_path_factory.mktemp("reference") / "heads", 2 * HEADS)


@pytest.fixture(scope="module")
def planned(reference, tmp_path_factory) -> tuple[Path, Path]:
    """A plan, and a set of images of the stand-in by it."""
    folder = tmp_path_factory.mktemp("planned")
    return folder / "plan.json", planned_set(reference, folder, HEADS)


@pytest.fixture(scope="module")
def of_set(reference, planned) -> Evaluation:
    return judged(planned[1], reference)


def test_a_planned_set_has_all_metrics_that_need_no_condition(of_set):
    whole, real = of_set.generated["all"], of_set.real["all"]
    for name in ("frechet", "kernel", "directional_bias", "frechet_front", "mode_coverage"):
        assert name in whole and name in real
    assert {"face_on_back", "mirrored_back", "power_4-8"} <= whole.keys()
    assert {"recall", "diversity", "cross_view_recall_1"} <= of_set.generated["180"].keys()
    assert "condition_cosine" not in whole and "consistency_psnr" not in whole
    reasons = of_set.about["left_out"]
    assert "depth" in reasons["consistency"] and "condition_cosine, condition_recall" in reasons
    assert "real views have these cameras" in of_set.about["seen"]
    assert "condition camera front" in whole["frechet"].protocol.judged


def test_it_shows_which_camera_images_are_conditioned_on(of_set):
    """The stand-in is as good as real where it is conditioned on the camera that it is rendered
    from."""
    for scope in ("90", "180", "-90"):
        named = of_set.generated[scope]
        assert named["frechet_view"].value < 0.8 * named["frechet"].value
    whole, floor = of_set.generated["all"], of_set.real["all"]["frechet"]
    assert whole["frechet_view"].value < 1.5 * floor.value < whole["frechet_random"].high
    assert of_set.real["all"]["frechet_random"] == floor
    assert whole["directional_bias"].low > of_set.real["all"]["directional_bias"].high
    assert "condition camera rendered" in whole["frechet_view"].protocol.judged


def test_a_function_is_measured_as_its_images_are(reference, tmp_path):
    """By the reference's cameras, without a plan in a file."""
    function = f"{HERE / 'toy_renderer.py'}:render"
    one = judged(function, reference)
    plan = RenderPlan.of_reference(reference_subjects(reference), HEADS, parts=["front"])
    front = orbit_cameras(torch.zeros(1), torch.zeros(1)).expand(HEADS, 1, 25)
    cameras = torch.cat([plan.cameras, front], dim=1)
    code = torch.stack([toy_renderer.code_of(head_seed(0, i)) for i in range(HEADS)])
    summary = plan.summary.as_json()
    images = draw(code, cameras)
    folder = tmp_path / "set"
    write_set(folder, images[:, :4], plan.cameras, "front-{head:05d}/{view:02d}.png", plan=summary)
    content = json.loads((folder / "dataset.json").read_text())
    for head in range(HEADS):
        name = f"front-{head:05d}/front.png"
        Image.fromarray(images[head, 4].permute(1, 2, 0).numpy()).save(folder / name)
        content["labels"].append([name, front[0, 0].tolist()])
    (folder / "dataset.json").write_text(json.dumps(content))
    other = judged(folder, reference)
    assert values(one) == values(other) and one.real == other.real
    assert one.about["left_out"]["frechet_view, frechet_random"].startswith("the function takes no")
    assert one.generated["all"]["directional_bias"].low < one.real["all"]["directional_bias"].high


def test_cameras_of_its_own(reference, tmp_path):
    """Grouped by names; real views are those that are nearest."""
    cameras = around(HEADS, seed=7)
    images = draw(codes(HEADS, seed=8), cameras)
    folder = write_set(tmp_path / "set", images, cameras, "img-{head:03d}-{view}.png")
    found = judged(folder, reference, group=r"img-(\d+)-")
    assert "cameras of its own; real views are " in found.about["seen"]
    assert {"recall", "frechet"} <= found.generated["-90"].keys()
    assert (
        "no view within 10 degrees"
        in found.about["left_out"]["cross_view_recall, mode_coverage, frechet_front"]
    )
    assert "frechet_front" not in found.generated["all"]
    assert found.generated["180"]["frechet"].value < 2 * found.real["180"]["frechet"].high
    data = found.generated["all"]["frechet"].protocol.data
    assert data.count("-") == 2, "the cameras are part of what it was measured on"


def test_fronts_are_views_near_the_front(reference, tmp_path):
    """An image does not find itself: in the bin of the fronts, there is no cross-view recall."""
    turn = torch.tensor([0.0, 90.0, 180.0, -90.0])
    cameras = orbit_cameras(turn, torch.zeros(4)).expand(HEADS, 4, 25)
    code = codes(HEADS, seed=8)
    found = judged(write_set(tmp_path / "set", draw(code, cameras), cameras), reference)
    assert "cross_view_recall_1" in found.generated["90"]
    assert "cross_view_recall_1" not in found.generated["0"]
    assert {"frechet_front", "mode_coverage"} <= found.generated["all"].keys()


def test_heads_that_are_seen_from_the_front_alone(reference, tmp_path):
    cameras = orbit_cameras(torch.linspace(-30, 30, HEADS), torch.zeros(HEADS))[:, None]
    images = draw(codes(HEADS, seed=8), cameras)
    found = judged(write_set(tmp_path / "set", images, cameras, "{head}.png"), reference, "none")
    assert found.generated.keys() == {"all", "0"}
    whole = found.generated["all"]
    assert "directional_bias" not in whole and "mirrored_back" not in whole
    reasons = found.about["left_out"]
    assert reasons["directional_bias"].startswith(
        "too few heads are seen from azimuth 90, 180, -90"
    )
    assert "face_on_back" in reasons


def test_kinds_of_conditions(tmp_path):
    cameras = around(6, seed=1)
    images = draw(codes(6, seed=2), cameras)
    front = orbit_cameras(torch.zeros(1), torch.zeros(1)).expand(6, 4, 25)
    on = torch.cat([front[:2], cameras[2:4], cameras[4:].flip(1)])
    found = ImageSet(write_set(tmp_path / "mixed", images, cameras, conditions=on))
    assert {k: len(v) for k, v in found.kinds.items()} == {"front": 2, "view": 2, "random": 2}
    assert len(found) == 2
    left = orbit_cameras(torch.full((1,), 90.0), torch.zeros(1)).expand(6, 4, 25)
    found = ImageSet(write_set(tmp_path / "left", images, cameras, conditions=left))
    assert list(found.kinds) == ["90"]
    own = write_set(tmp_path / "own", images, cameras, conditions=cameras)
    assert list(ImageSet(own).kinds) == list(ImageSet(own, group="none").kinds) == ["view"]
    both = torch.cat([front[:3], left[3:]])
    with pytest.raises(ValueError, match="conditioned on cameras at azimuth 90, front"):
        ImageSet(write_set(tmp_path / "both", images, cameras, conditions=both))


def test_views_of_unequal_number(tmp_path):
    cameras = around(4, seed=1)
    images = draw(codes(4, seed=2), cameras)
    some = write_set(tmp_path / "set", [x[: i + 1] for i, x in enumerate(images)], cameras)
    assert ImageSet(some).viewing(4, 12, 0).cameras.shape == (4, 1, 25)
    assert ImageSet(some, views=3).viewing(4, 12, 0).cameras.shape == (2, 3, 25)
    assert ImageSet(some, views=3).viewing(4, 2, 0).cameras.shape == (2, 2, 25), "as many real ones"
    with pytest.raises(ValueError, match="no head has views=9 images"):
        ImageSet(some, views=9).viewing(4, 12, 0)


def test_the_nearest_views(reference):
    subjects, cameras = reference_subjects(reference), around(5, seed=3)
    found = nearest_real_samples(subjects, cameras, seed=1)
    again = nearest_real_samples(subjects, cameras, seed=1)
    assert found.reference.hash() == again.reference.hash() != found.matched.hash()
    assert found.degrees.shape == (2, 5, 4) and float(found.degrees.max()) < 41
    seen = Viewing("reference", cameras, 0)
    with pytest.raises(ValueError, match="the plan's cameras are of another dataset"):
        seen.statistics(subjects, 32, EXTRACTOR, ENCODER, bins=BINS)
    with pytest.raises(ValueError, match="judged heads have 5 views, subject toy-"):
        nearest_real_samples(subjects, torch.cat([cameras, cameras[:, :1]], 1))


def test_sets_that_are_not_seen_alike(reference, planned, tmp_path):
    cameras = around(HEADS, seed=7)
    own = write_set(tmp_path / "own", draw(codes(HEADS, seed=8), cameras), cameras)
    sources = [source_of(path, ImageSetSettings()) for path in (planned[1], own)]
    subjects = reference_subjects(reference)
    with pytest.raises(ValueError, match=r"own has 48 heads, .* of its own; set has 48 heads, .*"):
        common_viewing(sources, subjects, None, heads=HEADS, views=None, seed=0)


def test_other_heads_or_views_than_a_plan_fixes(reference, planned, tmp_path):
    plan, of_plan = planned
    for target, given in ((of_plan, None), (f"{HERE / 'toy_renderer.py'}:render", plan)):
        what = "the plan of .*set" if given is None else "the render plan"
        with pytest.raises(ValueError, match=f"heads=60 is asked .* {what} fixes heads={HEADS}: "):
            judged(target, reference, plan=given, heads=60)
        with pytest.raises(ValueError, match=f"views=2 is asked .* {what} fixes views=4: leave "):
            judged(target, reference, plan=given, heads=None, views=2)
    with pytest.raises(ValueError, match=r"heads=60 is asked for, but .*set fixes heads="):
        compare([of_plan], reference, tmp_path / "out", heads=60)
    assert not (tmp_path / "out").exists()
    with pytest.raises(ValueError, match=r"group=none is asked for, but the plan of .*set says"):
        source_of(of_plan, ImageSetSettings(group="none"))


def test_images_that_are_grouped_otherwise_are_another_set(tmp_path):
    cameras = around(4, seed=1)
    folder = write_set(
        tmp_path / "set", draw(codes(4, seed=2), cameras), cameras, "{head}-{view}.png"
    )
    by_head, by_view = (ImageSet(folder, group) for group in (r"(\d)-", r"-(\d)"))
    assert len(by_head) == len(by_view) and by_head.fingerprint() != by_view.fingerprint()


def test_more_heads_or_views_than_there_are(reference, tmp_path):
    cameras = around(30, seed=7)
    own = write_set(tmp_path / "own", draw(codes(30, seed=8), cameras), cameras)
    with pytest.raises(ValueError, match=r"heads=48 is asked for, but .*own has 30"):
        judged(own, reference)
    source = source_of(own, ImageSetSettings())
    assert heads_wanted([source], None, None, None) == 30
    assert heads_wanted([], None, None, None) == 256
    with pytest.raises(ValueError, match=r"views=5 is asked for, but a subject .* has 4"):
        common_viewing([source], reference_subjects(reference), None, heads=30, views=5, seed=0)


def test_settings_of_generators_beside_images(planned):
    for setting in ({"psi": 0.7}, {"condition_camera": "rendered"}, {"consistency_heads": 8}):
        with pytest.raises(ValueError, match=f"{next(iter(setting))} is for generators of ours"):
            sh.evaluate(planned[1], "reference", device="cpu", **setting)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"condition_cameras": []}, "has no labels"),
        ({"condition_cameras": {"000/0.png": [1]}}, "condition_cameras: 3 images are not there"),
        ({"condition_cameras": "all bad"}, "000/0.png: condition_cameras: expected 25 numbers"),
        ({"plan": {"heads": 2}}, "dataset.json: a plan has the keys"),
    ],
)
def test_labels_that_are_wrong(tmp_path, change, message):
    cameras = around(1, seed=1)
    folder = write_set(tmp_path / "set", draw(codes(1, seed=2), cameras), cameras)
    content = json.loads((folder / "dataset.json").read_text())
    if change.get("condition_cameras") == "all bad":
        change = {"condition_cameras": [[name, [1.0]] for name, _ in content["labels"]]}
    (folder / "dataset.json").write_text(json.dumps(content | change))
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        ImageSet(folder)
    assert str(folder) in str(caught.value)


def test_images_of_a_plan_that_are_missing(planned, tmp_path):
    shutil.copytree(planned[1], tmp_path / "set")
    content = json.loads((tmp_path / "set" / "dataset.json").read_text())
    gone = "depth-00001/05.png"
    (tmp_path / "set" / gone).unlink()
    for key in ("labels", "condition_cameras"):
        content[key] = [row for row in content[key] if row[0] != gone]
    (tmp_path / "set" / "dataset.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=f"set: 1 images of its plan are missing: {gone}"):
        ImageSet(tmp_path / "set").viewing(48, 4, 0)


def test_images_that_lie_in_one_folder(planned, tmp_path):
    cameras = around(3, seed=1)
    folder = write_set(tmp_path / "set", draw(codes(3, seed=2), cameras), cameras)
    content = json.loads((folder / "dataset.json").read_text())
    for row in content["labels"]:
        flat = row[0].replace("/", "-")
        (folder / row[0]).rename(folder / flat)
        row[0] = flat
    (folder / "dataset.json").write_text(json.dumps(content))
    count = len(content["labels"])
    with pytest.raises(ValueError, match=f"all {count} images lie in one folder.*group=none"):
        ImageSet(folder)
    assert len(ImageSet(folder, r"^(\d+)-")) == 3


def test_a_plan_that_is_not_rendered_to_the_end(tmp_path):
    (tmp_path / "render.json").write_text("{}")
    with pytest.raises(ValueError, match="not rendered to the end: run plan_renderer"):
        source_of(tmp_path, ImageSetSettings())


def test_a_folder_whose_labels_are_damaged_is_no_generator(tmp_path):
    cameras = around(1, seed=1)
    folder = write_set(tmp_path / "set", draw(codes(1, seed=2), cameras), cameras)
    for content, message in (('{"labels": ', "is not JSON"), ("[]", "has no labels")):
        (folder / "dataset.json").write_text(content)
        with pytest.raises(ValueError, match=rf"dataset\.json: {message}"):
            source_of(folder, ImageSetSettings())
    (folder / "dataset.json").unlink()
    with pytest.raises(ValueError, match=r"has no dataset\.json"):
        source_of(folder, ImageSetSettings())


@pytest.mark.parametrize(
    "name", ["front-00003/front.png", "depth-00001/05.png", "view-00002/01.png"]
)
def test_images_of_a_plan_from_another_camera(planned, tmp_path, name):
    content = json.loads((planned[1] / "dataset.json").read_text())
    for row in content["labels"]:
        if row[0] == name:
            row[1] = [*row[1][:16], 2 * row[1][16], *row[1][17:]]
    shutil.copytree(planned[1], tmp_path / "set")
    (tmp_path / "set" / "dataset.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=f"set: the camera of {name} is not that of its plan"):
        ImageSet(tmp_path / "set").viewing(48, 4, 0)


def test_labels_of_an_image_twice(tmp_path):
    cameras = around(1, seed=1)
    folder = write_set(tmp_path / "set", draw(codes(1, seed=2), cameras), cameras)
    content = json.loads((folder / "dataset.json").read_text())
    content["condition_cameras"] = [*content["labels"], content["labels"][0]]
    (folder / "dataset.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"condition_cameras: 000/0\.png has 2 labels"):
        ImageSet(folder)


def test_a_planned_set_that_was_conditioned_otherwise(planned, tmp_path):
    """Its distances would be called FID-view, and be of something else."""
    folder = tmp_path / "set"
    folder.mkdir()
    for place in planned[1].iterdir():
        (folder / place.name).symlink_to(place)
    content = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").unlink()
    front = content["condition_cameras"][0][1]
    content["condition_cameras"] = [[name, front] for name, _ in content["labels"]]
    (folder / "dataset.json").write_text(json.dumps(content))
    with pytest.raises(
        ValueError, match=r"condition camera of view-00000/.* is not that of its plan"
    ):
        ImageSet(folder).viewing(HEADS, 4, 0)


def test_images_that_are_too_small_to_be_judged(tmp_path):
    cameras = around(1, seed=1)
    folder = write_set(tmp_path / "set", draw(codes(1, seed=2), cameras)[..., :4, :4], cameras)
    with pytest.raises(ValueError, match="images need 8 pixels a side or more, got 4"):
        ImageSet(folder)
    cameras = around(2, seed=1)
    folder = write_set(tmp_path / "other", draw(codes(2, seed=2), cameras), cameras)
    source = ImageSet(folder)
    with pytest.raises(ValueError, match=r"other: images must have 64 pixels a side or more"):
        source.heads(source.viewing(1, 4, 0), 64)


def test_results_are_not_written_among_what_is_read(tmp_path):
    cameras = around(1, seed=1)
    folder = write_set(tmp_path / "set", draw(codes(1, seed=2), cameras), cameras)
    for out in (folder, folder / "results", folder / "000" / ".." / "results"):
        with pytest.raises(ValueError, match="which is read: name another place"):
            check_out(out, folder, "toy_heads:codes", None)
    check_out(tmp_path, folder)
    check_out(tmp_path / "results", folder)


def test_images_that_are_missing_or_not_grouped(planned, tmp_path):
    cameras = around(2, seed=1)
    images = draw(codes(2, seed=2), cameras)
    plan = json.loads(planned[0].read_text())["about"]
    folder = write_set(tmp_path / "set", images, cameras, plan=plan)
    with pytest.raises(
        ValueError, match=r"240 images of its plan are missing: front-00000/00\.png"
    ):
        ImageSet(folder)
    folder = write_set(tmp_path / "set", images, cameras)
    with pytest.raises(ValueError, match=r"group=head: is not in the name 000/0\.png"):
        ImageSet(folder, group="head")
    with pytest.raises(ValueError, match=r"folder, none or a regular expression, got '\('"):
        ImageSet(folder, group="(")
    assert (
        is_image_set(folder) and not is_image_set(tmp_path) and not is_image_set(folder / "0.png")
    )


def test_heads_of_another_size_are_said(tmp_path):
    cameras = around(2, seed=1)
    near = cameras.clone()
    near[..., [16, 20]] *= 1.5
    folder = write_set(tmp_path / "set", draw(codes(2, seed=2), cameras), near)
    with pytest.warns(UserWarning, match=r"heads are seen 1\.50 times as large"):
        ImageSet(folder)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("no_such_module:render", "cannot be imported: ModuleNotFoundError"),
        ("toy_heads:nothing", "has no function 'nothing'"),
        ("no/file.py:render", "does not exist"),
        ("toy_heads:codes", "toy_heads:codes failed: RuntimeError: manual_seed expected"),
        ("toy_heads:pooled", "toy_heads:pooled failed: TypeError: "),
        (f"{__name__}:no_images", r"must return images \[1, 3, S, S\], got \[1, 25\]"),
        (f"{__name__}:whole_numbers", r"must return uint8 or finite numbers in \[-1, 1\]"),
        (f"{__name__}:holes", r"finite numbers in \[-1, 1\], got some that are not finite"),
        (f"{__name__}:levels", r"must return numbers in \[-1, 1\], got 0 to 200"),
        (f"{__name__}:objects", "objects failed: TypeError"),
        (f"{__name__}:ends", "ends failed: SystemExit: 0"),
        (f"{__name__}:tiny", r"must return images of 8 pixels a side or more, got \[1, 3, 0, 0\]"),
    ],
)
def test_functions_that_are_none(target, message):
    with pytest.raises(ValueError, match=message):
        FunctionSource(target)


def no_images(seeds, cameras):
    return cameras


def whole_numbers(seeds, cameras):
    return torch.zeros(len(seeds), 3, 8, 8, dtype=torch.int64)


def levels(seeds, cameras):
    return torch.linspace(0, 200, 3 * 8 * 8).reshape(1, 3, 8, 8).expand(len(seeds), -1, -1, -1)


def objects(seeds, cameras):
    return np.full((len(seeds), 3, 8, 8), None)


def ends(seeds, cameras):
    raise SystemExit(0)


def holes(seeds, cameras):
    return torch.full((1, 3, 8, 8), torch.nan)


def tiny(seeds, cameras):
    return torch.zeros(len(seeds), 3, 0, 0)


def from_zero(seeds, cameras):
    return toy_renderer.render(seeds, cameras).float() / 255


def test_a_function_whose_numbers_begin_at_zero():
    cameras = around(2, seed=1)
    source, viewing = FunctionSource(f"{__name__}:from_zero"), Viewing("own", cameras, 0)
    with pytest.warns(UserWarning, match=r"are they of \[0, 1\]\? \[-1, 1\] is expected"):
        source.render(viewing, heads(codes(2, 0), cameras), 32)


def test_a_script_that_ends_as_it_is_imported(tmp_path):
    (tmp_path / "script.py").write_text("import sys\nsys.exit(0)\n")
    with pytest.raises(ValueError, match="cannot be imported: SystemExit: 0"):
        FunctionSource(f"{tmp_path}/script.py:render")


def test_heads_without_fronts_say_so():
    without = replace(heads(codes(2, 0), around(2, 0)), fronts=None)
    with pytest.raises(ValueError, match="toy: these heads have no frontal images"):
        _ = without.frontal
