"""Heads as files that other programs open."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import Tensor

from semhead_lib.data.files import partial_path, publish, write_atomically
from semhead_lib.models.mesh import Mesh


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


def write_mesh(path: Path | str, mesh: Mesh) -> None:
    """A mesh with vertex colours as GLB, PLY or OBJ, by the path's suffix: y up, the face towards +z, in scene units.

    Raises ValueError for another suffix.
    """
    import trimesh

    path = Path(path)
    kinds = ("glb", "ply", "obj")
    if (kind := path.suffix[1:].lower()) not in kinds:
        raise ValueError(f"{path}: expected a suffix of {', '.join(kinds)}")
    opaque = np.concatenate([mesh.colours, np.full((len(mesh.colours), 1), 255, np.uint8)], axis=1)
    head = trimesh.Trimesh(mesh.vertices, mesh.faces, vertex_colors=opaque, process=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = head.export(file_type=kind)
    write_atomically(path, content.encode() if isinstance(content, str) else content)
