"""The attack in short: some of all that is read is damaged, and one command is killed."""

import sys
from collections import Counter
from pathlib import Path
from random import Random

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import attack
import attempts
import mutations


def bad(rows):
    return [row for row in rows if row[2] not in attempts.GOOD]


@pytest.mark.slow
def test_damaged_inputs_are_refused_or_harmless(tmp_path):
    rows = list(attack.damaged_inputs(20, 0, tmp_path / "attack"))
    assert len(rows) == 20 and bad(rows) == []
    assert Counter(row[2] for row in rows)["refused"] >= 5, "the damage does something"


@pytest.mark.slow
def test_a_command_that_is_killed_goes_on(tmp_path):
    from kills import kills

    rows = list(kills(1, 0, tmp_path / "attack", "data portraits"))
    assert [row[0] for row in rows] == ["data portraits"] and bad(rows) == []


def test_the_table_counts_what_came_of_each():
    rows = [("a", 0, "refused", "", ""), ("a", 1, "silent", "", ""), ("b", 0, "refused", "", "")]
    assert attack.table(rows).splitlines()[2:] == [
        "| a | 2 | 1 | 1 |",
        "| b | 1 | 1 |  |",
        "| all | 3 | 2 | 1 |",
    ]


@pytest.mark.parametrize(
    ("read", "kind"),
    [
        (lambda: 1, "identical"),
        (lambda: 2, "silent"),
        (lambda: 3, "harmless"),
        (lambda: print("semhead: file.txt: left out") or 2, "refused"),
        (lambda: exec("raise ValueError('x/file.txt: is bad')"), "refused"),
        (lambda: exec("raise ValueError('is bad')"), "unnamed"),
        (lambda: exec("raise KeyError('file.txt')"), "unclear"),
        (lambda: exec("while True: pass"), "hang"),
        (lambda: bytearray(64 << 20), "memory"),
        (lambda: exec("import os; os.kill(os.getpid(), 9)"), "crash"),
    ],
)
def test_outcomes_are_told_apart(tmp_path, read, kind):
    """What would be bad is seen as bad."""
    truth, plain = attempts.digest(1), lambda: 3
    found, _ = attempts.attempt(
        read, plain, truth, tmp_path / "file.txt", tmp_path, seconds=1.0, memory=32 << 20
    )
    assert found.kind == kind and found.good == (kind in attempts.GOOD)


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.csv", "a.bin"])
def test_a_seed_repeats_its_damage(tmp_path, name):
    def changed(seed):
        (tmp_path / name).write_text('{"a": [1, 2, {"b": "c"}], "d": null}\n')
        words = mutations.mutate(Random(seed), tmp_path / name)
        path = tmp_path / name
        found = words, path.read_bytes() if path.is_file() else b""
        path.unlink(missing_ok=True) if not path.is_dir() else path.rmdir()
        return found

    made = [changed(f"0 {turn}") for turn in range(40)]
    assert made == [changed(f"0 {turn}") for turn in range(40)]
    assert len({data for _, data in made}) > 10
