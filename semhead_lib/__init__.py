"""semhead: full-head 3D GANs conditioned on view-invariant semantics, as a reproducible notebook suite.

Data flows one way: data -> conditioning -> models -> training -> evaluation -> inversion -> explore.
Importing this package is light: each part loads what it needs when it is imported itself.
"""

__version__ = "0.1.0"
