"""One step of the training: the networks, and how a batch changes them."""

from __future__ import annotations

import copy

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn

from semhead_lib.conditioning.modes import ConditionMode, swap_probability
from semhead_lib.data.subjects import Batch
from semhead_lib.models.discriminator import Discriminator, Seen
from semhead_lib.models.generator import Generator, Render
from semhead_lib.training import losses, mining
from semhead_lib.training.schedules import ema_beta, ramp, raw_resolution
from semhead_lib.training.settings import TrainSettings

_BETAS = (0.0, 0.99)
_POINTS = 1000  # of a head that the density regularisation looks at
_HUGE = 1e5  # gradients are cut off there


class Networks:
    """Generator, its moving average, discriminator, and their optimisers; equal settings and seed, equal weights."""

    def __init__(self, settings: TrainSettings, semantic_dimension: int, device: torch.device | str) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            self.generator = Generator(settings.generator_config(semantic_dimension)).to(device)
            self.discriminator = Discriminator(settings.discriminator_config(semantic_dimension)).to(device)
        self.average = copy.deepcopy(self.generator).requires_grad_(False).eval()
        self.g_optimiser = _adam(self.generator, settings.generator_rate)
        self.d_optimiser = _adam(self.discriminator, settings.discriminator_rate)

    @torch.no_grad()
    def move_average(self, beta: float) -> None:
        """average <- beta average + (1 - beta) generator; buffers (the mean style) are copied."""
        torch._foreach_lerp_(list(self.average.parameters()), list(self.generator.parameters()), 1 - beta)
        for here, there in zip(self.average.buffers(), self.generator.buffers(), strict=True):
            here.copy_(there)


def _adam(network: nn.Module, rate: float) -> torch.optim.Adam:
    return torch.optim.Adam(network.parameters(), lr=rate, betas=_BETAS, eps=1e-8, fused=True)


class Step:
    """What is done with one batch. All that is random follows from the settings' seed and the number of the step, drawn
    for all processes together: a training that goes on, or is split over processes, draws what one alone would."""

    def __init__(
        self, settings: TrainSettings, networks: Networks, mode: ConditionMode, accelerator: Accelerator
    ) -> None:
        self.settings = settings.resolved(accelerator.num_processes)
        self.networks, self.mode, self.accelerator = networks, mode, accelerator
        self.reference = False  # render with the reference twin, to compare

    def __call__(self, step: int, batch: Batch) -> dict[str, Tensor]:
        """Train on real pictures; returns what is worth a line in the log, as tensors [] on the device.

        The generated pictures serve both networks: first the discriminator learns from them, then the generator from
        what the discriminator thinks of them by then.
        """
        s, nets, processes = self.settings, self.networks, self.accelerator.num_processes
        images_seen = step * s.batch * processes
        rng = torch.Generator().manual_seed(_seed_of(s.seed, step))
        sigma = ramp(images_seen, s.blur_sigma, 0.0, int(s.blur_kimg * 1000))
        log: dict[str, Tensor] = {}

        with self.accelerator.autocast():
            w, features, render, told = self._generate(batch, rng, images_seen)
            drawn = losses.as_seen(nets.discriminator, render.image, render.opacity, render.raw, sigma)
            side = render.opacity.shape[-1]
        cameras, semantics = self._wrong(batch, rng)

        # Discriminator
        nets.discriminator.requires_grad_(True)
        lazy = step % s.r1_interval == 0 and s.r1_gamma > 0
        real = losses.as_seen(nets.discriminator, batch.images, batch.masks, None, sigma, side)
        if lazy:
            real = Seen(
                *(None if t is None else t.detach().requires_grad_() for t in (real.image, real.raw, real.mask))
            )
        condition = self.mode.real(batch.cameras, batch.semantics if self.mode.uses_semantics else None)
        with self.accelerator.autocast():
            real_features = nets.discriminator.features(real)
            real_logits = nets.discriminator.logits(real_features, condition)
            fake_logits = nets.discriminator(drawn.detach(), told)
            wrong = losses.vicico(nets.discriminator, real_features, condition, cameras, semantics)
        loss_d = losses.discriminator_loss(real_logits, fake_logits)
        loss = loss_d + s.vicico_view * wrong.view + s.vicico_condition * wrong.condition
        if lazy:
            log["r1"] = losses.r1_penalty(real, real_logits)
            loss = loss + s.r1_gamma * s.r1_interval * log["r1"]
        log |= {"loss_d": loss_d, "real": real_logits.mean(), "fake": fake_logits.mean()}
        log |= {"wrong_view": wrong.view, "wrong_condition": wrong.condition}
        log["grad_d"] = self._update(nets.discriminator, nets.d_optimiser, loss)

        # Generator
        nets.discriminator.requires_grad_(False)
        with self.accelerator.autocast():
            log["loss_g"] = losses.generator_loss(nets.discriminator(drawn, told))
        loss = log["loss_g"]
        if step % s.density_interval == 0 and s.density_weight > 0:
            half = nets.generator.renderer.settings.half
            points, offsets = self._points(len(w), rng, half)
            log["density"] = losses.density_regularisation(nets.generator, features, points, offsets)
            loss = loss + s.density_weight * s.density_interval * log["density"]
        log["opacity"] = render.opacity.mean()
        log["grad_g"] = self._update(nets.generator, nets.g_optimiser, loss)
        nets.generator.mapping.track(self.accelerator.gather(w.detach()))
        nets.move_average(ema_beta(images_seen, s.batch * processes, int(s.ema_kimg * 1000)))
        return {name: value.detach().float() for name, value in log.items()}

    def _generate(self, batch: Batch, rng: torch.Generator, images_seen: int) -> tuple[Tensor, Tensor, Render, Tensor]:
        """Styles, feature maps and pictures of new heads, under the cameras and semantics of the real ones."""
        s, generator = self.settings, self.networks.generator
        swap = swap_probability(images_seen, s.swap_final, int(s.swap_kimg * 1000)) if self.mode.shows_view else 0.0
        semantics = batch.semantics if self.mode.uses_semantics else None
        if semantics is not None and s.condition_noise:
            noise = self._drawn(torch.randn, len(semantics), semantics.shape[1], rng=rng)
            noise = noise.view(-1, s.views_per_head, noise.shape[1])[:, :1].expand(-1, s.views_per_head, -1)
            length = s.condition_noise * F.normalize(noise.reshape(semantics.shape), dim=1)
            semantics = F.normalize(semantics + length, dim=1)
        condition = self.mode.generated(batch.cameras, semantics, swap, rng)
        z = self._drawn(torch.randn, len(batch) // s.views_per_head, generator.config.z_dim, rng=rng)
        w = generator.mapping(z, condition.generator[:: s.views_per_head])
        features = generator.backbone(w)
        seed = int(torch.randint(2**31 - 1, (), generator=rng)) + self.accelerator.process_index
        c = generator.config
        side = raw_resolution(images_seen, s.raw_first or c.raw_resolution, c.raw_resolution, 0, int(s.raw_kimg * 1000))
        render = generator.synthesize(
            w, batch.cameras, side, seed if s.jitter else None, features=features, reference=self.reference
        )
        return w, features, render, condition.discriminator

    def _wrong(self, batch: Batch, rng: torch.Generator) -> tuple[Tensor | None, Tensor | None]:
        """Wrong cameras and wrong semantics for this process's real pictures, drawn from those of all processes."""
        s, gather = self.settings, self.accelerator.gather
        mine = slice(self.accelerator.process_index * len(batch), (self.accelerator.process_index + 1) * len(batch))
        cameras = semantics = None
        if s.vicico_view:
            cameras = mining.wrong_cameras(gather(batch.cameras), rng, s.wrong_view_angle)[mine]
        if s.vicico_condition and self.mode.uses_semantics:
            every, subject = gather(batch.semantics), gather(batch.subject)
            semantics = mining.wrong_semantics(every, subject, rng, s.wrong_condition_cosine)[mine]
        return cameras, semantics

    def _points(self, heads: int, rng: torch.Generator, half: float) -> tuple[Tensor, Tensor]:
        points = (self._drawn(torch.rand, heads, _POINTS, 3, rng=rng) * 2 - 1) * half
        distance = self.settings.density_distance * 2 * half / self.networks.generator.config.plane_side
        return points, self._drawn(torch.randn, heads, _POINTS, 3, rng=rng) * distance

    def _drawn(self, kind, count: int, *shape: int, rng: torch.Generator) -> Tensor:
        """This process's `count` rows of a draw for all processes."""
        first = self.accelerator.process_index * count
        drawn = kind(self.accelerator.num_processes * count, *shape, generator=rng)
        return drawn[first : first + count].to(self.accelerator.device)

    def _update(self, network: nn.Module, optimiser: torch.optim.Optimizer, loss: Tensor) -> Tensor:
        """One step on the mean gradient over processes, what is not finite in it replaced; returns its norm before."""
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        parameters = [p for p in network.parameters() if p.grad is not None]
        flat = torch.cat([p.grad.flatten() for p in parameters])
        if self.accelerator.num_processes > 1:
            flat = self.accelerator.reduce(flat, "mean")
        norm = flat.norm()
        flat = torch.nan_to_num(flat, nan=0.0, posinf=_HUGE, neginf=-_HUGE)
        for p, part in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
            p.grad = part.reshape(p.shape) if p.dim() != 4 else _like(part, p)
        optimiser.step()
        return norm


def _like(flat: Tensor, weight: Tensor) -> Tensor:
    """A flat gradient in the memory order of its weight."""
    return flat.reshape(weight.shape).contiguous(memory_format=torch.channels_last)


def _seed_of(seed: int, step: int) -> int:
    """A seed of its own for each step."""
    return int(np.random.SeedSequence((seed, step)).generate_state(1, np.uint64)[0] >> 1)
