"""Inversion with one generator: from photographs to a fitted head."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from semhead_lib.cameras import orbit_angles
from semhead_lib.conditioning.bank import ConditionBank
from semhead_lib.conditioning.semantic import EMBEDDED, SemanticEncoder
from semhead_lib.devices import keep_freed_memory, pick_device
from semhead_lib.inversion import start
from semhead_lib.inversion.encoder import StyleEncoder
from semhead_lib.inversion.losses import Objective, Weights
from semhead_lib.inversion.optimise import search_style
from semhead_lib.inversion.pivotal import tune
from semhead_lib.inversion.plane_tuning import tune_planes
from semhead_lib.inversion.search import Inverted
from semhead_lib.inversion.settings import InversionSettings, InverterSettings
from semhead_lib.inversion.targets import Target
from semhead_lib.models.generator import Generator, folder_of

_OTHERS = 512  # heads that the styles' spread is measured on


@dataclass(frozen=True)
class Initialisation:
    """Where an inversion starts."""

    objective: Objective
    condition: Tensor | None  # [1, K] what the generator was conditioned on
    w: Tensor  # [1, W]


class Inverter:
    """Inverts one generator. Raises as `Generator.load` and `SemanticEncoder.load` do, and
    ValueError for another encoder than the generator was trained with, or a start that is not
    available."""

    def __init__(
        self,
        model: str | Path,
        settings: InversionSettings | None = None,
        *,
        start_at: str = InverterSettings.start,  # one of start.STARTS
        candidates: int = InverterSettings.candidates,  # styles that the best is taken of
        front: str = InverterSettings.front,  # one of start.FRONTS
        weights: Weights | None = None,
        perceptual: str = InverterSettings.perceptual,
        encoder: SemanticEncoder | None = None,
        attention: str = InverterSettings.attention,
        device: str = "auto",
    ) -> None:
        self.device = pick_device(device)
        if self.device == "cpu":
            keep_freed_memory()
        self.folder = folder_of(model)
        self.generator = Generator.load(model, self.device).requires_grad_(False)
        self.bank = ConditionBank.load(self.folder)
        self.encoder = encoder or SemanticEncoder.load(EMBEDDED, device=self.device)
        self.bank.check_encoder(str(self.encoder.identity), f"generator {model}")
        if start_at not in start.STARTS:
            raise ValueError(f"start must be one of {', '.join(start.STARTS)}, got {start_at!r}")
        if front not in start.FRONTS:
            raise ValueError(f"front must be one of {', '.join(start.FRONTS)}, got {front!r}")
        self.start_at, self.candidates, self.front = start_at, candidates, front
        self.settings, self.weights, self.perceptual = (
            settings or InversionSettings(),
            weights,
            perceptual,
        )
        self.style_encoder = (
            StyleEncoder.load(self.folder, attention, self.device)
            if start_at == "encoder"
            else None
        )
        self.others = start.other_styles(self.generator, self.bank, _OTHERS, self.settings.seed)

    def begin(self, target: Target) -> Initialisation:
        """The condition of the photographs, and the initial style."""
        objective = Objective(target.to(self.device), self.encoder, self.weights, self.perceptual)
        azimuth = float(orbit_angles(target.cameras[:1].cpu())[0, 0])
        condition = start.condition_of(self.bank, objective, azimuth, self.front)
        if self.start_at == "mean":
            return Initialisation(objective, condition, start.mean_style(self.generator, condition))
        if self.style_encoder is not None:
            return Initialisation(
                objective,
                condition,
                start.encoded(self.generator, self.style_encoder, objective, condition),
            )
        styles = start.candidates(
            self.generator, condition, self.candidates, seed=self.settings.seed
        )
        return Initialisation(
            objective, condition, start.best_of(self.generator, objective, styles)[0]
        )

    def search(
        self, initialisation: Initialisation, *, progress: bool = False, reference: bool = False
    ) -> Inverted:
        """Optimise the style and the cameras."""
        return search_style(
            self.generator,
            initialisation.objective,
            initialisation.w,
            self.others,
            self.settings,
            progress=progress,
            reference=reference,
        )

    def tune(
        self,
        fitted: Inverted,
        initialisation: Initialisation,
        *,
        progress: bool = False,
        reference: bool = False,
    ) -> Inverted:
        """The generator tuned to the photographs at the style found; unchanged if there are no
        tuning steps, or the search was interrupted."""
        if not self.settings.tuning_steps or fitted.style.stopped == "interrupted":
            return fitted
        how = dict(progress=progress, reference=reference)
        if self.settings.tuned == "planes":
            return tune_planes(fitted, initialisation.objective, self.others, self.settings, **how)
        return tune(fitted, initialisation.objective, self.others, self.settings, **how)

    def __call__(
        self, target: Target, *, progress: bool = False
    ) -> tuple[Inverted, Initialisation]:
        """Begin, search, tune. Ctrl-C ends with the best result so far."""
        initialisation = self.begin(target)
        return self.tune(
            self.search(initialisation, progress=progress), initialisation, progress=progress
        ), initialisation
