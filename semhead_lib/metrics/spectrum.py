"""Power of images by spatial frequency: where a generator's images lack detail, or have what real
ones have not."""

from __future__ import annotations

import torch
from torch import Tensor

from semhead_lib.data.dataset.batches import to_model_range

BANDS = (
    (2, 4),
    (4, 8),
    (8, 12),
    (12, 16),
    (16, 20),
    (20, 24),
    (24, 32),
    (32, 40),
    (40, 48),
    (48, 64),
)
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
_AT_ONCE = 64  # images


def image_spectra(images: Tensor) -> Tensor:  # [N, 3, S, S] in [-1, 1] -> [N, S // 2 + 1]
    """Power of each image's luma at 0, 1, ..., S / 2 cycles an image, mean over directions.

    A Hann window keeps the edges of the image out of it; the mean is taken off before. Raises
    ValueError for images that are not square.
    """
    if images.ndim != 4 or images.shape[1] != 3 or images.shape[-1] != images.shape[-2]:
        raise ValueError(f"images must be [N, 3, S, S], got {list(images.shape)}")
    side = images.shape[-1]
    luma = torch.einsum("nchw,c->nhw", images.double(), torch.tensor(_LUMA, dtype=torch.float64))
    luma = luma - luma.mean((1, 2), keepdim=True)
    window = torch.hann_window(side, periodic=False, dtype=torch.float64)
    power = torch.fft.fft2(luma * window * window[:, None], norm="ortho").abs().square()
    along = torch.fft.fftfreq(side, 1 / side)
    radius = (along.square() + along.square()[:, None]).sqrt().round().long()
    kept = radius <= side // 2
    total = torch.zeros(len(images), side // 2 + 1, dtype=torch.float64).index_add_(
        1, radius[kept], power[:, kept]
    )
    return total / torch.bincount(radius[kept], minlength=side // 2 + 1)


def power_spectrum(images: Tensor) -> Tensor:  # [N, 3, S, S] in [-1, 1] -> [S // 2 + 1]
    """The mean of `image_spectra` over images.

    >>> x = torch.arange(64) / 64
    >>> waves = torch.sin(2 * torch.pi * 10 * x).expand(1, 3, 64, 64)
    >>> int(power_spectrum(waves).argmax())
    10
    """
    return image_spectra(images).mean(0)


def band_power(
    spectra: Tensor,  # [..., S // 2 + 1]
    bands: tuple[tuple[int, int], ...] = BANDS,  # cycles an image, from (included) to (excluded)
) -> dict[str, Tensor]:  # "8-12" -> [...]
    """Mean power in each band that images of this size hold."""
    held = [(low, high) for low, high in bands if high < spectra.shape[-1]]
    return {f"{low}-{high}": spectra[..., low:high].mean(-1) for low, high in held}


def head_band_power(images: Tensor) -> dict[str, Tensor]:  # [N, V, 3, S, S] uint8 -> "8-12" -> [N]
    """Power of the views of each head in each band, mean over views."""
    spectra = [image_spectra(to_model_range(part)) for part in images.flatten(0, 1).split(_AT_ONCE)]
    return band_power(torch.cat(spectra).unflatten(0, images.shape[:2]).mean(1))


def spectrum_ratio(
    generated: Tensor,  # [N, 3, S, S] in [-1, 1]
    real: Tensor,  # [M, 3, S, S]
    bands: tuple[tuple[int, int], ...] = BANDS,  # cycles an image, from (included) to (excluded)
) -> dict[str, float]:
    """Power of generated over that of real images in each band that the images hold; 1 is as it
    should be.

    >>> x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    >>> {band: round(ratio, 2) for band, ratio in spectrum_ratio(x / 2, x).items()}
    {'2-4': 0.25, '4-8': 0.25, '8-12': 0.25, '12-16': 0.25}
    """
    if generated.shape[1:] != real.shape[1:]:
        raise ValueError(
            f"both need one size, got {list(generated.shape[1:])} and {list(real.shape[1:])}"
        )
    ours, theirs = (band_power(power_spectrum(images), bands) for images in (generated, real))
    return {band: float(ours[band] / theirs[band]) for band in theirs}
