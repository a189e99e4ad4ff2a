"""A tiny checkout with a study: a notebook in place of 04 that only pretends to train, and one in
place of 05."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from semhead_lib.ablation.job import make_datasets
from semhead_lib.ablation.plan import load_study

sys.path.insert(0, str(Path(__file__).parent))

PARAMETERS = """\
out: str = "outputs/04"  # folder
data: str = ""  # dataset
unseen: str = ""  # dataset
encoder: str = "headclip-64"  # CLIP
source: str = "frontal"  # of the condition
preset: str = "semhead-32"  # size
mode: str = "semantic"  # what it is conditioned on
kimg: float = 1.0  # budget
options: str = ""  # settings
judged: str = ""  # generator
features: str = "headjudge"  # of the distances
heads: int = 64  # judged
checks: int = 1  # judgements
seed: int = 0  # of training
device: str = "auto"  # of training
"""
PRETEND = """\
import time
from pathlib import Path

from made_up import evaluation, heads
from semhead_lib.ablation.results import measured

signs = Path("signs")
for check in range(1, checks + 1):
    while (signs / f"wait-{mode}-{check}").exists():
        (signs / f"waiting-{mode}").touch()
        time.sleep(0.05)
    if (signs / f"fail-{mode}").exists() and seed == 1:
        raise ArithmeticError("the losses are not finite")
    measured(Path(out) / "metrics", kimg * check / checks, 0.0, lambda: evaluation(mode, seed, check))
heads(Path(out) / "heads.png")
"""
REPORT = """\
results: str = ""  # folder
table: str = ""  # folder
longer: str = ""  # folder
out: str = ""  # folder
"""
READ = """\
from semhead_lib.ablation import analysis
from semhead_lib.reproduce import record

record(rows=len(analysis.load_results(results).metrics))
"""
STUDY = """\
# tiny: three runs that pretend
datasets:
  balanced: {subjects: 2, seed: 1, views_per_subject: 1}
  unseen: {subjects: 2, seed: 1000, views_per_subject: 1}
common:
  preset: semhead-32
  kimg: 0.2
  checks: 2
  views_per_head: 1
sweeps:
  condition: mode=semantic,none
  seeds: mode=semantic seed=0,1
"""


def _notebook(path: Path, title: str, parameters: str, *cells: str) -> None:
    tagged = new_code_cell(parameters.rstrip(), metadata={"tags": ["parameters"]})
    path.parent.mkdir(parents=True, exist_ok=True)
    here = f"import sys\n\nsys.path.insert(0, {str(Path(__file__).parent)!r})"
    written = [tagged, *(new_code_cell(cell.rstrip()) for cell in (here, *cells))]
    nbformat.write(new_notebook(cells=[new_markdown_cell(f"# {title}"), *written]), path)


@pytest.fixture(scope="session")
def datasets(tmp_path_factory) -> Path:
    """The datasets of the tiny study, made by its job."""
    root = _checkout(tmp_path_factory.mktemp("datasets"))
    study = load_study("tiny", root)
    assert not study.has_datasets(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "semhead_lib.devices.available_cores", lambda: 0
        )  # no processes for two heads
        make_datasets(study, root)
    assert study.has_datasets(root)
    return root / study.folder / "datasets"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A fresh tiny checkout, its datasets not yet made."""
    return _checkout(tmp_path)


@pytest.fixture
def prepared(checkout: Path, datasets: Path) -> Path:
    """A tiny checkout with its datasets."""
    shutil.copytree(datasets, checkout / "papermill_runs/ablations/tiny/datasets")
    return checkout


def _checkout(tmp_path: Path) -> Path:
    _notebook(tmp_path / "notebooks/04_training.ipynb", "Pretending", PARAMETERS, PRETEND)
    _notebook(tmp_path / "notebooks/05_ablations.ipynb", "Reading", REPORT, READ)
    studies = tmp_path / "papermill_runs/profiles/ablations"
    studies.mkdir(parents=True)
    (studies / "tiny.yaml").write_text(STUDY)
    (tmp_path / "signs").mkdir()
    return tmp_path
