"""Heads as files that other programs open."""

from __future__ import annotations

import html
import io
import re
from errno import EIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from semhead_lib.atomic import partial_path, publish, write_atomically
from semhead_lib.models.mesh import SCALE, Mesh
from semhead_lib.models.textured import TexturedMesh


def write_mp4(path: Path | str, frames: Tensor, fps: int = 24) -> None:  # [T, 3, H, W] uint8
    """A video that browsers play (H.264, 4:2:0). Odd sizes get one more row or column, repeated
    from the last.

    Raises ValueError for frames of another kind, OSError naming a file that could not be written.
    """
    import imageio_ffmpeg

    _check_frames(frames)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = frames.permute(0, 2, 3, 1).cpu().numpy()
    pixels = np.pad(
        pixels, ((0, 0), *((0, side % 2) for side in pixels.shape[1:3]), (0, 0)), mode="edge"
    )
    partial = partial_path(path)
    writer = imageio_ffmpeg.write_frames(
        str(partial),
        (pixels.shape[2], pixels.shape[1]),
        fps=fps,
        quality=8,
        macro_block_size=2,
        ffmpeg_log_level="error",
        output_params=["-f", "mp4"],  # which the temporary name does not tell
    )
    writer.send(None)
    for frame in pixels:
        writer.send(np.ascontiguousarray(frame))
    writer.close()
    try:  # the encoder's end says nothing of a full disk
        written = imageio_ffmpeg.count_frames_and_secs(str(partial))[0]
    except RuntimeError:
        written = 0
    if written != len(frames):
        partial.unlink(missing_ok=True)
        raise OSError(EIO, f"cannot write the video: {written} of {len(frames)} frames", str(path))
    publish(partial, path)


def write_gif(path: Path | str, frames: Tensor, fps: int = 12) -> None:  # [T, 3, H, W] uint8
    """A moving image that every program shows, at most 256 colours; it goes on for ever.

    Raises ValueError for frames of another kind.
    """
    _check_frames(frames)
    images = [Image.fromarray(frame) for frame in frames.permute(0, 2, 3, 1).cpu().numpy()]
    sheet = Image.fromarray(frames.permute(0, 2, 3, 1).flatten(0, 1).cpu().numpy())
    colours = sheet.quantize(255)  # one palette for all: no flicker
    images = [image.quantize(palette=colours, dither=Image.Dither.NONE) for image in images]
    data = io.BytesIO()
    images[0].save(
        data,
        "GIF",
        save_all=True,
        append_images=images[1:],
        duration=round(1000 / fps),
        loop=0,
        optimize=False,
    )
    _write(path, data.getvalue())


def write_viewer(path: Path | str, mesh: Mesh, title: str) -> None:
    """A page that shows a head to turn, in any browser, without a network or a kernel."""
    from semhead_lib.cameras import RADIUS
    from semhead_lib.viz import scenes

    plot = scenes.new_plot()
    plot.name = title
    scenes.show_only(plot, scenes.surface(mesh))
    scenes.as_the_generator(plot)
    scenes.look(plot, azimuth=25, elevation=8, radius=RADIUS)
    named = f"<title>{html.escape(title)}</title>"
    page = re.sub(r"<title>.*?</title>", lambda _: named, plot.get_snapshot(), count=1)
    _write(path, page.encode())


def write_mesh(path: Path | str, mesh: Mesh | TexturedMesh) -> None:
    """A mesh with vertex colours as GLB, PLY or OBJ, by the path's suffix, or one with a texture as
    GLB: y up, the face towards +z, in scene units (times METRES_PER_UNIT: metres), which the file
    says, too.

    Raises ValueError for another suffix.
    """
    path = Path(path)
    kinds = ("glb", "ply", "obj") if isinstance(mesh, Mesh) else ("glb",)
    if (kind := path.suffix[1:].lower()) not in kinds:
        raise ValueError(f"{path}: expected a suffix of {', '.join(kinds)}")
    if not isinstance(mesh, Mesh):
        _write(path, mesh.as_glb())
        return
    head = mesh.as_trimesh()
    options: dict[str, Any] = {"header": SCALE} if kind == "obj" else {}
    content: Any  # text for OBJ, else bytes
    content = mesh.as_glb() if kind == "glb" else head.export(file_type=kind, **options)
    if kind == "obj":
        content = content.encode()
    elif kind == "ply":
        content = content.replace(b"\nelement", f"\ncomment {SCALE}\nelement".encode(), 1)
    _write(path, content)


def _check_frames(frames: Tensor) -> None:
    if (
        frames.ndim != 4
        or frames.shape[1] != 3
        or str(frames.dtype) != "torch.uint8"
        or not len(frames)
    ):
        raise ValueError(
            f"frames must be uint8 [T >= 1, 3, H, W], got {frames.dtype} {list(frames.shape)}"
        )


def _write(path: Path | str, content: bytes) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    write_atomically(Path(path), content)
