"""Encoder and generator that learn together, and what both are wrong by."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save
from torch import Tensor
from torch.nn import functional

from semhead_lib.atomic import write_atomically
from semhead_lib.files import read_tensors
from semhead_lib.models.encoder import AttributeEncoder, ImageEncoder
from semhead_lib.models.generator import Generator, Render
from semhead_lib.models.layers import EqualLinear, equalised
from semhead_lib.training.graphs import CudaBackend, Graphs, Result
from semhead_lib.training.reconstruction.adversary import Adversary, load_optimiser
from semhead_lib.training.reconstruction.draws import Draws, Variant, as_buffer, from_buffer
from semhead_lib.training.reconstruction.losses import detail, divergence, of_points
from semhead_lib.training.reconstruction.samples import Sample
from semhead_lib.training.reconstruction.settings import ReconstructionSettings
from semhead_lib.weights import packed

ENCODER, ATTRIBUTE_ENCODER = "encoder.safetensors", "attribute_encoder.safetensors"
SHARED_MAPS = ".places"  # parameters of `StyleLayer` that all heads share
BLEND = ".blend."  # parameters of its `BlendMaps`, which begin at zero
PRIOR = "mapping.prior."  # of `LatentPrior`, which begins as the identity
CLASSES = 256  # that a label may name
_BETAS = (0.5, 0.99)
_CLIP = 10.0  # norm of the gradient, at most
_PART = 256  # subjects that are encoded at a time


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
        on_gpu = torch.device(device).type == "cuda"
        self.optimiser = torch.optim.Adam(  # rates that change within a captured graph are tensors
            [
                {"params": of, "lr": torch.tensor(lr, device=device) if on_gpu else lr}
                for of, lr in groups
                if of
            ],
            betas=_BETAS,
            fused=True,
            capturable=on_gpu,
        )
        self.graphs = None
        if on_gpu and s.graphs and new:
            self.graphs = Graphs(CudaBackend(torch.device(device)))

    def draws(self, sample: Sample, step: int) -> Draws:
        """The random numbers of a step on a sample."""
        return Draws.of(self.settings, sample, self.generator.config.z_dim, step)

    def terms(self, sample: Sample, draws: Draws) -> tuple[dict[str, Tensor], Render]:
        """All that is wrong with the reconstructions of a sample, and these."""
        s, generator = self.settings, self.generator
        mean, log_variance = self.encoder(sample.encoded)
        z = mean + draws.noise * (log_variance / 2).exp()
        w = generator.mapping(z, sample.semantics, encoded=True)
        generator.mapping.track(w.detach())
        features = generator.backbone(w)
        side = s.crop or generator.config.raw_resolution
        seen = generator.synthesize(
            w, sample.cameras, side, draws.seed, features=features, windows=sample.windows
        )
        at_points = {}
        if sample.rays is not None and draws.points is not None:
            at_points = of_points(generator, features, sample.rays, draws.points, self.classes)
        difference, mask = seen.image - sample.images, seen.mask
        if mask.shape != sample.masks.shape:  # as rendered, before super-resolution
            mask = functional.interpolate(mask, size=sample.masks.shape[-1], mode="bilinear")
        wrong = {
            "image": (difference.abs() * sample.importance).mean(),
            "detail": (detail(difference).abs() * sample.importance).mean(),
            "mask": (mask - sample.masks).abs().mean(),
            **at_points,
            "kl": divergence(mean, log_variance),
        }
        return wrong, seen

    def _drawn(self, sample: Sample, draws: Draws) -> Render:
        """Heads of drawn latents under the semantics and cameras of a sample."""
        w = self.generator.mapping(draws.z, sample.semantics)
        side = self.settings.crop or self.generator.config.raw_resolution
        return self.generator.synthesize(
            w, sample.cameras, side, draws.seed, windows=sample.windows
        )

    def step(self, sample: Sample, step: int) -> dict[str, Tensor]:
        """Learn from a sample; returns the terms."""
        draws = self.draws(sample, step)
        variant = Variant(
            self.adversary is not None and self.adversary.penalises(step),
            self.adversary is not None and step >= self.settings.discriminator_first,
        )
        if self.graphs is None:
            result = self._run(variant, sample, draws)
        else:
            packing, buffer = as_buffer(sample, draws)

            def run(buffer: Tensor) -> Result:
                return self._run(variant, *from_buffer(packing, buffer))

            result = self.graphs(None, (variant, packing), run, buffer)
        return dict(zip(result.names, result.values.unbind(), strict=True))

    def _run(self, variant: Variant, sample: Sample, draws: Draws) -> Result:
        s = self.settings
        for group, highest in zip(self.optimiser.param_groups, self.highest, strict=True):
            if isinstance(group["lr"], Tensor):
                group["lr"].copy_(draws.share * highest)
            else:
                group["lr"] = highest * draws.share.item()
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
            found, reconstructed = self.terms(sample, draws)
            log = {}
            if self.adversary is not None:
                made = [reconstructed]
                if s.judge_drawn:
                    made.append(self._drawn(sample, draws))
                log = self.adversary.learn(sample, made, variant.penalised)
                if variant.convinces:
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
            self._move_average(self.average, draws.beta)
        found = {"loss": loss} | found | log | {"gradient": norm}
        return Result(tuple(found), torch.stack([x.detach().float() for x in found.values()]))

    def _move_average(self, average: Generator, beta: Tensor) -> None:
        with torch.no_grad():
            mine: list[Tensor] = [*average.parameters()]
            theirs: list[Tensor] = [*self.generator.parameters()]
            news = torch._foreach_mul(theirs, 1 - beta)
            torch._foreach_mul_(mine, beta)
            torch._foreach_add_(mine, news)
            average.mapping.w_mean.copy_(self.generator.mapping.w_mean)

    @torch.no_grad()
    def fit_prior(self, encoded: Tensor, semantics: Tensor) -> None:  # [N, ...], [N, D]
        """Estimate which latents subjects have, from those that are encoded here: images in
        [-1, 1], or attributes. Nothing is done for a generator without a `LatentPrior`."""
        if self.generator.mapping.prior is None:
            return
        device = self.generator.mapping.w_mean.device
        found = [self.encoder(part.to(device)) for part in encoded.split(_PART)]
        means, log_variances = (torch.cat(x) for x in zip(*found, strict=True))
        for generator in (self.generator, self.average):
            if generator is not None and generator.mapping.prior is not None:
                generator.mapping.prior.fit(means, log_variances, semantics.to(device))

    def begin_with(self, folder: Path) -> None:
        """Take over the generator of a folder, unless it is one that is trained otherwise, and its
        encoder, if there. It may lack the blend maps and the prior that these settings ask for.

        Raises FileNotFoundError when there is no generator, ValueError when they are of other
        shapes.
        """
        try:
            if self.average is not None:
                state = Generator.load(folder).state_dict()
                state = {
                    name: tensor
                    for name, tensor in self.generator.state_dict().items()
                    if BLEND in name or name.startswith(PRIOR)
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
            if name == "optimiser":
                load_optimiser(self.optimiser, state[name])
            else:
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
