"""Head data: sources of subjects, the dataset format, and exchange with EG3D and PanoHead."""

from semhead_lib.lazy import modules_of

__getattr__ = modules_of(__name__, __path__)
