"""One job of a study, as a Hydra application: its datasets, or one of its runs.

    python -m semhead_lib.ablation.job study=cpu run=semantic_seed-0
    python -m semhead_lib.ablation.job study=cpu run=datasets
    python -m semhead_lib.ablation.job --multirun hydra/launcher=submitit_slurm study=gpu
    run=view_seed-0,none_seed-0

`semhead ablate` starts these. Exit codes: 0 finished, 1 failed, 130 interrupted (the same command
goes on).
"""

from __future__ import annotations

import signal
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import MISSING

from semhead_lib.ablation.orphans import end_with, wait_for
from semhead_lib.ablation.plan import Study, load_study
from semhead_lib.atomic import held_folder
from semhead_lib.reproduce import provenance, runs

if TYPE_CHECKING:
    from omegaconf import DictConfig

DATASETS = "datasets"  # the job that makes them
_QUIET = [{"override hydra/job_logging": "disabled"}, {"override hydra/hydra_logging": "disabled"}]
ConfigStore.instance().store(
    "job",
    {
        "defaults": ["_self_", *_QUIET],
        "study": MISSING,  # name or path of a study
        "run": MISSING,  # name of one of its runs, or DATASETS
        "root": None,  # of the checkout; found from the working directory when None
        "ignore_code": False,  # a change of sources alone is no reason to execute again
        "parent": None,  # process that started this one: when it is gone, this one stops
        "hydra": {"output_subdir": None, "run": {"dir": "."}, "sweep": {"dir": ".", "subdir": "."}},
    },
)


@hydra.main(version_base="1.3", config_path=None, config_name="job")
def main(config: DictConfig) -> int:
    """The job that the configuration names; a job of many (--multirun) never ends the others by its
    failure."""
    if config.parent:
        end_with(config.parent)
    status = 0
    try:
        root = provenance.find_root(Path(config.root or Path.cwd())).resolve()
        study = load_study(config.study, root)
        if config.run == DATASETS:
            make_datasets(study, root)
        else:
            execute(study, config.run, root, config.ignore_code)
    except KeyboardInterrupt:
        status = 130
    except (ValueError, RuntimeError, OSError) as error:
        print(error, flush=True)
        status = 1
    if status and HydraConfig.get().mode != RunMode.MULTIRUN:
        sys.exit(status)
    return status


def make_datasets(study: Study, root: Path) -> None:
    """Make what is missing of the study's datasets, with the features of its encoder."""
    from semhead_lib.conditioning.semantic import SemanticEncoder
    from semhead_lib.data.dataset.semantics import fill_semantics
    from semhead_lib.data.dataset.subset import write_part
    from semhead_lib.data.jobs.synthesis import synthesize
    from semhead_lib.data.parametric.source import ParametricSource
    from semhead_lib.devices import available_cores, pick_device

    encoder = SemanticEncoder.load(study.encoder)
    for name, plan in sorted(study.datasets.items(), key=lambda item: bool(item[1].part_of)):
        folder = root / study.dataset(name)
        wait_for(partial(held_folder, folder))
        if plan.part_of:  # of one that was made before: with its images and features
            whole = root / study.dataset(plan.part_of)
            write_part(whole, folder, plan.subjects, plan.views_per_subject)
        else:
            assert plan.seed is not None  # of a dataset that is no part
            source = partial(
                ParametricSource,
                seed=plan.seed,
                resolution=study.resolution,
                views_per_subject=plan.views_per_subject,
                view_sampling=plan.view_sampling,
                inconsistency=plan.inconsistency,
                channels=(),
                device=pick_device("auto"),
            )
            synthesize(source, folder, plan.subjects, workers=available_cores())
            fill_semantics(folder, encoder.images, str(encoder.identity), batch=encoder.batch)
        print(f"{study.dataset(name)}: {plan.subjects} subjects", flush=True)


def execute(study: Study, name: str, root: Path, ignore_code: bool = False) -> None:
    """Execute the notebook of one run into its folder; a finished one is left as it is."""
    from semhead_lib.reproduce.driver import execute_steps

    this = runs.Run(root / study.folder / name, root)
    step = study.step(study.run(name), root / "notebooks")
    wait_for(this.lock)
    command = ["semhead", "ablate", study.name, f"only={name}"]
    execute_steps(
        this,
        f"ablations/{study.name}",
        [step],
        ignore_code=ignore_code,
        html=False,
        command=command,
    )


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    main()
