"""A plotly map whose points show images under the pointer, alive without a kernel and without a
network."""

from __future__ import annotations

import base64
import gzip
import html
import io
import json
from collections.abc import Mapping, Sequence
from functools import cache

import plotly.graph_objects as go
from IPython.display import HTML
from PIL import Image
from plotly.offline import get_plotlyjs
from torch import Tensor

from semhead_lib.viz.plots import COLOURS, LAYOUT

_SYMBOLS = ("circle", "square", "diamond", "cross", "x", "triangle-up", "star", "hexagon")
_PAGE = """<!doctype html><meta charset="utf-8"><title>{alt}</title>
<style>body{{margin:0;font:13px system-ui,sans-serif}}#card{{position:fixed;left:8px;bottom:8px;width:230px;padding:6px;
background:#fffd;border:1px solid #999;border-radius:4px;display:none}}#card img{{width:128px;height:128px;
display:block;margin-bottom:4px}}</style>
<div id="map" role="img" aria-label="{alt}" style="height:{height}px"></div>
<div id="card"><img alt=""><span></span></div>
<script>
const images = {images}, words = {words}, figure = {figure};
async function start() {{
  const packed = Uint8Array.from(atob("{plotly}"), c => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.textContent = await new Response(stream).text();
  document.head.append(script);
  const map = document.getElementById("map"), card = document.getElementById("card");
  await Plotly.newPlot(map, figure.data, figure.layout, {{responsive: true, displaylogo: false}});
  map.on("plotly_hover", event => {{
    const point = event.points[0].customdata;
    card.firstElementChild.src = "data:image/webp;base64," + images[point];
    card.lastElementChild.textContent = words[point];
    card.style.display = "block";
  }});
}}
start();
</script>"""


def image_map(
    points: Tensor,  # [N, 2]
    images: Tensor,  # [N, 3, H, W] uint8
    words: Sequence[str],  # N lines about the images
    groups: Sequence[str],  # N names, which decide colour and symbol
    *,
    colours: Mapping[str, str] | None = None,  # group -> CSS colour
    title: str,
    alt: str,
    height: int = 560,
) -> HTML:
    """A scatter plot in a frame of its own: the pointer over a point shows its image and its words.

    `alt` says in words what the map shows. Raises ValueError when the lengths differ.
    """
    if not len(points) == len(images) == len(words) == len(groups):
        raise ValueError(
            f"expected as many points as images, words and groups, "
            f"got {len(points)}, {len(images)}, {len(words)} and {len(groups)}"
        )
    figure = go.Figure()
    for k, name in enumerate(sorted(set(groups))):
        colour = (colours or {}).get(name, COLOURS[k % len(COLOURS)])
        rows = [i for i, group in enumerate(groups) if group == name]
        figure.add_scatter(
            x=points[rows, 0].tolist(),
            y=points[rows, 1].tolist(),
            customdata=rows,
            name=name,
            mode="markers",
            hoverinfo="none",
            marker=dict(
                size=9,
                symbol=_SYMBOLS[k % len(_SYMBOLS)],
                color=colour,
                line=dict(width=0.5, color="#333"),
            ),
        )
    figure.update_layout(**LAYOUT, title=title, height=height)
    figure.update_xaxes(showticklabels=False, zeroline=False).update_yaxes(
        showticklabels=False, zeroline=False
    )
    page = _PAGE.format(
        alt=html.escape(alt),
        height=height,
        images=json.dumps([_webp(p) for p in images]),
        words=json.dumps(list(words)).replace("</", "<\\/"),
        figure=(figure.to_json() or "").replace("</", "<\\/"),
        plotly=_packed_plotly(),
    )
    frame = (
        f'<iframe title="{html.escape(alt)}" srcdoc="{html.escape(page, quote=True)}" '
        f'style="width:100%;height:{height + 8}px;border:0"></iframe>'
    )
    return HTML(f"<div>{frame}</div>")


@cache
def _packed_plotly() -> str:
    """plotly.js, a third of its size."""
    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), mtime=0)).decode()


def _webp(image: Tensor) -> str:  # [3, H, W] uint8
    data = io.BytesIO()
    Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()).save(data, "WEBP", quality=80)
    return base64.b64encode(data.getvalue()).decode()
