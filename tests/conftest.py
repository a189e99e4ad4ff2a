"""What all tests share: the same generated examples in every run, and skips where a device is
missing."""

import signal

import pytest
from hypothesis import settings

if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):  # in the background of a shell; children would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)

collect_ignore_glob = [
    "conftest.py",
    "*/conftest.py",
]  # they hold no doctests, and all have one module name

settings.register_profile(
    "semhead", deadline=None, derandomize=True
)  # no time limit an example: machines differ
settings.load_profile("semhead")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with long tests first: whichever worker is free takes the next file, and both end at
    about the same time. `make test` keeps this order by --no-loadscope-reorder."""
    places = {}
    for item in items:
        marks = {mark.name for mark in item.iter_markers()}
        place = 0 if "notebooks" in marks else 1 if "slow" in marks else 2
        places[item.path] = min(place, places.get(item.path, 2))
    items.sort(key=lambda item: places[item.path])


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device")
