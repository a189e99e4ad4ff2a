"""Runs that were finished on another machine are taken over, not executed again."""

import json
import shutil

import pytest
from made_up import evaluation, heads

from semhead_lib.ablation import analysis
from semhead_lib.ablation.merging import read_finished
from semhead_lib.ablation.plan import load_study
from semhead_lib.ablation.results import measured
from semhead_lib.ablation.study import ablate
from semhead_lib.ablation.table import write_results
from semhead_lib.errors import UsageError


def executed(root, name, status="finished", commit="a" * 40, cpu="one"):
    """As if the run had been executed there."""
    folder = root / "papermill_runs/ablations/tiny" / name
    mode, _, seed = name.partition("_seed-")
    for check in (1, 2):
        measured(
            folder / "04_training/metrics",
            0.1 * check,
            0.0,
            lambda check=check: evaluation(mode, int(seed), check),
        )
    heads(folder / "04_training/heads.png")
    heads(folder / "04_training/heads-azimuth-90.png")
    entry = {"status": status, "seconds": 7.5, "commit": commit, "parameters": {}, "inputs": {}}
    state = {
        "notebooks": {"04_training": entry},
        "versions": {"torch": "1"},
        "devices": {"cpu": cpu},
    }
    (folder / "run.json").write_text(json.dumps(state))


@pytest.fixture
def two(checkout, tmp_path):
    """Two checkouts with the same study; the first has finished one run, and begun another."""
    first, second = checkout, tmp_path / "second"
    shutil.copytree(first, second)
    executed(first, "semantic_seed-0")
    executed(first, "none_seed-0", status="failed")
    write_results(load_study("tiny", first), first)
    return first / "papermill_runs/ablations/tiny/results", second


def test_what_is_finished_elsewhere_is_not_executed(two, capfd):
    results, second = two
    assert not ablate("tiny", dry_run=True, merge=str(results), root=second)
    told = capfd.readouterr().out
    assert "3 runs, 2 to execute" in told and "semantic_seed-0: finished elsewhere" in told
    assert "none_seed-0: not executed yet" in told, "begun there, but not finished"


def test_results_of_two_machines_are_one_table(two):
    results, second = two
    executed(second, "semantic_seed-1", commit="b" * 40, cpu="two")
    study = load_study("tiny", second)
    rows = write_results(study, second, read_finished(study, str(results), second))
    whole = analysis.load_results(second / "papermill_runs/ablations/tiny/results")
    there = analysis.load_results(results)
    assert rows == len(whole.metrics) and list(whole.levels("mode")) == ["semantic"]
    states = {"semantic_seed-0": "finished", "none_seed-0": "not begun"}
    assert whole.runs.set_index("run")["state"].to_dict() == states | {
        "semantic_seed-1": "finished"
    }
    assert set(whole.heads) == {
        f"semantic_seed-{seed}{end}" for seed in (0, 1) for end in ("", "-azimuth-90")
    }
    taken, its = (r.of(mode="semantic") for r in (whole, there))
    taken = taken[taken["seed"] == 0].reset_index(drop=True)
    assert taken.equals(its.reset_index(drop=True)) and len(taken)
    assert whole.study["commits"] == ["b" * 40] and whole.study["devices"] == {"cpu": "two"}
    assert whole.study["merged"] == [
        {
            "runs": ["semantic_seed-0"],
            "commits": ["a" * 40],
            "versions": {"torch": "1"},
            "devices": {"cpu": "one"},
        }
    ]


def test_a_run_that_is_finished_here_is_kept(two):
    results, second = two
    executed(second, "semantic_seed-0", commit="b" * 40)
    study = load_study("tiny", second)
    write_results(study, second, read_finished(study, str(results), second))
    whole = analysis.load_results(second / "papermill_runs/ablations/tiny/results")
    assert "merged" not in whole.study and whole.study["commits"] == ["b" * 40]


def test_all_of_it_may_be_from_elsewhere(two):
    results, second = two
    study = load_study("tiny", second)
    write_results(study, second, read_finished(study, f"{results}, {results}", second))
    whole = analysis.load_results(second / "papermill_runs/ablations/tiny/results")
    assert whole.study["versions"] == {"torch": "1"} and len(whole.study["merged"]) == 1
    again = read_finished(study, "papermill_runs/ablations/tiny/results", second)
    assert list(again) == ["semantic_seed-0"], "what was merged can be merged again"
    assert again["semantic_seed-0"].about["devices"] == {"cpu": "one"}


def test_a_run_that_is_merged_twice_keeps_its_origin(two):
    """The second folder was made on another machine than the run that it took over."""
    results, second = two
    executed(second, "semantic_seed-1", commit="b" * 40, cpu="two")
    study = load_study("tiny", second)
    write_results(study, second, read_finished(study, str(results), second))
    again = read_finished(study, "papermill_runs/ablations/tiny/results", second)
    devices = {name: run.about["devices"]["cpu"] for name, run in again.items()}
    assert devices == {"semantic_seed-0": "one", "semantic_seed-1": "two"}
    about = second / "papermill_runs/ablations/tiny/results/study.json"
    about.write_text(json.dumps(json.loads(about.read_text()) | {"merged": [{"runs": 5}]}))
    with pytest.raises(ValueError, match=r"study\.json: merged must be a list of origins"):
        read_finished(study, "papermill_runs/ablations/tiny/results", second)


@pytest.mark.parametrize(
    ("was", "made", "said"),
    [
        ("kimg: 0.2", "kimg: 0.4", r"kimg is 0\.2 in .*tiny.yaml, 0\.4 there"),
        ("seed: 1000", "seed: 999", "dataset unseen is .*seed=1000.* there"),
        ("semhead-32", "semhead-64", "preset is semhead-32 in .* semhead-64 there"),
        ("mode=semantic,none", "mode=none", None),
        ("preset", "presets", "no parameter of 04_training .* 'presets'"),
        ("common", "shared", "expected the sections datasets, common and sweeps"),
    ],
)
def test_other_settings_cannot_be_merged(two, was, made, said):
    results, second = two
    about = json.loads((results / "study.json").read_text())
    about["plan"] = about["plan"].replace(was, made)
    (results / "study.json").write_text(json.dumps(about))
    study = load_study("tiny", second)
    if said is None:  # the sweep of the seeds asks for the same run
        assert list(read_finished(study, str(results), second)) == ["semantic_seed-0"]
        return
    with pytest.raises(UsageError, match=rf"study\.json: .*{said}"):
        read_finished(study, str(results), second)


def test_what_is_no_results_folder_is_named(two):
    results, second = two
    study = load_study("tiny", second)
    with pytest.raises(FileNotFoundError, match=r"nowhere/metrics\.csv: not there; merge="):
        read_finished(study, "nowhere", second)
    about = json.loads((results / "study.json").read_text())
    (results / "study.json").write_text(json.dumps(about | {"protocols": 5}))
    with pytest.raises(
        ValueError, match=r"study\.json: protocols must be a list of objects, got 5"
    ):
        read_finished(study, str(results), second)
    (results / "study.json").write_text(json.dumps(about))
    lines = (results / "runs.csv").read_text().splitlines()
    (results / "runs.csv").write_text("\n".join([lines[0].replace("state", "was"), *lines[1:]]))
    with pytest.raises(ValueError, match=r"runs\.csv: has no column state"):
        read_finished(study, str(results), second)
