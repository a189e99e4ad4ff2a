"""The dataset format: a manifest, shards of encoded subjects, and everything that reads them."""

from semhead_lib.lazy import modules_of

__getattr__ = modules_of(__name__, __path__)
