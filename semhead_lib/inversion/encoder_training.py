"""Training of a style encoder on generated images, whose styles are known."""

from __future__ import annotations

import io
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from semhead_lib.atomic import holds_out, write_atomically
from semhead_lib.cameras import orbit_cameras
from semhead_lib.conditioning.bank import ConditionBank
from semhead_lib.conditioning.sampling import sample_conditions
from semhead_lib.conditioning.semantic import SemanticEncoder
from semhead_lib.devices import keep_freed_memory, pick_device
from semhead_lib.files import read_state
from semhead_lib.inversion.encoder import FILE, EncoderConfig, StyleEncoder, anchor
from semhead_lib.inversion.settings import EncoderRecipe
from semhead_lib.inversion.start import other_styles
from semhead_lib.models.generator import Generator, folder_of

_STATE, _LOG = "state.pt", "log.jsonl"
_WARMUP, _DECAY = 100, 0.01  # steps; of weights
_HELD_OUT, _HELD_OUT_SEED = 128, 2**31  # heads that the log's error is measured on
_ELEVATIONS = (-12.0, 20.0)  # degrees


@dataclass(frozen=True)
class Pairs:
    """Images with the styles that made them."""

    images: Tensor  # [B, 3, S, S] in [-1, 1]
    cameras: Tensor  # [B, 25]
    conditions: Tensor | None  # [B, K] what the images mean: all that is known of a photograph
    w: Tensor  # [B, W]


@torch.no_grad()
def make_pairs(
    generator: Generator,
    bank: ConditionBank,
    clip: SemanticEncoder,
    recipe: EncoderRecipe,
    count: int,
    seed: int,
) -> Pairs:
    """Heads of one seed, from cameras near the front. The condition is the feature of the image,
    not the one that the head was generated with."""
    device, rng = generator.mapping.w_mean.device, torch.Generator().manual_seed(seed)
    uses = bank.mode.uses_semantics
    semantics = (
        sample_conditions(bank.features, count, recipe.strategy, seed=seed) if uses else None
    )
    condition = bank.mapping_condition(semantics, count)
    z = torch.randn(count, generator.config.z_dim, generator=rng).to(device)
    w = generator.mapping(z, None if condition is None else condition.to(device))
    azimuth = (torch.rand(count, generator=rng) * 2 - 1) * recipe.widest
    elevation = _ELEVATIONS[0] + torch.rand(count, generator=rng) * (
        _ELEVATIONS[1] - _ELEVATIONS[0]
    )
    cameras = orbit_cameras(azimuth, elevation).to(device)
    images = generator.synthesize(w, cameras).image.clamp(-1, 1)
    meant = bank.mapping_condition(clip.encode(images).cpu() if uses else None, count)
    return Pairs(images, cameras, None if meant is None else meant.to(device), w)


def error(encoder: StyleEncoder, generator: Generator, pairs: Pairs) -> Tensor:
    """Mean squared difference of styles, in units of their spread: [].

    The generator's mean style under the condition has an error of about 1.
    """
    found = encoder.style(generator, pairs.images, pairs.cameras, pairs.conditions)
    return ((found - pairs.w) / encoder.spread).square().mean()


@holds_out
def train_encoder(
    model: str | Path,
    out: Path | str,
    recipe: EncoderRecipe,
    *,
    clip: SemanticEncoder,
    device: str = "auto",
    progress: bool = True,
) -> Path:
    """Train, or resume; returns the encoder's file. Raises ValueError if `out` was begun by another
    command."""
    device = pick_device(device)
    if device == "cpu":
        keep_freed_memory()
    generator = Generator.load(model, device).requires_grad_(False)
    bank = ConditionBank.load(folder_of(model))
    bank.check_encoder(str(clip.identity), f"generator {model}")
    c = generator.config
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        encoder = StyleEncoder(EncoderConfig(c.resolution, c.condition_dim, c.w_dim)).to(device)
    encoder.spread.copy_(other_styles(generator, bank, 512, recipe.seed).std(0))
    optimiser = torch.optim.AdamW(encoder.parameters(), lr=recipe.lr, weight_decay=_DECAY)
    out, first, log = Path(out), 0, []
    about = {"model": c.name, "recipe": asdict(recipe)}
    if (out / _STATE).is_file():
        state = read_state(out / _STATE)
        if state["about"] != json.dumps(about):
            raise ValueError(
                f"{out} was begun by another command: {state['about']}, now {json.dumps(about)}"
            )
        encoder.load_state_dict(state["encoder"])
        optimiser.load_state_dict(state["optimiser"])
        first, log = state["step"], state["log"]
    out.mkdir(parents=True, exist_ok=True)
    held_out = make_pairs(generator, bank, clip, recipe, _HELD_OUT, _HELD_OUT_SEED)

    def keep(step: int) -> None:
        with torch.no_grad():
            metric = float(error(encoder, generator, held_out))
            mean = float(
                ((anchor(generator, held_out.conditions, _HELD_OUT) - held_out.w) / encoder.spread)
                .square()
                .mean()
            )
        log.append(
            {"step": step, "error": round(metric, 5), "of_the_condition_alone": round(mean, 5)}
        )
        state = {
            "about": json.dumps(about),
            "encoder": encoder.state_dict(),
            "optimiser": optimiser.state_dict(),
        }
        data = io.BytesIO()
        torch.save(state | {"step": step, "log": log}, data)
        write_atomically(out / _STATE, data.getvalue())
        write_atomically(out / _LOG, "".join(json.dumps(row) + "\n" for row in log).encode())
        encoder.save(out)

    with tqdm(total=recipe.steps, initial=first, unit="step", disable=not progress) as bar:
        for step in range(first, recipe.steps):
            fall = 0.5 + 0.5 * math.cos(math.pi * step / recipe.steps)
            optimiser.param_groups[0]["lr"] = recipe.lr * min(1.0, (step + 1) / _WARMUP) * fall
            pairs = make_pairs(
                generator, bank, clip, recipe, recipe.batch, recipe.seed * 1_000_003 + step
            )
            loss = error(encoder, generator, pairs)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            bar.update()
            if (step + 1) % recipe.snapshot_every == 0 or step + 1 == recipe.steps:
                keep(step + 1)
                bar.set_postfix_str(
                    f"error {log[-1]['error']:.3f}, condition alone "
                    f"{log[-1]['of_the_condition_alone']:.3f}"
                )
    return out / FILE
