"""HTML of executed notebooks made safe, in one place: names of studies, files and captions are
words, whatever they hold.

bleach keeps tags and attributes that show something and drops those that do something. Frames with
scripts of their own (scenes that can be turned, hover plots) stay, shut off from the page by
`sandbox`.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from functools import cache
from typing import Any

from bleach.css_sanitizer import ALLOWED_CSS_PROPERTIES, CSSSanitizer
from bleach.html5lib_shim import Filter  # pyright: ignore[reportAttributeAccessIssue]
from bleach.sanitizer import ALLOWED_TAGS, Cleaner
from jinja2 import pass_context
from nbconvert import HTMLExporter

_TAGS = """p br hr div span pre small big sub sup u s del ins mark figure figcaption details summary
img video audio source table thead tbody tfoot tr th td caption colgroup col h1 h2 h3 h4 h5 h6 dl dt
dd kbd samp var tt iframe"""
_EVERYWHERE = {"class", "id", "style", "title", "role", "lang", "dir", "width", "height", "align"}
_OF_CELLS = {"colspan", "rowspan", "scope", "border", "valign"}
_ATTRIBUTES = {
    "a": {"href", "name"},
    "img": {"src", "alt"},
    "video": {"src", "controls", "loop", "muted", "autoplay", "playsinline"},
    "audio": {"src", "controls", "loop"},
    "source": {"src", "type"},
    "iframe": {"srcdoc"},
    "details": {"open"},
}
_SOURCES = ("data:image/", "data:video/", "data:audio/", "http://", "https://")
_STYLES = """max-width max-height min-width border border-radius margin margin-bottom padding display
gap grid-template-columns flex position object-fit opacity border-collapse"""
# values that bleach would take minutes for; without <, > and quotes they are harmless wherever they stand
_LONG = re.compile(r"""(\bsrcdoc="|\bsrc="data:\w+/)([^"'<>]{1000,})(?=")""")
_STYLE_SHEET = re.compile(r"<style\b[^>]*>.*?</style\s*>", re.IGNORECASE | re.DOTALL)


def cleaned(html: str) -> str:
    """The same HTML without what could run in the page or lead elsewhere.

    >>> cleaned('<b onclick="f()">x</b>')
    '<b>x</b>'
    """
    mark, kept = secrets.token_hex(8), []

    def aside(found: re.Match[str]) -> str:
        kept.append(found[2])
        return f"{found[1]}{mark}{len(kept) - 1}."

    text = _cleaner().clean(_STYLE_SHEET.sub("", _LONG.sub(aside, html)))
    return re.sub(rf"{mark}(\d+)\.", lambda found: kept[int(found[1])], text)


def clean_outputs(notebook: Any) -> None:
    """Make HTML that is stored in a notebook safe; scripts go. Pages are made of what is left."""
    for cell in notebook.cells:
        if cell.cell_type == "raw":
            cell.source = cleaned(cell.source)
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            data.pop("application/javascript", None)
            if "text/html" in data:
                data["text/html"] = cleaned(data["text/html"])


class SafeExporter(HTMLExporter):
    """nbconvert's exporter; markdown, of cells and outputs, is cleaned when it has become HTML."""

    @pass_context
    def markdown2html(self, context: Any, source: str) -> str:
        return cleaned(super().markdown2html(context, source))


class _Sandboxed(Filter):
    """Frames run in an origin of their own, whatever they say."""

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for token in super().__iter__():
            if token.get("name") == "iframe" and token["type"] in ("StartTag", "EmptyTag"):
                token["data"][(None, "sandbox")] = "allow-scripts"
            yield token


@cache
def _cleaner() -> Cleaner:
    return Cleaner(
        ALLOWED_TAGS | set(_TAGS.split()),
        _allowed,
        protocols={"http", "https", "mailto", "data"},
        css_sanitizer=CSSSanitizer([*ALLOWED_CSS_PROPERTIES, *_STYLES.split()]),
        filters=[_Sandboxed],  # pyright: ignore[reportArgumentType]
    )


def _allowed(tag: str, name: str, value: str) -> bool:
    if name in _EVERYWHERE or name.startswith("aria-") or (name in _OF_CELLS and tag[0] in "ct"):
        return True
    if name not in _ATTRIBUTES.get(tag, ()):
        return False
    if name == "href":  # what a data: link shows would run as a page
        return not value.strip().lower().startswith("data:")
    return name != "src" or value.strip().lower().startswith(_SOURCES)
