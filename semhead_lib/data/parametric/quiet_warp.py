"""Warp, started without its banner: `wp` for the modules that cast rays. Attributes of parametric
heads are read without it."""

import os

import warp as wp

__all__ = ["wp"]


def _start_warp() -> None:
    """Start warp without its banner, its note for every cached kernel, and its warning where there
    is no GPU.

    The warning is written by native code whatever the log level; failures raise, so nothing that
    matters is lost.
    """
    wp.config.log_level = wp.LOG_ERROR
    try:
        stderr = os.dup(2)
    except OSError:  # a process without a standard error has nothing to keep quiet
        wp.init()
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        wp.init()
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nowhere)


_start_warp()
