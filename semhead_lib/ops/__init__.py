"""Compiled ops and their reference implementations: the fused ray renderer, and features of points
in planes.

`render_rays` and `sample_planes` are what the rest of the library calls. Both run compiled code
(`csrc/`) where it was built, on CPU and CUDA, and else the one of the same name with `reference_`
before it: plain torch that reads like the equations, which is also what the compiled code is tested
against. `semhead doctor` says which, and why.
"""

from semhead_lib.ops.density_grid import density_grid, reference_density_grid
from semhead_lib.ops.field import Ball, Box, FieldNetwork
from semhead_lib.ops.layout import Layout, Projection, Window
from semhead_lib.ops.reference_render import Rendered, reference_render_rays
from semhead_lib.ops.render_rays import render_rays
from semhead_lib.ops.sample_planes import reference_sample_planes, sample_planes

__all__ = [
    "Ball",
    "Box",
    "FieldNetwork",
    "Layout",
    "Projection",
    "Rendered",
    "Window",
    "density_grid",
    "reference_density_grid",
    "reference_render_rays",
    "reference_sample_planes",
    "render_rays",
    "sample_planes",
]
