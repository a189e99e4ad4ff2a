"""Measurements that are kept, and what a study's metrics say."""

import gzip
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_up import LEVEL, SCOPES, evaluation

from semhead_lib import old_names
from semhead_lib.ablation import analysis, claims
from semhead_lib.ablation.analysis import load_results
from semhead_lib.ablation.paper_table import (
    REPORTED,
    paper_comparisons,
    paper_rows,
    paper_table,
)
from semhead_lib.ablation.plan import FACTORS
from semhead_lib.ablation.results import measured, read_results
from semhead_lib.ablation.table import COLUMNS, TABLE


def test_nothing_is_measured_twice(tmp_path):
    calls = []

    def measure():
        calls.append(1)
        return evaluation("view", 0, 1)

    first, again = (measured(tmp_path / "metrics", 0.5, 90.0, measure) for _ in range(2))
    assert first == again == evaluation("view", 0, 1) and len(calls) == 1
    measured(tmp_path / "metrics", 0.5, 0.0, measure)
    assert [(r.kimg, r.condition_camera) for r in read_results(tmp_path / "metrics")] == [
        (0.5, "90"),
        (0.5, "front"),
    ]
    measured(tmp_path / "metrics", 0.5, 90.0, measure, features="toy")
    assert len(calls) == 2
    measured(tmp_path / "metrics", 0.5, 90.0, measure, features="other features")
    assert len(calls) == 3, "what was measured in other features is measured again"
    damaged = next((tmp_path / "metrics").glob("*camera-90*"))
    damaged.write_text(damaged.read_text()[:100])
    with pytest.raises(
        ValueError, match=r"camera-90.json: not a result .*remove it to measure anew"
    ):
        measured(tmp_path / "metrics", 0.5, 90.0, measure)


def test_a_measurement_of_an_earlier_version_is_not_made_again(tmp_path):
    kept = {"kimg": 0.5, "condition_azimuth": 0.0, "evaluation": evaluation("view", 0, 1).as_json()}
    (tmp_path / "kimg-00000.500-azimuth-0.json").write_text(json.dumps(kept))
    assert measured(tmp_path, 0.5, "front", lambda: 1 / 0) == evaluation("view", 0, 1)
    measured(tmp_path, 0.5, "rendered", lambda: evaluation("view", 1, 1))
    assert [r.condition_camera for r in read_results(tmp_path)] == ["front", "rendered"]
    with pytest.raises(ValueError, match="condition_camera must be front, rendered, random or"):
        measured(tmp_path, 0.5, "side", lambda: 1 / 0)


def test_a_pipe_in_place_of_a_measurement_is_named(tmp_path):
    os.mkfifo(tmp_path / "kimg-00000.500-camera-front.json")
    with pytest.raises(
        ValueError, match=r"camera-front.json: .*no file that can be read to an end"
    ):
        read_results(tmp_path)


def metrics(modes=tuple(LEVEL), seeds=(0, 1, 2), **levels) -> pd.DataFrame:
    """What `evaluation` makes up, as a table."""
    rows = []
    for mode in modes:
        for seed in seeds:
            for check in (1, 2):
                found = evaluation(mode, seed, check)
                its = {
                    **FACTORS,
                    "mode": mode,
                    **levels,
                    "seed": seed,
                    "run": f"{mode}{levels}_seed-{seed}",
                }
                for scope, named in found.generated.items():
                    for name, f in named.items():
                        real = found.real[scope][name]
                        numbers = dict(
                            value=f.value,
                            low=f.low,
                            high=f.high,
                            real=real.value,
                            real_low=real.low,
                            real_high=real.high,
                        )
                        rows.append(
                            its
                            | dict(
                                kimg=10.0 * check,
                                condition_camera="front",
                                scope=scope,
                                metric=name,
                            )
                            | numbers
                        )
    return pd.DataFrame(rows, columns=list(COLUMNS))


def results(*tables: pd.DataFrame, **study: dict) -> analysis.Results:
    return analysis.Results(
        pd.concat(tables or [metrics()], ignore_index=True), pd.DataFrame(), study, {}
    )


def told(table: pd.DataFrame, by: float = 1.0, name: str = "frechet", **where: str) -> pd.DataFrame:
    """Its Fréchet distances `by` times as large, under another condition camera or name."""
    rows = table[(table["metric"] == "frechet") & (table["scope"] == "all")].copy()
    for column in ("value", "low", "high"):
        rows[column] *= by
    return rows.assign(metric=name, **where)


def test_the_papers_table():
    """Distances by what the generator is conditioned on, at the end of the training; without a view
    it cannot matter."""
    off = metrics(vicico="off", seeds=(0, 1))
    of_view = off[off["mode"].isin(["view", "semantic+view"])]
    told_views = [
        told(of_view, 1.0, condition_camera="rendered"),
        told(of_view, 3.0, condition_camera="random"),
        told(off, 0.5, "frechet_front"),
    ]
    joint = metrics(["semantic"], vicico="joint", seeds=(0, 1))
    study = results(off, *told_views, joint, baseline={"vicico": "off"})
    rows = paper_rows(study)
    assert list(rows) == [("none", "off"), *REPORTED]
    view = rows["view", "off"]
    assert view["FID-view"].mean == pytest.approx(LEVEL["view"] / 2 + 0.005)
    assert view["FID-random"].mean == pytest.approx(3 * view["FID-view"].mean)
    assert view["FID-front"].mean == pytest.approx(0.5 * view["FID-view"].mean)
    assert view["gap"].mean == pytest.approx(2 * view["FID-view"].mean)
    assert rows["semantic", "off"]["FID-view"] == rows["semantic", "off"]["FID-random"]
    assert not rows["semantic", "joint"].keys() & {"FID-front", "gap"}, "not measured, no view"
    table = paper_table(study)
    assert table.loc[table["condition"] == "semantic+view", "FID-random, paper"].item() == "46.24"
    assert table.loc[table["ViCiCo"] == "joint", "FID-front"].item() == "–"
    assert "FID-view, paper" not in paper_table(study, "kernel"), "it reports no KID"
    assert table["condition"].iloc[-1] == "real heads" and table["FID-random"].iloc[-1][:3] == "0.1"
    assert list(table["seeds"])[:-1] == ["2"] * (len(table) - 1)


def test_the_papers_comparisons():
    """Ratios of cells, paired by seed; a verdict needs two seeds that lie on one side of 1."""

    def verdicts(random_of_view=1.0, seeds=(0, 1)):
        off = metrics(("view", "semantic"), vicico="off", seeds=seeds)
        of_view = off[off["mode"] == "view"]
        told_views = [
            told(of_view, 1.0, condition_camera="rendered"),
            told(of_view, random_of_view, condition_camera="random"),
        ]
        study = results(off, *told_views, baseline={"vicico": "off"})
        return paper_comparisons(study).set_index("comparison")

    name = "view: random / rendered camera"
    found = verdicts(3.0)
    assert found.loc[name, "here"].startswith("3 [2.9") and found.loc[name, "paper"] == "1.43"
    assert found.loc[name, "verdict"] == "agrees"
    assert found.loc["FID-random: semantic / view", "verdict"] == "agrees"
    assert set(found["verdict"].iloc[[1, 3, 4, 5]]) == {"not run"}, "no such runs, or not measured"
    assert verdicts(0.3).loc[name, "verdict"] == "differs"
    assert verdicts(1.0).loc[name, "verdict"] == "not decided"
    assert verdicts(3.0, seeds=(0,)).loc[name, "verdict"] == "one seed only"
    with pytest.raises(ValueError, match="a ratio needs values and intervals above 0"):
        verdicts(-1.0)


def test_a_study_may_have_another_baseline():
    off, both = metrics(vicico="off"), metrics(["semantic"], vicico="both")
    study = results(off, both, baseline={"vicico": "off"})
    assert study.levels("mode")[0] == "semantic" and len(study.levels("mode")) == len(LEVEL)
    assert study.levels("vicico") == ["off", "both"]
    assert set(study.of(mode="view")["vicico"]) == {"off"}
    verdicts = {v.claim.text: v.result for v in claims.judge(study)}
    assert verdicts["ViCiCo: better heads than without"] == claims.NOT_SUPPORTED, (
        "equal, not the same"
    )
    assert verdicts["… and than no condition"] == claims.SUPPORTED


def test_levels_and_the_last_measurement():
    known = results(
        metrics(), metrics(("semantic",), vicico="off"), metrics(("view",), data="front_heavy")
    )
    assert known.levels("mode")[0] == "semantic" and set(known.levels("mode")) == set(LEVEL)
    assert known.levels("vicico") == ["both", "off"] and known.levels("data") == ["balanced"]
    last = analysis.final(known.of(mode="view"))
    assert (
        set(last["kimg"]) == {20.0}
        and set(last["data"]) == {"balanced"}
        and last["run"].nunique() == 3
    )
    assert set(known.of(mode="view", data="front_heavy")["mode"]) == {"view"}
    with pytest.raises(ValueError, match=r"factors are mode, .*, got moods"):
        known.of(moods="view")


def test_means_over_seeds_and_their_intervals():
    rows = analysis.pick(analysis.final(results().of(mode="view")), "frechet")
    found = analysis.spread(rows)
    assert found.seeds == pytest.approx((0.75, 0.76, 0.77)) and found.mean == pytest.approx(0.76)
    assert 0.745 < found.low < 0.756 and 0.764 < found.high < 0.775
    wide = analysis.spread(rows.assign(low=rows["value"] - 1, high=rows["value"] + 1))
    assert wide.high - wide.low == pytest.approx(2 / np.sqrt(3), rel=0.1), (
        "noise of single metrics, over three seeds"
    )
    with pytest.raises(ValueError, match=r"no run with this metric"):
        analysis.spread(rows.iloc[:0])


def test_the_floor_is_what_real_heads_get():
    rows = analysis.final(results().of(mode="view"))
    found = analysis.floor(rows, "directional_bias")
    assert (found.mean, found.low, found.high) == pytest.approx((0.1, 0.09, 0.11))
    with pytest.raises(ValueError, match=r"real heads have no frechet in scope all"):
        analysis.floor(rows.assign(real=np.nan), "frechet")


def test_differences_are_paired_by_seed():
    last = {
        mode: analysis.pick(analysis.final(results().of(mode=mode)), "frechet") for mode in LEVEL
    }
    apart = analysis.difference(last["view"], last["semantic"])
    assert apart.mean == pytest.approx(0.25) and apart.seeds == pytest.approx((0.25,) * 3)
    assert apart.high - apart.low < 0.03, "the seeds' own shifts cancel out"
    assert len(analysis.difference(last["view"], last["none"].iloc[:1]).seeds) == 1
    with pytest.raises(ValueError, match=r"no seed has both"):
        analysis.difference(last["view"].iloc[:1], last["none"].iloc[1:])


def test_curves_sides_and_when_a_distance_is_reached():
    rows = results().of(mode="view")
    stops, spreads = analysis.curve(rows, "frechet")
    assert stops == [10.0, 20.0] and [s.mean for s in spreads] == pytest.approx([1.51, 0.76])
    azimuths, sides, floor = analysis.around(analysis.final(rows), "diversity")
    assert (
        azimuths == [-90, 0, 90, 180]
        and len(sides) == len(SCOPES) - 1
        and floor == pytest.approx([0.1] * 4)
    )
    reached = analysis.kimg_to_reach(rows, 1.0)
    expected = [
        10 + 10 * (v1 - 1) / (v1 - v2) for v1, v2 in ((1.5, 0.75), (1.51, 0.76), (1.52, 0.77))
    ]
    assert reached["value"].tolist() == pytest.approx(expected) and set(reached["high"]) == {20.0}
    assert analysis.kimg_to_reach(rows, 0.1).empty
    assert analysis.kimg_to_reach(rows, 5.0)["value"].tolist() == [10.0] * 3, (
        "there from the first measurement on"
    )


def verdict(known: analysis.Results, start: str) -> claims.Verdict:
    return next(v for v in claims.judge(known) if v.claim.text.startswith(start))


def test_claims_are_shown_denied_or_open():
    assert verdict(results(), "A semantic condition gives better heads").result == claims.SUPPORTED
    assert (
        verdict(results(), "Without a condition, the generator collapses").result
        == claims.SUPPORTED
    )
    faster = verdict(results(), "Training is faster")
    assert faster.result == claims.SUPPORTED and faster.better.mean < faster.worse.mean
    assert verdict(results(), "ViCiCo: better heads").result == claims.OPEN
    worse = results(
        metrics(), metrics(("semantic",), vicico="off").assign(value=0.01, low=0.009, high=0.011)
    )
    assert verdict(worse, "ViCiCo: better heads").result == claims.OPPOSITE
    mixed = metrics(("semantic",), vicico="off")
    mixed["value"] += np.where(mixed["seed"] == 1, -0.2, 0.3)
    assert (
        verdict(results(metrics(), mixed), "ViCiCo: better heads").result == claims.NOT_SUPPORTED
    ), "seeds disagree"
    one = results(metrics(seeds=(0,)))
    assert verdict(one, "A semantic condition gives better heads").result == claims.NOT_SUPPORTED, (
        "one seed shows nothing"
    )


def worse(rows: pd.DataFrame, factor: float) -> pd.DataFrame:
    """The same runs with distances so many times as large, and as many times fewer modes."""
    by = np.where(rows["metric"].isin(["frechet"]), factor, 1 / factor)
    return rows.assign(**{name: rows[name] * by for name in ("value", "low", "high")})


def test_one_view_without_a_condition():
    """Its collapse is a claim of its own, next to four views and next to a semantic condition."""
    one = dict(views_per_subject=1)
    semantic, none = metrics(("semantic",), **one), metrics(("none",), **one)
    starts = (
        "Without a condition, training collapses with one view",
        "… and its heads are worse than with four",
        "… which a semantic condition prevents",
        "… and better heads than without a condition, with one view",
    )
    assert {verdict(results(), start).result for start in starts} == {claims.OPEN}
    known = results(metrics(), semantic, worse(none, 3))
    found = [verdict(known, start) for start in starts]
    assert [v.result for v in found] == [claims.SUPPORTED] * 4
    assert found[0].worse.mean == pytest.approx(found[0].better.mean / 3)
    assert found[2].better.mean > found[0].better.mean > found[2].worse.mean
    known = results(metrics(), semantic, none)
    found = [verdict(known, start).result for start in starts]
    assert found == [claims.NOT_SUPPORTED, claims.NOT_SUPPORTED, claims.SUPPORTED, claims.SUPPORTED]


@pytest.mark.parametrize("until", ["10", "500"])
def test_a_condition_that_is_removed(until):
    """After however many images the study removes it."""
    starts = ("Removing the condition in mid-training", "… and lower mode coverage than keeping it")
    assert {verdict(results(), start).result for start in starts} == {claims.OPEN}
    removed = metrics(("semantic",), condition_until_kimg=until)
    known = results(metrics(), worse(removed, 2))
    assert known.levels("condition_until_kimg") == ["end", until]
    assert [verdict(known, start).result for start in starts] == [claims.SUPPORTED] * 2
    known = results(metrics(), worse(removed, 0.5))
    assert [verdict(known, start).result for start in starts] == [claims.OPPOSITE] * 2


def test_a_table_of_an_earlier_version_has_no_condition_removed(tmp_path):
    """Every run of it is at the baseline of a factor that it lacks; any other column is missed."""
    kept = Path(__file__).parents[2] / "papermill_runs/reference/ablations/smoke"
    assert "condition_until" not in next(kept.glob("runs.csv")).read_text().splitlines()[0]
    known = load_results(kept)
    assert (
        set(known.metrics["condition_until_kimg"])
        == {"end"}
        == set(known.runs["condition_until_kimg"])
    )
    assert not known.of(mode="view").empty
    shutil.copytree(kept, tmp_path / "results")
    path = old_names.existing(tmp_path / "results" / TABLE)
    lines = gzip.decompress(path.read_bytes()).replace(b"vicico", b"vicicos", 1)
    path.write_bytes(gzip.compress(lines))
    with pytest.raises(
        ValueError, match=r"expected the columns run, mode, vicico, .* got run, mode"
    ):
        load_results(tmp_path / "results")


def test_a_claim_with_a_margin():
    """Supported where `better` falls behind by less than the margin, and the opposite where it
    falls behind by more; what the interval does not settle is not supported."""
    start = "Inconsistent views are filtered out"
    claim = next(c for c in claims.CLAIMS if c.text.startswith(start))
    assert (claim.margin, claim.sign, claim.metric) == (0.1, -1, "frechet")
    for times, expected in (
        (0.9, claims.SUPPORTED),
        (1.03, claims.SUPPORTED),
        (1.1, claims.NOT_SUPPORTED),
        (1.3, claims.OPPOSITE),
    ):
        apart = metrics(("semantic",), data="inconsistent")
        for name in ("value", "low", "high"):
            apart[name] *= times
        known = results(metrics(("semantic",)), apart)
        assert verdict(known, start).result == expected, times
    assert "mode: view" not in claim.text and verdict(results(), start).result == claims.OPEN


def test_faces_on_backs_are_compared():
    """ViCiCo is judged by what it is meant to move, where a study has it; older ones have not."""
    start = "… with fewer faces on their backs"
    both, off = metrics(("semantic",)), metrics(("semantic",), vicico="off")
    assert verdict(results(both, off), start).result == claims.OPEN
    tables = []
    for table, value in ((both, 0.001), (off, 0.01)):
        rows = table[(table["metric"] == "frechet") & (table["scope"] == "all")]
        low, high = 0.9 * value, 1.1 * value
        rows = rows.assign(metric="face_on_back", value=value, low=low, high=high)
        tables += [table, rows]
    assert verdict(results(*tables), start).result == claims.SUPPORTED


def test_the_table_says_every_claim():
    table = claims.as_table(claims.judge(results()))
    assert len(table) == len(claims.CLAIMS) and table["claim"].is_unique
    row = table[table["claim"].str.startswith("… with more diverse backs")].iloc[0]
    assert (
        row["metric"] == "diversity at 180°"
        and row["at this scale"] == "supported"
        and "[" in row["difference"]
    )
    assert (table["at this scale"] == "not run").sum() > 5
    shown = analysis.table(results(), "mode", {"frechet": "distance", "identity_auc": "identity"})
    assert (
        shown["mode"][0] == "semantic"
        and set(shown["seeds"]) == {3}
        and set(shown["identity"]) == {"–"}
    )


def test_two_studies_beside_each_other():
    """Only what both can judge; each says for itself whether it is shown."""
    short, long = (
        results(metrics(), metrics(("semantic",), vicico="off")),
        results(metrics(("semantic", "view"))),
    )
    table = claims.compared({"short": short, "long": long})
    assert table.columns.tolist() == [
        "claim",
        "metric",
        "difference, short",
        "short",
        "difference, long",
        "long",
    ]
    assert set(table["short"]) == {claims.SUPPORTED} == set(table["long"])
    assert (
        not table["claim"].str.contains("ViCiCo|no condition|than none").any() and len(table) == 5
    )
    assert claims.compared({"short": short, "none": results(metrics(("none",)))}).empty


def test_a_mode_that_is_none_of_ours_is_named(tmp_path):
    """What pandas takes for a missing value is one, too."""
    kept = Path(__file__).parents[2] / "papermill_runs/reference/ablations/smoke"
    shutil.copytree(kept, tmp_path / "results")
    (packed,) = (tmp_path / "results").glob("*figures.csv.gz")
    lines = gzip.decompress(packed.read_bytes()).decode().splitlines()
    packed.unlink()
    cells = lines[9].split(",")
    lines[9] = ",".join([cells[0], "None", *cells[2:]])
    packed.with_suffix("").write_text("\n".join(lines) + "\n")
    with pytest.raises(ValueError, match=r"figures\.csv: mode must be one of none, view, .* got"):
        load_results(tmp_path / "results")
