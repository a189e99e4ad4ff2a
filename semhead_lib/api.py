"""The façade, which `import semhead_lib as sh` offers (semhead_lib/facade): each name
a few lines over the library's parts.

>>> import semhead_lib as sh
>>> generator = sh.load("semhead-128", device="cpu")
>>> head = generator.sample(seed=3)
>>> head.render(sh.orbit(2)).shape
torch.Size([2, 3, 128, 128])

Images are uint8 tensors [N, 3, H, W], cameras float32 tensors [N, 25] (`semhead_lib.cameras`).
"""

from __future__ import annotations

from semhead_lib.facade.datasets import encode, synthesize
from semhead_lib.facade.fitting import invert, train
from semhead_lib.facade.generators import load, orbit, save_images
from semhead_lib.facade.judging import compare, evaluate
from semhead_lib.heads import Head, HeadGenerator

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
