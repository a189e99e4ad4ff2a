"""Processes that share only a folder make one dataset, the same to the byte, whoever of them is
killed."""

import functools
import json
import multiprocessing
import os
import signal
import threading
import time

import pytest
from noise_source import NoiseSource, files_of, flipped

from semhead_lib.data.dataset.check import check
from semhead_lib.data.dataset.manifest import LEASES
from semhead_lib.data.dataset.reading import infos
from semhead_lib.data.jobs.distributed import synthesize_distributed
from semhead_lib.data.jobs.synthesis import SynthesisError, synthesize

SLOW = functools.partial(NoiseSource, seed=7, delay=0.15)
QUICK = functools.partial(NoiseSource, seed=7)
quiet = functools.partial(synthesize_distributed, shard_size=2, progress=False, lease=1.5)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What one process makes."""
    out = tmp_path_factory.mktemp("alone")
    synthesize(QUICK, out, 21, shard_size=2, workers=0, progress=False)
    return files_of(out)


def start(out, rank: int) -> multiprocessing.Process:
    options = dict(shard_size=2, rank=rank, ranks=2, lease=1.5, progress=False)
    process = multiprocessing.get_context("spawn").Process(
        target=synthesize_distributed, args=(SLOW, out, 21), kwargs=options, daemon=True
    )
    process.start()
    return process


def test_one_process_of_many_is_one(tmp_path, alone):
    report = quiet(QUICK, tmp_path, 21)
    assert files_of(tmp_path) == alone and report.views_made == 63
    again = quiet(QUICK, tmp_path, 21)
    assert (
        again.views_made == 0 and again.manifest == report.manifest and files_of(tmp_path) == alone
    )


@pytest.mark.slow
@pytest.mark.parametrize("killed", [False, True], ids=["both live", "one is killed"])
def test_two_processes_lose_nothing(tmp_path, alone, killed):
    """kill -9 in the midst of a shard: the other takes it over. No subject is missing, none is
    there twice."""
    out = tmp_path / "dataset"
    one, other = start(out, 0), start(out, 1)
    until = time.monotonic() + 60
    while len(list(out.glob("shard-*.tar"))) < 3:
        assert time.monotonic() < until and one.is_alive()
        time.sleep(0.02)
    if killed:
        while not any(
            str(other.pid) in path.read_text() for path in (out / LEASES).glob("*.lease")
        ):
            time.sleep(0.01)
        os.kill(other.pid, signal.SIGKILL)
    one.join(60)
    other.join(60)
    assert one.exitcode == 0 and other.exitcode == (-signal.SIGKILL if killed else 0)
    assert files_of(out) == alone and check(out) == []
    assert [info.id for info in infos(out)] == [f"noise-7-{i:05d}" for i in range(21)]


def test_all_are_killed_and_others_go_on(tmp_path, alone):
    out = tmp_path / "dataset"
    for name in ("stale", "unfinished"):
        (out / LEASES).mkdir(parents=True, exist_ok=True)
        (out / f".{name}.elsewhere-1.partial").write_bytes(b"half a shard")
    with pytest.raises(SynthesisError, match="subject 9: ArithmeticError: the noise ran out"):
        quiet(functools.partial(NoiseSource, seed=7, fail_at=9), out, 21)
    assert check(out) == [f"{out}: is not finished; start the same synthesis again to complete it"]
    with pytest.raises(
        FileExistsError, match="is being made by several processes: engine=distributed goes on"
    ):
        synthesize(QUICK, out, 21, shard_size=2, workers=0, progress=False)
    with pytest.raises(ValueError, match=r"begun with other settings: .*seed is 7 there, 8 here"):
        quiet(functools.partial(NoiseSource, seed=8), out, 21)
    quiet(QUICK, out, 21)
    assert files_of(out) == alone


def test_a_maker_that_was_lost_before_the_name(tmp_path, alone, monkeypatch):
    """Its shard is settled under the name of its maker: whoever merges gives it its own."""
    from semhead_lib.data.jobs import distributed

    name, lost = distributed._name, []

    def die_once(made, path):
        if not lost:
            lost.append(path)
            raise KeyboardInterrupt
        name(made, path)

    monkeypatch.setattr(distributed, "_name", die_once)
    with pytest.raises(KeyboardInterrupt):
        quiet(QUICK, tmp_path, 21)
    assert not lost[0].exists()
    quiet(QUICK, tmp_path, 21)
    assert files_of(tmp_path) == alone


@pytest.mark.parametrize("alone_goes_on", [False, True], ids=["distributed", "local"])
def test_one_who_was_lost_behind_the_manifest_is_tidied_after(
    tmp_path, alone, monkeypatch, alone_goes_on
):
    from semhead_lib.data.jobs import distributed

    def die(_):
        raise KeyboardInterrupt

    (tmp_path / ".shard-000001.tar.elsewhere-1-ab.partial").write_bytes(b"half a shard")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(distributed, "tidy", die)
        quiet(QUICK, tmp_path, 21)
    assert (tmp_path / LEASES).is_dir() and check(tmp_path) != []
    if alone_goes_on:
        synthesize(QUICK, tmp_path, 21, shard_size=2, workers=0, progress=False)
    else:
        quiet(QUICK, tmp_path, 21)
    assert files_of(tmp_path) == alone and check(tmp_path) == []
    assert not (tmp_path / LEASES).exists()


def test_a_claim_of_the_future_is_waited_for_aloud_and_not_for_ever(tmp_path, alone, capsys):
    (tmp_path / LEASES).mkdir()
    claim = tmp_path / LEASES / "shard-000010.lease"  # the last: nothing else is left to be done
    claim.write_text("another-machine-7-abc")
    os.utime(claim, (time.time() + 1e6,) * 2)
    quiet(QUICK, tmp_path, 21, progress=True)
    assert files_of(tmp_path) == alone
    assert "waiting for shard-000010 of another-machine-7-abc" in capsys.readouterr().err


def test_one_who_comes_while_claims_are_put_away(tmp_path, alone):
    """Many in one process, started at odd times: all return, and the dataset is whole."""
    failures = []

    def join(k):
        time.sleep(0.013 * k)
        try:
            quiet(QUICK, tmp_path, 21, rank=k, ranks=6)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=join, args=[k]) for k in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == [] and files_of(tmp_path) == alone


def test_errors(tmp_path):
    with pytest.raises(ValueError, match="rank must be 0 to 1, got 2"):
        quiet(QUICK, tmp_path, 4, rank=2, ranks=2)
    (tmp_path / "letter.txt").write_text("dear")
    missing = r"is not empty and holds no dataset of ours; .*dataset\.json and leases are missing"
    with pytest.raises(FileExistsError, match=missing):
        quiet(QUICK, tmp_path, 4)


def begun(folder):
    """One shard is missing, the others are made."""
    with pytest.raises(SynthesisError):
        quiet(functools.partial(NoiseSource, seed=7, fail_at=20), folder, 21)
    return folder / LEASES


def test_a_shard_that_was_damaged_since_is_made_again(tmp_path, alone):
    begun(tmp_path)
    flipped(tmp_path / "shard-000002.tar")
    quiet(functools.partial(NoiseSource, seed=7), tmp_path, 21)
    assert files_of(tmp_path) == alone


@pytest.mark.parametrize("kind", ["nothing", "endless"])
def test_a_shard_that_is_no_file_any_more_is_made_again(tmp_path, alone, kind):
    begun(tmp_path)
    shard = tmp_path / "shard-000002.tar"
    shard.unlink()
    if kind == "endless":
        shard.symlink_to("/dev/zero")
    quiet(QUICK, tmp_path, 21)
    assert files_of(tmp_path) == alone and not shard.is_symlink()


@pytest.mark.parametrize("others", [False, True], ids=["of this process", "of others"])
def test_a_folder_in_the_place_of_a_shard_is_named(tmp_path, others):
    begun(tmp_path)
    shard = tmp_path / "shard-000003.tar"
    shard.unlink()
    shard.mkdir()
    with pytest.raises((OSError, ValueError), match=r"/shard-000003\.tar"):
        quiet(QUICK, tmp_path, 21, rank=0, ranks=2 if others else 1)


def test_an_outcome_that_describes_its_shard_wrongly_is_made_again(tmp_path, alone):
    path = begun(tmp_path) / "shard-000002.json"
    content = json.loads(path.read_text())
    content["layout"]["resolution"], content["shard"]["views"] = 17, 5
    path.write_text(json.dumps(content))
    quiet(QUICK, tmp_path, 21)
    assert files_of(tmp_path) == alone


@pytest.mark.parametrize(
    "change",
    [
        lambda content: [],
        lambda content: {},
        lambda content: content | {"file": "../../precious"},
        lambda content: content | {"shard": content["shard"] | {"name": "precious.tar"}},
        lambda content: content | {"layout": content["layout"] | {"fields": [[]]}},
    ],
)
def test_a_damaged_outcome_is_named_and_renames_nothing(tmp_path, change):
    leases, precious = begun(tmp_path / "noise"), tmp_path / "precious"
    precious.write_text("dear")
    path = leases / "shard-000002.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(ValueError, match=r"shard-000002\.json: damaged"):
        quiet(functools.partial(NoiseSource, seed=7), tmp_path / "noise", 21)
    assert precious.exists()
