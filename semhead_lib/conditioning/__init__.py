"""The semantic condition: CLIP features of a subject's frontal view, and what each condition mode
makes of them."""

from semhead_lib.lazy import modules_of

__getattr__ = modules_of(__name__, __path__)
