"""A small good input of every kind that the library reads, made in a folder."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from pathlib import Path

import numpy as np
import torch
from made_up import evaluation
from PIL import Image, ImageDraw
from readers import ROOT, SOURCE, TRAIN, WANTED
from scipy.spatial.transform import Rotation
from small_training import _features, make_noise

from semhead_lib.ablation import analysis
from semhead_lib.ablation.results import measured
from semhead_lib.ablation.table import COLUMNS, RUNS, STUDY, TABLE
from semhead_lib.cameras import Camera, orbit_cameras
from semhead_lib.cli import main
from semhead_lib.conditioning.bank import ConditionBank
from semhead_lib.conditioning.modes import ConditionMode
from semhead_lib.data.dataset.eg3d_format import export_dataset
from semhead_lib.data.dataset.packing import pack_dataset
from semhead_lib.data.dataset.semantics import fill_semantics
from semhead_lib.data.jobs.distributed import synthesize_distributed
from semhead_lib.data.jobs.synthesis import synthesize
from semhead_lib.data.kontext.inputs import choose_portraits
from semhead_lib.evaluation.plan_renderer import labels_in
from semhead_lib.evaluation.render_plan import RenderPlan
from semhead_lib.inversion.comparison import read_table
from semhead_lib.inversion.encoder import EncoderConfig, StyleEncoder
from semhead_lib.models.config import preset
from semhead_lib.models.generator import Generator, folder_of
from semhead_lib.training.compact import compact_state

SMALL = dict(plane_side=16, plane_channels=8, backbone_base=512, backbone_most=32, coarse=8, fine=6)
SMALL |= dict(z_dim=16, w_dim=16, ball_slope=60.0)
PROFILE = """\
01_dataset_synthesis:
  subjects: 4
  resolution: 64
  samples_per_pixel: 1
  encoder: headclip-64
02_conditioning_analysis:
  subjects: 64
  seed: 3
04_training:
  preset: semhead-32
  kimg: 0.2
"""
STUDY_FILE = """\
datasets:
  balanced: {subjects: 8, seed: 1}
  unseen: {subjects: 96, seed: 1000, views_per_subject: 4}
common:
  preset: semhead-32
  kimg: 0.2
  checks: 2
  heads: 48
  views_per_head: 1
  swap_kimg: 0.05
sweeps:
  condition: mode=view,semantic
"""
CONTEST_FILE = """\
minutes: 1
datasets:
  training: {subjects: 8, seed: 128}
  unseen: {subjects: 96, seed: 129}
resolution: 128
heads: 48
common:
  preset: semhead-128
  mode: semantic
  generator: {grid: 0, coarse: 24}
parts:
  gain: {generator: {density_gain: 4.0}}
  warm: {reconstruct: {share: 0.5}, subjects_per_batch: 4}
designs:
  plain: {parts: [], seeds: [0, 1]}
  both: {parts: [gain, warm], seeds: [0]}
"""


def face(size: int = 96, shift: int = 0, mode: str = "RGB") -> Image.Image:
    """Something with the look of a face: what counts is how its file is read."""
    image = Image.new("RGB", (size, size), (200, 200, 205))
    draw = ImageDraw.Draw(image)
    draw.ellipse((size // 4 + shift, size // 7, size * 3 // 4 + shift, size * 9 // 10), "#c88c6e")
    draw.rectangle((size * 4 // 10, size * 2 // 3, size * 6 // 10, size * 7 // 10), "#963c3c")
    return image.convert(mode)


def make_inputs(folder: Path) -> None:
    """Write all inputs into a new folder."""
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    torch.set_num_threads(1)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        _datasets(folder)
        _captures(folder)
        _image_sets(folder)
        _photographs(folder)
        _models(folder)
        _trainings(folder)
        _studies(folder)


def _datasets(folder: Path) -> None:
    data = make_noise(folder / "dataset", subjects=6, views=3)
    pack_dataset(data, folder / "packed.tar", 1.0, psnr=5, progress=False)
    export_dataset(data, folder / "eg3d")
    export_dataset(data, folder / "eg3d.zip")
    export_dataset(data, folder / "masked" / "images", masks=folder / "masked" / "masks")

    def failing():
        source = SOURCE()
        source.fail_at = 5
        return source

    for make, name in ((synthesize, "begun"), (synthesize_distributed, "begun-distributed")):
        alone = {"workers": 0} if make is synthesize else {}
        with contextlib.suppress(RuntimeError):
            make(failing, folder / name, 7, shard_size=2, progress=False, **alone)
    begun = make_noise(folder / "begun-encoding", subjects=6, views=2, resolution=16)
    calls = []

    def stops(images):
        calls.append(images)
        if len(calls) > 1:
            raise ArithmeticError("enough")
        return _features(images)

    with contextlib.suppress(ArithmeticError):
        fill_semantics(begun, stops, "test-encoder [weights 0; input 32 px] 2", progress=False)


def _captures(folder: Path) -> None:
    """The same three images twice: as NeRF has them, and as a text model of COLMAP."""
    poses = orbit_cameras(torch.tensor([-40.0, 0.0, 30.0]), torch.tensor([5.0, 0.0, -5.0]))
    poses = poses[:, :16].reshape(-1, 4, 4).double().numpy()
    transforms, colmap, frames = folder / "transforms", folder / "colmap", []
    lines = []
    for i, pose in enumerate(poses):
        for place in (transforms, colmap):
            (place / "images").mkdir(parents=True, exist_ok=True)
            face(40, shift=i).save(place / "images" / f"{i}.png")
        matrix = (pose @ np.diag([1.0, -1.0, -1.0, 1.0])).tolist()
        frames.append({"file_path": f"images/{i}.png", "transform_matrix": matrix})
        w2c = np.linalg.inv(pose)
        x, y, z, w = Rotation.from_matrix(w2c[:3, :3]).as_quat()
        numbers = [i + 1, w, x, y, z, *w2c[:3, 3], 1]
        lines += [" ".join(map(str, [*numbers, f"{i}.png"])), ""]
    lens = {"fl_x": 170.0, "fl_y": 170.0, "cx": 20.0, "cy": 20.0, "w": 40, "h": 40}
    (transforms / "transforms.json").write_text(json.dumps(lens | {"frames": frames}))
    (colmap / "cameras.txt").write_text("1 PINHOLE 40 40 170.0 170.0 20.0 20.0\n")
    (colmap / "images.txt").write_text("\n".join(lines) + "\n")


def _image_sets(folder: Path) -> None:
    """Images of two heads by a plan, three parts, and the plan."""
    plan = RenderPlan.of_bins(2, 2, seed=1)
    plan.save(folder / "plan.json")
    content = json.loads((folder / "plan.json").read_text())
    (folder / "set").mkdir()
    for i, (name, *_) in enumerate(content["images"]):
        (folder / "set" / name).parent.mkdir(exist_ok=True)
        face(16, shift=i % 3).save(folder / "set" / name)
    (folder / "set" / "dataset.json").write_text(json.dumps(labels_in(content)))
    labels = [row for row in labels_in(content)["labels"] if row[0].startswith("front")]
    (folder / "labelled").mkdir()
    for name, _ in labels:
        (folder / "labelled" / name).parent.mkdir(exist_ok=True)
        shutil.copy(folder / "set" / name, folder / "labelled" / name)
    (folder / "labelled" / "dataset.json").write_text(json.dumps({"labels": labels}))
    shutil.make_archive(str(folder / "labelled"), "zip", folder / "labelled")


def _photographs(folder: Path) -> None:
    from skimage.data import astronaut

    photos = folder / "photos"
    photos.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    face().save(photos / "a.jpg", exif=exif)
    face(shift=4, mode="RGBA").save(photos / "b.png")
    face(shift=8).save(photos / "c.webp", lossless=True)
    grey = np.asarray(face(mode="L")).astype(np.uint16) * 257
    Image.fromarray(grey).save(photos / "d.png")
    labels = [
        [name, Camera.orbit(turn, 0).label.tolist()] for name, turn in (("a.jpg", 9), ("b.png", -9))
    ]
    (photos / "dataset.json").write_text(json.dumps({"labels": labels}))
    images = folder / "portraits" / "images"
    images.mkdir(parents=True)
    whole = Image.fromarray(astronaut())
    whole.save(images / "astronaut.png")
    whole.resize((160, 160)).save(images / "small.png")
    face().save(images / "nobody.png")
    choose_portraits(images, folder / "portraits" / "out", WANTED, progress=False)


def _models(folder: Path) -> None:
    Generator(preset("semhead-32", condition_dim=16, **SMALL)).save(folder / "generator")
    features = torch.nn.functional.normalize(torch.randn(8, 16), dim=1)
    names = tuple(f"subject-{i}" for i in range(8))
    mode = ConditionMode("semantic", 16)
    ConditionBank(mode, "test-encoder", features, names).save(folder / "generator")
    for name, shipped in (("headclip", "headclip-64"), ("headjudge", "headjudge")):
        (folder / name).mkdir()
        for file in ("model.safetensors", "config.json", "open_clip_config.json", "bpe.txt.gz"):
            source = folder_of("semhead-128").parent / shipped / file
            if source.is_file():
                shutil.copy(source, folder / name)
    (folder / "style").mkdir()
    StyleEncoder(EncoderConfig(32, 16, 16, width=24, depth=1, heads=2)).save(folder / "style")


def _trainings(folder: Path) -> None:
    run = folder / "training"
    if main(["train", str(folder / "dataset"), str(run), "kimg=0.016", "device=cpu", *TRAIN]):
        raise RuntimeError("the small training failed")
    compact_state(run, folder / "compact")


def _studies(folder: Path) -> None:
    (folder / "profile.yaml").write_text(PROFILE)
    (folder / "study.yaml").write_text(STUDY_FILE)
    (folder / "contest.yaml").write_text(CONTEST_FILE)
    kept = ROOT / "papermill_runs" / "reference"
    (folder / "run").mkdir()
    shutil.copy(kept / "smoke" / "run.json", folder / "run")
    out = folder / "results"
    (out / "heads").mkdir(parents=True)
    found = analysis.load_results(kept / "ablations" / "smoke")
    found.metrics.head(12).to_csv(out / TABLE, columns=list(COLUMNS), index=False)
    found.runs.to_csv(out / RUNS, index=False)  # with today's columns
    shutil.copy(kept / "ablations" / "smoke" / STUDY, out)
    face(32).save(out / "heads" / "semantic_seed-0.webp")
    for check in (1, 2):
        measured(folder / "measured", check / 10, 0.0, lambda c=check: evaluation("semantic", 0, c))
    table = read_table(kept / "inversion" / "judged.csv").head(24)
    (folder / "judged").mkdir()
    table.to_csv(folder / "judged" / "judged.csv", index=False)
