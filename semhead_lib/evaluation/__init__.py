"""Measures of images and geometry; the same functions serve training, notebooks and tests."""

from semhead_lib.lazy import modules_of

__getattr__ = modules_of(__name__, __path__)
