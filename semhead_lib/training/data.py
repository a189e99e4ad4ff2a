"""The subjects of a training: held in memory, or read while it trains."""

from __future__ import annotations

from pathlib import Path

from semhead_lib.data.dataset.memory import SubjectsInMemory
from semhead_lib.data.dataset.packed import is_packed, load_packed
from semhead_lib.data.dataset.streaming_dataset import SubjectsOnDisk
from semhead_lib.devices import available_cores, pick_device
from semhead_lib.training.run_folder import Subjects
from semhead_lib.training.settings import TrainSettings


def training_data(
    path: Path | str,
    settings: TrainSettings,
    *,
    limit: int | None = None,  # first subjects; None: all
    stream: bool = False,  # read while training
    workers: int = 2,  # processes that read then
    device: str = "auto",  # that batches are put on then
    progress: bool = True,
) -> Subjects:
    """A dataset's folder, or packed file, as the training with `settings` needs it.

    Raises what `SubjectsInMemory.load` and `load_packed` raise, and ValueError for `stream` with a
    limit or with a packed file.
    """
    if stream and limit is not None:
        raise ValueError(f"limit={limit} is of subjects in memory: leave it out with stream=true")
    if is_packed(path):
        if stream:
            what = f"data={path} is a packed dataset, which is read into memory"
            raise ValueError(f"{what}: leave out stream=true")
        return load_packed(path, limit=limit, threads=available_cores())
    if stream:
        return SubjectsOnDisk(path, workers=workers, device=pick_device(device))
    return SubjectsInMemory.load(
        path,
        geometry=("depth", "segmentation") if settings.reconstruct_every else (),
        limit=limit,
        threads=available_cores(),
        progress=progress,
    )
