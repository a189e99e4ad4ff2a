"""Which browser shows JupyterLab here."""

import importlib.util
import shutil


def chromium() -> str | None:
    """The program that shows JupyterLab, where there is one that can be driven."""
    if not all(map(importlib.util.find_spec, ("playwright", "jupyterlab"))):
        return None
    names = ("chromium", "chromium-browser", "google-chrome")
    return next(filter(None, map(shutil.which, names)), None)
