"""The settings that a training wrote, in the units of today."""

from __future__ import annotations

from typing import Any

from semhead_lib import old_names

FORMAT = 3  # of settings.json


def begun_settings(content: dict[str, Any]) -> dict[str, Any]:
    """The settings in a training's settings.json, in the units of today.

    Before format 2, density_distance was in widths of the rendered cube; before format 3,
    semhead-512 had no super_mask.
    """
    from semhead_lib.models.config import preset

    settings = old_names.today(old_names.SETTINGS, content["settings"])
    if content.get("format", 1) < 2 and "density_distance" in settings:
        settings["density_distance"] = round(
            settings["density_distance"] * preset(settings["preset"]).plane_side, 6
        )
    if content.get("format", 1) < 3 and settings.get("preset") == "semhead-512":
        settings["generator"] = {"super_mask": False} | settings.get("generator", {})
    return settings
