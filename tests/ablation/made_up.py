"""Figures that were never measured, for tests of what is done with them."""

from pathlib import Path

from PIL import Image

from semhead_lib.evaluation.protocol import Figure, Protocol
from semhead_lib.evaluation.report import Evaluation

SCOPES = ("all", "-90", "0", "90", "180")
PROTOCOL = Protocol("made up", "toy", 48, 48, 48, 32, 0, "0" * 16, "none")
LEVEL = {"semantic": 1.0, "semantic+view": 1.2, "view": 1.5, "none": 2.0}


def figure(value: float, width: float = 0.02) -> Figure:
    return Figure(value, value - width / 2, value + width / 2, PROTOCOL)


def evaluation(mode: str, seed: int, check: int) -> Evaluation:
    """Distances fall with each check, and depend on the mode; the seed shifts them a little."""
    value = LEVEL[mode] / check + 0.01 * seed
    scopes = {scope: {"frechet": figure(value), "diversity": figure(1 / value)} for scope in SCOPES}
    scopes["all"] |= {"directional_bias": figure(value / 10), "modes": figure(1 / value)}
    scopes["all"] |= {"condition_recall_5": figure(0.5), "consistency_psnr": figure(30.0)}
    scopes["180"]["own_front_recall_5"] = figure(1 / (1 + value))
    real = {scope: {name: figure(0.1) for name in named} for scope, named in scopes.items()}
    return Evaluation(scopes, real)


def heads(path: Path) -> None:
    Image.new("RGB", (80, 60), "white").save(path)
