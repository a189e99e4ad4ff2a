"""What a training begins with: saved networks, and the features that go with the weights."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from semhead_lib.conditioning.bank import ConditionBank
from semhead_lib.conditioning.modes import ConditionMode
from semhead_lib.models.discriminator import WEIGHTS as DISCRIMINATOR
from semhead_lib.models.discriminator import Discriminator
from semhead_lib.models.generator import Generator
from semhead_lib.training.run_folder import Subjects
from semhead_lib.training.step import Networks

_BANK = 1024  # features kept beside the weights


def begin_with(networks: Networks, folder: Path) -> None:
    """Start from saved networks; from a generator without its discriminator, with a new one.

    Raises FileNotFoundError when there is no generator, ValueError when they are of other shapes.
    """
    beginnings: list[tuple[nn.Module, nn.Module]]
    beginnings = [
        (networks.generator, Generator.load(folder)),
        (networks.average, Generator.load(folder)),
    ]
    if (folder / DISCRIMINATOR).exists():
        beginnings.append((networks.discriminator, Discriminator.load(folder)))
    for network, saved in beginnings:
        try:
            network.load_state_dict(saved.state_dict())
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:300]
            raise ValueError(
                f"init={folder}: its networks are not those of these settings: {reason}"
            ) from None


def bank_of(data: Subjects, mode: ConditionMode) -> ConditionBank:
    """Features of the first subjects: enough to sample from, small enough to go with the weights."""
    if not mode.uses_semantics:
        return ConditionBank(mode, None, torch.zeros(0, mode.semantic_dimension))
    names, features = data.semantics(_BANK)
    encoder = (data.manifest.layout.semantic or {}).get("encoder")
    return ConditionBank(mode, encoder, features, names)
