"""Work beside the kernel: the newest wish is done, wishes that were followed by others are not finished."""

import threading

from semhead_lib.explore.latest_task import Newest


def test_the_newest_goes_through_all_steps():
    first, last, started, go = [], [], threading.Event(), threading.Event()

    def quick(wish):
        first.append(wish)
        started.set()
        assert go.wait(10)

    work = Newest([quick, last.append], failed=lambda error: None, pause=0.05)
    work.want(1)
    assert started.wait(10)
    for wish in range(2, 9):  # while the first one is at its first step
        work.want(wish)
    go.set()
    assert work.wait(10)
    assert first == [1, 8] and last == [8]
    work.close()


def test_an_error_is_told_and_ends_nothing_else():
    errors, done = [], []

    def step(wish):
        if wish == "bad":
            raise ValueError("no such head")
        done.append(wish)

    work = Newest([step], failed=errors.append)
    for wish in ("bad", "good"):
        work.want(wish)
        assert work.wait(10)
    assert [str(e) for e in errors] == ["no such head"] and done == ["good"]
    work.close()
