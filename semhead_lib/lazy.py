"""Packages whose modules are imported when they are first used, as in `from semhead_lib import metrics` and then
`metrics.probes.variance_split(features)`."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable
from types import ModuleType


def modules_of(package: str, path: Iterable[str]) -> Callable[[str], ModuleType]:
    """The `__getattr__` of a package: `modules_of(__name__, __path__)`.

    >>> from semhead_lib import metrics
    >>> metrics.bias.__name__
    'semhead_lib.metrics.bias'
    """
    names = {module.name for module in pkgutil.iter_modules(path)}

    def attribute(name: str) -> ModuleType:
        if name not in names:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return importlib.import_module(f"{package}.{name}")

    return attribute
