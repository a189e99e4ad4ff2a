"""Looking at heads: figures, 3-D scenes and images for notebooks."""

from semhead_lib.lazy import modules_of

__getattr__ = modules_of(__name__, __path__)
