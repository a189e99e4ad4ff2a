import csv
import json
import sys
from pathlib import Path

import pytest
import torch
import yaml

from semhead_lib.ablation import contest_design as module
from semhead_lib.ablation.contest import contest, write_results
from semhead_lib.ablation.contest_design import execute
from semhead_lib.ablation.contest_table import pictures, read_designs
from semhead_lib.ablation.designs import load_contest
from semhead_lib.errors import UsageError
from semhead_lib.evaluation.protocol import Metric, Protocol

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
from small_training import make_noise

ROOT = Path(__file__).parents[2]
SMALL = {
    "minutes": 0.05,
    "datasets": {"training": {"subjects": 8, "seed": 1}, "unseen": {"subjects": 8, "seed": 2}},
    "resolution": 32,
    "heads": 4,
    "common": {
        "preset": "semhead-32",
        "subjects_per_batch": 2,
        "views_per_subject": 2,
        "views_per_head": 2,
    },
    "parts": {
        "box": {"generator": {"box_half": [0.4, 0.4, 0.3]}},
        "crops": {"crop": 16},
        "warm": {"reconstruct": {"share": 0.5, "pixels": 16, "views_per_subject": 2}},
    },
    "designs": {
        "plain": {"parts": [], "seeds": [0]},
        "Box, warm": {"parts": ["box", "crops", "warm"], "seeds": [0, 1]},
    },
}


@pytest.fixture()
def plan(tmp_path):
    def write(**changes):
        (tmp_path / "small.yaml").write_text(yaml.safe_dump(SMALL | changes, sort_keys=False))
        return load_contest(str(tmp_path / "small.yaml"), tmp_path)

    return write


def test_the_contests_that_ship_are_right():
    plans = [
        load_contest(path.stem, ROOT)
        for path in (ROOT / "papermill_runs" / "profiles" / "designs").glob("*.yaml")
    ]
    assert plans
    for each in plans:
        assert len({entry.name for entry in each.entries}) == len(each.entries)


def test_designs_are_put_together_from_parts(plan):
    plain, warm, again = plan().entries
    assert (plain.name, warm.name, again.name) == (
        "plain_seed-0",
        "box-warm_seed-0",
        "box-warm_seed-1",
    )
    assert plain.beginning is None and plain.settings.crop == 0
    assert warm.settings.generator == {"box_half": [0.4, 0.4, 0.3]}
    assert warm.beginning.crop == 16 and warm.beginning.generator == warm.settings.generator
    assert again.settings.seed == again.beginning.seed == 1


def test_mistakes_are_named(plan):
    with pytest.raises(UsageError, match="no part 'boxes'"):
        plan(designs={"x": {"parts": ["boxes"], "seeds": [0]}})
    with pytest.raises(UsageError, match="x: crop must be 0, or"):
        plan(parts={"crops": {"crop": 20}}, designs={"x": {"parts": ["crops"], "seeds": [0]}})
    with pytest.raises(UsageError, match="expected the sections"):
        plan(more={})


def test_designs_are_trained_for_their_minutes_and_judged(plan, tmp_path, monkeypatch):
    this = plan()
    for name in ("training", "unseen"):
        make_noise(this.dataset(name, tmp_path))
    protocol = Protocol("heads", "headjudge", 4, 32, 32, 32, 0, "0" * 16, "half-samples")
    metric = Metric(1.0, 0.5, 2.0, protocol).as_json()
    evaluation = {
        "generated": {"all": {"frechet": metric, "kernel": metric}},
        "real": {"all": {"frechet": metric}},
    }

    def judged(plan, model, root):
        assert (model / "model.safetensors").is_file()
        return {"evaluation": evaluation, "heads": torch.zeros(2, 3, 3, 8, 8, dtype=torch.uint8)}

    monkeypatch.setattr(module, "judged", judged)
    for entry in this.entries[:2]:
        execute(this, entry, tmp_path)
    found = json.loads((tmp_path / this.folder / "box-warm_seed-0" / "metrics.json").read_text())
    assert found["kimg"] > 0 and found["reconstructed_kimg"] > 0
    assert write_results(this, tmp_path) == 4
    results = tmp_path / this.folder / "results"
    rows = list(csv.DictReader((results / "metrics.csv").open()))
    assert {row["design"] for row in rows} == {"plain", "Box, warm"}
    assert rows[0]["real"] == "1" and rows[1]["real"] == ""
    assert sorted(path.name for path in (results / "heads").iterdir()) == [
        "box-warm_seed-0.webp",
        "plain_seed-0.webp",
    ]
    table = read_designs(results)
    assert sorted(table["design"]) == ["Box, warm", "plain"] and set(table["seeds"]) == {1}
    assert set(table["Fréchet distance"]) == {1.0} and table["of faces"].isna().all()
    kimg = found["kimg"] + found["reconstructed_kimg"]
    assert table.set_index("design").loc["Box, warm", "kimg"] == pytest.approx(kimg, abs=0.06)
    assert [p.name for p in pictures(results, "Box, warm")] == ["box-warm_seed-0.webp"]
    (results / "metrics.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="holds no results of a contest: KeyError"):
        read_designs(results)
    assert this.finished(this.entries[0], tmp_path) and not this.finished(this.entries[2], tmp_path)


def test_a_reconstruction_can_take_all_the_minutes(plan, tmp_path, monkeypatch):
    then = {"maps_lr": 0.0, "kl_weight": 0.0}
    warm = {"reconstruct": SMALL["parts"]["warm"]["reconstruct"] | {"then": then}}
    designs = {"all": {"parts": ["crops", "warm"], "seeds": [0]}}
    small = plan(parts=SMALL["parts"] | {"warm": warm}, designs=designs)
    [entry] = small.entries
    assert entry.beginning.kl_weight > 0 and entry.ending.kl_weight == 0 == entry.ending.maps_lr
    make_noise(small.dataset("training", tmp_path))
    nothing = {
        "evaluation": {"generated": {}, "real": {}},
        "heads": torch.zeros(1, 1, 3, 8, 8).byte(),
    }
    monkeypatch.setattr(module, "judged", lambda plan, model, root: dict(nothing))
    execute(small, entry, tmp_path)
    run = tmp_path / small.folder / entry.name / "run"
    settings = json.loads((run / "settings.json").read_text())["settings"]
    assert settings["kl_weight"] == 0 and (run / "generator" / "encoder.safetensors").is_file()


def test_mistakes_in_what_follows_are_named(plan):
    warm = {"reconstruct": {"share": 0.5, "then": {"adversarial_weight": -1}}}
    with pytest.raises(UsageError, match="adversarial_weight must be"):
        plan(
            parts=SMALL["parts"] | {"warm": warm},
            designs={"all": {"parts": ["crops", "warm"], "seeds": [0]}},
        )


@pytest.mark.parametrize("name", ["../out", "..."])
def test_designs_stay_in_their_folder(plan, name):
    with pytest.raises(UsageError, match="its folder"):
        plan(designs={name: {"parts": [], "seeds": [0]}})


def test_what_is_finished_is_left(plan, tmp_path, capsys):
    plan()
    file = str(tmp_path / "small.yaml")
    assert not contest(file, dry_run=True, root=tmp_path)
    assert "3 trainings, 3 to execute" in capsys.readouterr().out
    with pytest.raises(UsageError, match="no design begins so; there are plain_seed-0"):
        contest(file, only="planes", root=tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"minutes": -1},
        {"minutes": "1"},
        {"minutes": float("nan")},
        {"heads": 0.5},
        {"resolution": None},
        {"datasets": []},
        {
            "datasets": {
                "training": {"subjects": -1, "seed": 1},
                "unseen": {"subjects": 9, "seed": 1},
            }
        },
        {"datasets": {"training": {}, "unseen": {}}},
        {"common": None},
        {"parts": {"x": 3}},
        {"designs": {}},
        {"designs": {"x": {"parts": []}}},
        {"designs": {"x": {"parts": 3, "seeds": [0]}}},
        {"designs": {"x": {"parts": [], "seeds": 0}}},
    ],
)
def test_values_that_no_contest_can_have_are_named(plan, changes):
    with pytest.raises(UsageError, match=r"small\.yaml: "):
        plan(**changes)
