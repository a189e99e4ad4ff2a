"""Heads as files that other programs open."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import Tensor

from semhead_lib.data.files import partial_path, publish


def write_mp4(path: Path | str, frames: Tensor, fps: int = 24) -> None:  # [T, 3, H, W] uint8
    """A film that browsers play (H.264, 4:2:0). Odd sizes get one more row or column, repeated from the last.

    Raises ValueError for frames of another kind.
    """
    import imageio_ffmpeg

    if frames.ndim != 4 or frames.shape[1] != 3 or str(frames.dtype) != "torch.uint8" or not len(frames):
        raise ValueError(f"frames must be uint8 [T >= 1, 3, H, W], got {frames.dtype} {list(frames.shape)}")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = frames.permute(0, 2, 3, 1).cpu().numpy()
    pixels = np.pad(pixels, ((0, 0), *((0, side % 2) for side in pixels.shape[1:3]), (0, 0)), mode="edge")
    partial = partial_path(path).with_suffix(".mp4")
    writer = imageio_ffmpeg.write_frames(
        str(partial),
        (pixels.shape[2], pixels.shape[1]),
        fps=fps,
        quality=8,
        macro_block_size=2,
        ffmpeg_log_level="error",
    )
    writer.send(None)
    for frame in pixels:
        writer.send(np.ascontiguousarray(frame))
    writer.close()
    publish(partial, path)
