"""The random numbers of a step and the values of its schedules, made on the CPU ahead of it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from semhead_lib.cameras import LABEL_LENGTH, crop_cameras
from semhead_lib.conditioning.modes import ConditionMode, swap_probability
from semhead_lib.data.subjects import Batch
from semhead_lib.models.config import GeneratorConfig
from semhead_lib.models.discriminator_config import DiscriminatorConfig
from semhead_lib.training import mining
from semhead_lib.training.blur import Blur
from semhead_lib.training.crops import cut, draw_windows
from semhead_lib.training.inputs import Inputs, Variant
from semhead_lib.training.schedules import ema_beta, ramp, raw_resolution
from semhead_lib.training.settings import TrainSettings

_POINTS = 1000  # of a head that the density regularisation looks at


class Draws:
    """From the number of a step and its batch to all that the step computes from.

    Everything is drawn for all processes together, by a generator that is seeded with the settings'
    seed and the number of the step, and each process takes its rows: a training that goes on, or is
    split over processes, draws what one alone would.
    """

    def __init__(
        self,
        settings: TrainSettings,
        mode: ConditionMode,
        generator: GeneratorConfig,
        discriminator: DiscriminatorConfig,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        self.settings, self.mode, self.generator, self.discriminator = (
            settings,
            mode,
            generator,
            discriminator,
        )
        self.rank, self.processes = rank, processes
        self._together = _gathering(processes)

    def __call__(self, step: int, batch: Batch) -> tuple[Variant, Inputs]:
        """Raises ValueError for a batch without the features that the mode needs."""
        s, c = self.settings, self.generator
        shown = s.batch * self.processes
        images_seen = step * shown
        rng = torch.Generator().manual_seed(_seed_of(s.seed, step))
        cameras, subject = self._together(batch.cameras), self._together(batch.subject)
        features = batch.semantics if self.mode.uses_semantics else None
        semantics = None if features is None else self._together(features)
        removed = s.without_condition(images_seen)
        if removed and semantics is not None:
            semantics = torch.zeros_like(semantics)

        swap = (
            swap_probability(images_seen, s.swap_final, int(s.swap_kimg * 1000))
            if self.mode.shows_view
            else 0.0
        )
        conditions = self.mode.generated(cameras, self._turned(semantics, rng), swap, rng)
        heads = len(cameras) // s.views_per_head
        z = torch.randn(heads, c.z_dim, generator=rng)
        seed = int(torch.randint(2**31 - 1, (), generator=rng)) + self.rank * s.accumulate
        seen, windows = cameras, None  # labels of what the discriminator sees
        if s.crop:
            windows = draw_windows(
                cameras, s.views_per_subject, c.resolution, s.crop, s.crop_whole, s.crop_face, rng
            )
            seen = crop_cameras(cameras, windows)
        wrong = {}
        if s.vicico_view:  # of the same part of an image: only the direction is wrong
            others = mining.wrong_cameras(cameras, rng, s.wrong_view_angle)
            wrong["wrong_cameras"] = others if windows is None else crop_cameras(others, windows)
        if s.vicico_condition and semantics is not None and not removed:
            wrong["wrong_semantics"] = mining.wrong_semantics(
                semantics, subject, rng, s.wrong_condition_cosine
            )
        side = raw_resolution(
            images_seen,
            s.raw_first or c.raw_resolution,
            c.raw_resolution,
            0,
            int(s.raw_kimg * 1000),
        )
        variant = Variant(
            r1=step % s.r1_interval == 0 and ((s.r1_gamma or 0) > 0 or s.r2_gamma > 0),
            density=step % s.density_interval == 0 and s.density_weight > 0,
            side=s.crop or side,
            convinces=images_seen >= s.discriminator_first * 1000,
        )
        points = {}
        if variant.density:
            points["points"] = torch.rand(heads, _POINTS, 3, generator=rng) * 2 - 1
            points["offsets"] = torch.randn(heads, _POINTS, 3, generator=rng)
        if s.vicico_joint:
            if removed:
                joint = mining.wrong_cameras(cameras, rng, s.wrong_view_angle)
                joint = self.mode.real(joint, semantics)
            else:
                joint = mining.wrong_jointly(
                    cameras,
                    semantics,
                    subject,
                    rng,
                    s.wrong_view_angle,
                    s.wrong_condition_cosine,
                )
            if windows is not None:
                joint[:, :LABEL_LENGTH] = crop_cameras(joint[:, :LABEL_LENGTH], windows)
            wrong["wrong_joint"] = joint
        blur = Blur.of(
            ramp(images_seen, s.blur_sigma, 0.0, int(s.blur_kimg * 1000)), self.discriminator
        )
        mine = {
            "cameras": cameras,
            "real": self.mode.real(seen, semantics),
            "generated": torch.cat([seen, conditions.discriminator[:, LABEL_LENGTH:]], dim=1),
            "z": z,
            "mapping": conditions.generator[:: s.views_per_head] * (not removed),
            **({} if windows is None else {"windows": windows}),
            **wrong,
            **points,
        }
        images, masks = batch.images, batch.masks
        if windows is not None:
            own = self._own(windows)
            images, masks = (
                cut(images, own, s.crop),
                None if masks is None else cut(masks, own, s.crop),
            )
        return variant, Inputs(
            images=images,
            masks=masks,
            **{name: self._own(rows) for name, rows in mine.items()},
            seed=seed + torch.arange(s.accumulate) if s.jitter else None,
            beta=torch.tensor(ema_beta(images_seen, shown, int(s.ema_kimg * 1000))),
            image_taps=blur.image,
            small_taps=blur.small,
        )

    def _turned(self, semantics: Tensor | None, rng: torch.Generator) -> Tensor | None:
        """The features of generated heads: those of the real ones, turned at random by
        `condition_noise` radians."""
        s = self.settings
        if semantics is None or not s.condition_noise or not semantics.any():
            return semantics
        noise = torch.randn(semantics.shape, generator=rng)
        noise = noise.view(-1, s.views_per_head, noise.shape[1])[:, :1].expand(
            -1, s.views_per_head, -1
        )
        length = s.condition_noise * F.normalize(noise.reshape(semantics.shape), dim=1)
        return F.normalize(semantics + length, dim=1)

    def _own(self, rows: Tensor) -> Tensor:
        """This process's of those for all processes."""
        return rows.chunk(self.processes)[self.rank]


def _gathering(processes: int) -> Callable[[Tensor], Tensor]:
    """A function that joins CPU tensors of all processes, in order. It has a process group of its
    own, so that another thread may call it."""
    if processes == 1:
        return lambda tensor: tensor
    group = torch.distributed.new_group(backend="gloo")

    def together(tensor: Tensor) -> Tensor:
        parts = [
            torch.empty_like(tensor, memory_format=torch.contiguous_format)
            for _ in range(processes)
        ]
        torch.distributed.all_gather(parts, tensor.contiguous(), group=group)
        return torch.cat(parts)

    return together


def _seed_of(seed: int, step: int) -> int:
    """A seed of its own for each step."""
    return int(np.random.SeedSequence((seed, step)).generate_state(1, np.uint64)[0] >> 1)
