"""Making datasets: worker processes, many machines on one folder, or a Ray cluster."""

from semhead_lib.lazy import modules_of

__getattr__ = modules_of(__name__, __path__)
