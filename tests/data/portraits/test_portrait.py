"""From a photograph to a portrait: any file, one face of several, clear refusals, labels that are
there already."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.data import astronaut, coffee

from semhead_lib.cameras import Camera, orbit_angles
from semhead_lib.data.portraits import alignment
from semhead_lib.data.portraits.crop import cut_square

pytest.importorskip("dlib")
pytest.importorskip("cv2")

FACE = (179, 83, 266, 170)  # of the astronaut, as dlib sees it


@pytest.fixture(scope="module")
def person() -> Image.Image:
    return Image.fromarray(astronaut())


@pytest.fixture(scope="module")
def saved(person, tmp_path_factory):
    path = tmp_path_factory.mktemp("photos") / "Eileen Collins.png"
    person.save(path)
    return path


@pytest.fixture(scope="module")
def portrait(saved):
    return alignment.read_portrait(saved)


def write(image: Image.Image, path, **options):
    image.save(path, **options)
    return path


def same(one: alignment.Portrait, other: alignment.Portrait, degrees: float) -> bool:
    return max(abs(one.azimuth - other.azimuth), abs(one.elevation - other.elevation)) <= degrees


def test_a_real_photograph(portrait):
    assert portrait.name == "Eileen-Collins"
    assert portrait.image.shape == (
        3,
        256,
        256,
    ) and portrait.mask.shape == portrait.inside.shape == (256, 256)
    assert portrait.landmarks.shape == (68, 2) and 0 < portrait.error < 0.04
    assert -5 < portrait.azimuth < 35 and abs(portrait.elevation) < 25
    assert [portrait.azimuth, portrait.elevation, 2.7] == pytest.approx(
        orbit_angles(portrait.camera[None])[0].tolist(), abs=1e-3
    )
    assert torch.equal(
        portrait.camera, Camera.orbit(portrait.azimuth, portrait.elevation).label
    ) or np.allclose(
        portrait.camera, Camera.orbit(portrait.azimuth, portrait.elevation).label, atol=1e-5
    )
    assert portrait.landmarks.mean(0).tolist() == pytest.approx([0.5, 0.5], abs=0.15)
    assert portrait.mask[128, 128] > 200 and portrait.mask[4, 4] == 0
    assert portrait.provenance["camera"] == "head finder, from landmarks"
    assert portrait.provenance["mask"] == "head finder" and portrait.provenance["certainty"] > 0.5
    assert portrait.provenance["photo size"] == [512, 512] and json.dumps(portrait.provenance)
    assert any("iBUG 300-W: no commercial use" in note for note in portrait.notes)


def test_the_mirror_image_is_seen_from_the_other_side(portrait):
    other = alignment.align(
        torch.from_numpy(astronaut()[:, ::-1].copy()).permute(2, 0, 1), name="mirrored"
    )
    assert portrait.azimuth + other.azimuth == pytest.approx(0, abs=3)
    assert portrait.elevation == pytest.approx(other.elevation, abs=3)


def test_five_landmarks(saved, portrait):
    found = alignment.read_portrait(saved, landmarks=5, resolution=128)
    assert found.landmarks.shape == (5, 2) and found.image.shape == (3, 128, 128)
    assert same(found, portrait, 15) and "CC0" in found.provenance["landmark model"]
    assert not any("iBUG" in note for note in found.notes)


def test_the_same_photograph_gives_the_same_portrait(saved, portrait):
    again = alignment.read_portrait(saved)
    for name in ("image", "camera", "mask", "inside", "landmarks"):
        assert torch.equal(getattr(again, name), getattr(portrait, name))


def test_a_turned_photograph_is_righted(person, portrait):
    turned = np.array(person.rotate(20, Image.Resampling.BICUBIC))
    found = alignment.align(torch.from_numpy(turned).permute(2, 0, 1), name="turned")
    assert found.provenance["roll"] == pytest.approx(portrait.provenance["roll"] - 20, abs=4)
    assert same(found, portrait, 5)


def test_files_of_all_kinds(person, portrait, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    rotated = write(person.rotate(90, expand=True), tmp_path / "rotated.jpg", exif=exif, quality=95)
    assert same(alignment.read_portrait(rotated), portrait, 2)
    grey = alignment.read_portrait(write(person.convert("L"), tmp_path / "grey.webp"))
    assert same(grey, portrait, 6) and torch.equal(grey.image[0], grey.image[2])


def test_a_large_photograph(person, portrait, tmp_path):
    large = alignment.read_portrait(write(person.resize((5000, 5000)), tmp_path / "large.jpg"))
    assert large.provenance["photo size"] == [4096, 4096] and large.image.shape == (3, 256, 256)
    assert same(large, portrait, 4)
    assert (large.image.float() - portrait.image.float()).abs().mean() < 12


def test_alpha_is_the_mask(person, portrait, tmp_path):
    alpha = np.zeros((512, 512), np.uint8)
    alpha[:230, 100:330] = 255
    alpha[:, :140] = 0
    cut = Image.fromarray(np.dstack([np.array(person), alpha]))
    found = alignment.read_portrait(write(cut, tmp_path / "cut.png"))
    assert found.provenance["mask"] == "alpha" and same(found, portrait, 6)
    expected, inside = cut_square(
        torch.from_numpy(alpha)[None], np.array(found.provenance["crop"]), 256
    )
    assert torch.equal(found.inside, inside)
    assert (found.mask.float() - torch.where(inside > 0, expected[0], 0).float()).abs().mean() < 2
    opaque = Image.fromarray(np.dstack([np.array(person), np.full_like(alpha, 255)]))
    opaque = write(opaque, tmp_path / "opaque.png")
    for finder, source in (("auto", "head finder"), ("landmarks", "grabcut")):
        found = alignment.read_portrait(opaque, finder=finder)
        assert found.provenance["mask"] == source


def test_a_given_mask(saved, tmp_path):
    mask = torch.zeros(512, 512, dtype=torch.uint8)
    mask[:240, 120:330] = 255
    found = alignment.read_portrait(saved, mask=mask)
    assert (
        found.provenance["mask"] == "given" and found.mask.max() == 255 and found.mask[-1, 0] == 0
    )
    with pytest.raises(ValueError, match=r"Eileen Collins.png: mask must be uint8 .* \[512, 512\]"):
        alignment.read_portrait(saved, mask=mask[:300])


def test_the_largest_of_several_faces(person, portrait):
    both = Image.new("RGB", (1000, 560), (120, 130, 140))
    both.paste(person.resize((360, 360)), (20, 100))
    both.paste(person, (440, 20))
    found = alignment.align(torch.from_numpy(np.array(both)).permute(2, 0, 1), name="two")
    assert "2 faces were found: the largest was taken." in found.notes
    crop = np.array(found.provenance["crop"])
    assert (crop @ [0.5, 0.5, 1])[0] > 440 and same(found, portrait, 4)


def test_photographs_without_a_usable_face(person, tmp_path):
    cup = write(Image.fromarray(coffee()), tmp_path / "cup.jpg")
    small = Image.new("RGB", (400, 400), (120, 130, 140))
    small.paste(person.resize((170, 170), Image.Resampling.LANCZOS), (100, 100))
    refusals = {
        cup: "no face found in 600 x 400 pixels",
        write(
            small, tmp_path / "small.png"
        ): r"the face is \d+ pixels wide, at least 40 are needed",
        write(
            person.crop((197, 0, 512, 512)), tmp_path / "half.png"
        ): "the face is cut off by the photo's edge",
    }
    for path, message in refusals.items():
        with pytest.raises(ValueError, match=f"{path.name}: {message}"):
            alignment.read_portrait(path, finder="landmarks")
    with pytest.raises(ValueError, match=r"no face found .* nor was a head found"):
        alignment.read_portrait(cup)
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(ValueError, match=r"text\.png: no readable"):
        alignment.read_portrait(tmp_path / "text.png")
    with pytest.raises(FileNotFoundError):
        alignment.read_portrait(tmp_path / "absent.png")
    with pytest.raises(ValueError, match="landmarks must be 68 or 5"):
        alignment.read_portrait(cup, landmarks=29)


def test_a_head_that_the_edge_cuts_is_noted(person):
    close = alignment.align(
        torch.from_numpy(np.array(person.crop((150, 60, 300, 210)))).permute(2, 0, 1), name="close"
    )
    assert any("edge cuts off about" in note for note in close.notes)
    assert any(
        "was enlarged to 256" in note
        for note in alignment.align(close.image[:, ::2, ::2], name="tiny").notes
    )
    assert (close.inside == 0).any() and (close.inside == 255).any()
    assert close.mask[close.inside == 0].max() == 0
    assert close.image[:, 0, 0].float().mean() > 0  # mirrored, not black


def test_labelled_photographs_are_taken_as_they_are(person, tmp_path):
    label = Camera.orbit(75.0, 10.0).label
    (tmp_path / "00000").mkdir()
    square = write(person.resize((200, 200)), tmp_path / "00000/one.png")
    other = write(person, tmp_path / "00000/two.png")
    labels = [["00000/one.png", label.tolist()]]
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": labels}))
    found = alignment.read_portrait(square, resolution=64)
    assert torch.equal(found.camera, label) and found.azimuth == pytest.approx(75, abs=1e-3)
    assert (
        found.image.shape == (3, 64, 64)
        and found.mask.shape == (64, 64)
        and bool((found.inside == 255).all())
    )
    assert found.landmarks is None and found.error is None and found.provenance["camera"] == "label"
    by_landmarks = alignment.read_portrait(other, finder="landmarks").provenance
    assert by_landmarks["camera"] == "68 landmarks" and by_landmarks["mask"] == "grabcut"
    listed = alignment.find_portraits(tmp_path)
    assert [(path.name, camera is not None) for _, path, camera in listed] == [
        ("one.png", True),
        ("two.png", False),
    ]
    assert alignment.read_portrait(other, camera=label).provenance["camera"] == "given"
    labels[0][1] = label.tolist()[:24]
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": labels}))
    with pytest.raises(
        ValueError, match=r"dataset.json: 00000/one.png: label expected 25 numbers, got 24"
    ):
        alignment.read_portrait(square)
    label = torch.cat([label[:16] * torch.tensor([1.0, -1, -1, 1] * 4), label[16:]])
    labels[0][1] = label.tolist()
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": labels}))
    with pytest.raises(ValueError, match=r"one.png: label .*OpenGL's camera axes .*camera=opengl"):
        alignment.read_portrait(square)
    label = Camera.orbit(75.0, 10.0).label
    near = label.clone()
    near[[16, 20]] = 0.01
    (tmp_path / "dataset.json").write_text(
        json.dumps({"labels": [[*labels[0][:1], near.tolist()]]})
    )
    (note,) = alignment.read_portrait(square).notes
    assert "is doubtful: the cameras have focal lengths of 0.01" in note
    with pytest.raises(ValueError, match=r"one.png: the mask \(given\) shows no head"):
        alignment.read_portrait(square, camera=label, mask=torch.zeros(200, 200, dtype=torch.uint8))
    wide = write(person.resize((200, 100)), tmp_path / "00000/wide.png")
    with pytest.raises(
        ValueError, match=r"wide.png: a photo with a camera must be a square crop, got 200 x 100"
    ):
        alignment.read_portrait(wide, camera=label)


def test_a_crop_that_is_the_whole_image_changes_nothing():
    image = torch.from_numpy(astronaut()).permute(2, 0, 1)
    whole, inside = cut_square(image, np.array([[512.0, 0, 0], [0, 512, 0]]), 512)
    assert torch.equal(whole, image) and bool((inside == 255).all())
    half, _ = cut_square(image, np.array([[512.0, 0, 0], [0, 512, 0]]), 128)
    means = torch.nn.functional.avg_pool2d(image.float(), 4)
    assert (half.float() - means).abs().mean() < 4


def test_the_overlay_shows_mask_and_landmarks(portrait):
    drawn = alignment.overlay(portrait)
    assert drawn.shape == portrait.image.shape and drawn.dtype == torch.uint8
    for colour in ((0, 230, 0), (255, 40, 40), (40, 90, 255)):
        assert (drawn == torch.tensor(colour, dtype=torch.uint8)[:, None, None]).all(0).any()
