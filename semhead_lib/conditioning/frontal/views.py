"""What an encoder sees of a dataset's views, as they are and as photographs, beside the feature of
each subject's front."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save
from torch import Tensor
from tqdm import tqdm

from semhead_lib.atomic import write_atomically
from semhead_lib.cameras import FOCAL, orbit_angles
from semhead_lib.conditioning.encoder_identity import require_encoder
from semhead_lib.conditioning.frontal.network import seen
from semhead_lib.conditioning.semantic import SemanticEncoder
from semhead_lib.data.dataset.memory import SubjectsInMemory
from semhead_lib.data.portraits.photographic import Photographer, normals_of_depth
from semhead_lib.data.subjects import Subject, all_present
from semhead_lib.files import read_tensors

_PART = 64  # subjects a file


@dataclass(frozen=True)
class SeenViews:
    """N views in K versions, the first as it is; a row a view."""

    features: Tensor  # [N, K, D] unit
    maps: Tensor  # [N, K, M]
    azimuths: Tensor  # [N] degrees
    subjects: Tensor  # [N] int64: whose view it is
    fronts: Tensor  # [S, D] unit, of S subjects

    def __len__(self) -> int:
        return len(self.features)


def see_views(
    subjects: SubjectsInMemory,
    encoder: SemanticEncoder,
    photographs: int,
    folder: Path,
    seed: int = 0,
    progress: bool = False,
) -> SeenViews:
    """Encode all views of subjects, kept below `folder` part by part, for each dataset apart; what
    is there is not encoded again.

    Raises ValueError for subjects without masks or with features of another encoder.
    """
    layout = subjects.manifest.layout
    require_encoder((layout.semantic or {}).get("encoder"), str(encoder.identity), "the dataset")
    fronts = torch.stack(all_present((s.semantic for s in subjects), "semantic features"))
    made_of = (subjects.digest, encoder.identity.weights, photographs, seed)
    folder = folder / "-".join(map(str, made_of))
    folder.mkdir(parents=True, exist_ok=True)
    starts = range(0, len(subjects), _PART)
    parts = []
    for start in tqdm(starts, unit="part", desc="views", disable=not progress):
        path = folder / f"views-{start:06d}.safetensors"
        if not path.is_file():
            part = [subjects[i] for i in range(start, min(start + _PART, len(subjects)))]
            made = _encoded(part, encoder, photographs, seed * 1_000_003 + start)
            write_atomically(path, save(made))
        parts.append(read_tensors(path))
    counts = torch.tensor([len(s.views) for s in subjects])
    return SeenViews(
        torch.cat([p["features"] for p in parts]).float(),
        torch.cat([p["maps"] for p in parts]).float(),
        orbit_angles(torch.cat([s.cameras for s in subjects]))[:, 0],
        torch.arange(len(subjects)).repeat_interleave(counts),
        fronts.float(),
    )


def _encoded(
    subjects: Sequence[Subject], encoder: SemanticEncoder, photographs: int, seed: int
) -> dict[str, Tensor]:
    versions = [seen(encoder, v) for v in photographed(subjects, encoder, photographs, seed)]
    return {
        name: torch.stack([v[k] for v in versions], dim=1).half().cpu().contiguous()
        for k, name in enumerate(("features", "maps"))
    }


def photographed(
    subjects: Sequence[Subject], encoder: SemanticEncoder, photographs: int, seed: int
) -> Iterator[Tensor]:  # [N, 3, S, S] uint8 each
    """All views of some subjects, then `photographs` times as photographs of the encoder's size."""
    images = torch.cat([s.views for s in subjects])
    side = min(images.shape[-1], encoder.resolution)

    def resized(x: Tensor) -> Tensor:
        return F.interpolate(x, size=side, mode="bilinear", antialias=True, align_corners=False)

    masks = torch.cat(all_present((s.masks for s in subjects), "masks"))[:, None].float() / 255
    normals = None
    if photographs and all(s.depth is not None for s in subjects):
        depth = torch.cat(all_present((s.depth for s in subjects), "depth"))[:, None]
        normals = F.normalize(resized(normals_of_depth(depth, FOCAL)), dim=1)
    small = resized(images.float()).round().clamp(0, 255).to(torch.uint8)
    yield images
    for k in range(photographs):
        yield Photographer()(small, resized(masks).clamp(0, 1), seed * 101 + k, normals)
