"""The functions of the façade, by stage; semhead_lib/api.py lists them."""

from semhead_lib.lazy import modules_of

__getattr__ = modules_of(__name__, __path__)
