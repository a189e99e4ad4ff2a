"""Photographs of people as portraits: an aligned crop, the camera that saw it, and a mask of the
head."""

from semhead_lib.lazy import modules_of

__getattr__ = modules_of(__name__, __path__)
