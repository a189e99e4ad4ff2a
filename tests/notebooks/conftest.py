"""JupyterLab and a headless Chromium that looks at it."""

import json
import os
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pytest
from browsers import chromium

ROOT = Path(__file__).parents[2]
FLAGS = (
    "--no-sandbox",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-background-networking",
    "--disable-gpu-compositing",  # on a processor, pages take less of it without; scenes keep WebGL
)
TOKEN = "semhead-browser-test"
_SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "notebook-extension/tracker": {"windowingMode": "none"},  # cells out of sight are there, too
}


@pytest.fixture(scope="session")
def browser():
    program = chromium()
    if program is None:
        pytest.skip("needs Chromium or Chrome")
    from playwright import sync_api as sync

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


@dataclass(frozen=True)
class Lab:
    """A JupyterLab that runs."""

    address: str  # ends in "/"
    checkout: Path

    def open(self, name: str) -> str:
        """The address of a notebook, in a workspace where nothing else is open."""
        return f"{self.address}lab/workspaces/{name}/tree/notebooks/{name}.ipynb?token={TOKEN}"

    def end_kernels(self) -> None:
        """End what executes notebooks, and free its memory."""
        sessions = f"{self.address}api/sessions"
        with urllib.request.urlopen(f"{sessions}?token={TOKEN}", timeout=10) as answer:
            running = json.loads(answer.read())
        for session in running:
            one = f"{sessions}/{session['id']}?token={TOKEN}"
            urllib.request.urlopen(urllib.request.Request(one, method="DELETE"), timeout=30).close()


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A JupyterLab, started with this Python, in a checkout: its own copies of the notebooks without
    their outputs, no outputs of earlier runs, and all else that the repository has."""
    folder = tmp_path_factory.mktemp("lab") / "checkout"
    (folder / "notebooks").mkdir(parents=True)
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        notebook = nbformat.read(path, as_version=4)
        for cell in notebook.cells:
            cell.update(dict(outputs=[], execution_count=None) if cell.cell_type == "code" else {})
        nbformat.write(notebook, folder / "notebooks" / path.name)
    for path in ROOT.iterdir():
        if path.name not in ("notebooks", "outputs", ".git"):
            (folder / path.name).symlink_to(path)
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
    log = (folder.parent / "lab.log").open("w")
    process = subprocess.Popen(
        command, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, **own}, cwd=folder
    )
    try:
        runtime = Path(own["JUPYTER_RUNTIME_DIR"])
        yield Lab(_address(process, runtime, folder.parent / "lab.log"), folder)
    finally:
        process.terminate()
        process.wait(20)


def _address(process: subprocess.Popen, runtime: Path, log: Path, seconds: float = 240) -> str:
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
