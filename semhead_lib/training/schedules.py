"""What changes while training goes on, as functions of the images shown so far."""

from __future__ import annotations


def ramp(images_seen: int, start: float, end: float, until: int) -> float:
    """From `start` linearly to `end` over `until` images, then constant.

    >>> [ramp(n, 10.0, 0.0, 200) for n in (0, 100, 200, 300)]
    [10.0, 5.0, 0.0, 0.0]
    """
    if images_seen < 0 or until < 0:
        raise ValueError(
            f"images_seen and until must not be negative, got {images_seen} and {until}"
        )
    done = min(images_seen / until, 1.0) if until else 1.0
    return start + (end - start) * done


def raw_resolution(images_seen: int, first: int, last: int, start: int, over: int) -> int:
    """EG3D's second stage: pixels a side of the raw image, `first` until `start` images, then in
    even steps of 4 to `last` over the next `over`.

    >>> [raw_resolution(n, 64, 128, 0, 1000) for n in (0, 500, 1000)]
    [64, 96, 128]
    """
    side = ramp(max(images_seen - start, 0), first, last, over) if images_seen >= start else first
    return int(round(side / 4) * 4)


def ema_beta(images_seen: int, batch: int, half_life: int, ramp_up: float = 0.05) -> float:
    """What the averaged generator keeps of itself at a step: half is forgotten after `half_life`
    images, or after `ramp_up` of all that were seen while that is less (Karras et al., 2020).

    >>> round(ema_beta(10**7, batch=100, half_life=100), 3), ema_beta(0, 32, 10_000)
    (0.5, 0.0)
    """
    half_life = min(half_life, int(images_seen * ramp_up))
    return 0.5 ** (batch / half_life) if half_life else 0.0
