"""The training core runs with torch, numpy, Pillow, safetensors and accelerate alone."""

import subprocess
import sys

import pytest

HIDE = """
import builtins, sys

# What others (torch, accelerate) may use for themselves, and this package may not
allowed = {"torch", "numpy", "PIL", "safetensors", "accelerate", "semhead_lib", "__future__", *sys.stdlib_module_names}
missing = ["webdataset", "hydra", "omegaconf", "open_clip", "tensorboard", "torchmetrics", "skimage", "rich",
           "torchvision", "scipy", "sklearn", "pandas", "plotly", "k3d", "IPython", "ipywidgets", "cv2", "dlib",
           "anny", "warp", "trimesh", "diffusers", "transformers", "xformers", "imageio_ffmpeg", "papermill"]
for name in missing:
    sys.modules[name] = None
original = builtins.__import__

def hidden(name, globals=None, locals=None, fromlist=(), level=0):
    owner = (globals or {}).get("__name__", "")
    if owner.startswith("semhead_lib") and not level and name.partition(".")[0] not in allowed:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    return original(name, globals, locals, fromlist, level)

builtins.__import__ = hidden
"""

TRAIN = """
import importlib, json
from pathlib import Path
for name in ("training.trainer", "data.dataset.memory", "data.dataset.streaming_dataset", "models.generator",
             "models.discriminator", "ops", "models.mesh", "training.release"):
    importlib.import_module("semhead_lib." + name)
import torch
from semhead_lib.cameras import orbit_cameras
from semhead_lib.data.dataset.manifest import Layout, Manifest, Plan
from semhead_lib.data.dataset.memory import SubjectsInMemory
from semhead_lib.data.subjects import Subject
from semhead_lib.training.settings import TrainSettings
from semhead_lib.training.trainer import train

def subject(i):
    def noise(*shape):
        return torch.randint(256, shape, dtype=torch.uint8)
    feature = torch.nn.functional.normalize(torch.randn(16), dim=0)
    cameras = orbit_cameras(torch.tensor([0.0, 180.0]), torch.zeros(2))
    return Subject(f"s{i}", noise(2, 3, 32, 32), cameras, noise(3, 32, 32), masks=noise(2, 32, 32), semantic=feature)

torch.manual_seed(0)
torch.set_num_threads(1)
layout = Layout(32, "png", ("views", "cameras", "frontal", "masks", "semantic"), (2, 2),
                {"encoder": "none", "dimension": 16})
plan = Plan(4, 4, "png", 0, {"name": "noise", "licence": "CC0-1.0"})
data = SubjectsInMemory([subject(i) for i in range(4)], range(4), Manifest(plan, layout, ()))
small = dict(preset="semhead-32", subjects_per_batch=2, views_per_subject=2, views_per_head=2)
train(TrainSettings(**small, kimg=0.004), data, sys.argv[1], device="cpu")
for file in ("generator/model.safetensors", "snapshots/step-00000001.pt", "grids/kimg-000000.0.png"):
    assert (Path(sys.argv[1]) / file).stat().st_size, file
assert not (Path(sys.argv[1]) / "tensorboard").exists()
"""


@pytest.mark.slow
def test_a_step_is_trained_without_optional_packages(tmp_path):
    command = [sys.executable, "-c", HIDE + TRAIN, str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "0.004 of 0.004 kimg, loss_g" in done.stderr, "a plain line stands for the bar"
