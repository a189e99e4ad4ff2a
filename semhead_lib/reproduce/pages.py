"""Pages of a run: `index.html` with what was executed and measured, and one page a notebook. They
need no network.

nbconvert's own page loads require.js, MathJax and mermaid from the network whether or not they are
used; the template here drops them, and keeps MathJax only where a notebook has formulas (without a
network these show as TeX).

Plotly: a notebook does nothing special. In Jupyter, plotly's default renderer stores a figure as
`application/vnd.plotly.v1+json`, which JupyterLab draws itself and which keeps notebooks small, but
which nbconvert skips. Here such outputs become HTML that draws them with plotly.js, stored once a
run as `pages/plotly.min.js` (taken from the plotly package). Do not use renderers that write HTML
into the notebook (`notebook`, `iframe`, `..._connected`): they repeat 4 MB of script or load it,
and MathJax, from the network.

Live widgets (ipywidgets, a bare k3d plot, tqdm.notebook) need a kernel or the network: show a
snapshot instead, for k3d `HTML('<iframe srcdoc="...">')` of `plot.get_snapshot()`. Images are
embedded.
"""

from __future__ import annotations

import html
import json
import re
from typing import Any

from semhead_lib.reproduce.metrics import legible
from semhead_lib.reproduce.progress import duration, size
from semhead_lib.reproduce.runs import Run, write_text

_PLOTLY = "application/vnd.plotly.v1+json"
_TEMPLATE = """
{%- extends 'lab/index.html.j2' -%}
{%- block html_head_js -%}{%- endblock -%}
{%- block html_head_js_mermaidjs -%}{%- endblock -%}
{%- block html_head_js_mathjax -%}{%- if nb.metadata.has_formulas -%}{{ super() }}{%- endif -%}{%- endblock -%}
{%- block html_head_css -%}
{%- if nb.metadata.has_plotly -%}<script src="plotly.min.js"></script>{%- endif -%}
{%- endblock -%}
{%- block body_header -%}{{ super() }}
<p style="margin: 1em"><a href="../index.html">the whole run</a></p>
{%- endblock -%}
"""
_FORMULA = re.compile(r"\$[^\s$][^$]*\$|\\\(|\\\[|\\begin\{")


def write_pages(run: Run, executed: list[str], metrics: dict[str, dict[str, Any]]) -> None:
    """Write the page of each executed notebook that has none or an older one, and `index.html`."""
    for name in executed:
        page, notebook = run.folder / "pages" / f"{name}.html", run.executed(name)
        if not page.is_file() or page.stat().st_mtime_ns < notebook.stat().st_mtime_ns:
            write_text(page, _page(run, name))
    write_text(run.folder / "index.html", _index(run, executed, metrics))


def _page(run: Run, name: str) -> str:
    import nbformat

    from semhead_lib.reproduce.sanitised import SafeExporter, clean_outputs

    notebook = nbformat.read(run.executed(name), as_version=4)
    notebook.metadata["title"] = run.notebooks[name]["title"]
    prose = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    notebook.metadata["has_formulas"] = bool(_FORMULA.search(prose))
    clean_outputs(notebook)
    notebook.metadata["has_plotly"] = _draw_plotly(notebook)
    script = run.folder / "pages" / "plotly.min.js"
    if notebook.metadata["has_plotly"] and not script.is_file():
        from plotly.offline import get_plotlyjs

        write_text(script, get_plotlyjs())
    return SafeExporter(raw_template=_TEMPLATE, embed_images=True).from_notebook_node(notebook)[0]


def _draw_plotly(notebook: Any) -> bool:
    """Give each plotly output HTML that draws it; returns whether there was any."""
    found = False
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if _PLOTLY in data:
                import plotly.io

                figure = {
                    key: data[_PLOTLY][key]
                    for key in ("data", "layout", "frames")
                    if key in data[_PLOTLY]
                }
                data["text/html"] = plotly.io.to_html(
                    figure,
                    config=data[_PLOTLY].get("config"),
                    include_plotlyjs=False,
                    include_mathjax=False,
                    full_html=False,
                    validate=False,
                    auto_play=False,
                )
                found = True
    return found


def _index(run: Run, executed: list[str], metrics: dict[str, dict[str, Any]]) -> str:
    state, rows, tables = run.state, [], []
    for name in executed:
        entry = run.notebooks[name]
        link = f"<a href='pages/{html.escape(name)}.html'>{html.escape(entry['title'])}</a>"
        cells = [
            link,
            html.escape(name),
            duration(entry["seconds"]),
            size(entry["peak_memory_bytes"]),
            _commit(entry),
        ]
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
        recorded = "".join(
            f"<tr><th scope='row'>{html.escape(key)}</th><td>{html.escape(legible(value))}</td></tr>"
            for key, value in metrics.get(name, {}).items()
        )
        if recorded:
            tables.append(f"<h3>{html.escape(entry['title'])}</h3><table>{recorded}</table>")
    devices = state["devices"]
    gpus = "; ".join(devices["gpus"]) or "none"
    machine = (
        f"{devices['cpu']}, {devices['cores']} cores, {size(devices['memory_bytes'])} "
        f"memory; GPU: {gpus}"
    )
    versions = ", ".join(f"{name} {version}" for name, version in state["versions"].items())
    title = f"semhead: profile {state['profile']}, run {state['run']}"
    return _INDEX.format(
        title=html.escape(title),
        command=html.escape(state["command"]),
        commit=_commit(state),
        machine=html.escape(f"{machine}; {devices['platform']}"),
        rows="\n".join(rows),
        metrics="\n".join(tables) or "<p>No notebook recorded a metric.</p>",
        versions=html.escape(versions),
        total=duration(sum(run.notebooks[name]["seconds"] for name in executed)),
        parameters=html.escape(
            json.dumps({n: run.notebooks[n]["parameters"] for n in executed}, indent=2)
        ),
    )


def _commit(entry: dict[str, Any]) -> str:
    if not entry["commit"]:
        return "none (not in git)"
    return f"<code>{html.escape(entry['commit'][:12])}</code>" + (
        " with local changes" if entry["dirty"] else ""
    )


_INDEX = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222; }}
table {{ border-collapse: collapse; }}
th, td {{ text-align: left; padding: 0.25rem 1rem 0.25rem 0; border-bottom: 1px solid #ddd; vertical-align: top; }}
th[scope=row] {{ font-weight: normal; }}
code, pre {{ font-size: 0.9em; }}
</style>
</head>
<body>
<h1>{title}</h1>
<p><code>{command}</code><br>commit {commit}<br>{machine}</p>
<h2>Notebooks</h2>
<table>
<tr><th>title</th><th>notebook</th><th>time</th><th>peak memory</th><th>commit</th></tr>
{rows}
</table>
<p>{total} in all.</p>
<h2>Metrics</h2>
{metrics}
<details><summary>Parameters</summary><pre>{parameters}</pre></details>
<details><summary>Versions</summary><p>{versions}</p></details>
</body>
</html>
"""
