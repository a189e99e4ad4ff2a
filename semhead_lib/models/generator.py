"""The generator: from latent and condition to a head, and from the head to images and densities."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn

from semhead_lib.atomic import write_atomically
from semhead_lib.cameras import crop_cameras
from semhead_lib.files import in_file
from semhead_lib.models.backbone import Backbone, Background, SuperResolution
from semhead_lib.models.config import GeneratorConfig
from semhead_lib.models.layers import channels_last
from semhead_lib.models.mapping import MappingNetwork
from semhead_lib.models.planes import make_planes
from semhead_lib.models.renderer import Renderer, RenderSettings, views_each
from semhead_lib.ops import Ball, Box
from semhead_lib.weights import fitted, packed, read_config, write_config

ASSETS = Path(__file__).parents[1] / "assets"
DEFAULT = "semhead-128"  # of those that ship with the package
WEIGHTS, CONFIG = "model.safetensors", "config.json"
_CHUNK = 1 << 18  # points of a grid at a time


@dataclass(frozen=True)
class Render:
    """Images of heads."""

    image: Tensor  # [B, 3, S, S] in about [-1, 1]
    image_raw: Tensor  # [B, 3, R, R] in [-1, 1], as rendered
    features: Tensor  # [B, F, R, R] in [0, 1], the background behind
    depth: Tensor  # [B, 1, R, R] scene units along each ray
    opacity: Tensor  # [B, 1, R, R] in [0, 1], as rendered
    super_mask: Tensor | None = None  # [B, 1, S, S] in [0, 1]; None: masks are not super-resolved

    @property
    def mask(self) -> Tensor:  # [B, 1, S, S] or [B, 1, R, R] in [0, 1]
        """Mask of the head: the super-resolved mask if there is one, else the opacity."""
        return self.opacity if self.super_mask is None else self.super_mask


def folder_of(name: str | Path) -> Path:
    """Folder of a generator, given the name of a shipped one or its folder."""
    return Path(name) if Path(name).is_dir() else ASSETS / str(name)


class Generator(nn.Module):
    """z and condition -> w -> a feature map read as planes -> raw image by the volume renderer ->
    final image.

    After EG3D (Chan et al., 2022), with a choice of planes (`semhead_lib.models.planes`) and a
    background behind the head that is not part of the volume (PanoHead).
    """

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        c = self.config = config
        planes = make_planes(c.representation, c.plane_side, c.plane_channels)
        self.mapping = MappingNetwork(
            c.z_dim, c.condition_dim, c.w_dim, c.mapping_layers, prior=c.latent_prior
        )
        self.backbone = Backbone(
            c.w_dim,
            planes.map_side,
            planes.map_channels,
            c.backbone_base,
            c.backbone_most,
            c.place_gain,
            c.blend_maps,
            c.residual,
        )
        box, ball = Box(c.box_center, c.box_half), Ball(c.ball_slope, c.ball_radius)
        settings = RenderSettings(c.coarse, c.fine, box, ball, c.grid)
        self.renderer = Renderer(planes, settings, c.hidden, c.features, c.density_gain)
        self.background = Background(c.w_dim, c.features) if c.background == "learnt" else None
        self.super_resolution = (
            SuperResolution(
                c.w_dim,
                c.features,
                c.raw_resolution,
                c.resolution,
                c.super_channels,
                c.super_mask,
            )
            if c.super_channels
            else None
        )
        channels_last(self)

    def forward(
        self,
        z: Tensor,  # [B, Z]
        condition: Tensor | None,  # [B, K]
        cameras: Tensor,  # [B, 25]
        psi: float = 1.0,
        seed: int | Tensor | None = None,  # of the renderer's samples
    ) -> Render:
        """An image of each head from its camera."""
        return self.synthesize(self.mapping(z, condition, psi), cameras, seed=seed)

    @property
    def num_ws(self) -> tuple[int, int, int]:
        """Numbers of layers of the backbone, the background and the super-resolution: w+ has a
        style for each layer, in this order."""
        backbone, background, refinement = (
            0 if part is None else part.num_ws for part in self._synthesis
        )
        return backbone, background, refinement

    @property
    def _synthesis(self) -> tuple[Backbone, Background | None, SuperResolution | None]:
        return self.backbone, self.background, self.super_resolution

    def split_ws(self, w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Styles of backbone, background and super-resolution: w [H, W] for all, or the layers of
        each from w+ [H, sum(num_ws), W]. Raises ValueError for another shape."""
        if w.dim() == 2:
            return w, w, w
        if w.dim() != 3 or w.shape[1] != sum(self.num_ws):
            raise ValueError(
                f"styles must be [H, W] or [H, {sum(self.num_ws)}, W], got {list(w.shape)}"
            )
        backbone, background, refinement = w.split(self.num_ws, dim=1)
        return backbone, background, refinement

    def feature_map(self, w: Tensor) -> Tensor:  # [H, W] or w+ -> [H, channels, side, side]
        """The feature map that is split into planes."""
        return self.backbone(self.split_ws(w)[0])

    def synthesize(
        self,
        w: Tensor,  # [H, W] styles of H heads, or w+: [H, sum(num_ws), W]
        cameras: Tensor,  # [B, 25], the same number for each head, those of a head adjacent
        raw_resolution: int | None = None,  # pixels; None: the config's
        seed: int | Tensor | None = None,  # of the renderer's samples
        features: Tensor | None = None,  # the backbone's of w, when they are known already
        reference: bool = False,  # render with the reference implementation, to compare
        windows: Tensor
        | None = None,  # [B, 3] left, top and side of the part that is rendered, in image widths
    ) -> Render:
        """Images of styles; several views of a head share one pass of the backbone. Raises
        ValueError for cameras that cannot be divided evenly among the heads, and for windows with
        super-resolution."""
        side = raw_resolution or self.config.raw_resolution
        if windows is not None:
            if self.super_resolution is not None:
                raise ValueError(
                    f"{self.config.name} has super-resolution, which makes whole images only"
                )
            cameras = crop_cameras(cameras, windows)
        features = self.feature_map(w) if features is None else features
        if len(cameras) != len(w):
            w = w.repeat_interleave(views_each(len(cameras), len(w)), dim=0)
        seen = self.renderer(features, cameras, side, seed=seed, reference=reference)
        behind = 1.0
        if self.background is not None:
            whole = side if windows is None else self.config.raw_resolution
            behind = self.background(self.split_ws(w)[1], whole, windows, side)
        drawn = seen.features + (1 - seen.opacity) * behind
        image, raw, mask = self.refine(drawn, seen.opacity, w)
        return Render(image, raw, drawn, seen.depth, seen.opacity, mask)

    def refine(
        self,
        drawn: Tensor,  # [B, F, R, R] features in [0, 1]
        opacity: Tensor,  # [B, 1, R, R]
        w: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """The final and the raw image in [-1, 1], and the super-resolved mask in [0, 1], where the
        config asks for one."""
        raw = drawn[:, :3] * 2 - 1
        if self.super_resolution is None:
            return raw, raw, None
        wanted, side = self.config.raw_resolution, drawn.shape[-1]
        mask = opacity.clamp(0, 1) if self.config.super_mask else None
        if side != wanted:  # while the raw resolution still grows
            drawn, mask = _resized(drawn, wanted), None if mask is None else _resized(mask, wanted)
        made = self.super_resolution(drawn, drawn[:, :3] * 2 - 1, self.split_ws(w)[2], mask)
        return made[:, :3], raw, None if mask is None else made[:, 3:]

    @torch.no_grad()
    def sample_density(
        self, w: Tensor, points: Tensor
    ) -> Tensor:  # [B, W] or w+, [B, N, 3] world -> [B, N]
        """Density (non-negative, per scene unit) at points in the heads with styles w."""
        raw, _ = self.renderer.field(self.feature_map(w), points)
        return nn.functional.softplus(raw - 1)

    def save(self, folder: Path | str, half: bool = False) -> None:
        """Write `model.safetensors` and `config.json` into a folder; with `half` in half precision,
        to be shipped."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / WEIGHTS, save(packed(self, half), metadata={"format": "pt"}))
        write_config(folder / CONFIG, self.config.as_json())

    @classmethod
    def load(cls, name: str | Path, device: str | torch.device = "cpu") -> Generator:
        """Load a generator by the name of a shipped one or by its folder, in evaluation mode.

        Raises FileNotFoundError when there is none, ValueError when config and weights do not fit.
        """
        folder = folder_of(name)
        for file in (folder / CONFIG, folder / WEIGHTS):
            if not file.is_file():
                shipped = sorted(path.parent.name for path in ASSETS.glob(f"semhead-*/{WEIGHTS}"))
                raise FileNotFoundError(
                    f"no generator {str(name)!r}: {file} is missing (shipped: "
                    f"{', '.join(shipped) or 'none'})"
                )
        try:
            config = GeneratorConfig.from_json(read_config(folder / CONFIG))
        except ValueError as error:
            raise ValueError(in_file(folder / CONFIG, error)) from None
        return fitted(lambda: cls(config), folder / WEIGHTS, CONFIG).to(device).eval()


def _resized(x: Tensor, wanted: int) -> Tensor:  # [B, C, S, S] -> [B, C, wanted, wanted]
    return nn.functional.interpolate(
        x, size=wanted, mode="bilinear", antialias=x.shape[-1] > wanted
    )
