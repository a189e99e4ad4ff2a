"""A head's GLB in a viewer that shares nothing with its writer: three.js and its GLTFLoader, in the
page that trimesh carries."""

import base64
import io
import json
import math
import struct

import numpy as np
import pytest
from PIL import Image

import semhead_lib as sh

SIDE, _WAIT = 384, 60_000  # pixels; milliseconds until there is a canvas
# Light from everywhere shows colours as they are; a screen wants them as sRGB.
LIGHT = ("new THREE.DirectionalLight(0xffffff,1.75)", "new THREE.AmbientLight(0xffffff,1.0)")
SCREEN = (
    "renderer.setPixelRatio",
    "renderer.outputEncoding=THREE.sRGBEncoding;renderer.setPixelRatio",
)
# The camera stays as it is, and does not turn towards the middle of the head.
STILL = ("centerControls(scene,camera,controls);", "controls.target.set(0,0,0);")


def with_camera(glb: bytes, label) -> bytes:
    """The same file with the camera of a label, without which that page shows nothing."""
    length = struct.unpack_from("<I", glb, 12)[0]
    scene, rest = json.loads(glb[20 : 20 + length]), glb[20 + length :]
    angle = 2 * math.atan(0.5 / float(label[16]))
    perspective = {"yfov": angle, "znear": 0.1, "zfar": 10.0, "aspectRatio": 1.0}
    scene["cameras"] = [{"type": "perspective", "perspective": perspective}]
    scene["nodes"].append({"camera": 0, "translation": [0.0, 0.0, float(label[11])]})
    scene["scenes"][0]["nodes"].append(len(scene["nodes"]) - 1)
    text = json.dumps(scene).encode()
    text += b" " * (-len(text) % 4)
    body = struct.pack("<I4s", len(text), b"JSON") + text + rest
    return struct.pack("<4sII", b"glTF", 2, 12 + len(body)) + body


@pytest.mark.slow
@pytest.mark.notebooks
def test_three_js_shows_the_head_in_its_colours(browser, tmp_path):
    pytest.importorskip("trimesh")
    from trimesh import resources, util

    camera = sh.orbit(1)  # in front, at the height of the origin
    head = sh.load("semhead-128").sample(seed=3)
    head.save_mesh(tmp_path / "head.glb", side=96)
    archive = util.decompress(resources.get_bytes("templates/viewer.zip"), file_type="zip")
    page_text = archive["viewer.html.template"].read().decode()
    data = with_camera((tmp_path / "head.glb").read_bytes(), camera[0])
    for old, new in (LIGHT, SCREEN, STILL, ("$B64GLTF", base64.b64encode(data).decode())):
        assert page_text.count(old) == 1, old
        page_text = page_text.replace(old, new)
    (tmp_path / "viewer.html").write_text(page_text)

    page, errors = browser.new_page(viewport={"width": SIDE, "height": SIDE}), []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    page.goto((tmp_path / "viewer.html").as_uri())
    page.wait_for_selector("canvas", timeout=_WAIT)
    page.wait_for_timeout(2000)
    shown = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    page.close()
    assert not errors, errors
    shown.save(tmp_path / "shown.png")

    own = head.render(camera)[0]
    side = own.shape[-1]
    there = np.asarray(shown.resize((side, side), Image.Resampling.BOX), dtype=float)
    here = own.permute(1, 2, 0).numpy().astype(float)
    covered = (there < 250).any(-1)
    assert 0.2 < covered.mean() < 0.7
    alike = np.corrcoef(there[covered].ravel(), here[covered].ravel())[0, 1]
    mirrored = np.corrcoef(there[::-1][covered].ravel(), here[covered].ravel())[0, 1]
    brighter = there[covered].mean() / here[covered].mean()
    assert alike > 0.75 and alike > mirrored + 0.2, "the head stands upright where it is rendered"
    assert 0.6 < brighter < 1.3, (
        "in colours that are linear in the file: shown as they are, they are a quarter as bright"
    )
