"""`semhead doctor` on this environment, and on environments with something missing."""

import importlib
import importlib.metadata
import json
import subprocess
import sys

import pytest

from semhead_lib import doctor
from semhead_lib.ops import compiled


def by_name(findings: list[doctor.Finding]) -> dict[str, doctor.Finding]:
    return {finding.name: finding for finding in findings}


@pytest.fixture
def missing(monkeypatch):
    """A function that makes one distribution look as if it were not installed."""
    version = importlib.metadata.version

    def hide(name: str) -> None:
        def without(asked: str) -> str:
            if asked == name:
                raise importlib.metadata.PackageNotFoundError(asked)
            return version(asked)

        monkeypatch.setattr(importlib.metadata, "version", without)

    return hide


def test_this_environment_is_healthy(capsys):
    assert doctor.main() == 0
    printed = capsys.readouterr().out
    assert "Everything needed is here." in printed
    for word in (
        "torch",
        "anny",
        "jupyter kernel",
        "compiled",
        "nvcc",
        "disk",
        "cpu",
        "FLUX.1 Kontext",
    ):
        assert word in printed


def test_json_holds_every_finding(capsys):
    assert doctor.main(as_json=True) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["healthy"] is True
    assert {finding["state"] for finding in report["findings"]} <= {"ok", "note"}
    assert {"system", "devices", "base", "extra 'data'", "compiled", "models"} <= {
        finding["section"] for finding in report["findings"]
    }


def test_a_missing_base_package_fails_with_the_mending_command(missing, capsys):
    missing("safetensors")
    assert doctor.main() == 1
    printed = capsys.readouterr().out
    assert "Needed, and missing or broken: safetensors" in printed
    assert f"mend with: {doctor._install()}" in printed
    assert "Everything needed" not in printed


def test_a_missing_optional_package_does_not_fail(missing):
    missing("anny")
    findings = doctor.examine()
    assert by_name(findings)["anny"].state == "note"
    assert "not installed" in by_name(findings)["anny"].detail
    assert doctor.run(findings) == 0


def test_a_package_too_old_is_broken(monkeypatch):
    version = importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata, "version", lambda name: "2.1.0" if name == "torch" else version(name)
    )
    finding = by_name(doctor.examine())["torch"]
    assert finding.state == "broken"
    assert finding.detail == "2.1.0, needs >=2.11"


def test_a_torch_that_does_not_load_fails(monkeypatch, capsys):
    load = importlib.import_module

    def broken(name: str):
        if name == "torch":
            raise OSError("libcudart.so.13: cannot open shared object file\nsecond line")
        return load(name)

    monkeypatch.setattr(importlib, "import_module", broken)
    assert doctor.main() == 1
    printed = capsys.readouterr().out
    assert "libcudart.so.13: cannot open shared object file" in printed
    assert "second line" not in printed
    assert f"mend with: {doctor._install(anew=True)}" in printed


def test_a_project_that_is_not_installed_fails(monkeypatch):
    def requires(name: str):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", requires)
    finding = by_name(doctor.examine())["semhead"]
    assert (finding.state, finding.detail) == ("broken", "not installed in this environment")


def test_it_speaks_without_rich_packaging_and_torch():
    code = (
        "import sys\n"
        "for name in ('rich', 'packaging', 'torch', 'torchvision', 'yaml', 'omegaconf'): "
        "sys.modules[name] = None\n"
        "from semhead_lib import doctor; sys.exit(doctor.main())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert "Needed, and missing or broken: import torch, import torchvision" in done.stdout
    assert done.stderr == ""


def test_shipped_and_downloaded_models_are_found(monkeypatch, tmp_path):
    (tmp_path / "assets" / "headclip-64").mkdir(parents=True)
    (tmp_path / "assets" / "headclip-64" / "model.safetensors").touch()
    hub = tmp_path / "hub"
    (hub / "models--black-forest-labs--FLUX.1-Kontext-dev" / "snapshots" / "abc").mkdir(
        parents=True
    )
    (hub / "models--timm--vit_base_patch32_clip_224.openai").mkdir(
        parents=True
    )  # begun, nothing in it
    monkeypatch.setattr(doctor, "PACKAGE", tmp_path)
    monkeypatch.setenv("HF_HUB_CACHE", str(hub))
    monkeypatch.setenv("ANNY_CACHE_DIR", str(tmp_path / "anny"))
    findings = by_name(doctor._models())
    assert findings["headclip"].detail == "headclip-64"
    assert findings["generator"].state == "note" and findings["judge"].state == "note"
    (tmp_path / "assets" / "headjudge").mkdir()
    (tmp_path / "assets" / "headjudge" / "model.safetensors").touch()
    assert by_name(doctor._models())["judge"].detail == "headjudge"
    (tmp_path / "assets" / "semhead-128").mkdir()
    (tmp_path / "assets" / "semhead-128" / "model.safetensors").touch()
    assert by_name(doctor._models())["generator"].detail == "semhead-128"
    assert findings["FLUX.1 Kontext"].detail == "black-forest-labs/FLUX.1-Kontext-dev"
    assert findings["CLIP"].state == "note"
    assert "a minute longer" in findings["anny's cache"].detail


def test_missing_ops_are_a_note_with_the_mending_command(monkeypatch):
    monkeypatch.setattr(
        compiled, "COMPILED", compiled.Compiled((), "not built: SEMHEAD_OPS=0 was set")
    )
    finding = next(iter(doctor._compiled()))
    assert (finding.name, finding.state, finding.mend) == ("ops", "note", doctor._install())
    assert finding.detail.startswith(
        "not built: SEMHEAD_OPS=0 was set: the reference implementations serve"
    )


def test_ops_of_an_installed_package_are_compiled_anew(monkeypatch, tmp_path):
    """There pip would say that the package is installed already, or take the wheel it has kept."""
    monkeypatch.setattr(doctor, "ROOT", tmp_path)
    assert (
        doctor._compile()
        == "python -m pip install --force-reinstall --no-deps --no-cache-dir semhead"
    )


@pytest.mark.skipif(not compiled.COMPILED.devices, reason=compiled.COMPILED.detail)
def test_ops_are_listed_with_their_devices():
    found = by_name(doctor._compiled())
    assert found["ops"].state == "ok" and "built for torch" in found["ops"].detail
    assert found["semhead::render_rays"].detail in ("CPU", "CPU, CUDA")


@pytest.mark.parametrize(
    ("prefix", "files", "arguments", "command"),
    [
        (".venv", ["environments"], {}, "make -B setup"),
        (".venv", ["environments"], {"extra": "faces"}, "make -B setup"),
        (
            ".venv",
            ["environments"],
            {"extra": "gpu"},
            "make -B setup LOCK=environments/lock-gpu.txt",
        ),
        (".venv", ["environments"], {"anew": True}, "make clean setup"),
        (
            "conda",
            ["environments"],
            {"extra": "scale"},
            "python -m pip install -r environments/lock-suite.txt && ",
        ),
        (
            "conda",
            ["environments"],
            {"anew": True},
            "python -m pip install --force-reinstall -r environments/lock-suite",
        ),
        ("conda", [], {"extra": "faces"}, "python -m pip install 'semhead[faces]'"),
        ("conda", [], {}, "python -m pip install semhead"),
    ],
)
def test_mending_commands_fit_the_environment(
    monkeypatch, tmp_path, prefix, files, arguments, command
):
    for name in files:
        (tmp_path / name).mkdir()
    monkeypatch.setattr(doctor, "ROOT", tmp_path)
    monkeypatch.setattr(sys, "prefix", str(tmp_path / prefix))
    assert doctor._install(**arguments).startswith(command)
