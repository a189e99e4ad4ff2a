"""Plans of what a generator elsewhere renders, and the script that renders them in its checkout."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from toy_heads import subjects
from toy_renderer import StandIn

from semhead_lib.cameras import orbit_angles
from semhead_lib.evaluation import plan_renderer
from semhead_lib.evaluation.image_sets import ImageSet
from semhead_lib.evaluation.render_plan import PARTS, PlanSummary, RenderPlan
from semhead_lib.evaluation.samples import real_samples

HERE = Path(__file__).parent


@pytest.fixture
def plan(tmp_path) -> Path:
    RenderPlan.of_bins(3, 2, seed=5, parts=tuple(PARTS)).save(tmp_path / "plan.json")
    return tmp_path / "plan.json"


def rendered(plan: Path, out: Path, **settings) -> list[str]:
    """What it said."""
    said: list[str] = []
    out.mkdir(exist_ok=True)
    content = json.loads(plan.read_text())
    plan_renderer.render_plan(StandIn(), content, out, say=said.append, **settings)
    return said


def test_a_plan_of_the_reference_has_the_matched_heads_cameras(tmp_path):
    dataset = subjects(20)
    plan = RenderPlan.of_reference(dataset, 6, 3, seed=2, parts=tuple(PARTS))
    assert torch.equal(plan.cameras, real_samples(dataset[:12], 6, 3, seed=2)[1].cameras)
    assert plan.save(tmp_path / "plan.json") == 6 * (3 + 1 + 3 + 3)
    again = RenderPlan.load(tmp_path / "plan.json")
    assert again.summary == plan.summary and torch.equal(again.cameras, plan.cameras)
    with pytest.raises(ValueError, match="two sets of 11 heads need 22 subjects"):
        RenderPlan.of_reference(dataset, 11)


def test_rows_of_a_plan(plan):
    content = json.loads(plan.read_text())
    cameras = torch.tensor(content["cameras"])
    rows = {
        name: (seed, cameras[camera], cameras[on]) for name, seed, camera, on in content["images"]
    }
    assert len(rows) == 3 * (2 + 1 + 2 + 2) and len(content["cameras"]) == 2, "each label once"
    for head in range(3):
        for part in ("front", "view", "random"):
            seeds = {rows[f"{part}-{head:05d}/{v:02d}.png"][0] for v in range(2)}
            assert seeds == {5_000_015 + head}, "one head in all parts"
        for v, azimuth in enumerate((0.0, 180.0)):
            _, camera, on = rows[f"front-{head:05d}/{v:02d}.png"]
            assert orbit_angles(camera[None])[0, 0].abs() == azimuth
            assert orbit_angles(on[None])[0, :2].tolist() == [0, 0]
            _, camera, on = rows[f"view-{head:05d}/{v:02d}.png"]
            assert torch.equal(camera, on)
        assert orbit_angles(rows[f"front-{head:05d}/front.png"][1][None])[0, :2].tolist() == [0, 0]
    plan = RenderPlan.load(plan)
    own, drawn = plan.cameras.flatten(0, 1), plan.conditions("random").flatten(0, 1)
    assert sorted(own.tolist()) == sorted(drawn.tolist()) and not torch.equal(own, drawn)


def test_fewer_parts(tmp_path):
    plan = RenderPlan.of_bins(4, 8, parts=["random"])
    assert plan.summary.parts == ("front", "random")
    assert plan.save(tmp_path / "plan.json") == 4 * (8 + 1 + 8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, "is no render plan"),
        ({"cameras": [[0.0] * 25]}, "cameras, row 0: "),
        ({"images": []}, "has 0 images of 3 heads with 2 views"),
        ({"images": 3}, "TypeError: "),
        ({"about": {"cameras": "bins"}}, "a plan has the keys cameras, digest, heads, "),
    ],
)
def test_a_damaged_plan_is_named(plan, change, message):
    plan.write_text(json.dumps(json.loads(plan.read_text()) | change))
    with pytest.raises(ValueError, match=rf"plan\.json: .*{message}"):
        RenderPlan.load(plan)


def test_plans_that_nobody_can_render(plan, tmp_path):
    with pytest.raises(ValueError, match="a plan has at most 1000000 views, got 1000000000 heads"):
        RenderPlan.of_bins(10**9)
    about = json.loads(plan.read_text())["about"]
    with pytest.raises(ValueError, match="at most 1000000 views"):
        PlanSummary.from_json(about | {"views": 2**40})
    content = json.loads(plan.read_text())
    content["cameras"][0][0] = 10**400
    plan.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"plan\.json: OverflowError"):
        RenderPlan.load(plan)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (["../../escaped.png", 1, 0, 0], "cannot be rendered: '../../escaped.png'"),
        (["/tmp/escaped.png", 1, 0, 0], "cannot be rendered: '/tmp/escaped.png'"),
        (["front-00000/00.png", 1, 9, 0], "cannot be rendered"),
        (["front-00000/00.png", 1, 0, -1], "cannot be rendered"),
        (["front-00000/00.png", 2**32, 0, 0], "cannot be rendered"),
        (["front-00000/00.png", 1, 0, "x"], "cannot be rendered"),
        ([3, 1, 0, 0], "cannot be rendered: 3"),
        (["front-00000/01.png", 1, 0, 0], "cannot be rendered"),
        (["front-00000/00.png"], "not enough values"),
    ],
)
def test_the_script_refuses_hostile_plans(plan, row, message):
    content = json.loads(plan.read_text())
    content["images"][0] = row
    plan.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message):
        plan_renderer.read_plan(plan)


@pytest.mark.parametrize(
    ("value", "channels", "message"),
    [(float("nan"), 3, "numbers that are not finite"), (0.0, 1, r"must return images \[2, 3, S")],
)
def test_the_script_refuses_what_are_no_images(plan, tmp_path, value, channels, message):
    class Other(StandIn):
        def synthesis(self, ws, c, **_):
            return {"image": torch.full((len(ws), channels, 8, 8), value)}

    with pytest.raises(ValueError, match=message):
        plan_renderer.render_plan(Other(), json.loads(plan.read_text()), tmp_path, batch=2)
    assert not list(tmp_path.glob("*/*.png")) and not (tmp_path / "dataset.json").exists()


def test_other_cameras_than_it_was_written_with(plan):
    content = json.loads(plan.read_text())
    content["cameras"].reverse()
    plan.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="not those that it was written with"):
        RenderPlan.load(plan)


def test_what_a_summary_may_be(plan):
    about = json.loads(plan.read_text())["about"]
    for change, message in (
        ({"heads": 0}, "heads and views must be at least 1"),
        ({"heads": "3"}, "heads must be int, got '3'"),
        ({"cameras": "own"}, "cameras must be reference or bins"),
        ({"parts": ["view"]}, "parts must be front, and any of"),
    ):
        with pytest.raises(ValueError, match=message):
            PlanSummary.from_json(about | change)


def test_the_script_renders_goes_on_and_is_read(plan, tmp_path):
    out = tmp_path / "set"
    said = rendered(plan, out, batch=2)
    assert said[-1] == "21 of 21 images"
    names = sorted(path.relative_to(out).as_posix() for path in out.rglob("*.png"))
    content = json.loads((out / "dataset.json").read_text())
    assert names == sorted(name for name, _ in content["labels"])
    assert sorted(name for name, _ in content["condition_cameras"]) == names
    before = {name: (out / name).read_bytes() for name in names}
    (out / names[3]).unlink()
    (out / "dataset.json").unlink()
    assert rendered(plan, out) == ["1 of 1 images"]
    assert {name: (out / name).read_bytes() for name in names} == before
    found = ImageSet(out)
    assert found.plan == RenderPlan.load(plan).summary and found.side == 32
    assert {kind: len(groups) for kind, groups in found.kinds.items()} == {
        "front": 3,
        "view": 3,
        "random": 3,
    }
    seeds = {latent.tolist()[0][0] for latent in (plan_renderer.latent(s, 12) for s in (1, 2, 1))}
    assert len(seeds) == 2


def test_the_scripts_command_line(plan, tmp_path):
    """As users run it: alone, without this library, with a loader of theirs."""
    loader = "import sys; sys.path[:0] = [{!r}, {!r}]\nfrom toy_renderer import load_stand_in\n"
    (tmp_path / "loader.py").write_text(loader.format(str(HERE), str(HERE.parents[1])))
    script = tmp_path / "plan_renderer.py"
    script.write_bytes(Path(plan_renderer.__file__).read_bytes())
    command = [sys.executable, str(script), "plan.json", "out", "--network", "network.pkl"]
    command += ["--load", "loader:load_stand_in", "--device", "cpu"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(json.loads((tmp_path / "out/dataset.json").read_text())["labels"]) == 21
    with Image.open(tmp_path / "out/front-00000/front.png") as image:
        assert image.size == (32, 32)
    again = [*command, "--truncation-psi", "0.5"]
    done = subprocess.run(again, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "begun with another truncation_psi" in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "No module named 'legacy': run this in the generator's checkout, or use --load"),
        (["--load", "loader"], "--load loader: expected module:function"),
        (["--load", "os:listdir"], "--network x.pkl: [Errno 2] No such file"),
        (["--load", "json:nothing"], "--load json:nothing: module 'json' has no attribute"),
    ],
)
def test_a_generator_that_cannot_be_loaded_leaves_nothing_behind(
    plan, tmp_path, monkeypatch, words, message
):
    command = ["plan_renderer.py", str(plan), str(tmp_path / "out"), "--network", "x.pkl", *words]
    monkeypatch.setattr(sys, "argv", command)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as caught:
        plan_renderer.main()
    assert message in str(caught.value)
    assert not (tmp_path / "out").exists(), "the corrected command begins here"


def test_the_script_needs_nothing_of_the_library():
    source = Path(plan_renderer.__file__).read_text()
    assert "import semhead" not in source and "from semhead" not in source
