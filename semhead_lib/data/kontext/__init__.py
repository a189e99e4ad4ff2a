"""Views of real people by FLUX.1 Kontext: from a frontal portrait to the same person seen from all
around."""

from semhead_lib.lazy import modules_of

__getattr__ = modules_of(__name__, __path__)
