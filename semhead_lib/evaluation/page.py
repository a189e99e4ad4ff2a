"""The page of an evaluation, or of several side by side: tables, values around the head, and heads.

It is self-contained, without scripts or network access.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from semhead_lib.atomic import write_atomically
from semhead_lib.evaluation.polar import polar_plot
from semhead_lib.evaluation.protocol import Metric, dumps
from semhead_lib.evaluation.result import Evaluation
from semhead_lib.evaluation.samples import Samples
from semhead_lib.metrics.azimuth import AzimuthBins
from semhead_lib.metrics.comparison import ALL
from semhead_lib.metrics.names import HIGHER, LOWER, better, display_name

METRICS, PAGE, POLAR, HEADS = "metrics.json", "index.html", "quality.svg", "heads.webp"
_POLAR = {  # metric -> title
    "frechet": "Fréchet distance by azimuth (lower is better)",
    "recall": "Recall by azimuth (higher is better)",
    "diversity": "Diversity by azimuth (real heads: 1)",
}
_NOTE = (
    "<p>Arrows say which way is better; of <i>power</i>, generated over real in a band of cycles an "
    "image, 1 is ideal. A value is bold where its interval lies beyond those of all others. In "
    "brackets: 95 % intervals. Real heads are measured in the generators' place: a perfect "
    "generator would reach their value. The metrics are defined in docs/training.md.</p>"
)
_GREY = 232  # where a head has no view
_STYLE = (
    "body{font:15px/1.45 system-ui,sans-serif;margin:24px auto;max-width:1200px;padding:0 16px;"
    "color:#111}table{border-collapse:collapse;margin:8px 0 24px}th,td{padding:3px 12px;"
    "border-bottom:1px solid #e4e4e4;text-align:right;white-space:nowrap}th:first-child{"
    "text-align:left;font-weight:normal}thead th{font-weight:600}small{color:#666}"
    "img{width:100%;max-width:900px;image-rendering:pixelated}td small{display:block}"
    "figure{margin:0 0 20px}div.plots{display:flex;flex-wrap:wrap;gap:8px}"
    "div.plots svg{width:32%;min-width:300px;height:auto}"
    "b{font-weight:700}.wide{overflow-x:auto}dt{font-weight:600;margin-top:8px}dd{margin-left:16px}"
)


@dataclass(frozen=True)
class Entry:
    """One generator on a page."""

    name: str
    found: Evaluation
    heads: Image.Image | None = None  # some of its heads, a column for each azimuth


def heads_sheet(samples: Samples, bins: AzimuthBins, heads: int = 4) -> Image.Image:
    """The first heads, one row each, at the azimuths of the bins; grey if a view is missing."""
    view = bins.nearest_views(samples.cameras[:heads])
    side, gap = samples.resolution, 2
    rows, columns = len(view), bins.count
    sheet = torch.full((3, rows * (side + gap) - gap, columns * (side + gap) - gap), 255)
    for i, j in torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).tolist():
        top, left, which = i * (side + gap), j * (side + gap), int(view[i, j])
        image = _GREY if which < 0 else samples.images[i, which]
        sheet[:, top : top + side, left : left + side] = image
    return _image(sheet)


def write_evaluation(folder: Path, entry: Entry, sheet: bytes | None = None) -> None:
    """An evaluation's folder: metrics.json, quality.svg, heads.webp (`sheet`, where it is there
    already), and index.html, which holds all of it."""
    (folder / METRICS).unlink(missing_ok=True)  # it comes last: what it lies beside belongs to it
    if entry.heads is not None:
        write_atomically(folder / HEADS, sheet or _webp(entry.heads))
    write_page(folder, [entry], f"Evaluation of {entry.name}")
    write_atomically(folder / METRICS, dumps(entry.found.as_json()).encode())


def write_page(folder: Path, entries: Sequence[Entry], title: str) -> None:
    """Write index.html and quality.svg for generators that were evaluated by one protocol."""
    plots = polar_plots(entries)
    if plots:
        write_atomically(folder / POLAR, plots[0].encode())
    scopes = [s for s in entries[0].found.generated if s != ALL]
    body = [
        f"<h1>{html.escape(title)}</h1>",
        f"<p>{html.escape(_measured_words(entries[0].found))}</p>",
        "<h2>Quality by azimuth</h2>",
        "<p>Heads are seen from above and face down; the subject's left is on the right.</p>",
        f'<div class="plots">{"".join(plots)}</div>',
        "<h2>Over all views</h2>",
        _table(entries, ALL),
        _NOTE,
        *_sheets(entries, scopes),
        "<h2>By azimuth</h2>",
        *(_by_azimuth(entries, metric, scopes) for metric in _metrics_of(entries, scopes)),
        "<h2>What was judged</h2>",
        _about(entries),
    ]
    page = (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" '
        f'content="width=device-width"><title>{html.escape(title)}</title>'
        f"<style>{_STYLE}</style>{''.join(body)}</html>\n"
    )
    write_atomically(folder / PAGE, page.encode())


def polar_plots(entries: Sequence[Entry]) -> list[str]:
    """Drawings of the metrics that say how good each side of a head is."""
    scopes = [s for s in entries[0].found.generated if s != ALL]
    azimuths, drawn = [float(scope) for scope in scopes], []
    for metric, title in _POLAR.items():
        curves = {e.name: [_value(e.found.generated, s, metric) for s in scopes] for e in entries}
        floor = [_value(entries[0].found.real, s, metric) for s in scopes]
        if any(v is not None for c in curves.values() for v in c):
            drawn.append(polar_plot(azimuths, curves, title=title, floor=floor))
    return drawn


def side_by_side(entries: Sequence[Entry], scope: str = ALL) -> str:
    """The metrics of one scope as a Markdown table: a column a generator, and real heads."""
    rows = [["metric", *(e.name for e in entries), "real heads"]]
    rows.append(["---"] * len(rows[0]))
    for metric in _metrics_of(entries, [scope]):
        found = [e.found.generated.get(scope, {}).get(metric) for e in entries]
        real = entries[0].found.real.get(scope, {}).get(metric)
        cells = [f"{m}" if m else "–" for m in (*found, real)]
        rows.append([display_name(metric), *cells])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _metrics_of(entries: Sequence[Entry], scopes: Sequence[str]) -> list[str]:
    return list(
        dict.fromkeys(m for e in entries for s in scopes for m in e.found.generated.get(s, {}))
    )


def _value(side: dict[str, dict[str, Metric]], scope: str, metric: str) -> float | None:
    found = side.get(scope, {}).get(metric)
    return found.value if found else None


def _table(entries: Sequence[Entry], scope: str) -> str:
    head = "".join(f"<th>{html.escape(e.name)}</th>" for e in entries)
    rows = []
    for metric in _metrics_of(entries, [scope]):
        found = [e.found.generated.get(scope, {}).get(metric) for e in entries]
        best, real = _best(metric, found), entries[0].found.real.get(scope, {}).get(metric)
        cells = "".join(_cell(m, m is not None and m is best) for m in found)
        rows.append(f"<tr><th>{_named(metric)}</th>{cells}{_cell(real)}</tr>")
    return (
        f'<div class="wide"><table><thead><tr><th>metric</th>{head}<th>real heads</th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _by_azimuth(entries: Sequence[Entry], metric: str, scopes: Sequence[str]) -> str:
    def row(name: str, side: dict[str, dict[str, Metric]]) -> str:
        values = [_value(side, s, metric) for s in scopes]
        cells = "".join(f"<td>{'–' if v is None else f'{v:.3g}'}</td>" for v in values)
        return f"<tr><th>{html.escape(name)}</th>{cells}</tr>"

    head = "".join(f"<th>{scope}°</th>" for scope in scopes)
    rows = [row(e.name, e.found.generated) for e in entries]
    if any(_value(entries[0].found.real, s, metric) is not None for s in scopes):
        rows.append(row("real heads", entries[0].found.real))
    return (
        f'<div class="wide"><table><thead><tr><th><b>{_named(metric)}</b></th>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _sheets(entries: Sequence[Entry], scopes: Sequence[str]) -> list[str]:
    shown, sides = [], ", ".join(f"{scope}°" for scope in scopes)
    for entry in entries:
        if entry.heads is not None:
            code = base64.b64encode(_webp(entry.heads)).decode()
            name = html.escape(entry.name)
            shown.append(
                f"<figure><figcaption>{name}</figcaption><img "
                f'alt="heads of {name}, a row each, from the azimuths of the tables" '
                f'src="data:image/webp;base64,{code}"></figure>'
            )
    words = f"<p>A head a row, from azimuth {sides}; grey where it has no view near that.</p>"
    return ["<h2>Heads</h2>", words, *shown] if shown else []


def _about(entries: Sequence[Entry]) -> str:
    parts = []
    for entry in entries:
        about = entry.found.about
        lines = [about.get("seen", ""), _measured(entry.found).protocol.judged]
        lines += entry.found.left_out()
        said = "<br>".join(html.escape(line) for line in lines if line)
        parts.append(f"<dt>{html.escape(entry.name)}</dt><dd>{said}</dd>")
    return f"<dl>{''.join(parts)}</dl>"


def _measured(found: Evaluation) -> Metric:
    return found.generated[ALL]["frechet"]


def _measured_words(found: Evaluation) -> str:
    p = asdict(_measured(found).protocol)
    return (
        "{heads} heads, {images} images of them, against {reference} real images, at {resolution} "
        "pixels; features by {features}; intervals: {interval}; seed {seed}; real data {data}."
    ).format(**p)


def _named(metric: str) -> str:
    return html.escape(f"{display_name(metric)} {better(metric)}".rstrip())


def _best(metric: str, found: Sequence[Metric | None]) -> Metric | None:
    """The one whose interval lies beyond those of all others, on the better side."""
    known = [m for m in found if m is not None]
    if len(known) < 2 or better(metric) not in (LOWER, HIGHER):
        return None
    lower = better(metric) == LOWER
    best, *others = sorted(known, key=lambda m: m.value if lower else -m.value)
    apart = all(best.high < m.low if lower else best.low > m.high for m in others)
    return best if apart else None


def _cell(metric: Metric | None, best: bool = False) -> str:
    if metric is None:
        return "<td>–</td>"
    value, interval = str(metric).split(" ", 1)
    value = f"<b>{value}</b>" if best else value
    return f"<td>{value} <small>{interval}</small></td>"


def _image(sheet: Tensor) -> Image.Image:
    return Image.fromarray(sheet.to(torch.uint8).permute(1, 2, 0).numpy())


def _webp(image: Image.Image) -> bytes:
    data = io.BytesIO()
    image.save(data, "WEBP", quality=90)
    return data.getvalue()
