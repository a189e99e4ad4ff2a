"""How near the camera and the mask of a photograph come on heads where both are known: 100 heads
never seen before.

Each head is drawn with all it may wear, in its own light, from one camera within +-45 degrees of
the front and -20 to 30 degrees of elevation. Each image is its own true crop, so scale and shift of
the found crop are errors too. papermill_runs/benchmarks/ keeps the metrics.
"""

import datetime
import json
import platform
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.data import chelsea, coffee

from semhead_lib.cameras import orbit_cameras

OUT = Path(__file__).parents[2] / "papermill_runs" / "benchmarks"
SEED, HEADS, SIDE = 733, 100, 256
ASKED = 4.0  # degrees, of the median errors of azimuth and elevation with 68 landmarks


def known_views():
    """Image [3, S, S], mask [S, S], azimuth and elevation of each head."""
    from semhead_lib.data.parametric import appearance
    from semhead_lib.data.parametric.source import Caster, ParametricSource

    source, rng = ParametricSource(seed=SEED), np.random.default_rng(SEED)
    for index in range(HEADS):
        azimuth, elevation = rng.uniform(-45, 45), rng.uniform(-20, 30)
        label = orbit_cameras(torch.tensor([azimuth]), torch.tensor([elevation]))
        seen = Caster(source.scene(index)).cast(
            label, SIDE, appearance.light(source.attributes(index)), 4
        )
        yield seen.images[0], seen.masks[0], azimuth, elevation


def summary(values, digits: int = 2) -> dict[str, float]:
    return {
        "median": round(float(np.median(values)), digits),
        "90th percentile": round(float(np.percentile(values, 90)), digits),
    }


def camera_figures(views, count: int, corrected: bool) -> dict:
    """Errors over the heads whose face is found."""
    from semhead_lib.data.portraits.camera import fit_camera
    from semhead_lib.data.portraits.face_finder import face_finder
    from semhead_lib.data.portraits.landmarks import head_landmarks

    fits = []
    for image, *_ in views:
        faces = face_finder(count)(image)
        head = head_landmarks(count)
        fits.append(fit_camera(faces[0].landmarks, head, corrected=corrected) if faces else None)
    return errors_of(fits, views)


def finder_figures(views, finder: str) -> dict:
    """Errors over the heads that are found."""
    from semhead_lib.data.portraits.placement import place

    fits = []
    for image, *_ in views:
        try:
            fits.append(place(image, finder, 68, "a head").fit)
        except ValueError:
            fits.append(None)
    return errors_of(fits, views)


def errors_of(fits, views) -> dict:
    rows = []
    for fit, (_, _, azimuth, elevation) in zip(fits, views, strict=True):
        if fit is None:
            continue
        shift = fit.similarity @ [0.5, 0.5, 1] / SIDE - 0.5
        off = (fit.azimuth - azimuth, fit.elevation - elevation, fit.side / SIDE - 1)
        rows.append((*off, np.hypot(*shift), fit.roll))
    errors = np.abs(np.array(rows)).T
    names = (
        "azimuth, degrees",
        "elevation, degrees",
        "crop's size, share",
        "crop's middle, share",
        "roll, degrees",
    )
    return {
        "found": len(rows) / len(views),
        **{
            name: summary(e, 3 if "share" in name else 2)
            for name, e in zip(names, errors, strict=True)
        },
    }


def mask_figures(views, background: np.ndarray | None, by: str = "grabcut") -> dict[str, float]:
    """Overlap (soft intersection over union) of found and true masks, in the true crop."""
    from semhead_lib.data.portraits.head_finder.search import mask_of_crop
    from semhead_lib.data.portraits.silhouette import foreground

    found = []
    for image, mask, azimuth, elevation in views:
        coverage = mask.float() / 255
        if background is not None:
            behind = torch.from_numpy(background[:SIDE, :SIDE].copy()).permute(2, 0, 1).float()
            image = torch.lerp(behind, image.float(), coverage).round().byte()
        label = orbit_cameras(torch.tensor([azimuth]), torch.tensor([elevation]))[0]
        mask = foreground(image, label) if by == "grabcut" else mask_of_crop(image)
        mine = torch.zeros_like(coverage) if mask is None else mask.float() / 255
        found.append(
            float(torch.minimum(mine, coverage).sum() / torch.maximum(mine, coverage).sum())
        )
    return {
        "mean": round(float(np.mean(found)), 3),
        "10th percentile": round(float(np.percentile(found, 10)), 3),
    }


@pytest.mark.bench
def test_cameras_and_masks_of_photographs():
    for module in ("dlib", "cv2", "anny", "warp"):
        pytest.importorskip(module)
    torch.set_num_threads(1)
    views = list(known_views())
    report = {
        "what": f"{HEADS} parametric heads (seed {SEED}) of {SIDE} px, |azimuth| <= 45, elevation "
        "-20 to 30 degrees",
        "asked": f"median errors of azimuth and elevation <= {ASKED:g} degrees with 68 landmarks",
        "68 landmarks": camera_figures(views, 68, True),
        "68 landmarks, not corrected": camera_figures(views, 68, False),
        "5 landmarks": camera_figures(views, 5, True),
        "5 landmarks, not corrected": camera_figures(views, 5, False),
        "head finder": finder_figures(views, "network"),
        "head finder, from 68 landmarks where there is a face": finder_figures(views, "auto"),
        **{
            f"overlap of masks by {name}": {
                "even background": mask_figures(views, None, by),
                "before skimage.data.coffee()": mask_figures(views, coffee(), by),
                "before skimage.data.chelsea()": mask_figures(views, chelsea(), by),
            }
            for name, by in (("GrabCut", "grabcut"), ("the head finder", "network"))
        },
        "machine": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "versions": {
            name: version(name)
            for name in (
                "anny",
                "dlib-bin",
                "face-recognition-models",
                "numpy",
                "opencv-python-headless",
                "warp-lang",
            )
        },
        "date": datetime.date.today().isoformat(),
    }
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "photo_camera.json").write_text(json.dumps(report, indent=1) + "\n")
    print("\n" + json.dumps(report, indent=1))
    for angle in ("azimuth", "elevation"):
        assert report["68 landmarks"][f"{angle}, degrees"]["median"] <= ASKED
