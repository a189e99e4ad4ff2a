"""Parametric heads: subjects drawn from documented distributions, built as meshes, cast with exact
ground truth."""

from semhead_lib.lazy import modules_of

__getattr__ = modules_of(__name__, __path__)
