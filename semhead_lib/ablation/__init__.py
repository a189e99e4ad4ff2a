"""Ablations: many trainings that differ in one thing at a time, judged alike, and what follows from
them."""

from semhead_lib.lazy import modules_of

__getattr__ = modules_of(__name__, __path__)
