"""Studies: what their sweeps expand to, and what is wrong with one."""

import itertools
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from semhead_lib.ablation.claims import CLAIMS, OTHER
from semhead_lib.ablation.job import make_datasets
from semhead_lib.ablation.paper_table import REPORTED
from semhead_lib.ablation.plan import FACTORS, load_study
from semhead_lib.conditioning.sources import SOURCES
from semhead_lib.data.dataset.memory import SubjectsInMemory
from semhead_lib.data.dataset.subset import spread_views
from semhead_lib.errors import UsageError
from semhead_lib.reproduce.provenance import PACKAGE
from semhead_lib.training.settings import TrainSettings

ROOT = PACKAGE.parent
STUDIES = sorted((ROOT / "papermill_runs/profiles/ablations").glob("*.yaml"))


def settings_of(parameters: dict) -> TrainSettings:
    """As the notebook makes them."""
    named = {
        name: parameters[name] for name in ("preset", "mode", "kimg", "seed") if name in parameters
    }
    return TrainSettings(
        **named, **OmegaConf.to_object(OmegaConf.from_dotlist(parameters["options"].split()))
    )


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_studies_of_the_repository(path):
    """Every run's parameters fit the notebook and make settings; budgets are equal; one thing at a
    time differs."""
    study = load_study(path.stem, ROOT)
    header = path.read_text().split("\n\n")[0]
    assert all(f"#   {word}" in header for word in ("command", "hardware", "time", "paper"))
    steps = [study.step(run, ROOT / "notebooks") for run in study.runs]
    for run, step in zip(study.runs, steps, strict=True):
        settings = settings_of(step.parameters)
        assert settings.mode == run.levels["mode"] and settings.seed == run.levels["seed"]
        assert settings.representation == run.levels["representation"] and settings.batch == 32
        assert step.parameters["judged"] == "" and step.parameters["source"] == run.levels["source"]
        assert step.parameters["data"].endswith(f"/datasets/{run.data}")
        different = [f for f, level in study.baseline.items() if run.levels[f] != level]
        assert len(different) <= 1 or different in (
            ["mode", "data"],
            ["mode", "views_per_subject"],
        )
    for same in ("kimg", "heads", "checks", "unseen", "encoder", "features"):
        assert len({step.parameters[same] for step in steps}) == 1, same
    assert steps[0].parameters["features"] == "headjudge" != study.encoder, (
        "not what conditions the generators"
    )
    assert len({step.parameters["out"] for step in steps}) == len(steps)


def test_the_study_for_two_cores_has_what_the_claims_compare():
    runs = {run.name for run in load_study("cpu", ROOT).runs}
    assert {
        f"{mode}_seed-{s}"
        for mode in ("none", "view", "semantic", "semantic-view")
        for s in range(3)
    } < runs
    assert {
        f"semantic_vicico-{v}_seed-{s}"
        for v in ("off", "view", "condition", "joint", "both-0.1", "both-1")
        for s in range(2)
    } < runs
    assert {f"{mode}_views_per_subject-1_seed-0" for mode in ("none", "semantic")} < runs
    assert {f"semantic_source-{source}_seed-0" for source in SOURCES if source != "frontal"} < runs
    assert {f"semantic_condition_until_kimg-10_seed-{s}" for s in range(2)} < runs
    assert "semantic_vicico-both_seed-0" not in runs, "that is the baseline: semantic_seed-0"


def test_the_papers_table_is_planned_as_it_is_reported():
    """Without ViCiCo but for one row, which has it as one term; three seeds; runs are named by what
    differs from that."""
    study = load_study("cpu-64", ROOT)
    assert study.resolution == 64 and study.baseline == FACTORS | {"vicico": "off"}
    found = {(run.levels["mode"], run.levels["vicico"]) for run in study.runs}
    assert found == {("none", "off"), *REPORTED} and len(study.runs) == 3 * len(found)
    assert {"view_seed-0", "semantic_seed-2", "semantic_vicico-joint_seed-1"} < {
        run.name for run in study.runs
    }
    options = {run.name: run.parameters["options"] for run in study.runs}
    assert "vicico_view=0.0" in options["semantic_seed-0"]
    assert "vicico_joint=0.5" in options["semantic_vicico-joint_seed-0"]


@pytest.mark.parametrize("name", ["cpu", "gpu"])
def test_every_claim_can_be_judged(name):
    """Both sides of each claim are planned, under the same two seeds at least."""
    runs = load_study(name, ROOT).runs

    def asked(run, side):
        levels = FACTORS | side
        return all(
            run.levels[f] != FACTORS[f] if levels[f] == OTHER else run.levels[f] == levels[f]
            for f in FACTORS
        )

    for claim in CLAIMS:
        seeds = [
            {run.levels["seed"] for run in runs if asked(run, side)}
            for side in (claim.better, claim.worse)
        ]
        assert len(seeds[0] & seeds[1]) >= 2, claim.text


@pytest.mark.parametrize("name", ["cpu", "gpu"])
def test_subjects_by_views_have_as_many_images(name):
    """A grid of three by three: on its anti-diagonal as many images, on either side more or fewer;
    all shown as many times."""
    study = load_study(name, ROOT)
    words = ("few", "some", "many")
    grid = {
        (s, v): study.datasets[f"{s}_subjects_{v}_views"]
        for s, v in itertools.product(words, words)
    }
    images = {place: plan.subjects * plan.views_per_subject for place, plan in grid.items()}
    middle = images["some", "some"]
    assert images["few", "many"] == images["many", "few"] == middle
    assert images["few", "some"] < middle < images["some", "many"]
    assert [plan.part_of for plan in grid.values()].count(None) == 1, "rendered once"
    assert len({(plan.subjects, plan.views_per_subject) for plan in grid.values()}) == 9
    shown = {
        (run.parameters["kimg"], run.parameters["options"])
        for run in study.runs
        if "_subjects_" in run.data
    }
    assert len(shown) == 1


def test_a_run_that_two_sweeps_ask_for_is_there_once(checkout):
    study = load_study("tiny", checkout)
    assert [run.name for run in study.runs] == ["semantic_seed-0", "none_seed-0", "semantic_seed-1"]
    assert study.folder == Path("papermill_runs/ablations/tiny") and study.resolution == 32


def test_a_study_may_judge_in_other_features(checkout):
    path = checkout / "papermill_runs/profiles/ablations/tiny.yaml"
    path.write_text(
        path.read_text().replace("  checks: 2", "  checks: 2\n  features: dinov2/weights.pth")
    )
    study = load_study("tiny", checkout)
    steps = [study.step(run, checkout / "notebooks") for run in study.runs]
    assert {step.parameters["features"] for step in steps} == {"dinov2/weights.pth"}
    assert not any("features" in run.parameters["options"] for run in study.runs)


def test_vicico_and_views_become_settings(checkout):
    path = checkout / "papermill_runs/profiles/ablations/tiny.yaml"
    path.write_text(
        path.read_text().replace(
            "mode=semantic,none", "vicico=off,view,condition,joint views_per_subject=1,4"
        )
    )
    runs = {run.name: settings_of(run.parameters) for run in load_study("tiny", checkout).runs}
    assert len(runs) == 10
    off = runs["semantic_vicico-off_views_per_subject-1_seed-0"]
    assert (off.vicico_view, off.vicico_condition) == (0, 0)
    assert (off.subjects_per_batch, off.views_per_subject) == (32, 1)
    joint = runs["semantic_vicico-joint_seed-0"]
    assert (joint.vicico_view, joint.vicico_condition, joint.vicico_joint) == (0, 0, 0.5)
    view = runs["semantic_vicico-view_seed-0"]
    assert view.vicico_view > 0 and view.vicico_condition == 0 and view.subjects_per_batch == 8


def test_a_removed_condition_is_a_level(checkout):
    """And where it is not removed, the parameters are those of earlier versions."""
    path = checkout / "papermill_runs/profiles/ablations/tiny.yaml"
    before = load_study("tiny", checkout)
    path.write_text(
        path.read_text()
        + "  removal: condition_until_kimg=end,0.1 seed=0\n  more: source=stacked\n"
    )
    study = load_study("tiny", checkout)
    assert study.runs[:3] == before.runs
    assert not any("condition_until" in run.parameters["options"] for run in before.runs)
    assert {run.levels["condition_until_kimg"] for run in before.runs} == {"end"}
    removed, stacked = study.runs[3:]
    assert removed.name == "semantic_condition_until_kimg-0.1_seed-0"
    assert settings_of(removed.parameters).condition_until_kimg == 0.1
    assert stacked.parameters["source"] == "stacked"


def test_vicico_with_a_weight(checkout):
    path = checkout / "papermill_runs/profiles/ablations/tiny.yaml"
    levels = "vicico=both-0.1,both-1,view-1,condition-0.5,joint-2"
    path.write_text(path.read_text().replace("mode=semantic,none", levels))
    runs = {run.name: settings_of(run.parameters) for run in load_study("tiny", checkout).runs}
    found = {
        name.split("_")[1]: (s.vicico_view, s.vicico_condition, s.vicico_joint)
        for name, s in runs.items()
        if "vicico" in name
    }
    assert found == {
        "vicico-both-0.1": (0.1, 0.1, 0),
        "vicico-both-1": (1, 1, 0),
        "vicico-view-1": (1, 0, 0),
        "vicico-condition-0.5": (0, 0.5, 0),
        "vicico-joint-2": (0, 0, 2),
    }


def test_datasets_that_are_parts_of_others(checkout, monkeypatch):
    """They are written from it, wherever they stand in the study, and are found as planned."""
    monkeypatch.setattr("semhead_lib.devices.available_cores", lambda: 0)
    path = checkout / "papermill_runs/profiles/ablations/tiny.yaml"
    text = path.read_text().replace(
        "  balanced: {subjects: 2, seed: 1, views_per_subject: 1}\n",
        "  small: {subjects: 1, views_per_subject: 2, part_of: balanced}\n"
        "  balanced: {subjects: 2, seed: 1, views_per_subject: 4}\n"
        "  drifting: {subjects: 1, seed: 1, views_per_subject: 2, inconsistency: 2.0}\n",
    )
    path.write_text(text)
    study = load_study("tiny", checkout)
    make_datasets(study, checkout)
    assert study.has_datasets(checkout)
    whole, small, drifting = (
        SubjectsInMemory.load(checkout / study.dataset(name))
        for name in ("balanced", "small", "drifting")
    )
    kept = spread_views(0, 4, 2)
    assert len(small) == 1 and torch.equal(small[0].views, whole[0].views[kept])
    assert torch.equal(small[0].semantic, whole[0].semantic)
    assert len(drifting[0].provenance["drift"]) == 2
    for old, new in (
        ("subjects: 1, views_per_subject: 2, part", "subjects: 2, views_per_subject: 2, part"),
        ("views_per_subject: 2, part", "views_per_subject: 1, part"),
        ("inconsistency: 2.0", "inconsistency: 1.0"),
        (", part_of: balanced", ", seed: 1"),
    ):
        path.write_text(text.replace(old, new))
        assert not load_study("tiny", checkout).has_datasets(checkout), new


def test_no_end_of_the_condition_is_the_end_of_training(checkout):
    path = checkout / "papermill_runs/profiles/ablations/tiny.yaml"
    text = path.read_text().replace("mode=semantic,none", "condition_until_kimg=null,end")
    path.write_text(text)
    names = [run.name for run in load_study("tiny", checkout).runs]
    assert names == ["semantic_seed-0", "semantic_seed-1"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "mode=semantic,none",
            "mood=semantic",
            r"condition: no parameter .* 'mood': did you mean 'mode'",
        ),
        (
            "mode=semantic,none",
            "mode=sematic",
            "condition: mode must be one of none, view, semantic",
        ),
        (
            "mode=semantic,none",
            "vicico=no",
            "vicico must be one of both, off, view, condition, joint, or one with .*, got 'no'",
        ),
        ("mode=semantic,none", "source=back", "source must be one of frontal, .* got 'back'"),
        (
            "mode=semantic,none",
            "condition_until_kimg=0.3",
            r"condition_until_kimg must be below kimg \(0.2\), got 0.3",
        ),
        (
            "mode=semantic,none",
            "mode=none condition_until_kimg=0.1",
            "needs a mode with a condition to remove",
        ),
        ("mode=semantic,none", "vicico=off-1", "vicico must be one of .*, got 'off-1'"),
        ("mode=semantic,none", "vicico=both-", "'' is no weight of vicico, got 'both-'"),
        ("mode=semantic,none", "source=3", "source must be one of frontal, .* got 3"),
        ("mode=semantic,none", "source=timm/", "source must be one of frontal, .* got 'timm/'"),
        ("mode=semantic,none", "views_per_subject=0", "views_per_subject must .* >= 1, got 0"),
        ("mode=semantic,none", "views_per_subject=x", "views_per_subject must .* >= 1, got 'x'"),
        ("mode=semantic,none", "vicico=both-much", "'much' is no weight of vicico"),
        ("mode=semantic,none", "vicico=both--1", "vicico_view must be .*-1"),
        ("mode=semantic,none", "data=unseen", "data must be one of balanced, got 'unseen'"),
        ("mode=semantic,none", "mode=[", "condition: "),
        ("  views_per_head: 1\n", "", "views_per_head"),
        ("unseen:", "others:", "datasets needs one called unseen"),
        ("subjects: 2, seed: 1,", "people: 2,", "datasets: .*'people'"),
        (
            "unseen:",
            "../../../x: {subjects: 2, seed: 1}\n  unseen:",
            "dataset '../../../x': expected",
        ),
        ("subjects: 2, seed: 1,", "subjects: -4, seed: 1,", "subjects and views_per_subject >= 1"),
        ("subjects: 2, seed: 1,", "subjects: 2,", "balanced: needs a seed, or another dataset"),
        ("subjects: 2, seed: 1,", "subjects: 2, seed: 1, inconsistency: -1,", "inconsistency >= 0"),
        (
            "unseen:",
            "part: {subjects: 3, views_per_subject: 1, part_of: balanced}\n  unseen:",
            "part: subjects must be 1 to 2, what balanced has",
        ),
        (
            "unseen:",
            "part: {subjects: 1, part_of: balanced}\n  unseen:",
            "part: views_per_subject must be 1 to 1, what balanced has",
        ),
        (
            "unseen:",
            "part: {subjects: 1, views_per_subject: 1, seed: 1, part_of: balanced}\n  unseen:",
            "part: of a part only subjects and views_per_subject are given",
        ),
        (
            "unseen:",
            "part: {subjects: 1, views_per_subject: 1, part_of: part}\n  unseen:",
            r"part: part_of must name a dataset that is made whole \(balanced, unseen\), got 'part'",
        ),
        (
            "unseen:",
            "part: {subjects: 1, views_per_subject: 1, part_of: unseen}\n  unseen:",
            "part: unseen shares no subjects with another dataset",
        ),
        (
            "unseen: {subjects: 2, seed: 1000, views_per_subject: 1}",
            "unseen: {subjects: 2, views_per_subject: 1, part_of: balanced}",
            "unseen: unseen shares no subjects with another dataset",
        ),
        (
            "unseen:",
            "part: {subjects: 1.5, views_per_subject: 1, part_of: balanced}\n  unseen:",
            "part: subjects must be an integer, got 1.5",
        ),
        ("subjects: 2, seed: 1,", "subjects: '2', seed: 1,", "balanced: subjects must be an int"),
        ("subjects: 2, seed: 1,", "subjects: 2, seed: .nan,", "balanced: seed must be an integer"),
        ("subjects: 2, seed: 1,", "subjects: 2, seed: 1, inconsistency: .inf,", "inconsistency >="),
        (
            "subjects: 2, seed: 1,",
            "subjects: 2, seed: 1, inconsistency: '1',",
            "inconsistency must be a number, got '1'",
        ),
        (
            "subjects: 2, seed: 1,",
            "subjects: 2, seed: 1, view_sampling: frontal,",
            "balanced: view_sampling must be one of balanced, .*got 'frontal'",
        ),
        ("unseen:", "part: 5\n  unseen:", "dataset part must be a mapping, got 5"),
        ("sweeps:", "sweep:", "expected the sections datasets, common and sweeps"),
        ("seed=0,1", "kimg=1,2", "two different runs are called semantic_seed-0"),
        ("mode=semantic,none", "preset=semhead-32,semhead-64", "two different runs|one size"),
    ],
)
def test_mistakes_are_named(checkout, old, new, message):
    path = checkout / "papermill_runs/profiles/ablations/tiny.yaml"
    text = path.read_text().replace(
        "condition: mode=semantic,none", "condition: mode=semantic,none"
    )
    assert old in text
    text = text.replace(old, new, 1)
    if new == "":
        text = text.replace("mode=semantic,none", "mode=view")
    path.write_text(text)
    with pytest.raises(
        UsageError, match=f"^papermill_runs/profiles/ablations/tiny.yaml: .*(?:{message})"
    ):
        load_study("tiny", checkout)


def test_unknown_names(checkout):
    with pytest.raises(UsageError, match="no profile 'tinny': did you mean 'tiny'"):
        load_study("tinny", checkout)
    with pytest.raises(UsageError, match="no run 'semantic_seed-9': did you mean 'semantic_seed-"):
        load_study("tiny", checkout).run("semantic_seed-9")


@pytest.mark.parametrize(
    ("section", "value"),
    [
        ("common", {}),
        ("common", {"preset": ["semhead-32"]}),
        ("common", {"preset": "semhead-32", "views_per_subject": "x"}),
        ("datasets", [1]),
        ("datasets", {"balanced": {"subjects": "2", "seed": 1}, "unseen": {}}),
        ("sweeps", ["mode=none"]),
        ("sweeps", {"condition": None}),
    ],
)
def test_sections_of_another_kind_are_named(checkout, section, value):
    path = checkout / "papermill_runs/profiles/ablations/tiny.yaml"
    content = OmegaConf.to_container(OmegaConf.load(path)) | {section: value}
    OmegaConf.save(content, path)
    with pytest.raises(UsageError, match=r"tiny\.yaml"):
        load_study("tiny", checkout)


def test_numbers_of_the_preset_reach_the_training():
    study = load_study("compare", ROOT)
    for run in study.runs:
        step = study.step(run, ROOT / "notebooks")
        assert settings_of(step.parameters).generator == {"backbone_most": 32}
