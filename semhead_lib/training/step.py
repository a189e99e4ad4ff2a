"""One step of the training: how a batch changes the networks."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import Tensor

from semhead_lib.conditioning.modes import ConditionMode
from semhead_lib.data.dataset.batches import to_model_range, to_unit_range
from semhead_lib.data.subjects import Batch
from semhead_lib.models.discriminator import DiscriminatorInput
from semhead_lib.models.generator import Render
from semhead_lib.models.layers import equalised
from semhead_lib.training import losses
from semhead_lib.training.ahead import Ahead
from semhead_lib.training.draws import Draws
from semhead_lib.training.graphs import CudaBackend, Graphs, Result
from semhead_lib.training.inputs import Inputs, Prepared, Variant
from semhead_lib.training.networks import Networks
from semhead_lib.training.settings import TrainSettings

__all__ = ["Networks", "Step"]


@dataclass(frozen=True)
class Generated:
    """New heads, and their images as the discriminator sees them."""

    w: Tensor  # [H, W]
    features: Tensor  # [H, map_channels, map_side, map_side] feature maps
    render: Render
    seen: DiscriminatorInput


class Step:
    """What is done with one batch.

    Random numbers and the values of schedules are made on the CPU ahead of it (`Draws`) and come in
    one buffer. The step itself never waits for the device: nothing that it launches depends on a
    number that was computed there.
    """

    def __init__(
        self,
        settings: TrainSettings,
        networks: Networks,
        mode: ConditionMode,
        accelerator: Accelerator,
    ) -> None:
        settings = self.settings = settings.resolved(accelerator.num_processes)
        self.networks, self.mode = networks, mode
        self.device, self.processes = accelerator.device, accelerator.num_processes
        self.reference = False  # render with the reference implementation, to compare
        self.draws = Draws(
            settings,
            mode,
            networks.generator.config,
            networks.discriminator.config,
            accelerator.process_index,
            self.processes,
        )
        self._eager = self._obstacle()
        self.graphs = None if self._eager else Graphs(CudaBackend(self.device))
        if self.device.type == "cuda":
            if settings.graphs and self._eager:
                warnings.warn(f"training without CUDA graphs: {self._eager}", stacklevel=2)
            for optimiser in (networks.g_optimiser, networks.d_optimiser):
                for group in optimiser.param_groups:  # a snapshot may be of a training on a CPU
                    group["capturable"] = True

    @property
    def eager(self) -> str | None:
        """Why steps are not run as CUDA graphs; None: they are."""
        return self.graphs.failure if self.graphs is not None else self._eager

    def prepare(self, step: int, batch: Batch) -> Prepared:
        """All that a step needs of a batch on the CPU, drawn and taken to the device."""
        return Prepared.of(step, *self.draws(step, batch), self.device)

    def ahead(self, batches: Iterator[Batch], start: int) -> Ahead:
        """Prepared batches number `start`, `start` + 1, ..., made by a thread while steps run."""
        return Ahead(self.draws, batches, start, self.device)

    def __call__(self, step: int, batch: Batch | Prepared) -> dict[str, Tensor]:
        """Train on real images; returns what is worth a line in the log, as tensors [] on the
        device.

        `finite` is 1 where the losses of both networks are finite in all processes, and else 0.
        Raises ValueError for a batch that was prepared for another step.
        """
        prepared = batch if isinstance(batch, Prepared) else self.prepare(step, batch)
        if prepared.step != step:
            raise ValueError(
                f"the batch was prepared for step {prepared.step}, this is step {step}"
            )
        variant, packing = prepared.variant, prepared.packing

        def run(buffer: Tensor) -> Result:
            return self._run(variant, Inputs(**packing.read(buffer)))

        if self.graphs is None:
            result = run(prepared.buffer)
        else:
            blur = (entry[:3] for entry in packing.entries if entry.name.endswith("_taps"))
            era = (variant.side, self.reference, *blur)
            result = self.graphs(era, (variant, packing), run, prepared.buffer)
        return dict(zip(result.names, result.values.unbind(), strict=True))

    def _obstacle(self) -> str | None:
        if not self.settings.graphs:
            return "graphs=false"
        if self.device.type != "cuda":
            return f"the device is {self.device.type}, and graphs are CUDA's"
        if self.processes > 1:
            return f"{self.processes} processes exchange gradients within a step"
        return None

    def _run(self, variant: Variant, inputs: Inputs) -> Result:
        """The discriminator learns from real images and generated ones, then the generator from
        what the discriminator thinks of the latter by then. A batch in one piece is generated once
        for both, micro-batches once for each: to keep them all for the backward pass is what they
        are to avoid.
        """
        nets, parts = self.networks, inputs.split(self.settings.accumulate)
        log: dict[str, list[Tensor]] = defaultdict(list)
        with equalised(nets.generator):
            made = self._generate(parts[0], variant.side) if len(parts) == 1 else None

            nets.discriminator.requires_grad_(True)
            nets.d_gradients.zero()
            for part in parts:
                with torch.set_grad_enabled(made is not None):
                    drawn = made or self._generate(part, variant.side)
                with equalised(nets.discriminator):
                    loss = self._discriminate(part, drawn.seen.detach(), variant, log)
                    (loss / len(parts)).backward()
                log["whole_d"].append(loss)
            log["grad_d"].append(
                nets.d_gradients.exchange(_mean(log["whole_d"])[None], self.processes)
            )
            nets.d_optimiser.step()

            nets.discriminator.requires_grad_(False)
            nets.g_gradients.zero()
            for part in parts:
                with (
                    nullcontext() if made else equalised(nets.generator),
                    equalised(nets.discriminator),
                ):
                    drawn = made or self._generate(part, variant.side)
                    loss = self._convince(part, drawn, variant.side, log)
                    (loss / len(parts)).backward()
                log["whole_g"].append(loss)
                log["w"].append(drawn.w.mean(0))
        extra = torch.cat([_mean(log["whole_g"])[None], _mean(log.pop("w"))])
        log["grad_g"].append(nets.g_gradients.exchange(extra, self.processes))
        if variant.convinces:
            nets.g_optimiser.step()
            nets.generator.mapping.track(nets.g_gradients.extra[None, 1:])
            nets.move_average(inputs.beta)
        log["finite"].append((nets.d_gradients.extra[0] + nets.g_gradients.extra[0]).isfinite())
        del log["whole_d"], log["whole_g"]
        return Result(tuple(log), torch.stack([_mean(values).float() for values in log.values()]))

    def _generate(self, part: Inputs, side: int) -> Generated:
        """New heads, under the cameras and semantics of the real ones, rendered with `side`
        pixels."""
        nets = self.networks
        w = nets.generator.mapping(part.z, part.mapping)
        features = nets.generator.backbone(w)
        seed = None if part.seed is None else part.seed.reshape(())
        render = nets.generator.synthesize(
            w,
            part.cameras,
            side,
            seed,
            features=features,
            reference=self.reference,
            windows=part.windows,
        )
        seen = losses.discriminator_input(
            nets.discriminator, render.image, render.mask, render.image_raw, part.blur
        )
        return Generated(w, features, render, seen)

    def _discriminate(
        self,
        part: Inputs,
        drawn: DiscriminatorInput,
        variant: Variant,
        log: dict[str, list[Tensor]],
    ) -> Tensor:
        """The discriminator's loss. Its trunk sees real and generated images in one pass, except
        where R1 needs the gradients of the real ones."""
        s, discriminator = self.settings, self.networks.discriminator
        masks = None if part.masks is None else to_unit_range(part.masks)
        real = losses.discriminator_input(
            discriminator, to_model_range(part.images), masks, None, part.blur, variant.side
        )
        if variant.r1:
            real = real.detach().requires_grad_()
            drawn = drawn.detach().requires_grad_() if s.r2_gamma else drawn
            real_features, fake_features = (discriminator.features(seen) for seen in (real, drawn))
        else:
            real_features, fake_features = discriminator.features(
                real.and_then(drawn), sets=2
            ).chunk(2)
        real_logits = discriminator.logits(real_features, part.real)
        fake_logits = discriminator.logits(fake_features, part.generated)
        against = real_logits if s.loss == "relativistic" else None
        wrong = losses.vicico(
            discriminator,
            real_features,
            part.real,
            part.wrong_cameras,
            part.wrong_semantics,
            part.wrong_joint,
            against,
        )
        loss_d = self._tells_apart(real_logits, fake_logits)
        loss = loss_d + s.vicico_view * wrong.view + s.vicico_condition * wrong.condition
        loss = loss + s.vicico_joint * wrong.joint
        found = dict(loss_d=loss_d, real=real_logits.mean(), fake=fake_logits.mean())
        real_all, fake_all = real_logits, fake_logits  # what R1 and R2 look at
        if s.local_weight:
            local = [
                discriminator.local_logits(features) for features in (real_features, fake_features)
            ]
            found["local_d"] = self._tells_apart(*local)
            loss = loss + s.local_weight * found["local_d"]
            real_all, fake_all = (
                x + s.local_weight * y.mean(1)
                for x, y in zip((real_all, fake_all), local, strict=True)
            )
        if variant.r1:
            for name, gamma, seen, logits in (
                ("r1", s.r1_gamma, real, real_all),
                ("r2", s.r2_gamma, drawn, fake_all),
            ):
                if gamma:
                    penalty = losses.r1_penalty(seen, logits)
                    log[name].append(penalty)
                    loss = loss + gamma * s.r1_interval * penalty
        found |= dict(wrong_view=wrong.view, wrong_condition=wrong.condition)
        if s.vicico_joint:
            found["wrong_joint"] = wrong.joint
        for name, value in found.items():
            log[name].append(value)
        return loss

    def _tells_apart(self, real: Tensor, fake: Tensor) -> Tensor:
        """The discriminator's loss of logits."""
        if self.settings.loss == "relativistic":
            return losses.relativistic_loss(real, fake)
        return losses.discriminator_loss(real, fake)

    def _convince(
        self, part: Inputs, drawn: Generated, side: int, log: dict[str, list[Tensor]]
    ) -> Tensor:
        """The generator's loss."""
        s, nets = self.settings, self.networks
        discriminator = nets.discriminator
        features = discriminator.features(drawn.seen)
        logits = [discriminator.logits(features, part.generated)]
        if s.local_weight:
            logits.append(discriminator.local_logits(features))
        if s.loss == "relativistic":
            with torch.no_grad():
                masks = None if part.masks is None else to_unit_range(part.masks)
                real = losses.discriminator_input(
                    discriminator, to_model_range(part.images), masks, None, part.blur, side
                )
                features = discriminator.features(real)
                against = [discriminator.logits(features, part.real)]
                if s.local_weight:
                    against.append(discriminator.local_logits(features))
            terms = [losses.relativistic_loss(x, y) for x, y in zip(logits, against, strict=True)]
        else:
            terms = [losses.generator_loss(x) for x in logits]
        loss = terms[0]
        log["loss_g"].append(loss)
        if s.local_weight:
            log["local_g"].append(terms[1])
            loss = loss + s.local_weight * terms[1]
        if part.points is not None and part.offsets is not None:
            places = self._points(part.points, part.offsets)
            density = losses.density_regularisation(nets.generator, drawn.features, *places)
            log["density"].append(density)
            loss = loss + s.density_weight * s.density_interval * density
        log["opacity"].append(drawn.render.opacity.mean())
        return loss

    def _points(self, points: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
        """Points in the world and how far their neighbours are from them."""
        generator = self.networks.generator
        box = generator.renderer.settings.box
        distance = self.settings.density_distance * 2 * max(box.half) / generator.config.plane_side
        return box.world(points), offsets * distance


def _mean(values: list[Tensor]) -> Tensor:
    """Of what micro-batches found."""
    values = [value.detach() for value in values]
    return values[0] if len(values) == 1 else torch.stack(values).mean(0)
