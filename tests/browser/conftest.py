"""JupyterLab and a headless Chromium that looks at it."""

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FLAGS = (
    "--no-sandbox",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-background-networking",
)
TOKEN = "semhead-browser-test"
_SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "notebook-extension/tracker": {"windowingMode": "none"},  # cells out of sight are there, too
}


@pytest.fixture(scope="session")
def browser():
    sync = pytest.importorskip("playwright.sync_api")
    program = next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )
    if program is None:
        pytest.skip("needs Chromium or Chrome")
    with sync.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=program, args=list(FLAGS))
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def artefacts(tmp_path_factory) -> Path:
    """Where images of the screen are kept: SEMHEAD_SCREENSHOTS, or a temporary folder."""
    kept = os.environ.get("SEMHEAD_SCREENSHOTS")
    folder = Path(kept) if kept else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """The address of a JupyterLab whose folder holds copies of the notebooks, started with this
    Python."""
    pytest.importorskip("jupyterlab")
    folder = tmp_path_factory.mktemp("lab")
    shutil.copytree(
        ROOT / "notebooks",
        folder / "notebooks",
        ignore=shutil.ignore_patterns(".ipynb_checkpoints"),
    )
    own = {
        name: str(tmp_path_factory.mktemp(name.lower()))
        for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR")
    }
    settings = tmp_path_factory.mktemp("settings")
    for name, content in _SETTINGS.items():
        path = settings / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        "--no-browser",
        "--allow-root",
        "--port=0",
        f"--IdentityProvider.token={TOKEN}",
        f"--LabApp.user_settings_dir={settings}",
        f"--LabApp.workspaces_dir={settings}",
        "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.root_dir={folder}",
    ]
    log = (folder / "lab.log").open("w")
    process = subprocess.Popen(
        command, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, **own}, cwd=folder
    )
    try:
        yield f"{_address(process, Path(own['JUPYTER_RUNTIME_DIR']), folder / 'lab.log')}lab/tree/notebooks"
    finally:
        process.terminate()
        process.wait(20)


def _address(process: subprocess.Popen, runtime: Path, log: Path, seconds: float = 60) -> str:
    """Where the server listens, once it answers."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        assert process.poll() is None, log.read_text()
        for path in runtime.glob("jpserver-*.json"):
            try:
                url = json.loads(path.read_text())["url"]
                urllib.request.urlopen(f"{url}api/status?token={TOKEN}", timeout=5).close()
            except (ValueError, OSError):
                continue
            return url
        time.sleep(0.3)
    raise AssertionError(f"JupyterLab does not answer:\n{log.read_text()}")
