"""Generators side by side, and the page of it."""

import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from plan_of_toys import planned_set
from toy_heads import BINS, ENCODER, EXTRACTOR, codes, heads, reference_stats
from toy_renderer import dataset

import semhead_lib as sh
from semhead_lib import cli
from semhead_lib.errors import UsageError
from semhead_lib.evaluation import comparison
from semhead_lib.evaluation.comparison import check_comparable, compare, load_entry
from semhead_lib.evaluation.features import FeatureExtractor
from semhead_lib.evaluation.finished import finished, key_of
from semhead_lib.evaluation.page import Entry, heads_sheet, side_by_side, write_evaluation
from semhead_lib.evaluation.polar import polar_plot
from semhead_lib.evaluation.protocol import Metric
from semhead_lib.evaluation.render_plan import RenderPlan
from semhead_lib.evaluation.report import judge
from semhead_lib.evaluation.result import Evaluation
from semhead_lib.evaluation.settings import ImageSetSettings

TOY = Path(__file__).parent / "toy_renderer.py"


@pytest.fixture(scope="module")
def known():
    return reference_stats(48, splits=4, halves=4)


@pytest.fixture(scope="module")
def entry(known) -> Entry:
    made = heads(codes(48, seed=9), known.matched_samples.cameras)
    about = {"seen": "somehow", "left_out": {"identity_auc": "a <b>"}}
    found = replace(judge(made, known), about=about)
    return Entry("one", found, heads_sheet(made, BINS))


@pytest.fixture
def by_toys(monkeypatch):
    """Features of toys in place of those that ship."""

    def load(name, **_):
        return EXTRACTOR if name == "headjudge" else ENCODER

    monkeypatch.setattr(FeatureExtractor, "load", load)


def changed(entry: Entry, name: str, factor: float = 1.0, **protocol) -> Entry:
    """The same with other numbers, or measured otherwise."""

    def other(metric: Metric) -> Metric:
        p, (value, low, high) = metric.protocol, (metric.value, metric.low, metric.high)
        numbers = sorted((low * factor, value * factor, high * factor))
        return Metric(numbers[1], numbers[0], numbers[2], replace(p, judged=name, **protocol))

    sides = {
        s: {n: other(m) for n, m in named.items()} for s, named in entry.found.generated.items()
    }
    return Entry(name, replace(entry.found, generated=sides))


def test_what_was_not_measured_alike_is_refused(entry):
    check_comparable(entry, changed(entry, "two", 0.5))
    for key, value in (("seed", 1), ("data", "other"), ("features", "inception"), ("heads", 47)):
        with pytest.raises(ValueError, match=rf"one and two cannot be compared: .* with {key} "):
            check_comparable(entry, changed(entry, "two", **{key: value}))


def test_what_would_not_be_measured_alike_is_refused_before_it_is(
    entry, by_toys, tmp_path, monkeypatch
):
    write_evaluation(tmp_path, entry)
    monkeypatch.setattr(comparison, "made_heads", None)
    given = ([tmp_path / "metrics.json", f"{TOY}:render"], dataset(tmp_path / "ref", 96))
    settings = dict(names=["one", "render"], heads=48, bins=BINS, progress=False)
    with pytest.raises(TypeError):
        compare(*given, tmp_path / "out", **settings)
    message = "Fréchet distance is measured with seed 0 of one, and 1 of render"
    with pytest.raises(ValueError, match=message):
        compare(*given, tmp_path / "out", **settings, seed=1)


def test_settings_and_places_beside_metrics(entry, tmp_path):
    (tmp_path / "one").mkdir()
    write_evaluation(tmp_path / "one", entry)
    file = tmp_path / "one" / "metrics.json"
    with pytest.raises(UsageError, match=r"heads, identity_heads: nothing is judged"):
        compare([file], None, tmp_path / "out", heads=60, identity_heads=2)
    with pytest.raises(ValueError, match=r"out=.*one lies in .*one/metrics\.json, which is read"):
        compare([file], None, tmp_path / "one")
    with pytest.raises(FileNotFoundError, match=r"one: holds an evaluation, .*one/metrics\.json"):
        compare([tmp_path / "one"], None, tmp_path / "out")
    compare([file], None, tmp_path)  # the folder of several may be around it


def test_metrics_that_were_written(entry, tmp_path):
    """As evaluate writes them: a folder with a page, or the metrics alone."""
    write_evaluation(tmp_path, entry)
    assert {p.name for p in tmp_path.iterdir()} == {
        "metrics.json",
        "index.html",
        "quality.svg",
        "heads.webp",
    }
    again = load_entry(tmp_path / "metrics.json", "one")
    assert again.found == entry.found and again.heads is not None
    (tmp_path / "heads.webp").write_bytes(b"RIFF")
    with pytest.raises(ValueError, match=r"heads\.webp: is not a readable image"):
        load_entry(tmp_path / "metrics.json", "one")
    (tmp_path / "heads.webp").unlink()
    assert load_entry(tmp_path / "metrics.json", "one").heads is None
    for content in ("{}", "[]", '{"generated": {}, "real": {}}', '{"generated": 1, "real": 2}'):
        (tmp_path / "metrics.json").write_text(content)
        with pytest.raises(ValueError, match=r"metrics\.json: "):
            load_entry(tmp_path / "metrics.json", "one")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["about"].update(seen=3), "seen must be a text"),
        (lambda c: c["about"].update(left_out=[1]), "left_out texts by name"),
        (lambda c: c["generated"].update(x=c["generated"]["0"]), "azimuths in degrees, got 'x'"),
        (lambda c: c["generated"].update(nan=c["generated"]["0"]), "degrees, got 'nan'"),
        (lambda c: c["generated"]["all"]["frechet"].update(value=10**400), "too large"),
        (
            lambda c: c["generated"]["all"]["frechet"]["protocol"].update(judged=["a"]),
            "expected texts and whole numbers",
        ),
    ],
)
def test_metrics_that_nobody_wrote(entry, tmp_path, change, message):
    content = json.loads(json.dumps(entry.found.as_json()))
    change(content)
    (tmp_path / "metrics.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=rf"metrics\.json: .*{message}"):
        load_entry(tmp_path / "metrics.json", "one")


def test_a_page_of_two(entry, tmp_path):
    two = changed(entry, "<two>", 0.5)
    files = []
    for each, name in ((entry, "a"), (two, "b")):
        (tmp_path / name).mkdir()
        write_evaluation(tmp_path / name, each)
        files.append(tmp_path / name / "metrics.json")
    found = compare(files, None, tmp_path / "out", names=["one", "two"], progress=False)
    assert [e.name for e in found] == ["one", "two"]
    page = (tmp_path / "out/index.html").read_text()
    assert page.count("<svg") == 3 and page.count("data:image/webp") == 1
    assert "<script" not in page and "http:" not in page.replace("http://www.w3.org/2000/svg", "")
    words = re.sub(r"<(style|svg).*?</\1>|<[^>]*>", " ", page)
    assert not re.findall(r"\b\w+_\w+", words), "no keys of files, but names"
    for name in ("Fréchet distance ↓", "cross-view recall@1 ↑", "left out: identity AUC: a"):
        assert name in words
    assert "a &lt;b&gt;" in page and "&lt;two&gt;" in page and "<two>" not in page
    value = f"{two.found.generated['all']['frechet'].value:.4g}"
    assert f"<b>{value}</b>" in page, "the lower distance is the better one"
    content = json.loads((tmp_path / "out/comparison.json").read_text())
    assert Evaluation.from_json(content["two"]) == two.found
    rows = side_by_side(found).splitlines()
    assert rows[0] == "| metric | one | two | real heads |"
    assert rows[2].startswith("| Fréchet distance | ")


def test_functions_are_compared_and_done_again(by_toys, tmp_path):
    data = dataset(tmp_path / "ref", 96)
    settings = dict(heads=48, bins=BINS, progress=False)
    targets = [f"{TOY}:render", f"{TOY}:biased"]
    one, other = compare(targets, data, tmp_path / "out", **settings)
    assert (one.name, other.name) == ("render", "biased")
    bias = [e.found.generated["all"]["directional_bias"] for e in (one, other)]
    assert bias[0].high < bias[1].low
    assert "frechet_view" in other.found.generated["180"]
    assert (tmp_path / "out/biased/metrics.json").is_file()
    kept = tmp_path / "out/biased/metrics.json"
    both = sh.compare([targets[0], kept], data, tmp_path / "again", **settings, device="cpu")
    assert both[1].found == other.found and both[0].found == one.found


def test_a_finished_set_is_not_judged_again(by_toys, tmp_path, monkeypatch):
    """Called and placed otherwise it is the same set, and truncation is nothing to images."""
    data = dataset(tmp_path / "ref", 96)
    folder = planned_set(data, tmp_path)
    settings = dict(bins=BINS, progress=False)
    [first] = compare([folder], data, tmp_path / "out", **settings)
    monkeypatch.setattr(comparison, "judge_heads", None)
    moved, names = folder.rename(tmp_path / "elsewhere"), ["<new>", "set"]
    both = compare([moved, moved], data, tmp_path / "out", **settings, names=names, psi=0.5)
    assert [each.name for each in both] == names
    assert both[0].found.generated == both[1].found.generated == first.found.generated
    new, old = tmp_path / "out" / "<new>", tmp_path / "out" / "set"
    assert both[0].found.about["name"] == "<new>" == load_metrics(new)["about"]["name"]
    assert both[1].found.about["source"] == str(moved)
    assert load_metrics(old)["about"] == both[1].found.about
    assert (new / "heads.webp").read_bytes() == (old / "heads.webp").read_bytes()
    assert "Evaluation of &lt;new&gt;" in (new / "index.html").read_text()
    with pytest.raises(TypeError):
        compare([moved], data, tmp_path / "out", **settings, identity_heads=1)


def load_metrics(folder: Path) -> dict:
    return json.loads((folder / "metrics.json").read_text())


def test_names_that_change_places(entry, tmp_path):
    """What is in a folder is read before another evaluation takes its place."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        found = replace(entry.found, about=entry.found.about | {"name": name, "key": f"of {name}"})
        write_evaluation(tmp_path / name, Entry(name, found, entry.heads))
    there = finished(tmp_path, {"of a", "of b"}, {"a", "b"})
    assert {key: done.folder.name for key, done in there.items()} == {"of a": "a", "of b": "b"}
    for key, name in (("of a", "b"), ("of b", "a")):
        there[key].named(name, tmp_path / name, "set")
    again = finished(tmp_path, {"of a", "of b"}, {"a", "b"})
    assert {key: done.folder.name for key, done in again.items()} == {"of a": "b", "of b": "a"}
    assert again["of a"].sheet == there["of a"].sheet
    assert not finished(tmp_path, {"of c"}, {"a"})
    (tmp_path / "a" / "metrics.json").write_text("{")
    (tmp_path / "b" / "heads.webp").write_bytes(b"RIFF")
    assert not finished(tmp_path, {"of a", "of b"}, {"a", "b"}), "damaged ones are judged again"


def test_the_key_of_an_evaluation(tmp_path, monkeypatch):
    """Of a generator: weights, configuration, condition mode; of all: which real heads."""
    files = [tmp_path / name for name in ("model.safetensors", "config.json")]
    for file in files:
        file.write_bytes(b"1")

    def key(mode="semantic", **settings):
        source = SimpleNamespace(bank=SimpleNamespace(mode=mode, encoder="clip"))
        return key_of(source, tmp_path, {"psi": 1.0} | settings)

    first = key()
    assert len({first, key("view"), key(psi=0.5), key(seed=1)}) == 4 and key() == first
    for file in files:
        before = key()
        file.write_bytes(b"2")
        assert key() != before

    asked = []
    monkeypatch.setattr(comparison, "key_of", lambda *given: asked.append(given[2]) or 1 / 0)
    data = dataset(tmp_path / "ref", 96)
    for seed in (0, 1):
        plan = RenderPlan.of_bins(48, 4, seed=seed, parts=["front"])
        plan.save(tmp_path / "plan.json")
        sets = ImageSetSettings(plan=str(tmp_path / "plan.json"))
        with pytest.raises(ZeroDivisionError):
            compare([f"{TOY}:render"], data, tmp_path / "out", sets=sets, progress=False)
    assert asked[0] != asked[1], "a plan's seed chooses heads, also where its cameras are the same"


def test_the_facade_takes_loaded_generators(tmp_path, monkeypatch):
    called = []
    monkeypatch.setattr(comparison, "compare", lambda *a, **named: called.append((a, named)))
    ours = sh.HeadGenerator(network=None, bank=None, folder=tmp_path / "ours")
    sh.compare(
        [ours, "set.zip"], "ref", "out", names=["a", "b"], resolution=64, device="cpu", psi=0.7
    )
    [(given, named)] = called
    assert given == ([tmp_path / "ours", "set.zip"], "ref", "out")
    assert named["sets"].resolution == 64 and named["psi"] == 0.7 and named["names"] == ["a", "b"]
    for wrong, more in (("set.zip", {}), (ours, {}), (["set.zip"], {"names": "a"})):
        with pytest.raises(ValueError, match=r"(generators|names) must be a list, got"):
            sh.compare(wrong, "ref", "out", **more)
    with pytest.raises(ValueError, match="resolution must be an integer >= 8"):
        sh.compare(["set.zip"], "ref", "out", resolution=4)


def test_names(tmp_path):
    for targets, names, message in (
        (["a/metrics.json", "b/metrics.json"], ["x"], "2 generators, 1 names"),
        (["a/x.json", "b/x.json"], None, "two generators are called 'x'"),
        (["a.json"], ["../a"], "cannot be the name of a folder"),
    ):
        with pytest.raises(UsageError, match=re.escape(message)):
            compare(targets, None, tmp_path / "out", names=names)
    assert [
        comparison._name(t) for t in ("runs/a/generator", "b/metrics.json", "m:f", "c.zip")
    ] == [
        "a",
        "b",
        "f",
        "c",
    ]
    with pytest.raises(UsageError, match=r"reference=\.\.\. is needed to judge render"):
        compare([f"{TOY}:render"], None, tmp_path / "out")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "render").touch()
    with pytest.raises(UsageError, match=r"out/render is a file, expected a folder"):
        compare([f"{TOY}:render"], "reference", tmp_path / "out")
    with pytest.raises(NotADirectoryError, match=r"is a file, expected a folder: .*render'"):
        compare([f"{TOY}:render"], "reference", tmp_path / "out" / "render" / "deeper")


def test_values_around_a_head():
    turn = [0.0, 90.0, 180.0, -90.0]
    drawn = polar_plot(turn, {"a & b": [1.0, None, 2.0, 1.0]}, title="t", floor=[0.5] * 4)
    assert drawn.count("<title>") == 3 and "a &amp; b" in drawn and "real heads" in drawn
    assert "front" in drawn and "back" in drawn and "NaN" not in drawn
    # a camera at the subject's left (+90) is to the right of the drawing, the front below
    right = re.search(
        r'<circle cx="([\d.]+)" cy="([\d.]+)" r="3.5" fill="#0072B2"><title>x, 90',
        (polar_plot(turn, {"x": [1.0] * 4}, title="t")),
    )
    assert right and float(right[1]) > 300 and abs(float(right[2]) - 200) < 1
    with pytest.raises(ValueError, match="no value to draw"):
        polar_plot(turn, {"a": [None] * 4}, title="t")


def test_the_command_line(capsys, tmp_path):
    plan = tmp_path / "plans" / "plan.json"
    assert cli.main(["render-plan", str(plan), "cameras=bins", "heads=48", "views=2"]) == 0
    assert "48 heads, bins of azimuth" in capsys.readouterr().out
    assert {p.name for p in plan.parent.iterdir()} == {"plan.json", "plan_renderer.py"}
    assert cli.main(["render-plan", str(tmp_path / "p.json")]) == 2
    assert "reference=... is needed" in capsys.readouterr().err
    assert cli.main(["render-plan", str(tmp_path / "p.json"), "cameras=bins", "reference=x"]) == 2
    assert "reference=... is for cameras=reference" in capsys.readouterr().err
    assert cli.main(["compare", "a/x.json", "out=" + str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert "no such file" in error.lower() and error.count("\n") == 1
    assert not (tmp_path / "out").exists() and not (tmp_path / "p.json").exists()
    words = ["evaluate", "semhead-128", str(tmp_path), "x.json", "group=none"]
    assert cli.main(words) == 1
    assert "are for images that were rendered elsewhere" in capsys.readouterr().err
