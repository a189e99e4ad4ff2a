"""Which camera a generator that is conditioned on the view gets while its images are rendered from
others.

| condition camera | the mapping network is conditioned on                                            |
|------------------|----------------------------------------------------------------------------------|
| front            | the frontal camera, for all views of a head, as at every use of a generator      |
| DEGREES          | the camera at that azimuth, elevation 0, for all views of a head                 |
| rendered         | for each image the camera that it is rendered from                               |
| random           | for each image the camera of another image, drawn at random                      |

Under the first two, a head is one 3D scene. Under the others every image is of a scene of its own:
under "rendered" a generator may draw each scene for the one view that it is seen from, and under
"random" for another. The paper's FID-view, FID-random and FID-front differ in this, as reported: a
generator whose quality depends on the view that it is conditioned on has an FID-random far above
its FID-view.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

FRONT, RENDERED, RANDOM = "front", "rendered", "random"
EACH_VIEW = (RENDERED, RANDOM)  # every image has a condition camera of its own


def condition_camera_name(of: str | float) -> str:
    """A condition camera as it is written in protocols and tables. Raises ValueError for another.

    >>> [condition_camera_name(of) for of in ("rendered", 0, "90", 270, -180)]
    ['rendered', 'front', '90', '-90', '180']
    """
    text = str(of).strip()
    if text in (FRONT, *EACH_VIEW):
        return text
    try:
        azimuth = float(text)
    except ValueError:
        azimuth = math.nan
    if not math.isfinite(azimuth):
        raise ValueError(
            f"condition_camera must be front, rendered, random or an azimuth in degrees, got {of!r}"
        )
    azimuth = 180 - (180 - azimuth) % 360  # in (-180, 180]
    return f"{azimuth:g}" if azimuth else FRONT


def condition_cameras(
    of: str | float,
    cameras: Tensor,  # [N, V, 25] that the images of N heads are rendered from
    seed: int = 0,
) -> Tensor:  # [N, V, 25] float32, or [N, 1, 25] where all views of a head share one
    """The cameras that the mapping network is conditioned on. Raises ValueError for another name.

    Random cameras are those of all images in another order; with one seed, always the same.
    """
    import torch

    from semhead_lib.cameras import orbit_cameras

    name = condition_camera_name(of)
    if name == RENDERED:
        return cameras
    if name == RANDOM:
        flat = cameras.flatten(0, 1)
        rng = torch.Generator().manual_seed(seed)
        return flat[torch.randperm(len(flat), generator=rng)].view_as(cameras)
    azimuth = torch.tensor([0.0 if name == FRONT else float(name)])
    return orbit_cameras(azimuth, torch.zeros(1)).to(cameras).expand(len(cameras), 1, -1)
