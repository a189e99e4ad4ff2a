"""Captures of NeRF's and COLMAP's form: every pixel that is imported shows what its camera sees."""

from __future__ import annotations

import functools
import io
import json
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from semhead_lib.cameras import RADIUS, orbit_angles, orbit_cameras, project, rays
from semhead_lib.data.dataset.captures import _world_to_camera
from semhead_lib.data.dataset.check import check
from semhead_lib.data.dataset.reading import subjects
from semhead_lib.data.jobs.imports import import_dataset

bring_in = functools.partial(import_dataset, workers=0, progress=False, resolution=32)
AZIMUTHS = torch.tensor([-60.0, -30.0, 0.0, 30.0, 60.0]).double()
FOCAL, SIZE, CENTER = 400.0, (150, 110), (71.0, 57.5)  # pixels
METRES = 0.6  # a unit
LENS = (-0.2, 0.05, 0.002, -0.003)  # k1, k2, p1, p2
PLACE = np.array([3.0, -1.0, 2.0])  # of the head in the capture's world
OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])


def turned(seed=3):
    q = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
    return q * np.linalg.det(q)


TURN = turned()  # our axes in the capture's world


def poses(azimuths=AZIMUTHS, radius=RADIUS):
    """Camera-to-world matrices of the capture: OpenCV's axes, metres, its own world."""
    found = orbit_cameras(azimuths, torch.zeros(len(azimuths)), radius)[:, :16]
    found = found.reshape(-1, 4, 4).double().numpy()
    found[:, :3, 3] = METRES * found[:, :3, 3] @ TURN.T + PLACE
    found[:, :3, :3] = TURN @ found[:, :3, :3]
    return found


def distorted(x, y, lens):
    k1, k2, p1, p2 = lens
    r = x * x + y * y
    f = 1 + k1 * r + k2 * r * r
    return x * f + 2 * p1 * x * y + p2 * (r + 2 * x * x), y * f + p1 * (
        r + 2 * y * y
    ) + 2 * p2 * x * y


def coloured(directions):
    """A colour for each direction of a ray in our world."""
    return np.clip(127.5 + 127.5 * np.sin(9 * directions), 0, 255)


def photograph(pose, lens=(0.0,) * 4, size=SIZE, scale=1.0):
    """An image whose pixels have the colours of their rays."""
    v, u = np.mgrid[: size[1], : size[0]] + 0.5
    x, y = a, b = (u / scale - CENTER[0]) / FOCAL, (v / scale - CENTER[1]) / FOCAL
    for _ in range(30):  # the inverse of the distortion, by fixed-point iteration
        dx, dy = distorted(x, y, lens)
        x, y = x + a - dx, y + b - dy
    rays_ = np.stack([x, y, np.ones_like(x)], -1) @ pose[:3, :3].T @ TURN
    rays_ /= np.linalg.norm(rays_, axis=-1, keepdims=True)
    return Image.fromarray(coloured(rays_).round().astype(np.uint8))


def write(path, image, **how):
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **how)


def frame(index, pose, **more):
    return {"file_path": f"./images/{index}", "transform_matrix": (pose @ OPENGL).tolist(), **more}


def transforms(folder, lens=(0.0,) * 4, many=None, **more):
    """A capture with a transforms.json; `many` changes its content."""
    for index, pose in enumerate(poses()):
        write(folder / "images" / f"{index}.png", photograph(pose, lens))
    content = dict(w=SIZE[0], h=SIZE[1], fl_x=FOCAL, fl_y=FOCAL, cx=CENTER[0], cy=CENTER[1])
    content |= dict(zip(("k1", "k2", "p1", "p2"), lens, strict=True)) | more
    content["frames"] = [frame(i, pose) for i, pose in enumerate(poses())]
    content |= many or {}
    (folder / "transforms.json").write_text(json.dumps(content))
    return folder


def colmap(folder, model="PINHOLE", lens=(0.0,) * 4, at="sparse/0"):
    focal = [FOCAL] * (1 if model.startswith("SIMPLE") or model == "RADIAL" else 2)
    count = {"SIMPLE_RADIAL": 1, "RADIAL": 2, "OPENCV": 4}.get(model, 0)
    numbers = " ".join(map(str, [*focal, *CENTER, *lens[:count]]))
    model_folder = folder / at
    model_folder.mkdir(parents=True, exist_ok=True)
    (model_folder / "cameras.txt").write_text(
        f"# cameras\n7 {model} {SIZE[0]} {SIZE[1]} {numbers}\n"
    )
    lines = ["# images"]
    for index, pose in enumerate(poses()):
        write(folder / "images" / f"view {index}.png", photograph(pose, lens))
        w2c = np.linalg.inv(pose)
        points = "" if index % 2 else "10.5 11.5 -1 20.0 3.0 4"
        lines += [" ".join(map(str, [index + 1, *quaternion(w2c[:3, :3]), *w2c[:3, 3], 7])), points]
        lines[-2] += f" view {index}.png"
    (model_folder / "images.txt").write_text("\n".join(lines) + "\n")
    return folder


def quaternion(rotation):
    values, vectors = np.linalg.eig(rotation)
    axis = np.real(vectors[:, np.argmin(abs(values - 1))])
    angle = np.arccos(np.clip((np.trace(rotation) - 1) / 2, -1, 1))
    found = np.array([np.cos(angle / 2), *(np.sin(angle / 2) * axis)])
    back = found * [1, -1, -1, -1]
    one, other = (
        abs(_world_to_camera(q, np.zeros(3))[:3, :3] - rotation).max() for q in (found, back)
    )
    return found if one < other else back


def shows_what_cameras_see(subject, scale=1 / METRES, tolerance=4.0):
    """Colours of all pixels within the images against the rays of their cameras."""
    azimuths = orbit_angles(subject.cameras)[:, 0]
    assert torch.allclose(azimuths, AZIMUTHS, atol=0.05)
    assert torch.allclose(orbit_angles(subject.cameras)[:, 1], torch.zeros(5).double(), atol=0.05)
    _, directions = rays(subject.cameras, subject.views.shape[-1])
    expected = coloured(directions.numpy()).reshape(
        *subject.views.shape[:1], *subject.views.shape[2:], 3
    )
    off = np.abs(subject.views.permute(0, 2, 3, 1).numpy() - expected)
    inside = off[:, 8:-8, 8:-8]
    assert inside.max() < tolerance, inside.max()


@pytest.mark.parametrize("lens", [(0.0,) * 4, LENS])
def test_transforms_come_in_cropped_and_undistorted(tmp_path, lens):
    report = bring_in(
        transforms(tmp_path / "in", lens), tmp_path / "ours", scale=1 / METRES, licence="X"
    )
    assert (report.manifest.subjects, report.manifest.views) == (1, 5)
    (subject,) = subjects(tmp_path / "ours")
    shows_what_cameras_see(subject)
    radii = orbit_angles(subject.cameras)[:, 2]
    assert torch.allclose(radii, torch.full((5,), RADIUS).double(), atol=1e-3)
    middle, _ = project(torch.zeros(1, 3), subject.cameras)
    assert torch.allclose(middle, torch.full_like(middle, 0.5), atol=1e-4)
    assert torch.allclose(subject.cameras[:, 16], torch.full((5,), 4.2647), atol=1e-3)
    assert subject.provenance["frontal"]["image"] == "images/2.png" and subject.licence == "X"
    assert torch.equal(subject.frontal, subject.views[2])
    assert check(tmp_path / "ours") == []


@pytest.mark.parametrize("model", ["PINHOLE", "SIMPLE_RADIAL", "OPENCV"])
def test_colmaps_text_models_come_in(tmp_path, model):
    lens = {"SIMPLE_RADIAL": (-0.2, 0, 0, 0), "OPENCV": LENS}
    place = {"PINHOLE": "sparse/0", "SIMPLE_RADIAL": ".", "OPENCV": "sparse"}[model]
    source = colmap(tmp_path / "in", model, lens.get(model, (0.0,) * 4), place)
    bring_in(source, tmp_path / "ours")
    (subject,) = subjects(tmp_path / "ours")
    shows_what_cameras_see(subject)
    assert subject.provenance["images"][0] == "images/view 0.png"


def test_a_zip_of_subjects_moments_masks_and_transparency(tmp_path):
    """Two people of which one has two moments; masks that the file names, and alpha."""
    for name in ("anna", "ben"):
        transforms(tmp_path / "in" / name)
    folder = tmp_path / "in" / "anna"
    frames = [frame(i, p, timestep_index=t) for t in (0, 1) for i, p in enumerate(poses())]
    content = json.loads((folder / "transforms.json").read_text()) | {"frames": frames}
    for i, each in enumerate(frames):
        each["fg_mask_path"] = f"masks/{i % 5}.png"
        write(folder / "masks" / f"{i % 5}.png", Image.new("L", SIZE, 200))
    (folder / "transforms.json").write_text(json.dumps(content))
    for index in range(5):
        path = tmp_path / "in" / "ben" / "images" / f"{index}.png"
        image = Image.open(path).convert("RGBA")
        image.putalpha(Image.new("L", SIZE, 0 if index == 4 else 255))
        write(path, image)
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        for path in (tmp_path / "in").rglob("*.*"):
            archive.write(path, path.relative_to(tmp_path / "in"))
    bring_in(tmp_path / "in.zip", tmp_path / "ours")
    found = {subject.id: subject for subject in subjects(tmp_path / "ours")}
    assert list(found) == ["anna-t0", "anna-t1", "ben"]
    assert set(found["anna-t1"].masks.unique().tolist()) == {200}
    assert found["ben"].masks[:4].min() == 255 and found["ben"].masks[4].max() == 0
    assert found["ben"].views[4].min() == 255


def test_sizes_and_angles_of_other_tools(tmp_path):
    """The width's angle for a focal length; images at half the size that the file says; square."""
    folder = transforms(tmp_path / "angle", many={"fl_x": 0, "fl_y": 0})
    content = json.loads((folder / "transforms.json").read_text())
    content["camera_angle_x"] = 2 * np.arctan(0.5 * SIZE[0] / FOCAL)
    (folder / "transforms.json").write_text(json.dumps(content))
    bring_in(folder, tmp_path / "a")
    shows_what_cameras_see(next(iter(subjects(tmp_path / "a"))))
    half = transforms(tmp_path / "half")
    for index, pose in enumerate(poses()):
        small = photograph(pose, size=(SIZE[0] // 2, SIZE[1] // 2), scale=0.5)
        write(half / "images" / f"{index}.png", small)
    bring_in(half, tmp_path / "h")
    shows_what_cameras_see(next(iter(subjects(tmp_path / "h"))), tolerance=8.0)
    bring_in(half, tmp_path / "s", crop="square", resolution=0)
    subject = next(iter(subjects(tmp_path / "s")))
    assert subject.views.shape[-1] == 55
    source = np.asarray(Image.open(half / "images" / "1.png"))[:, 10:65]
    assert np.array_equal(subject.views[1].permute(1, 2, 0), source)
    shows_what_cameras_see(subject)


def test_centre_front_and_scale_can_be_given(tmp_path):
    folder = transforms(tmp_path / "in")
    center = ",".join(map(str, PLACE + TURN @ [0.0, METRES * 0.1, 0.0]))
    bring_in(folder, tmp_path / "ours", center=center, scale=1.0, front="images/4")
    (subject,) = subjects(tmp_path / "ours")
    angles = orbit_angles(subject.cameras)
    assert torch.allclose(angles[:, 0], AZIMUTHS - 60, atol=0.2)
    assert torch.allclose(
        angles[:, 2], torch.full((5,), METRES * np.hypot(2.7, 0.1)).double(), atol=1e-3
    )
    assert subject.provenance["frontal"]["image"] == "images/4.png"


@pytest.mark.parametrize(
    ("many", "settings", "message"),
    [
        ({}, {"resolution": 0}, "crop=head needs resolution="),
        ({}, {"camera": "opencv"}, "look away from each other: camera= names the convention"),
        ({}, {"front": "mouth"}, "front=mouth is in the name of no image, such as images/0.png"),
        ({}, {"center": "1,2"}, "center must be auto or three numbers x,y,z, got '1,2'"),
        ({}, {"crop": "none"}, "is 150 x 110 pixels: crop=head or crop=square"),
        ({}, {"family": "panohead"}, "family is for EG3D's form"),
        ({"k3": 0.1}, {}, "OPENCV with k3 is not read: undistort the images first"),
        ({"camera_model": "OPENCV_FISHEYE"}, {}, "OPENCV_FISHEYE is not read"),
        ({"w": 100}, {}, "is 150 x 110 pixels, expected the shape of 100 x 110"),
        ({"fl_x": "wide"}, {}, "frames, row 0: fl_x must be a number, got 'wide'"),
        ({"frames": []}, {}, "expected a list of frames"),
        ({"frames": [frame(9, np.eye(4))]}, {}, "frames, row 0: there is no image './images/9'"),
        (
            {"frames": [frame(0, np.eye(4)[:2])]},
            {},
            "transform_matrix must be 4 x 4 finite numbers",
        ),
        ({"frames": [frame(i, poses()[0]) for i in (0, 1)]}, {}, "in one direction"),
        (
            {"frames": [frame(0, pose) for pose in poses()]},
            {},
            r"frames, row 1: images/0\.png is that of row 0 already",
        ),
        (
            {"frames": [frame(0, poses()[0], time=None)]},
            {},
            "row 0: expected the number of a moment",
        ),
        ({"cx": 1e6}, {}, r"images/0\.png: its camera shows the head beyond the image"),
        (
            {"fl_x": 1e8, "fl_y": 1e8},
            {},
            r"images/0\.png: its camera shows the head beyond the image",
        ),
        (
            {"fl_x": 0.4, "fl_y": 0.4},
            {},
            r"shows the head 0\.094 pixels large: focal lengths are in",
        ),
        ({}, {"front": "images"}, "front=images is in the names of 5 images from different sides"),
    ],
)
def test_bad_transforms_are_named(tmp_path, many, settings, message):
    folder = transforms(tmp_path / "in", many=many)
    with pytest.raises(ValueError, match=message):
        bring_in(folder, tmp_path / "ours", **settings)
    assert not (tmp_path / "ours").exists()


def test_bad_models_of_colmap_are_named(tmp_path):
    folder = colmap(tmp_path / "in")
    cameras, images = (folder / "sparse/0" / name for name in ("cameras.txt", "images.txt"))
    kept = cameras.read_text()
    for bad, message in (
        (kept.replace("PINHOLE", "FULL_OPENCV"), "line 2: camera model FULL_OPENCV is not read"),
        (kept.replace(" 57.5", ""), "line 2: PINHOLE has 4 numbers"),
        (kept.replace("7 PIN", "8 PIN"), "images.txt, line 2: cameras.txt has no camera 7"),
        (kept.replace("400.0 400.0", "400.0 -400.0"), "line 2: size and focal length must be"),
        (kept.replace("150 110", "-150 -110"), "line 2: size and focal length must be positive"),
        (kept + kept.splitlines()[1], "line 3: there is another camera 7"),
    ):
        cameras.write_text(bad)
        with pytest.raises(ValueError, match=message):
            bring_in(folder, tmp_path / "ours")
    cameras.write_text(kept)
    registered = images.read_text()
    images.write_text(registered.replace("view 1.png", "view 0.png"))
    with pytest.raises(ValueError, match=r"line 4: images/view 0\.png is that of line 2 already"):
        bring_in(folder, tmp_path / "ours")
    images.write_text(registered.replace("view 0.png", "other.png"))
    with pytest.raises(ValueError, match=r"images.txt, line 2: there is no image 'other.png'"):
        bring_in(folder, tmp_path / "ours")
    (tmp_path / "surround").mkdir()
    with pytest.raises(ValueError, match=r"has no transforms\.json"):
        bring_in(tmp_path / "surround", tmp_path / "ours", form="transforms")


def test_a_binary_model_of_colmap_is_told_how_to_be_read(tmp_path):
    (tmp_path / "in/sparse/0").mkdir(parents=True)
    (tmp_path / "in/sparse/0/cameras.bin").write_bytes(b"")
    with pytest.raises(ValueError, match=r"in: COLMAP's models are read as text: 'colmap model_"):
        bring_in(tmp_path / "in", tmp_path / "ours")


def test_paths_that_go_up_within_the_capture(tmp_path):
    """As nerfstudio writes them; what lies outside of the capture is not looked for."""
    frames = [frame(i, pose) for i, pose in enumerate(poses())]
    folder = transforms(tmp_path / "in", many={"frames": frames})
    for each in frames:
        each["file_path"] = each["file_path"].replace("./", "../in/../")
    (folder / "scene").mkdir()
    (folder / "transforms.json").unlink()
    content = dict(w=SIZE[0], h=SIZE[1], fl_x=FOCAL, frames=frames)
    (folder / "scene" / "transforms.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="there is no image"):
        bring_in(folder / "scene", tmp_path / "alone")
    assert bring_in(folder, tmp_path / "ours").manifest.views == 5


def test_cameras_all_around_need_a_front(tmp_path):
    around = torch.arange(0.0, 360.0, 72.0)
    many = {"frames": [frame(i, pose) for i, pose in enumerate(poses(around))]}
    folder = transforms(tmp_path / "in", many=many)
    with pytest.raises(ValueError, match="surround the head: front= is part of the name"):
        bring_in(folder, tmp_path / "ours")
    bring_in(folder, tmp_path / "ours", front="images/1")
    (subject,) = subjects(tmp_path / "ours")
    assert subject.provenance["frontal"]["image"] == "images/1.png"


def panoheads(path, family_points):
    """PanoHead's test set: a zip of images, labels as strings, and a zip of masks."""
    azimuths = torch.tensor([0.0, 150.0])
    labels = orbit_cameras(azimuths, torch.zeros(2))
    with (
        zipfile.ZipFile(path / "img.zip", "w") as images,
        zipfile.ZipFile(path / "seg.zip", "w") as masks,
    ):
        for index, label in enumerate(labels):
            file, mask = io.BytesIO(), io.BytesIO()
            pixels = np.full((64, 64, 3), 40 * (index + 1), np.uint8)
            uv = project(family_points, label[None])[0][0] * 64
            for x, y in uv.long().tolist():
                pixels[y - 1 : y + 2, x - 1 : x + 2] = 255
            Image.fromarray(pixels).save(file, "PNG")
            Image.new("L", (64, 64), 255).save(mask, "PNG")
            images.writestr(f"0000{index}.png", file.getvalue())
            masks.writestr(f"0000{index}.png", mask.getvalue())
        rows = [
            [f"0000{i}.png", [f"{x:.6f}" for x in row.tolist()]] for i, row in enumerate(labels)
        ]
        images.writestr("dataset.json", json.dumps({"labels": rows}))


def test_panoheads_images_masks_and_labels_come_in_as_heads_of_our_size(tmp_path):
    """A bright spot of their world is where our camera sees its counterpart, cropped or not."""
    from semhead_lib.data.dataset.families import family

    f, point = family("panohead"), torch.tensor([[0.05, 0.08, 0.1]])
    panoheads(tmp_path, point)
    ours = (f.scale * point.double() + f.shift).float()
    more = dict(masks=tmp_path / "seg.zip", family="panohead", licence="CC-BY-4.0")
    bring_in(tmp_path / "img.zip", tmp_path / "whole", resolution=0, **more)
    with pytest.warns(UserWarning, match="masks cover all"):
        bring_in(
            tmp_path / "img.zip", tmp_path / "head", crop="head", **(more | {"resolution": 48})
        )
    for name, side in (("whole", 64), ("head", 48)):
        for subject in subjects(tmp_path / name):
            u, v = (project(ours, subject.cameras)[0][0, 0] * side).long().tolist()
            assert subject.views[0, :, v, u].min() > 150, name
            assert subject.masks[0, v, u] == 255
    assert torch.allclose(
        subject.cameras[:, 16] / orbit_angles(subject.cameras)[:, 2],
        torch.tensor(4.2647 / 2.7).double(),
    )
    assert subject.masks[0, 0, 0] == 0 and subject.views[0, :, 0, 0].tolist() == [255] * 3
    with pytest.raises(ValueError, match="family must be one of eg3d-ffhq, panohead, spherehead"):
        bring_in(tmp_path / "img.zip", tmp_path / "x", family="ffhq")
    with pytest.raises(ValueError, match="center is for captures"):
        bring_in(tmp_path / "img.zip", tmp_path / "x", center="0,0,0")
