"""What is said of compiled ops that are missing, broken or made for another place."""

import json
import platform

import pytest
import torch

from semhead_lib.ops import compiled

GOOD = {
    "torch": torch.__version__,
    "machine": platform.machine(),
    "cpu_features": [],
    "cpu_flags": "-march=native",
    "cuda_arch_list": "",
}


def test_nothing_there(tmp_path):
    assert (
        compiled.load(tmp_path).detail
        == f"not built: neither _ops.so nor _ops.json is in {tmp_path}"
    )


@pytest.mark.parametrize(
    ("record", "library", "detail"),
    [
        ({"missing": "SEMHEAD_OPS=0 was set"}, False, "not built: SEMHEAD_OPS=0 was set"),
        (GOOD, False, "not built: _ops.so was removed"),
        (GOOD | {"torch": "1.0"}, True, f"_ops.so is for torch 1.0, this is {torch.__version__}"),
        (GOOD | {"machine": "vax"}, True, f"_ops.so is for vax, this is {platform.machine()}"),
        (
            GOOD | {"cpu_features": ["mmx7"]},
            True,
            "_ops.so is for a processor with mmx7, which this one lacks",
        ),
        (GOOD, True, "_ops.so does not load: "),
        ({"torch": torch.__version__}, True, "_ops.so does not load: 'machine'"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, record, library, detail):
    (tmp_path / "_ops.json").write_text(json.dumps(record))
    if library:
        (tmp_path / "_ops.so").write_bytes(b"no library")
    found = compiled.load(tmp_path)
    assert found.devices == () and found.detail.startswith(detail) and "\n" not in found.detail


def test_a_broken_record_is_said(tmp_path):
    (tmp_path / "_ops.json").write_text("{")
    assert compiled.load(tmp_path).detail.startswith("_ops.so does not load: ")
