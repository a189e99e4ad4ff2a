"""semhead: full-head 3D GANs conditioned on view-invariant semantics, a suite of notebooks.

>>> import semhead_lib as sh
>>> head = sh.load().sample(seed=3)
>>> head.render(sh.orbit(8)).shape[:2]
torch.Size([8, 3])

Importing this package is light: the names in `__all__` (semhead_lib/api.py) are loaded when one of
them is first used. Data flows one way: data -> conditioning -> models -> training -> evaluation ->
inversion -> explore.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from semhead_lib.api import (
        Head,
        HeadGenerator,
        compare,
        encode,
        evaluate,
        invert,
        load,
        orbit,
        save_images,
        synthesize,
        train,
    )

__version__ = "0.1.0"
__all__ = [
    "Head",
    "HeadGenerator",
    "compare",
    "encode",
    "evaluate",
    "invert",
    "load",
    "orbit",
    "save_images",
    "synthesize",
    "train",
]


if not TYPE_CHECKING:  # a checker knows the names, and no others

    def __getattr__(name):
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from semhead_lib import api

        globals().update({each: getattr(api, each) for each in __all__})
        return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
