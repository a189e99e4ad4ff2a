"""A generator of ours with the interface of EG3D's, so that code written for EG3D, PanoHead or
SphereHead (projectors, metrics, videos) runs on it.

In EG3D, `c` is a camera: the mapping network is conditioned on it, and images are rendered from it.
Our mapping network is conditioned on a semantic feature, so the adapter holds features: one for all
heads, or several, of which each latent is assigned one, always the same. `c` is only used for
rendering, unless the generator was trained with a mode with a view.

Written from the calls of published projectors and metrics; contains no code of EG3D.
"""

from __future__ import annotations

import zlib
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from semhead_lib.cameras import LABEL_LENGTH, RADIUS, orbit_cameras
from semhead_lib.conditioning.modes import ConditionMode
from semhead_lib.data.dataset.families import Family, family, to_ours
from semhead_lib.models.generator import Generator
from semhead_lib.models.mapping import MappingNetwork

_AVERAGED = 1000  # latents of the mean style
_RAYS = (2.25, 3.3)  # where EG3D's rays begin and end; ours begin and end at the box
_EMPTY = -1e3  # raw density outside of the box


class EG3DMapping(nn.Module):
    """`mapping(z, c)`: z [B, Z] and camera [B, 25] to ws [B, num_ws, W]."""

    w_avg: Tensor  # [W], where truncation leads
    conditions: Tensor  # [N, D]

    def __init__(
        self,
        network: MappingNetwork,
        mode: ConditionMode,
        conditions: Tensor,  # [N, D]; one is held for all, of several each latent gets one
        num_ws: int,
    ) -> None:
        super().__init__()
        self.network, self.mode, self.num_ws = network, mode, num_ws
        self.z_dim, self.w_dim, self.c_dim = network.z_dim, network.w_dim, LABEL_LENGTH
        self.register_buffer("conditions", conditions.float().to(network.w_mean.device))
        self.register_buffer("w_avg", self._mean())

    def forward(
        self,
        z: Tensor,  # [B, Z]
        c: Tensor | None = None,  # [B, 25]; of modes that show the view
        truncation_psi: float = 1,
        truncation_cutoff: int | None = None,  # styles that are truncated; None: all
        update_emas: bool = False,  # not used: nothing is trained here
        **ignored: Any,
    ) -> Tensor:  # [B, num_ws, W]
        """Styles of heads. Raises ValueError for shapes that do not fit."""
        z = z.to(self.w_avg)
        w = self.network(z, self._condition(z, c))[:, None].expand(-1, self.num_ws, -1)
        if truncation_psi == 1:
            return w.clone()
        near = torch.lerp(self.w_avg.expand_as(w), w, truncation_psi)
        cutoff = self.num_ws if truncation_cutoff is None else truncation_cutoff
        return torch.cat([near[:, :cutoff], w[:, cutoff:]], dim=1)

    def _condition(self, z: Tensor, c: Tensor | None) -> Tensor | None:
        """What the mapping network is conditioned on, [B, K]."""
        if not self.mode.generator_width:
            return None
        if self.mode.shows_view and (c is None or c.shape != (len(z), LABEL_LENGTH)):
            came = None if c is None else list(c.shape)
            raise ValueError(f"c must be cameras [{len(z)}, {LABEL_LENGTH}], got {came}")
        features = None
        if self.mode.uses_semantics:
            rows = torch.zeros(len(z), dtype=torch.long)
            if (count := len(self.conditions)) > 1:
                latents = z.detach().float().cpu().contiguous().numpy()
                rows = torch.tensor([zlib.crc32(row.tobytes()) % count for row in latents])
            features = self.conditions[rows.to(z.device)]
        cameras = c if self.mode.shows_view and c is not None else z.new_zeros(len(z), LABEL_LENGTH)
        return self.mode.generated(cameras.to(z), features).generator

    @torch.no_grad()
    def _mean(self) -> Tensor:  # [W]
        generator = torch.Generator().manual_seed(0)
        z = torch.randn(_AVERAGED, self.z_dim, generator=generator).to(self.network.w_mean)
        front = orbit_cameras(torch.zeros(1), torch.zeros(1)).expand(len(z), -1)
        return self.network(z, self._condition(z, front.to(z))).mean(0)


class _Backbone(nn.Module):
    """Where scripts look for `G.backbone.mapping` and the buffers of `G.backbone.synthesis`."""

    def __init__(self, mapping: EG3DMapping, synthesis: nn.Module) -> None:
        super().__init__()
        self.mapping, self.synthesis = mapping, synthesis
        self.num_ws, self.w_dim = mapping.num_ws, mapping.w_dim


def _of_each_head(network: Generator, ws: Tensor) -> Tensor:  # [B, num_ws, W] -> [B, ...]
    """Feature maps. Scripts render one head from many cameras at once: its map is made once."""
    if len(ws) < 2:
        return network.feature_map(ws)
    _, place = ws.detach().flatten(1).unique(dim=0, return_inverse=True)
    number = torch.arange(len(ws), device=ws.device)
    first = number.new_full((int(place.max()) + 1,), len(ws))
    rows = first.scatter_reduce(0, place, number, "amin")  # the first with each style
    return network.feature_map(ws[rows])[place] if len(rows) < len(ws) else network.feature_map(ws)


class EG3DGenerator(nn.Module):
    """EG3D's `G` by a generator of ours: `mapping`, `synthesis`, `sample_mixed` and `forward`.

    With a `family` ("eg3d-ffhq", "panohead", "spherehead"; `data.dataset.families`), cameras and
    points are in that family's world, so its scripts frame heads as usual; without one, they are in
    ours. `rendering_kwargs["depth_resolution"]` and `["depth_resolution_importance"]` are the
    samples of a ray. There is no noise: `noise_mode` changes nothing.

    Raises ValueError for conditions that do not fit the mode, or another family.
    """

    def __init__(
        self,
        network: Generator,
        mode: ConditionMode,
        conditions: Tensor,  # [N, D]
        family_name: str | None = None,
    ) -> None:
        super().__init__()
        expected = mode.semantic_dimension
        if mode.uses_semantics and (conditions.ndim != 2 or conditions.shape[1] != expected):
            raise ValueError(f"conditions must be [N, {expected}], got {list(conditions.shape)}")
        if mode.uses_semantics and not len(conditions):
            raise ValueError(f"mode {mode.name} needs a condition, got none")
        c = network.config
        self.network, self.num_ws = network, sum(network.num_ws)
        self.mapping = EG3DMapping(network.mapping, mode, conditions, self.num_ws)
        self.backbone = _Backbone(self.mapping, network.backbone)
        self.z_dim, self.w_dim, self.c_dim = c.z_dim, c.w_dim, LABEL_LENGTH
        self.img_resolution, self.img_channels = c.resolution, 3
        self.neural_rendering_resolution = c.raw_resolution
        self.family: Family | None = None if family_name is None else family(family_name)
        reach = max(abs(a) + b for a, b in zip(c.box_center, c.box_half, strict=True))
        self.rendering_kwargs: dict[str, Any] = {
            "image_resolution": c.resolution,
            "depth_resolution": network.renderer.settings.coarse,
            "depth_resolution_importance": network.renderer.settings.fine,
            "ray_start": _RAYS[0],
            "ray_end": _RAYS[1],
            "box_warp": 2 * reach / (self.family.scale if self.family else 1),
            "white_back": c.background == "plain",
            "clamp_mode": "softplus",
            "disparity_space_sampling": False,
            "superresolution_noise_mode": "none",
            "avg_camera_radius": RADIUS,
            "avg_camera_pivot": list(self.family.point) if self.family else [0.0, 0.0, 0.0],
        }
        self._planes: Tensor | None = None

    def forward(
        self,
        z: Tensor,  # [B, Z]
        c: Tensor,  # [B, 25]
        truncation_psi: float = 1,
        truncation_cutoff: int | None = None,
        neural_rendering_resolution: int | None = None,
        **synthesis_kwargs: Any,
    ) -> dict[str, Tensor]:
        """Images of latents: `synthesis(mapping(z, c), c)`."""
        ws = self.mapping(z, c, truncation_psi, truncation_cutoff)
        return self.synthesis(ws, c, neural_rendering_resolution, **synthesis_kwargs)

    def synthesis(
        self,
        ws: Tensor,  # [B, num_ws, W]
        c: Tensor,  # [B, 25]
        neural_rendering_resolution: int | None = None,  # pixels a side of the raw image
        update_emas: bool = False,
        cache_backbone: bool = False,
        use_cached_backbone: bool = False,  # the planes of the call before, whatever ws is
        **synthesis_kwargs: Any,  # noise_mode and others: there is no noise
    ) -> dict[str, Tensor]:
        """Images of styles, with gradients to ws, c and the weights.

        Returns `image` [B, 3, S, S] and `image_raw` [B, 3, R, R] in about [-1, 1], `image_depth`
        [B, 1, R, R] along rays in units of the cameras' world, and `image_mask` [B, 1, S, S] or
        [B, 1, R, R] in [0, 1]. Raises ValueError for other shapes.
        """
        if ws.ndim != 3 or ws.shape[1:] != (self.num_ws, self.w_dim):
            expected = f"[B, {self.num_ws}, {self.w_dim}]"
            raise ValueError(f"ws must be {expected}, got {list(ws.shape)}")
        if c.ndim != 2 or c.shape[1] != LABEL_LENGTH:
            raise ValueError(f"c must be cameras [B, {LABEL_LENGTH}], got {list(c.shape)}")
        cameras = c.to(ws)
        if self.family is not None:
            cameras = to_ours(cameras, self.family.name)
        network, wanted = self.network, self.rendering_kwargs
        samples = dict(
            coarse=int(wanted["depth_resolution"]), fine=int(wanted["depth_resolution_importance"])
        )
        network.renderer.settings = replace(network.renderer.settings, **samples)
        planes = self._planes if use_cached_backbone else None
        if planes is None:
            planes = _of_each_head(network, ws)
        self._planes = planes.detach() if cache_backbone else None
        side = neural_rendering_resolution or self.neural_rendering_resolution
        if side < 1:
            raise ValueError(f"neural_rendering_resolution must be at least 1, got {side}")
        found = network.synthesize(ws, cameras, side, features=planes)
        depth = found.depth if self.family is None else found.depth / self.family.scale
        return {
            "image": found.image,
            "image_raw": found.image_raw,
            "image_depth": depth,
            "image_mask": found.mask,
        }

    def sample_mixed(
        self,
        coordinates: Tensor,  # [B, N, 3]
        directions: Tensor | None,  # not used: colours do not depend on them
        ws: Tensor,  # [B, num_ws, W]
        *ignored: Any,
        **ignored_too: Any,
    ) -> dict[str, Tensor]:
        """Raw density `sigma` [B, N, 1], whose softplus(sigma - 1) is the density for each unit, and
        colour features `rgb` [B, N, F], at points."""
        points, scale = coordinates.to(ws), 1.0
        if self.family is not None:
            scale = self.family.scale
            points = scale * points + self.family.shift.to(points)
        raw, colours = self.network.renderer.field(self.network.feature_map(ws), points)
        if scale != 1:  # a unit of theirs is `scale` of ours
            density = nn.functional.softplus(raw - 1) * scale
            raw = 1 + density + torch.log(-torch.expm1(-density.clamp_min(1e-12)))
        box = self.network.renderer.settings.box
        outside = (box.normalised(points).abs() > 1).any(-1)
        return {"sigma": raw.masked_fill(outside, _EMPTY)[..., None], "rgb": colours}

    def sample(
        self,
        coordinates: Tensor,  # [B, N, 3]
        directions: Tensor | None,
        z: Tensor,  # [B, Z]
        c: Tensor,  # [B, 25]
        truncation_psi: float = 1,
        truncation_cutoff: int | None = None,
        **ignored: Any,
    ) -> dict[str, Tensor]:
        """`sample_mixed` of latents."""
        ws = self.mapping(z, c, truncation_psi, truncation_cutoff)
        return self.sample_mixed(coordinates, directions, ws)
