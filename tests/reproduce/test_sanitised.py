"""Words of users are shown in pages of a run, and never run there."""

from __future__ import annotations

import html
import re
import time
from html.parser import HTMLParser
from types import SimpleNamespace

import nbformat
import pandas as pd
import plotly.graph_objects as go
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output, new_raw_cell

from semhead_lib.reproduce import pages
from semhead_lib.reproduce.sanitised import cleaned

BAD = "<img src=x onerror=alert(1)>"


class Runs(HTMLParser):
    """What a browser would run of a page."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            leads = re.sub(r"\s", "", value or "").lower().startswith(("javascript:", "data:text"))
            if name.startswith("on") or leads or "url(" in (value or "") or tag == "svg":
                self.found.append((tag, name, value))

    def handle_data(self, data):
        if self.cdata_elem == "script" and "alert" in data:
            self.found.append(data)


def page_of(tmp_path, *cells):
    """The page of a notebook with these cells."""
    nbformat.write(new_notebook(cells=list(cells)), tmp_path / "a.ipynb")
    run = SimpleNamespace(
        folder=tmp_path,
        executed=lambda name: tmp_path / f"{name}.ipynb",
        notebooks={"a": {"title": f"Study {BAD}"}},
    )
    return pages._page(run, "a")


def shown(kind, content):
    return new_code_cell("1", outputs=[new_output("display_data", {kind: content})])


@pytest.mark.parametrize(
    "words",
    [
        BAD,
        "<script>alert(1)</script>",
        "[x](javascript:alert(1))",
        "[x](JaVaScRiPt&#58;alert(1))",
        '<a href="java\nscript:alert(1)">x</a>',
        '<a href="data:text/html,<script>alert(1)</script>">x</a>',
        "<svg onload=alert(1)>",
        "<iframe\nsrc='javascript:alert(1)'>",
        "<b onclick=alert(1)>x</b>",
        "<style>@import 'http://x'</style><p style='background:url(javascript:alert(1))'>x</p>",
    ],
)
@pytest.mark.parametrize("place", ["prose", "markdown", "html", "raw", "table", "text"])
def test_words_do_not_run(tmp_path, words, place):
    cell = {
        "prose": lambda: new_markdown_cell(f"# {words}\n\n{words}"),
        "markdown": lambda: shown("text/markdown", f"*{words}*"),
        "html": lambda: shown("text/html", f"<p>{words}</p>"),
        "raw": lambda: new_raw_cell(words),
        "table": lambda: shown("text/html", pd.DataFrame({words: [words]}).to_html(escape=False)),
        "text": lambda: shown("text/plain", words),
    }[place]()
    text = page_of(tmp_path, cell)
    assert Runs(text[text.index("<body") :]).found == []


def test_javascript_outputs_go_and_titles_are_words(tmp_path):
    text = page_of(tmp_path, shown("application/javascript", "alert(1)"))
    assert Runs(text).found == [] and "Study &lt;img" in text


def test_figures_tables_and_frames_stay(tmp_path):
    figure = go.Figure().add_scatter(x=[1], y=[2], name="</script>" + BAD)
    inner = html.escape("<canvas id='k3d'></canvas><script>draw()</script>", quote=True)
    frame = f'<iframe title="a head" srcdoc="{inner}" style="width:100%;height:480px"></iframe>'
    table = pd.DataFrame({"metric": [1.5]})._repr_html_()
    text = page_of(
        tmp_path,
        shown("application/vnd.plotly.v1+json", figure.to_plotly_json()),
        shown("text/html", f"<div>{frame}</div>"),
        shown("text/html", table),
        shown(
            "text/html", '<img alt="face" style="max-width:64px" src="data:image/webp;base64,A">'
        ),
        new_markdown_cell("**bold** `code` [paper](https://x.org) $a < b$\n\n|a|b|\n|-|-|\n|1|2|"),
    )
    assert "Plotly.newPlot" in text and "</script><img" not in text
    assert re.search(r'<iframe[^>]* sandbox="allow-scripts"', text) and "draw()" in text
    assert "<td>1.5</td>" in text and ".dataframe tbody" not in text
    assert 'src="data:image/webp;base64,A"' in text, re.findall("<img[^>]*>", text)
    assert "max-width:64px" in text
    assert (
        'href="https://x.org"' in text and "<strong>bold</strong>" in text and "<td>1</td>" in text
    )


def test_large_frames_take_no_minutes():
    inner = html.escape("<script>" + "x = 'abc'; " * 200_000 + "</script>", quote=True)
    began = time.monotonic()
    text = cleaned(f'<iframe srcdoc="{inner}"></iframe>')
    assert inner in text and 'sandbox="allow-scripts"' in text and time.monotonic() - began < 5


def test_what_is_put_aside_cannot_leave_its_place():
    for long in ("x" * 2000, "javascript:" + "x" * 2000, BAD * 100, "' onerror=f() " * 200):
        for words in (
            f'<p>src="data:image/{long}"</p>',
            f'<img src="data:image/{long}">',
            f'<a href=x srcdoc="{long}">x</a>',
            f"""<img alt='src="data:image/{long}"'>""",
            f'<img src=\'data:image/png" onerror="f()\' srcdoc="{long}">',
        ):
            assert Runs(cleaned(words)).found == []
