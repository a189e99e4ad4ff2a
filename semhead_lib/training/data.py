"""The subjects of a training: held in memory, or read while it trains."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from semhead_lib.data.dataset.memory import SubjectsInMemory
from semhead_lib.data.dataset.packed import is_packed, load_packed
from semhead_lib.data.dataset.streaming_dataset import SubjectsOnDisk
from semhead_lib.devices import available_cores, pick_device
from semhead_lib.training.common_settings import BeginningSettings
from semhead_lib.training.run_folder import Subjects
from semhead_lib.training.settings import TrainSettings

GEOMETRY = ("depth", "segmentation")  # what a reconstruction of points needs


def training_data(
    path: Path | str,
    settings: TrainSettings,
    *,
    limit: int | None = BeginningSettings.limit,  # first subjects; None: all
    views_limit: int | None = BeginningSettings.views_limit,  # of each subject; None: all
    stream: bool = BeginningSettings.stream,  # read while training
    workers: int = BeginningSettings.workers,  # processes that read then
    device: str = "auto",  # that batches are put on then
    progress: bool = True,
) -> Subjects:
    """A dataset's folder, or packed file, as the training with `settings` needs it.

    Raises what `SubjectsInMemory.load` and `load_packed` raise, and ValueError for `stream` with a
    limit or with a packed file.
    """
    if stream and limit is not None:
        raise ValueError(f"limit={limit} is of subjects in memory: leave it out with stream=true")
    if stream and is_packed(path):
        what = f"data={path} is a packed dataset, which is read into memory"
        raise ValueError(f"{what}: leave out stream=true")
    if stream:
        place = pick_device(device)
        return SubjectsOnDisk(path, views_limit=views_limit, workers=workers, device=place)
    geometry = GEOMETRY if settings.reconstruct_every else ()
    return subjects_in_memory(
        path, geometry, limit=limit, views_limit=views_limit, progress=progress
    )


def subjects_in_memory(
    path: Path | str,
    geometry: Collection[str] = (),  # of "depth" and "segmentation", what is read as well
    *,
    limit: int | None = None,
    views_limit: int | None = None,
    progress: bool = True,
) -> SubjectsInMemory:
    """A dataset's folder, or packed file, in memory.

    Raises what `SubjectsInMemory.load` and `load_packed` raise.
    """
    some: dict[str, Any] = dict(geometry=geometry, limit=limit, views_limit=views_limit)
    if is_packed(path):
        return load_packed(path, **some, threads=available_cores())
    return SubjectsInMemory.load(path, **some, threads=available_cores(), progress=progress)
