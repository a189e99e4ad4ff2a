"""From a dataset and a condition mode to a trained generator."""

from semhead_lib.lazy import modules_of

__getattr__ = modules_of(__name__, __path__)
