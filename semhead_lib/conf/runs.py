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
        "numbers of GPUs, as 0,1; or cpu, and cpu,cpu for two runs that share it; auto = all GPUs, "
        "or as many runs as the CPU's cores and memory have room for",
    )


@dataclass(frozen=True)
class Slurm:
    """As jobs of a SLURM cluster, through hydra-submitit-launcher (extra `cluster`): one job a
    run. Submit from a machine that shares this folder with the nodes; the command waits for its
    jobs.
    """

    partition: str | None = setting(None, "text or null", "of the cluster; null = its default")
    account: str | None = setting(None, "text or null", "that pays for the jobs; null = yours")
    gpus: int = setting(1, "int >= 0", "of each run")
    cpus: int = setting(8, "int >= 1", "cores of each run")
    memory_gb: int = setting(32, "int >= 1", "of each run")
    hours: int = setting(
        24, "int >= 1", "that a run may take; the same command goes on with one that took longer"
    )
    at_once: int = setting(16, "int >= 1", "jobs at a time")
    executor: str = setting(
        "slurm", "slurm | local", "of submitit; local = processes here, to try it"
    )


@dataclass(frozen=True)
class Reproduce(ReproduceSettings):
    """Executes the notebooks of papermill_runs/profiles/PROFILE.yaml, each after those that it
    reads, into papermill_runs/PROFILE/RUN/. The same command goes on behind the last finished notebook.
    Notebooks whose parameters, code or inputs changed are executed again; what they had written
    is set aside as NOTEBOOK.previous.
    """

    profile: str = needed("text", "name of a profile, or path of a profile's YAML file")
    overrides: dict[str, str] = named_values(
        "NOTEBOOK.PARAMETER=VALUE", "replace one parameter, e.g. 01_dataset_synthesis.subjects=4"
    )


@dataclass(frozen=True)
class Ablate(StudySettings):
    """Executes the trainings of a study, papermill_runs/profiles/ablations/STUDY.yaml, each by its
    notebook, into papermill_runs/ablations/STUDY/RUN/; collects a table with a row for each
    run, azimuth and metric; and executes notebook 05 on it. The same command goes on: with what
    was interrupted, with what failed, with what is new.
    """

    study: str = needed("text", "name of a study, or path of its YAML file")
    launcher: Any = alternatives("local", local=Local, slurm=Slurm)


@dataclass(frozen=True)
class Contest(ContestSettings):
    """Trains designs of a generator, papermill_runs/profiles/designs/CONTEST.yaml, each for the
    same minutes of one core, judges them, and collects a table with the metrics and heads of
    each in papermill_runs/designs/CONTEST/results. The same command goes on with what is not
    finished.
    """

    contest: str = needed("text", "name of a contest, or path of its YAML file")


@dataclass(frozen=True)
class Doctor:
    """Versions, devices, compiled ops, optional models, disk. Exit code 1 when something needed is
    missing or broken.
    """

    json: bool = setting(False, "bool", "print the findings as JSON")
