"""Features of real heads, which ship with the package: how usual a head is among them.

`python -m semhead_lib.rejection.real_heads DATA OUT` makes the file of a dataset whose subjects are
seen from the four sides (`semhead synthesize views_per_subject=4 view_sampling=orbit`).
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from semhead_lib.atomic import write_atomically
from semhead_lib.cameras import orbit_angles
from semhead_lib.data.dataset.memory import SubjectsInMemory
from semhead_lib.evaluation.features import FeatureExtractor
from semhead_lib.files import file_digest, read_tensors
from semhead_lib.models.generator import ASSETS

FOLDER, FILE = ASSETS / "real-heads", "features.safetensors"
AZIMUTHS = (-180.0, -90.0, 0.0, 90.0)  # degrees; the first is the back
NEIGHBOURS = 5
_KEPT = 64  # principal components: 98 % of the variance of headjudge's features
_OFF = 2.0  # degrees that a view may be off its azimuth, and of elevation


@dataclass(frozen=True)
class RealHeads:
    """Features of N real heads from each of AZIMUTHS, in principal components."""

    mean: Tensor  # [D]
    basis: Tensor  # [D, K] orthonormal
    features: Tensor  # [A, N, K]
    extractor: str  # identity of what made the features
    source: str  # whose features they are

    @classmethod
    def of(cls, features: Tensor, extractor: str, source: str, kept: int = _KEPT) -> RealHeads:
        """Of features [N, A, D]. Raises ValueError for fewer heads than neighbours need."""
        if features.ndim != 3 or len(features) <= NEIGHBOURS:
            raise ValueError(
                f"features must be [N > {NEIGHBOURS}, A, D], got {list(features.shape)}"
            )
        x = features.double().flatten(0, 1)
        mean = x.mean(0)
        _, _, axes = torch.linalg.svd(x - mean, full_matrices=False)
        basis = axes[:kept].T
        reduced = (features.double() - mean) @ basis
        tensors = (mean, basis, reduced.transpose(0, 1))
        mean, basis, reduced = (t.half().float().contiguous() for t in tensors)
        return cls(mean, basis, reduced, extractor, source)

    def distances(self, features: Tensor) -> Tensor:  # [M, A, D] -> [M] float64
        """Mean distance of each head to its nearest real ones, over the views, in units of what is
        usual among real heads: 1 is as near as they are to each other.

        The reciprocal is a density; as in precision (Kynkaanniemi et al., 2019), far samples are
        mostly bad ones. Raises ValueError for another number of views or features.
        """
        expected = (len(self.features), len(self.mean))
        if features.ndim != 3 or features.shape[1:] != expected:
            raise ValueError(
                f"features must be [M, {expected[0]}, {expected[1]}], got {list(features.shape)}"
            )
        asked = ((features.float() - self.mean) @ self.basis).transpose(0, 1)  # [A, M, K]
        across = torch.cdist(asked.double(), self.features.double())
        near = across.topk(NEIGHBOURS, dim=2, largest=False).values.mean(2)  # [A, M]
        return (near / self._usual()[:, None]).mean(0)

    def _usual(self) -> Tensor:  # [A]
        among = torch.cdist(self.features.double(), self.features.double())
        near = among.topk(NEIGHBOURS + 1, dim=2, largest=False).values[..., 1:]  # without itself
        return near.mean(2).median(1).values.clamp_min(1e-9)

    def save(self, folder: Path | str) -> None:
        """Write the file, in half precision."""
        names = ("mean", "basis", "features")
        tensors = {name: getattr(self, name).half().contiguous() for name in names}
        content = json.dumps({"extractor": self.extractor, "source": self.source})
        Path(folder).mkdir(parents=True, exist_ok=True)
        write_atomically(Path(folder) / FILE, save(tensors, metadata={"semhead": content}))

    @classmethod
    def load(cls, folder: Path | str = FOLDER) -> RealHeads:
        """Raises FileNotFoundError, or ValueError for a file that holds something else."""
        path = Path(folder) / FILE
        tensors = {name: tensor.float() for name, tensor in read_tensors(path).items()}
        try:
            with safe_open(path, "pt") as file:
                content = json.loads(file.metadata()["semhead"])
            found = cls(**tensors, extractor=content["extractor"], source=content["source"])
            size = (found.basis.shape[0], found.features.shape[2])
            if (len(found.mean), found.basis.shape[1]) != size or found.features.ndim != 3:
                raise ValueError("shapes do not fit")
        except Exception as error:  # a file of another kind fails in many ways
            raise ValueError(f"{path}: holds no features of real heads: {error}") from None
        return found


def images_from_sides(data: Path | str, progress: bool = True) -> Tensor:  # [N, A, 3, H, W] uint8
    """Views of a dataset's subjects from AZIMUTHS at elevation 0. Raises ValueError where a subject
    has other views."""
    subjects = SubjectsInMemory.load(data, progress=progress)
    found = []
    for subject in (subjects[i] for i in range(len(subjects))):
        angles = orbit_angles(subject.cameras)
        off = (angles[:, None, 0] - torch.tensor(AZIMUTHS)).remainder(360)
        off = torch.minimum(off, 360 - off).maximum(angles[:, None, 1].abs())  # [V, A]
        if off.min(0).values.max() > _OFF:
            raise ValueError(
                f"{data}: {subject.id} is not seen from azimuths {', '.join(map('{:g}'.format, AZIMUTHS))} "
                "at elevation 0: semhead synthesize view_sampling=orbit views_per_subject=4 makes such"
            )
        found.append(subject.views[off.argmin(0)])
    return torch.stack(found)


def main(data: str, out: str) -> None:
    """Features of a dataset's subjects, to be shipped."""
    extractor = FeatureExtractor.load("headjudge")
    features = extractor.images(images_from_sides(data), progress=True)
    digest = file_digest(Path(data) / "dataset.json")
    source = f"{len(features)} parametric heads, dataset.json {digest}"
    RealHeads.of(features, extractor.identity, source).save(out)


if __name__ == "__main__":
    main(*sys.argv[1:])
