"""Metrics of a notebook: recorded in its outputs, collected from the executed file.

`record` displays a small table that also carries the numbers under a MIME type of our own. They
travel inside the notebook, so they are there however it was executed: by `semhead reproduce`, plain
Papermill, or by hand in JupyterLab.
"""

from __future__ import annotations

import html
import json
import math
from collections.abc import Mapping
from typing import Any

MIME = "application/vnd.semhead.metrics+json"


def record(**metrics: Any) -> None:
    """Record metrics of this notebook, e.g. `record(auc=0.98, views_per_second=21.3)`; a later
    equal name wins.

    Values are numbers (NumPy and torch scalars too), booleans, strings, None, or lists and mappings
    of these: a metric with its protocol is `record(fd={"value": 12.3, "images": 2000, "seed": 1})`.
    Raises TypeError for anything else and ValueError for a number that is not finite. Outside
    Jupyter the table is printed.
    """
    values = {name: _plain(value, name) for name, value in metrics.items()}
    text = "\n".join(f"{name}: {legible(value)}" for name, value in values.items())
    try:
        from IPython.core.getipython import get_ipython

        inside = get_ipython() is not None
    except ImportError:
        inside = False
    if not inside:
        print(text)
        return
    from IPython.display import display

    rows = "".join(
        f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
        f"<td style='text-align:right'>{html.escape(legible(value))}</td></tr>"
        for name, value in values.items()
    )
    display({MIME: values, "text/html": f"<table>{rows}</table>", "text/plain": text}, raw=True)


def collect(notebook: Mapping[str, Any]) -> dict[str, Any]:
    """All metrics recorded in an executed notebook (its JSON); of equal names the last."""
    metrics: dict[str, Any] = {}
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            metrics.update(output.get("data", {}).get(MIME, {}))
    return metrics


def legible(value: Any) -> str:
    """A metric as people read it: four significant digits, whole numbers whole.

    >>> legible(0.98765), legible(12), legible({"value": 3.14159, "seed": 1})
    ('0.9877', '12', 'value 3.142, seed 1')
    """
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {legible(inner)}" for name, inner in value.items())
    if isinstance(value, list):
        return "[" + ", ".join(legible(inner) for inner in value) + "]"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
    return str(value)


def _plain(value: Any, name: str) -> Any:
    """`value` as JSON has it; `name` is for errors."""
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        value = value.item()
    elif hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _plain(inner, f"{name}.{key}") for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner, f"{name}[{i}]") for i, inner in enumerate(value)]
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"metric '{name}' must be finite, got {value}")
        return value
    raise TypeError(
        f"metric '{name}' must be a number, string, list or mapping, got {type(value).__name__}"
    )


def dumps(metrics: Mapping[str, Any]) -> str:
    """Metrics as the text of `metrics.json`."""
    return json.dumps(metrics, indent=2, ensure_ascii=False) + "\n"
