"""Parametric heads: people drawn from documented distributions, built as meshes, cast with exact ground truth."""

import warp

warp.config.log_level = warp.LOG_ERROR  # no banner, no note for every cached kernel, no warning where there is no GPU
