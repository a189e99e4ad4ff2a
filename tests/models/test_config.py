"""What is told of the presets is what is counted."""

from pathlib import Path

from semhead_lib.models.cost import cost_table

README = Path(__file__).parents[2] / "README.md"


def test_the_readme_tells_what_presets_cost():
    assert cost_table() in README.read_text(encoding="utf-8")
