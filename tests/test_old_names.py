"""Files and commands of earlier versions are read, by the names of today."""

import gzip
import json
import sys
from pathlib import Path

import nbformat
import pandas as pd
import papermill
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parent / "data"))
from noise_source import noise_subject, same_subject

from semhead_lib import old_names
from semhead_lib.ablation.analysis import final, load_results, pick
from semhead_lib.ablation.designs import load_contest
from semhead_lib.ablation.results import read_results
from semhead_lib.ablation.table import COLUMNS
from semhead_lib.conf import data, models
from semhead_lib.conf.compose import compose_config
from semhead_lib.data.dataset.check import check
from semhead_lib.data.dataset.encoding import decode_subject, encode_subject, sample_problems
from semhead_lib.data.dataset.manifest import Manifest, Plan
from semhead_lib.data.dataset.memory import SubjectsInMemory
from semhead_lib.data.dataset.semantics import fill_semantics
from semhead_lib.data.dataset.shards import write_shard
from semhead_lib.errors import UsageError
from semhead_lib.evaluation.report import Evaluation
from semhead_lib.inversion.comparison import metric, read_table
from semhead_lib.inversion.encoder import FILE, EncoderConfig, StyleEncoder
from semhead_lib.reproduce.profiles import by_prefix, load_profile
from semhead_lib.reproduce.runs import Run
from semhead_lib.training.kept_settings import begun_settings
from semhead_lib.training.settings import TrainSettings

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "papermill_runs/reference"
TABLES = (
    old_names.SETTINGS,
    old_names.METRICS,
    old_names.COLUMNS,
    old_names.PROTOCOL,
    old_names.TENSORS,
    old_names.NOTEBOOKS,
    old_names.DATASETS,
    *old_names.PARAMETERS.values(),
)


def test_no_name_of_today_is_an_old_one():
    for table in TABLES:
        assert not set(table) & set(table.values())


@pytest.mark.parametrize("study", ["cpu", "cpu-long", "smoke"])
def test_tables_of_studies(study):
    found = load_results(REFERENCE / "ablations" / study)
    assert tuple(found.metrics.columns) == COLUMNS
    names = set(found.metrics["metric"])
    assert not names & set(old_names.METRICS) and set(old_names.METRICS.values()) <= names
    front, back = (
        pick(final(found.of(mode="view"), camera), "frechet") for camera in ("front", "180")
    )
    assert len(front) and len(back) and "view_seed-0-azimuth-180" in found.heads
    raw = pd.read_csv(old_names.existing(REFERENCE / "ablations" / study / "figures.csv"))
    assert len(raw) == len(found.metrics) and raw["value"].equals(found.metrics["value"])


def test_a_table_of_inversions(tmp_path):
    row = "start: best,p3000-0000,tuned,input,psnr,22.5"
    for columns in (
        "way,person,stage,scope,figure,value",
        "method,subject,stage,scope,metric,value",
    ):
        (tmp_path / "judged.csv").write_text(f"{columns}\n{row}\n")
        table = read_table(tmp_path / "judged.csv")
        assert metric(table, "psnr", "input", "start: best", "tuned").value == 22.5


def test_evaluations(tmp_path):
    content = Path(__file__).with_name("old_evaluation.json.gz").read_bytes()
    kept = json.loads(gzip.decompress(content))
    found = Evaluation.from_json(kept)
    assert (
        found.generated["all"]["mode_coverage"].value == kept["generated"]["all"]["modes"]["value"]
    )
    assert (
        "cross_view_recall_5" in found.generated["0"]
        and "own_front_recall_5" not in found.generated["0"]
    )
    protocol = kept["generated"]["all"]["frechet"]["protocol"]
    assert found.generated["all"]["frechet"].protocol.images == protocol["pictures"]
    written = json.dumps(found.as_json())
    assert '"pictures"' not in written
    assert not any(f'"{name}"' in written for name in old_names.METRICS), (
        "they are written by today's names"
    )
    content = {"kimg": 1.0, "told_azimuth": 90.0, "evaluation": kept}
    (tmp_path / "kimg-00001.000-told-90.json").write_text(json.dumps(content))
    assert [result.condition_camera for result in read_results(tmp_path)] == ["90"]


def of_version_1(sample: dict[str, bytes]) -> dict[str, bytes]:
    """A sample as it was written while segmentation was called `labels`."""
    info = json.loads(sample["json"])
    info |= {
        "version": 1,
        "fields": ["labels" if name == "segmentation" else name for name in info["fields"]],
    }
    renamed = {name.replace("segmentation_", "label_"): content for name, content in sample.items()}
    return renamed | {"json": json.dumps(info, sort_keys=True).encode()}


def test_datasets_with_labels(tmp_path):
    subjects = [noise_subject(i) for i in range(2)]
    old = [of_version_1(encode_subject(subject)) for subject in subjects]
    for sample, subject in zip(old, subjects, strict=True):
        assert "label_000.png" in sample and sample_problems(sample) == []
        assert same_subject(decode_subject(sample), subject)
    partial, record, layout = write_shard(tmp_path / "shard-000000.tar", old)
    partial.rename(tmp_path / record.name)
    plan = Plan(
        2,
        2,
        "png",
        0,
        {"name": "noise", "licence": "CC0-1.0", "settings": {"channels": ["depth", "labels"]}},
    )
    manifest = json.loads(Manifest(plan, layout, (record,)).dumps())
    manifest["fields"] = [
        "labels" if name == "segmentation" else name for name in manifest["fields"]
    ]
    (tmp_path / "dataset.json").write_text(json.dumps(manifest))
    read = Manifest.load(tmp_path)
    assert read.plan.source["settings"]["channels"] == ["depth", "segmentation"]
    assert check(tmp_path) == []
    features = lambda images: torch.nn.functional.normalize(torch.ones(len(images), 4), dim=1)  # noqa: E731
    fill_semantics(tmp_path, features, "test [weights 0]", progress=False)
    assert check(tmp_path) == [] and Manifest.load(tmp_path).layout.semantic["dimension"] == 4
    heads = SubjectsInMemory.load(tmp_path, geometry=["segmentation"])
    assert (
        torch.equal(heads[1].segmentation, subjects[1].segmentation)
        and heads[1].semantic is not None
    )


def test_weights_of_style_encoders(tmp_path):
    encoder = StyleEncoder(
        EncoderConfig(side=16, condition_dim=4, w_dim=8, patch=8, width=16, depth=1, heads=2)
    )
    encoder.save(tmp_path)
    path, earlier = tmp_path / FILE, {name: old for old, name in old_names.TENSORS.items()}
    with safe_open(path, "pt") as file:
        tensors = {earlier.get(name, name): file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = file.metadata()
    assert set(old_names.TENSORS) <= set(tensors)
    save_file(tensors, path, metadata)
    read = StyleEncoder.load(tmp_path)
    assert torch.equal(
        read.condition_embedding.weight, encoder.condition_embedding.weight.half().float()
    )


def test_settings_of_trainings():
    assert TrainSettings.from_json({"generator_rate": 0.5, "kimg": 2.0}).generator_lr == 0.5
    assert begun_settings({"format": 2, "settings": {"discriminator_rate": 0.25}}) == {
        "discriminator_lr": 0.25
    }
    assert not set(old_names.SETTINGS) & set(TrainSettings().as_json())


def test_command_lines():
    needed = [("data", "data"), ("out", "out")]
    config = compose_config(
        models.Train, [*needed, ("generator_rate", "0.5"), ("discriminator_rate", "0.25")]
    )
    assert (config.generator_lr, config.discriminator_lr) == (0.5, 0.25)
    assert compose_config(models.Reconstruct, [*needed, ("rate", "0.125")]).lr == 0.125
    for command in (models.HeadclipTrain, models.JudgeTrain):
        assert compose_config(command, [("out", "out"), ("people", "made")]).data == "made"
    made = compose_config(
        data.Synthesize, [("out", "out"), ("subjects", "3"), ("engine", "together")]
    )
    assert made.engine == "distributed"
    made = compose_config(
        data.Synthesize, [("out", "out"), ("subjects", "3"), ("channels", "depth,labels")]
    )
    assert made.source.channels == ["depth", "segmentation"]


def test_files_by_their_earlier_names(tmp_path):
    path = tmp_path / "metrics.csv"
    assert old_names.existing(path) == path, "neither is there"
    (tmp_path / "figures.csv").touch()
    assert old_names.existing(path).name == "figures.csv"
    (tmp_path / "metrics.csv.gz").touch()
    assert old_names.existing(path).name == "metrics.csv.gz"
    path.touch()
    assert old_names.existing(path) == path, "today's goes first"


def test_notebooks_of_profiles(tmp_path):
    profile = tmp_path / "old.yaml"
    profile.write_text(
        "03_training: {kimg: 2.0}\n04_ablations: {}\n"
        "05_inversion: {model: '${03_training.out}/run/generator', photos: data/05_inversion}\n"
    )
    overrides = {"03_training.seed": "7", "05_inversion.steps": "3"}
    steps = load_profile(profile, ROOT / "notebooks", "runs/main", overrides)
    assert [step.name for step in steps] == list(old_names.NOTEBOOKS.values())
    training, _, inversion = (step.parameters for step in steps)
    assert training["kimg"] == 2.0 and training["seed"] == 7
    assert inversion["model"] == "runs/main/04_training/run/generator" and inversion["steps"] == 3
    assert inversion["photos"] == "data/05_inversion", "a path is left alone"
    assert by_prefix("05_inversion", [step.name for step in steps]) == "06_inversion"


def test_parameters_of_notebooks(tmp_path):
    (tmp_path / "old.yaml").write_text(
        "05_inversion: {people: 7}\n04_training: {subjects: '${05_inversion.people}'}\n"
    )
    for overrides, subjects in (({}, 7), ({"06_inversion.people": "3"}, 3)):
        inversion, training = load_profile(
            tmp_path / "old.yaml", ROOT / "notebooks", "runs/main", overrides
        )
        assert inversion.parameters["subjects"] == training.parameters["subjects"] == subjects
    (tmp_path / "old.yaml").write_text("04_training: {people: 7}\n")
    with pytest.raises(UsageError, match="04_training has no parameter 'people'"):
        load_profile(tmp_path / "old.yaml", ROOT / "notebooks", "runs/main")


def test_parameters_that_papermill_sets(tmp_path):
    sources = ["subjects: int = 20", "from semhead_lib.reproduce import start_at_root"]
    sources += ["start_at_root()", "print(subjects, 'people' in globals())"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(s) for s in sources])
    notebook.cells[0].metadata["tags"] = ["parameters"]
    nbformat.write(notebook, tmp_path / "old.ipynb")
    executed = papermill.execute_notebook(
        tmp_path / "old.ipynb", None, {"people": 3}, kernel_name="python3", language="python"
    )
    assert executed.cells[-1].outputs[0].text == "3 False\n"


def test_datasets_of_contests(tmp_path):
    today = "papermill_runs/profiles/designs/cpu.yaml"
    content = (ROOT / today).read_text().replace("  training: {", "  people: {")
    (tmp_path / "old.yaml").write_text(content)
    contest = load_contest(str(tmp_path / "old.yaml"), tmp_path)
    assert contest.datasets == load_contest("cpu", ROOT).datasets and "  people:" in content
    made = contest.dataset("training", tmp_path).with_name("people")
    made.mkdir(parents=True)
    assert contest.dataset("training", tmp_path) == made


def test_notebooks_of_runs(tmp_path):
    (tmp_path / "run.json").write_text('{"notebooks": {"03_training": {"status": "finished"}}}')
    (tmp_path / "03_training.ipynb").touch()
    (tmp_path / "03_training").mkdir()
    run = Run(tmp_path, tmp_path)
    assert run.notebooks == {"04_training": {"status": "finished"}}
    assert run.executed("04_training").name == "03_training.ipynb"
    assert run.executed("05_ablations").name == "05_ablations.ipynb"
    assert old_names.existing(tmp_path / "04_training").name == "03_training"
