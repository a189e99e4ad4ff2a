"""Metrics as functions from tensors to numbers; evaluation gives them data, protocol and
intervals."""

from semhead_lib.lazy import modules_of

__getattr__ = modules_of(__name__, __path__)
