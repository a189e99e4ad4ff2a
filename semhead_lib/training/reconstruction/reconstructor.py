"""Encoder and generator that learn together, and what both are wrong by."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save
from torch import Tensor

from semhead_lib.atomic import write_atomically
from semhead_lib.devices import moved
from semhead_lib.files import read_tensors
from semhead_lib.models.encoder import AttributeEncoder, ImageEncoder
from semhead_lib.models.generator import Generator, Render, packed
from semhead_lib.models.layers import EqualLinear, equalised
from semhead_lib.training.reconstruction.adversary import Adversary
from semhead_lib.training.reconstruction.batches import Sample
from semhead_lib.training.reconstruction.losses import detail, divergence, of_points
from semhead_lib.training.reconstruction.settings import ReconstructionSettings
from semhead_lib.training.schedules import ema_beta

ENCODER, ATTRIBUTE_ENCODER = "encoder.safetensors", "attribute_encoder.safetensors"
SHARED_MAPS = ".places"  # parameters of `StyleLayer` that all heads share
BLEND = ".blend."  # parameters of its `BlendMaps`, which begin at zero
CLASSES = 256  # that a label may name
_BETAS = (0.5, 0.99)
_CLIP = 10.0  # norm of the gradient, at most


class Reconstructor:
    """Encoder and generator, and a step of both. The generator may be one that is trained otherwise
    as well."""

    def __init__(
        self,
        settings: ReconstructionSettings,
        semantic_dimension: int,
        device: torch.device | str,
        generator: Generator | None = None,  # None: a new one
        attributes: Tensor | None = None,  # [N, K] of the data's subjects, with encode=attributes
    ) -> None:
        s = self.settings = settings
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(s.seed)
            new = generator is None
            config = s.adversarial.generator_config(semantic_dimension)
            self.generator = Generator(config).to(device) if generator is None else generator
            if attributes is None:
                encoder = ImageEncoder(config.resolution, config.z_dim)
            else:
                encoder = AttributeEncoder(attributes.shape[1], config.z_dim)
                encoder.standardise_by(attributes)
            self.encoder = encoder.to(device)
            self.classes = (
                EqualLinear(config.hidden, CLASSES).to(device)
                if s.class_weight and s.pixels
                else None
            )
            self.adversary = (
                Adversary(s, semantic_dimension, device) if s.adversarial_weight else None
            )
        self.average = copy.deepcopy(self.generator).requires_grad_(False).eval() if new else None
        maps = [p for name, p in self.generator.named_parameters() if name.endswith(SHARED_MAPS)]
        others = [
            p for name, p in self.generator.named_parameters() if not name.endswith(SHARED_MAPS)
        ]
        classes = [*self.classes.parameters()] if self.classes else []
        for p in maps:
            p.requires_grad_(s.maps_lr > 0)
        groups = [
            (others, s.lr),
            ([*self.encoder.parameters()], s.encoder_lr),
            (classes, s.lr),
            (maps if s.maps_lr else [], s.lr * s.maps_lr),
        ]
        self.highest = [lr for of, lr in groups if of]
        self.optimiser = torch.optim.Adam(
            [{"params": of, "lr": lr} for of, lr in groups if of], betas=_BETAS, fused=True
        )

    def terms(self, sample: Sample, step: int) -> tuple[dict[str, Tensor], Render]:
        """All that is wrong with the reconstructions of a sample, and these."""
        s, generator = self.settings, self.generator
        rng = torch.Generator().manual_seed(s.seed * 1_000_003 + step)
        mean, log_variance = self.encoder(sample.encoded)
        noise = moved(torch.randn(mean.shape, generator=rng), mean.device)
        w = generator.mapping(mean + noise * (log_variance / 2).exp(), sample.semantics)
        generator.mapping.track(w.detach())
        features = generator.backbone(w)
        side = s.crop or generator.config.raw_resolution
        seen = generator.synthesize(
            w, sample.cameras, side, step, features=features, windows=sample.windows
        )
        at_points = {}
        if sample.rays is not None:
            at_points = of_points(generator, features, sample.rays, rng, self.classes)
        difference = seen.image - sample.images
        wrong = {
            "image": (difference.abs() * sample.importance).mean(),
            "detail": (detail(difference).abs() * sample.importance).mean(),
            "mask": (seen.opacity - sample.masks).abs().mean(),
            **at_points,
            "kl": divergence(mean, log_variance),
        }
        return wrong, seen

    def _drawn(self, sample: Sample, step: int) -> Render:
        """Heads of drawn latents under the semantics and cameras of a sample."""
        rng = torch.Generator().manual_seed(self.settings.seed * 1_000_003 + step + 500_009)
        shape = (len(sample.encoded), self.generator.config.z_dim)
        z = moved(torch.randn(shape, generator=rng), sample.encoded.device)
        w = self.generator.mapping(z, sample.semantics)
        side = self.settings.crop or self.generator.config.raw_resolution
        return self.generator.synthesize(w, sample.cameras, side, step, windows=sample.windows)

    def step(self, sample: Sample, step: int) -> dict[str, Tensor]:
        """Learn from a sample; returns the terms."""
        s = self.settings
        for group, lr in zip(self.optimiser.param_groups, self.highest, strict=True):
            group["lr"] = lr * s.share(step)
        weights = {
            "image": 1.0,
            "detail": s.detail_weight,
            "mask": s.mask_weight,
            "density": s.density_weight,
            "colour": s.colour_weight,
            "class": s.class_weight,
            "kl": s.kl_weight,
            "adversarial": s.adversarial_weight,
            "matching": s.matching_weight,
        }
        with equalised(self.generator):
            found, reconstructed = self.terms(sample, step)
            log = {}
            if self.adversary is not None:
                made = [reconstructed, self._drawn(sample, step)]
                log = self.adversary.learn(sample, made, step)
                if step >= s.discriminator_first:
                    found |= self.adversary.generator_losses(sample, made)
            first, *others = (weights[name] * term for name, term in found.items())
            loss = sum(others, start=first)
            self.optimiser.zero_grad(
                set_to_none=False
            )  # gradients stay where they are: another step may share them
            loss.backward()
        both = (*self.generator.parameters(), *self.encoder.parameters())
        everything = [p for p in both if p.requires_grad]
        norm = torch.nn.utils.clip_grad_norm_(everything, _CLIP)
        self.optimiser.step()
        if self.average is not None:
            self._move_average(self.average, step)
        return (
            {"loss": loss.detach()}
            | {k: v.detach() for k, v in found.items()}
            | log
            | {"gradient": norm}
        )

    def _move_average(self, average: Generator, step: int) -> None:
        s = self.settings
        beta = ema_beta(step * s.batch, s.batch, int(s.ema_kimg * 1000), ramp_up=0.1)
        with torch.no_grad():
            torch._foreach_lerp_(
                list(average.parameters()), list(self.generator.parameters()), 1 - beta
            )
            average.mapping.w_mean.copy_(self.generator.mapping.w_mean)

    def begin_with(self, folder: Path) -> None:
        """Take over the generator of a folder, unless it is one that is trained otherwise, and its
        encoder, if there. It may lack the blend maps that these settings ask for.

        Raises FileNotFoundError when there is no generator, ValueError when they are of other
        shapes.
        """
        try:
            if self.average is not None:
                state = Generator.load(folder).state_dict()
                state = {
                    name: tensor
                    for name, tensor in self.generator.state_dict().items()
                    if BLEND in name
                } | state
                self.generator.load_state_dict(state)
                self.average.load_state_dict(state)
            if (path := folder / encoder_file(self.encoder)).is_file():
                state = {name: tensor.float() for name, tensor in read_tensors(path).items()}
                self.encoder.load_state_dict(state)
            if self.adversary is not None:
                self.adversary.begin_with(folder)
        except (RuntimeError, SafetensorError) as error:
            reason = str(error).splitlines()[0]
            raise ValueError(
                f"init={folder}: its networks are not those of these settings: {reason}"
            ) from error

    def state(self) -> dict[str, Any]:
        return {name: getattr(self, name).state_dict() for name in self._parts}

    def restore(self, state: dict[str, Any]) -> None:
        for name in self._parts:
            getattr(self, name).load_state_dict(state[name])

    @property
    def _parts(self) -> tuple[str, ...]:
        own = (
            "encoder",
            "optimiser",
            *(name for name in ("classes", "adversary") if getattr(self, name) is not None),
        )
        return own if self.average is None else ("generator", "average", *own)


def encoder_file(encoder: ImageEncoder | AttributeEncoder) -> str:
    """Its name in a generator's folder."""
    return ENCODER if isinstance(encoder, ImageEncoder) else ATTRIBUTE_ENCODER


def save_encoder(encoder: ImageEncoder | AttributeEncoder, folder: Path) -> None:
    """Write it into a generator's folder, in half precision."""
    write_atomically(folder / encoder_file(encoder), save(packed(encoder, half=True)))
