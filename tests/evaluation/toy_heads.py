"""Heads that are a few colours: 12 numbers each, which vary less from behind, and an extractor that
reads them."""

import torch
import torch.nn.functional as F

from semhead_lib.cameras import orbit_angles, orbit_cameras
from semhead_lib.conditioning.modes import ConditionMode
from semhead_lib.data.subjects import Subject
from semhead_lib.evaluation.features import FeatureExtractor
from semhead_lib.evaluation.reference_statistics import ReferenceStatistics
from semhead_lib.evaluation.samples import Samples, real_samples
from semhead_lib.metrics.azimuth import AzimuthBins
from semhead_lib.models.config import preset
from semhead_lib.models.generator import Generator

BINS = AzimuthBins(4)
SIDE = 32
FRONT = orbit_cameras(torch.zeros(1), torch.zeros(1))


def codes(count: int, seed: int) -> torch.Tensor:  # [N, 12] in about [-0.5, 0.5]
    return 0.15 * torch.randn(count, 12, generator=torch.Generator().manual_seed(seed))


def around(count: int, seed: int) -> torch.Tensor:  # [N, 4, 25]: one view in each bin
    rng = torch.Generator().manual_seed(seed)
    azimuth = torch.arange(4) * 90.0 + 40 * torch.rand(count, 4, generator=rng) - 20
    return orbit_cameras(azimuth.flatten(), torch.zeros(4 * count)).reshape(count, 4, 25)


def draw(
    code: torch.Tensor, cameras: torch.Tensor
) -> torch.Tensor:  # [N, 12], [N, V, 25] -> [N, V, 3, S, S] uint8
    """From behind a head varies half as much as from the front."""
    azimuth = (
        torch.deg2rad(orbit_angles(cameras.flatten(0, 1))[:, 0])
        .reshape(*cameras.shape[:2], 1)
        .float()
    )
    seen = 0.5 + code[:, None] * (0.75 + 0.25 * azimuth.cos()) + 0.05 * azimuth.sin()
    levels = seen.reshape(-1, 3, 2, 2).clamp(0, 1) * 255
    images = F.interpolate(levels, size=(SIDE, SIDE), mode="nearest").round().to(torch.uint8)
    return images.unflatten(0, cameras.shape[:2])


def heads(code: torch.Tensor, cameras: torch.Tensor) -> Samples:
    return Samples(
        draw(code, cameras), cameras, draw(code, FRONT.expand(len(code), 1, 25))[:, 0], "toy"
    )


def pooled(images: torch.Tensor) -> torch.Tensor:  # [B, 3, S, S] in [-1, 1] -> [B, 12]
    return F.adaptive_avg_pool2d(images, 2).flatten(1)


EXTRACTOR = FeatureExtractor("toy colours [weights 0; input any]", 12, False, pooled)
ENCODER = FeatureExtractor(
    "toy encoder [weights 1; input any]", 12, True, lambda x: F.normalize(pooled(x), dim=-1)
)


def subjects(count: int, seed: int = 0, semantic: bool = True) -> list[Subject]:
    shown = heads(codes(count, seed), around(count, seed))
    features = ENCODER.images(shown.fronts)
    known = [
        dict(semantic=f, semantic_encoder=ENCODER.identity) if semantic else {} for f in features
    ]
    return [
        Subject(
            f"toy-{i}", shown.images[i], shown.cameras[i], shown.fronts[i], **known[i]
        ).validate()
        for i in range(count)
    ]


def reference_stats(count: int = 60, **settings) -> ReferenceStatistics:
    settings = dict(bins=BINS, splits=12, halves=12) | settings
    return ReferenceStatistics.of(
        *real_samples(subjects(2 * count), count), EXTRACTOR, ENCODER, **settings
    )


def small_generator(mode: ConditionMode) -> Generator:
    torch.manual_seed(0)
    config = preset(
        "semhead-32",
        plane_side=16,
        plane_channels=4,
        backbone_base=256,
        backbone_most=16,
        coarse=6,
        fine=4,
        z_dim=8,
        w_dim=8,
        ball_slope=1000.0,
        condition_dim=mode.generator_width,
    )
    return Generator(config).eval()
