"""The documented costs of the presets are what is counted."""

from pathlib import Path

from semhead_lib.models.cost import cost_table

PAGE = Path(__file__).parents[2] / "docs" / "engine.md"


def test_the_page_tells_what_presets_cost():
    assert cost_table() in PAGE.read_text(encoding="utf-8")
