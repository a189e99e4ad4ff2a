"""Render a plan of `semhead render-plan` with EG3D, PanoHead, SphereHead, HyPlaneHead, or any other
generator that has their interface.

Copy this file and the plan into that generator's own checkout and run it in its own environment:

    python plan_renderer.py plan.json out --network network.pkl

It needs torch, numpy and Pillow, but not semhead. The generator is what
`legacy.load_network_pkl(file)["G_ema"]` of the checkout returns, or what a function of yours
returns (--load module:function, called with the network's path). It must have

    z_dim
    ws = mapping(z, c, truncation_psi=...)     z [B, z_dim], c [B, 25] condition cameras
    synthesis(ws, c, noise_mode="const")       c [B, 25] cameras; a dict with "image" [B, 3, S, S]
                                               in [-1, 1], and, if it has depth, "image_depth"
                                               [B, 1, R, R] along rays and "image_mask" in [0, 1]

`out` gets the images and a dataset.json in EG3D's form: their camera labels, the cameras they were
conditioned on, and the plan. The same command continues an interrupted run. Then, where semhead
is installed: semhead evaluate out REFERENCE results
"""

import argparse
import importlib
import json
import os
import re
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image


def load_network(path):
    """Load a generator from a pickle with the checkout's own loader, which executes code in the
    file: load only files that you trust."""
    import legacy

    with open(path, "rb") as file:
        return legacy.load_network_pkl(file)["G_ema"]


def latent(seed, z_dim):
    """The z that EG3D's scripts draw for a seed, [1, z_dim]."""
    draw = np.random.RandomState(seed).randn(1, z_dim)
    return torch.from_numpy(draw).float()


def write_image(path, image):
    """Write [3, S, S] in [-1, 1] as PNG, atomically."""
    pixels = (image.float() * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name("%s.%d.partial" % (path.name, os.getpid()))  # noqa: UP031
    Image.fromarray(pixels.permute(1, 2, 0).cpu().numpy()).save(partial, format="PNG")
    os.replace(partial, path)


def write_text(path, text):
    """Write a text file, atomically."""
    partial = path.with_name("%s.%d.partial" % (path.name, os.getpid()))  # noqa: UP031
    partial.write_text(text)
    os.replace(partial, path)


def write_surface(path, found, place):
    """Depth along rays and coverage (1 where the generator has no mask) as float32 [2, R, R]."""
    depth = found["image_depth"][place].float()
    mask = found.get("image_mask")
    if mask is None:
        mask = torch.ones_like(depth)
    else:
        mask = torch.nn.functional.interpolate(mask[place][None].float(), depth.shape[-2:])[0]
    partial = path.with_name("%s.%d.partial" % (path.name, os.getpid()))  # noqa: UP031
    with open(partial, "wb") as file:
        np.save(file, torch.cat([depth, mask]).cpu().numpy())
    os.replace(partial, path)


def read_plan(path):
    """A plan whose images lie within the folder that they are written to. Raises ValueError for
    anything else."""
    plan = json.loads(path.read_text())
    if not isinstance(plan, dict) or plan.get("format") != "semhead-render-plan":
        raise ValueError("is no plan of 'semhead render-plan'")
    plan["about"], count, seen = dict(plan["about"]), len(plan["cameras"]), set()
    if not np.isfinite(np.array(plan["cameras"], dtype=np.float64).reshape(count, 25)).all():
        raise ValueError("has cameras that are not finite")
    for name, seed, camera, condition in plan["images"]:
        numbers = all(type(x) is int for x in (seed, camera, condition))
        right = numbers and 0 <= camera < count and 0 <= condition < count and 0 <= seed < 2**32
        whole = isinstance(name, str) and re.match(r"^[a-z]+-[0-9]+/[a-z0-9]+\.png\Z", name)
        if not right or not whole or name in seen:
            raise ValueError("has an image that cannot be rendered: " + repr(name))
        seen.add(name)
    return plan


def checked(images, count):
    """The generator's output. Raises ValueError for anything but finite images."""
    shape = tuple(images.shape)
    if len(shape) != 4 or shape[:2] != (count, 3) or shape[2] != shape[3]:
        expected = "images [" + str(count) + ", 3, S, S]"
        raise ValueError("the generator must return " + expected + ", got " + str(shape))
    if not torch.isfinite(images).all():
        raise ValueError("the generator returned numbers that are not finite")
    return images


def labels_in(plan):
    """Content of dataset.json: labels and condition cameras of all images, and the plan."""
    cameras, images = plan["cameras"], plan["images"]
    return {
        "labels": [[name, cameras[camera]] for name, _, camera, _ in images],
        "condition_cameras": [[name, cameras[condition]] for name, _, _, condition in images],
        "plan": plan["about"],
    }


@torch.no_grad()
def render_plan(generator, plan, out, device="cpu", truncation_psi=1.0, batch=4, say=print):
    """Render all missing images of a plan, then write dataset.json."""
    cameras = torch.tensor(plan["cameras"], dtype=torch.float32)
    waiting = [image for image in plan["images"] if not (out / image[0]).exists()]
    for start in range(0, len(waiting), batch):
        some = waiting[start : start + batch]
        z = torch.cat([latent(seed, generator.z_dim) for _, seed, _, _ in some]).to(device)
        seen, on = (cameras[[image[place] for image in some]].to(device) for place in (2, 3))
        ws = generator.mapping(z, on, truncation_psi=truncation_psi)
        found = generator.synthesis(ws, seen, noise_mode="const")
        images = checked(found["image"], len(some))
        for i, ((name, *_), image) in enumerate(zip(some, images)):  # noqa: B905 (Python 3.8)
            if name.startswith("depth-") and "image_depth" in found:
                (out / name).parent.mkdir(parents=True, exist_ok=True)
                write_surface((out / name).with_suffix(".npy"), found, i)
            write_image(out / name, image)
        done = start + len(some)
        if start // batch % 25 == 0 or done == len(waiting):
            say("%d of %d images" % (done, len(waiting)))  # noqa: UP031
    write_text(out / "dataset.json", json.dumps(labels_in(plan)))


def loader(name):
    """The function that `module:function` names."""
    module, _, function = name.partition(":")
    if not function:
        raise ValueError("expected module:function")
    sys.path.insert(0, os.getcwd())
    return getattr(importlib.import_module(module), function)


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description="render a plan of 'semhead render-plan'")
    parser.add_argument("plan", type=Path, help="file of 'semhead render-plan'")
    parser.add_argument("out", type=Path, help="folder to write")
    parser.add_argument(
        "--network", required=True, help="the generator's pickle, or what LOAD takes"
    )
    load_help = "module:function that is called with NETWORK; default: the loader of legacy.py"
    parser.add_argument("--load", help=load_help)
    parser.add_argument("--truncation-psi", type=float, default=1.0, help="default 1 = none")
    parser.add_argument("--batch", type=int, default=4, help="images at a time, default 4")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    given = parser.parse_args()
    if given.batch < 1:
        sys.exit("--batch must be at least 1, got %d" % given.batch)  # noqa: UP031
    try:
        plan = read_plan(given.plan)
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        sys.exit("%s: %s: %s" % (given.plan, type(error).__name__, error))  # noqa: UP031
    if given.out.exists() and not given.out.is_dir():
        sys.exit("%s is no folder" % given.out)  # noqa: UP031
    settings = {"network": given.network, "load": given.load, "plan": plan["about"]}
    settings["truncation_psi"] = given.truncation_psi
    begun = given.out / "render.json"
    before = json.loads(begun.read_text()) if begun.exists() else settings
    if others := [name for name in settings if before.get(name) != settings[name]]:
        words = (given.out, ", ".join(others))
        sys.exit("%s was begun with another %s: use another folder" % words)  # noqa: UP031
    try:
        load = loader(given.load) if given.load else load_network
        generator = load(given.network).to(given.device).eval()
    except ModuleNotFoundError as error:
        where = "run this in the generator's checkout, or use --load module:function"
        sys.exit("%s: %s" % (error, where))  # noqa: UP031
    except (AttributeError, ValueError) as error:
        sys.exit("--load %s: %s" % (given.load, error))  # noqa: UP031
    except OSError as error:
        sys.exit("--network %s: %s" % (given.network, error))  # noqa: UP031
    given.out.mkdir(parents=True, exist_ok=True)
    write_text(begun, json.dumps(settings))
    options = {"truncation_psi": given.truncation_psi, "batch": given.batch}
    try:
        render_plan(generator, plan, given.out, given.device, **options)
    except ValueError as error:
        sys.exit("%s: %s" % (given.network, error))  # noqa: UP031


if __name__ == "__main__":
    main()
