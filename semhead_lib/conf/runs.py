"""Configurations of the commands that run notebooks, studies and contests, and of the doctor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from semhead_lib.ablation.settings import ContestSettings, StudySettings
from semhead_lib.reproduce.settings import ReproduceSettings
from semhead_lib.settings import alternatives, named_values, needed, setting


@dataclass(frozen=True)
class Local:
    """On this machine: one run at a time on each device."""

    devices: str = setting(
        "auto",
        "text",
        "GPU numbers, such as 0,1; or cpu, or cpu,cpu for two runs that share it; auto = all "
        "GPUs, or as many runs as CPU cores and memory allow",
    )


@dataclass(frozen=True)
class Slurm:
    """As jobs of a SLURM cluster, through hydra-submitit-launcher (extra `cluster`): one job per
    run. Submit from a machine that shares this folder with the nodes; the command waits for its
    jobs.
    """

    partition: str | None = setting(
        None, "text or null", "partition of the cluster; null = its default"
    )
    account: str | None = setting(
        None, "text or null", "account that pays for the jobs; null = yours"
    )
    gpus: int = setting(1, "int >= 0", "per run")
    cpus: int = setting(8, "int >= 1", "cores per run")
    memory_gb: int = setting(32, "int >= 1", "per run")
    hours: int = setting(
        24, "int >= 1", "time limit of a run; the same command continues a run that took longer"
    )
    at_once: int = setting(16, "int >= 1", "jobs at a time")
    executor: str = setting(
        "slurm",
        "slurm | local",
        "executor of submitit; local = processes on this machine, for tests",
    )


@dataclass(frozen=True)
class Reproduce(ReproduceSettings):
    """Executes the notebooks of papermill_runs/profiles/PROFILE.yaml, each after those that it
    reads, into papermill_runs/PROFILE/RUN/. The same command resumes after the last finished
    notebook. Notebooks whose parameters, code or inputs changed are executed again; their old
    results are moved to NOTEBOOK.previous.
    """

    profile: str = needed("text", "name of a profile, or path of a profile's YAML file")
    overrides: dict[str, str] = named_values(
        "NOTEBOOK.PARAMETER=VALUE", "replace one parameter, e.g. 01_dataset_synthesis.subjects=4"
    )


@dataclass(frozen=True)
class Ablate(StudySettings):
    """Executes the trainings of a study, papermill_runs/profiles/ablations/STUDY.yaml, each by its
    notebook, into papermill_runs/ablations/STUDY/RUN/; collects a table with a row for each run,
    azimuth and metric; and executes notebook 05 on it. The same command continues with runs that
    were interrupted, that failed, or that are new.
    """

    study: str = needed("text", "name of a study, or path of its YAML file")
    launcher: Any = alternatives("local", local=Local, slurm=Slurm)


@dataclass(frozen=True)
class Contest(ContestSettings):
    """Trains designs of a generator, papermill_runs/profiles/designs/CONTEST.yaml, each for the
    same time on one core, evaluates them, and collects a table with the metrics and heads of each
    in papermill_runs/designs/CONTEST/results. The same command resumes.
    """

    contest: str = needed("text", "name of a contest, or path of its YAML file")


@dataclass(frozen=True)
class Doctor:
    """Reports versions, devices, compiled ops, optional models and disk space. The exit code is 1
    if something required is missing or broken.
    """

    json: bool = setting(False, "bool", "print the findings as JSON")
