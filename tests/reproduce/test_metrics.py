"""`record` takes what JSON can hold, and says what it cannot."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from semhead_lib.reproduce import record
from semhead_lib.reproduce.metrics import MIME, collect


def test_outside_jupyter_the_table_is_printed(capsys):
    record(
        auc=np.float64(0.98765),
        views=torch.tensor(12),
        per_bin=np.array([1.0, 2.5]),
        fd={"value": 3.0, "seed": 1},
    )
    assert (
        capsys.readouterr().out
        == "auc: 0.9877\nviews: 12\nper_bin: [1, 2.5]\nfd: value 3, seed 1\n"
    )


def test_what_is_no_metric():
    with pytest.raises(ValueError, match="metric 'loss' must be finite, got nan"):
        record(loss=float("nan"))
    with pytest.raises(
        TypeError, match=r"metric 'a\[0\].b' must be a number, string, list or mapping, got object"
    ):
        record(a=[{"b": object()}])


def test_the_last_of_equal_names_counts():
    outputs = [
        {"data": {MIME: {"a": 1, "b": 2}}},
        {"data": {"text/plain": "x"}},
        {"name": "stdout"},
    ]
    cells = [
        {"cell_type": "markdown"},
        {"outputs": outputs},
        {"outputs": [{"data": {MIME: {"a": 3}}}]},
    ]
    assert collect({"cells": cells}) == {"a": 3, "b": 2}
