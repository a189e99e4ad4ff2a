"""What a generator was conditioned on in training, kept beside its weights: it can be asked for
heads without its dataset."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from semhead_lib.atomic import write_atomically
from semhead_lib.cameras import orbit_cameras
from semhead_lib.conditioning.modes import ConditionMode
from semhead_lib.conditioning.sampling import sample_conditions
from semhead_lib.files import read_tensors

if TYPE_CHECKING:
    from semhead_lib.conditioning.semantic import SemanticEncoder

FILE = "conditions.safetensors"


@dataclass(frozen=True)
class ConditionBank:
    """A generator's condition mode, and features of subjects that it was trained on."""

    mode: ConditionMode
    encoder: str | None  # identity of what made the features; None for modes without semantics
    features: Tensor  # [N, D] float32 unit features; N = 0 for modes without semantics
    subjects: tuple[str, ...] = ()  # whose they are: N ids

    def mapping_condition(
        self, semantics: Tensor | None, heads: int, azimuth: float = 0.0
    ) -> Tensor | None:
        """What the mapping network is conditioned on when images are made for use, [heads, K]; None
        for mode none.

        Semantics are [heads, D]. Modes with a view are conditioned on one camera, whatever camera
        looks on: the one at `azimuth` degrees, elevation 0.
        """
        if not self.mode.generator_width:
            return None
        camera = orbit_cameras(torch.tensor([azimuth]), torch.zeros(1)).expand(heads, -1)
        return self.mode.generated(
            camera, semantics if self.mode.uses_semantics else None
        ).generator

    def nearby(
        self, features: Tensor, count: int = 8, temperature: float = 0.05
    ) -> Tensor:  # [M, D] -> [M, D] unit
        """What the generator was conditioned on in training, where that is nearest to unit
        features: the mean of `count` neighbours, weighted by softmax of similarity / temperature.

        Features of texts lie apart from those of images (Liang et al., "Mind the gap", 2022), where
        no generator of images was trained; their neighbours do not.
        """
        similarity, place = (features.float() @ self.features.T).topk(
            min(count, len(self.features)), dim=1
        )
        share = torch.softmax(similarity / temperature, dim=1)
        return torch.nn.functional.normalize(
            (share[..., None] * self.features[place]).sum(1), dim=1
        )

    def sample(self, heads: int, strategy: str = "interpolate", seed: int = 0) -> Tensor | None:
        """What to tell for new heads, with semantics drawn by `sample_conditions`; more of them
        begin with the same."""
        drawn = None
        if self.mode.uses_semantics:
            each = [
                sample_conditions(self.features, 1, strategy, seed=seed * 1_000_003 + i)
                for i in range(heads)
            ]
            drawn = torch.cat([self.features[:0], *each])
        return self.mapping_condition(drawn, heads)

    def load_encoder(
        self, name: str, device: str = "auto", of: str = "this generator"
    ) -> SemanticEncoder:
        """The encoder whose features the generator is conditioned on.

        Raises ValueError for another one, conditions of a source that no single image has, or a
        mode without semantics; errors call the generator `of`.
        """
        from semhead_lib.conditioning.semantic import SemanticEncoder  # a training does without

        if not self.mode.uses_semantics:
            raise ValueError(
                f"{of} was trained with mode {self.mode.name}: it takes no texts and no images"
            )
        self.check_source(of)
        encoder = SemanticEncoder.load(name, device=device)
        self.check_encoder(str(encoder.identity), of)
        return encoder

    def check_source(self, of: str = "this generator") -> None:
        """Raise ValueError for conditions of a source that no single image has."""
        from semhead_lib.conditioning.sources import source_of

        if source := source_of(self.encoder if self.mode.uses_semantics else None):
            raise ValueError(
                f"{of} was trained with conditions of source {source}, which a text or an image "
                "does not have: take those that it keeps"
            )

    def check_encoder(self, identity: str, of: str = "this generator") -> None:
        """Raise ValueError unless conditions, where there are any, are an image's features by the
        encoder stored as `identity`."""
        from semhead_lib.conditioning.encoder_identity import require_encoder

        self.check_source(of)
        if self.mode.uses_semantics:
            require_encoder(self.encoder, identity, of)

    def save(self, folder: Path | str) -> None:
        """Write `conditions.safetensors` into a model's folder; features in half precision."""
        content = json.dumps(
            {"mode": self.mode.name, "encoder": self.encoder, "subjects": self.subjects}
        )
        metadata = {"semhead": content}  # one entry: the order of several varies
        content = save({"features": self.features.half().contiguous()}, metadata=metadata)
        write_atomically(Path(folder) / FILE, content)

    @classmethod
    def load(cls, folder: Path | str) -> ConditionBank:
        """Raises FileNotFoundError when the folder has none, ValueError when the file is not one."""
        path = Path(folder) / FILE
        if not path.is_file():
            raise FileNotFoundError(
                f"{path} is missing: the folder does not say what its generator is conditioned on"
            )
        try:
            features = read_tensors(path)["features"].float()
            with safe_open(path, "pt") as file:
                content = json.loads(file.metadata()["semhead"])
            features = torch.nn.functional.normalize(features, dim=-1)
            return cls(
                ConditionMode(content["mode"], features.shape[1]),
                content["encoder"],
                features,
                (*content["subjects"],),
            )
        except Exception as error:
            raise ValueError(f"{path} holds no conditions: {error}") from error
