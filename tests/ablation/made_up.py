"""Metrics that were never measured, for tests of what is done with them."""

from pathlib import Path

from PIL import Image

from semhead_lib.evaluation.protocol import Metric, Protocol
from semhead_lib.evaluation.report import Evaluation

SCOPES = ("all", "-90", "0", "90", "180")
PROTOCOL = Protocol("made up", "toy", 48, 48, 48, 32, 0, "0" * 16, "none")
LEVEL = {"semantic": 1.0, "semantic+view": 1.2, "view": 1.5, "none": 2.0}


def metric(value: float, width: float = 0.02) -> Metric:
    return Metric(value, value - width / 2, value + width / 2, PROTOCOL)


def evaluation(mode: str, seed: int, check: int) -> Evaluation:
    """Distances fall with each check, and depend on the mode; the seed shifts them a little."""
    value = LEVEL[mode] / check + 0.01 * seed
    scopes = {scope: {"frechet": metric(value), "diversity": metric(1 / value)} for scope in SCOPES}
    scopes["all"] |= {"directional_bias": metric(value / 10), "mode_coverage": metric(1 / value)}
    scopes["all"] |= {"condition_recall_5": metric(0.5), "consistency_psnr": metric(30.0)}
    scopes["180"]["cross_view_recall_5"] = metric(1 / (1 + value))
    real = {scope: {name: metric(0.1) for name in named} for scope, named in scopes.items()}
    return Evaluation(scopes, real)


def heads(path: Path) -> None:
    Image.new("RGB", (80, 60), "white").save(path)
