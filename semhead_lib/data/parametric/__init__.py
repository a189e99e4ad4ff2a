"""Parametric heads: subjects drawn from documented distributions, built as meshes, cast with exact
ground truth."""

import os

import warp

from semhead_lib.lazy import modules_of


def _start_warp() -> None:
    """Start warp without its banner, its note for every cached kernel, and its warning where there
    is no GPU.

    The warning is written by native code whatever the log level; failures raise, so nothing that
    matters is lost.
    """
    warp.config.log_level = warp.LOG_ERROR
    try:
        stderr = os.dup(2)
    except OSError:  # a process without a standard error has nothing to keep quiet
        warp.init()
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        warp.init()
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nowhere)


_start_warp()
__getattr__ = modules_of(__name__, __path__)
