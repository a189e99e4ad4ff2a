"""Work beside the kernel: the newest task is done, tasks that were followed by others are not
finished."""

import threading

from semhead_lib.explore.latest_task import LatestTask


def test_the_newest_goes_through_all_steps():
    first, last, started, go = [], [], threading.Event(), threading.Event()

    def quick(task):
        first.append(task)
        started.set()
        assert go.wait(10)

    work = LatestTask([quick, last.append], failed=lambda error: None, pause=0.05)
    work.submit(1)
    assert started.wait(10)
    for task in range(2, 9):  # while the first one is at its first step
        work.submit(task)
    go.set()
    assert work.wait(10)
    assert first == [1, 8] and last == [8]
    work.close()


def test_an_error_is_told_and_ends_nothing_else():
    errors, done = [], []

    def step(task):
        if task == "bad":
            raise ValueError("no such head")
        done.append(task)

    work = LatestTask([step], failed=errors.append)
    for task in ("bad", "good"):
        work.submit(task)
        assert work.wait(10)
    assert [str(e) for e in errors] == ["no such head"] and done == ["good"]
    work.close()
