"""The networks of a training, their gradients and their optimisers."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from semhead_lib.models.discriminator import Discriminator
from semhead_lib.models.generator import Generator
from semhead_lib.models.layers import compute
from semhead_lib.training.settings import TrainSettings

_BETAS = (0.0, 0.99)
_HUGE = 1e5  # gradients are cut off there


class Networks:
    """Generator, its moving average, discriminator, and their optimisers; equal settings and seed,
    equal weights."""

    def __init__(
        self, settings: TrainSettings, semantic_dimension: int, device: torch.device | str
    ) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            self.generator = Generator(settings.generator_config(semantic_dimension)).to(device)
            self.discriminator = Discriminator(
                settings.discriminator_config(semantic_dimension)
            ).to(device)
        self.average = copy.deepcopy(self.generator).requires_grad_(False).eval()
        precision = torch.bfloat16 if settings.precision == "bf16" else None
        for network in (self.generator, self.discriminator):
            compute(network, precision=precision, checkpoint=settings.checkpoint)
        compute(self.generator, polyphase=settings.polyphase)
        self.g_gradients = Gradients(self.generator, extra=1 + self.generator.config.w_dim)
        self.d_gradients = Gradients(self.discriminator, extra=1)
        self.g_optimiser = _adam(self.generator, settings.generator_lr)
        self.d_optimiser = _adam(self.discriminator, settings.discriminator_lr)
        self._pair: tuple[list[Tensor], list[Tensor]]
        self._pair = [*self.average.parameters()], [*self.generator.parameters()]

    @torch.no_grad()
    @torch.no_grad()
    def remove_condition(self) -> None:
        """From now on generators make the same of any condition."""
        for generator in (self.generator, self.average):
            mapping = generator.mapping
            if mapping.embed is not None:
                mapping.embed.weight.zero_()
            if mapping.prior is not None:
                mapping.prior.weight.zero_()

    def move_average(self, beta: float | Tensor) -> None:
        """average <- beta average + (1 - beta) generator; the mean style is copied, and nothing
        else changes."""
        average, generator = self._pair
        news = torch._foreach_mul(generator, 1 - beta)
        torch._foreach_mul_(average, beta)
        torch._foreach_add_(average, news)
        self.average.mapping.w_mean.copy_(self.generator.mapping.w_mean)


class Gradients:
    """All gradients of a network in one vector, of which each weight's `grad` is a part, in the
    weight's memory order.

    So they are set to 0, exchanged and checked in one go, micro-batches add up, and they stay where
    a captured graph expects them. At the end of the vector is room for `extra` numbers that are to
    be averaged over processes as well.
    """

    def __init__(self, network: nn.Module, extra: int) -> None:
        parameters = list(network.parameters())
        self._length = sum(p.numel() for p in parameters)
        self.vector = torch.zeros(self._length + extra, device=parameters[0].device)
        start = 0
        for p in parameters:
            p.grad = self.vector.as_strided(p.shape, p.stride(), start)
            start += p.numel()

    @property
    def extra(self) -> Tensor:
        """The numbers at the end."""
        return self.vector[self._length :]

    def zero(self) -> None:
        self.vector.zero_()

    @torch.no_grad()
    def exchange(self, extra: Tensor, processes: int) -> Tensor:
        """Replace all by the mean over processes, then what is not finite; returns the gradients'
        norm before that."""
        self.extra.copy_(extra)
        if processes > 1:
            torch.distributed.all_reduce(self.vector)
            self.vector.div_(processes)
        gradients = self.vector[: self._length]
        norm = gradients.norm()
        torch.nan_to_num_(gradients, nan=0.0, posinf=_HUGE, neginf=-_HUGE)
        return norm


def _adam(network: nn.Module, rate: float) -> torch.optim.Adam:
    capturable = next(network.parameters()).is_cuda  # in a CUDA graph
    return torch.optim.Adam(
        network.parameters(), lr=rate, betas=_BETAS, eps=1e-8, fused=True, capturable=capturable
    )
