"""Of all processes that share a folder, one has a piece; a lost one's piece is taken over; one
outcome counts."""

import errno
import json
import os
import threading
import time

import pytest

from semhead_lib.data.jobs import leases as module
from semhead_lib.data.jobs.leases import Leases


def test_one_has_a_piece(tmp_path):
    with Leases(tmp_path) as one, Leases(tmp_path) as other:
        assert one.take("a") and not other.take("a") and other.take("b")
        assert one.holders() == {"a": one.owner, "b": other.owner} and one.owner != other.owner
        other.release("a")
        assert not other.take("a"), "only its owner gives it back"
        one.release("a")
        assert other.take("a")
    assert list(tmp_path.iterdir()) == []


def test_of_many_at_once_one_takes_each(tmp_path):
    crowd, taken = [Leases(tmp_path) for _ in range(8)], []

    def grab(who):
        taken.extend(piece for piece in map(str, range(30)) if who.take(piece))

    threads = [threading.Thread(target=grab, args=[who]) for who in crowd]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken, key=int) == [str(i) for i in range(30)]
    for who in crowd:
        who.close()


def lost(folder, piece: str, seconds: float = 100.0) -> None:
    """A claim of a process that is gone."""
    (folder / f"{piece}.lease").write_text("another-machine-7-abc")
    long_ago = time.time() - seconds
    os.utime(folder / f"{piece}.lease", (long_ago, long_ago))


def test_a_lost_owners_piece_is_taken_over_by_one(tmp_path):
    for _ in range(20):
        lost(tmp_path, "a")
        crowd, won = [Leases(tmp_path, lease=5) for _ in range(6)], []

        def grab(who, won=won):
            won.extend([who] * who.take("a"))

        threads = [threading.Thread(target=grab, args=[who]) for who in crowd]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1 and won[0].holders() == {"a": won[0].owner}
        for who in crowd:
            who.close()
    assert list(tmp_path.iterdir()) == []


def test_the_living_keep_theirs(tmp_path):
    with Leases(tmp_path, lease=0.4) as one, Leases(tmp_path, lease=0.4) as other:
        assert one.take("a")
        time.sleep(1.2)
        assert not other.take("a")
        lost(tmp_path, "b", seconds=0.2)
        assert not other.take("b"), "not for a lease yet"


def test_a_claim_that_came_back_to_life_is_given_back(tmp_path, monkeypatch):
    """Its owner was asleep, gave it back, and somebody else has it, all between two looks."""
    lost(tmp_path, "a")
    with Leases(tmp_path, lease=5) as heir, Leases(tmp_path, lease=5) as quick:
        rename = os.rename

        def late(source, target):
            monkeypatch.setattr(module.os, "rename", rename)
            source.unlink()
            assert quick.take("a")
            rename(source, target)

        monkeypatch.setattr(module.os, "rename", late)
        assert not heir.take("a")
        assert heir.holders() == {"a": quick.owner}


def test_a_claim_dated_in_the_future_is_taken_over_after_a_lease(tmp_path):
    """The file server's clock was set back, or the claim is of a machine whose clock is ahead."""
    lost(tmp_path, "a", seconds=-1e6)
    with Leases(tmp_path, lease=0.4) as leases, Leases(tmp_path, lease=0.4) as living:
        assert living.take("b")
        assert not leases.take("a") and not leases.take("b") and "a" in leases.holders()
        time.sleep(0.6)
        assert leases.take("a") and not leases.take("b")


def test_an_heir_that_was_lost(tmp_path):
    lost(tmp_path, "a")
    (tmp_path / "a.lease").rename(tmp_path / "a.heir")
    lost(tmp_path, "a")
    with Leases(tmp_path, lease=5) as leases:
        assert not leases.take("a") and leases.take("a")


@pytest.mark.parametrize("links", [True, False])
def test_one_outcome_counts(tmp_path, monkeypatch, links):
    def no_links(*_):
        raise OSError(errno.EPERM, "no hard links here")

    if not links:
        monkeypatch.setattr(module.os, "link", no_links)
    with Leases(tmp_path) as one, Leases(tmp_path) as other:
        assert one.take("a") and one.outcome("a") is None
        assert other.settle("a", {"by": "other"}) and not one.settle("a", {"by": "one"})
        assert one.outcome("a") == {"by": "other"} and one.settled() == {"a"}
        one.release("a")
        assert not other.take("a"), "settled"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_errors(tmp_path):
    with pytest.raises(ValueError, match="lease must be more than 0 seconds, got 0"):
        Leases(tmp_path, lease=0)
    (tmp_path / "a.json").write_text(json.dumps({"x": 1})[:4])
    with (
        Leases(tmp_path) as leases,
        pytest.raises(ValueError, match=r"a\.json: damaged .*remove it to do this piece"),
    ):
        leases.outcome("a")
    with Leases(tmp_path / "gone") as leases, pytest.raises(FileNotFoundError):
        leases.take("a")
