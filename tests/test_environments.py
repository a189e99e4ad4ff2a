"""pyproject.toml, the locks and the conda files agree; and the functions that say so notice when
they do not."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
SUITE = ("data", "notebooks", "faces", "kontext", "cluster", "scale", "dev")
LOCKS = {  # lock -> extras it holds beside the base
    "environments/lock-suite.txt": SUITE,
    "environments/lock-gpu.txt": (*SUITE, "gpu"),
}
CONDA = {
    "environment.yml": "environments/lock-gpu.txt",
    "environments/conda-cpu.yml": "environments/lock-suite.txt",
}
PYTHONS = ("3.11", "3.12", "3.13")
TORCH = "2.13.0"


def whole(path: str) -> str:
    """The text of a lock, with that of the lock that it includes in place of the line."""
    text = (ROOT / path).read_text()
    return re.sub(r"^-r (\S+)\n", lambda found: whole(f"environments/{found[1]}"), text, flags=re.M)


def entries(lock: str) -> list[str]:
    """The requirements of a lock's text, each with its continuation lines joined."""
    lines = [
        line for line in lock.splitlines() if line.strip() and not line.lstrip().startswith("#")
    ]
    return "\n".join(lines).replace("\\\n", " ").splitlines()


def requirement(entry: str) -> Requirement:
    """One entry without its hashes."""
    return Requirement(entry.split("--hash")[0].strip())


def pins(lock: str, python: str) -> dict[str, str]:
    """Package -> version that a lock's text installs on Linux with this Python."""
    environment = {
        "python_full_version": f"{python}.0",
        "python_version": python,
        "sys_platform": "linux",
    }
    found = {}
    for entry in map(requirement, entries(lock)):
        if entry.marker is None or entry.marker.evaluate(environment):
            (pin,) = entry.specifier
            found[canonicalize_name(entry.name)] = pin.version
    return found


def form_errors(lock: str) -> list[str]:
    """What is wrong with a lock's text taken alone: hashes, pins, addresses, paths."""
    errors = []
    for entry in entries(lock):
        name = entry.split()[0]
        if not re.search(r"--hash=sha256:[0-9a-f]{64}(\s|$)", entry):
            errors.append(f"{name}: no sha256 hash")
        if not re.match(r"[\w.-]+==[\w.+!]+\s", entry):
            errors.append(f"{name}: not pinned with ==")
    for line in lock.splitlines():
        if re.search(r"://|@ |--(extra-)?index|--find-links|(^|[\s=])(~|[A-Za-z]:)?[/\\]\w", line):
            errors.append(f"address or absolute path: {line.strip()}")
    return errors


def pin_errors(lock: str, wanted: list[str]) -> list[str]:
    """Which of the wanted requirements a lock's text leaves out or pins outside their range, for
    any Python."""
    errors = []
    for python in PYTHONS:
        pinned = pins(lock, python)
        for need in map(Requirement, wanted):
            version = pinned.get(canonicalize_name(need.name))
            if version is None:
                errors.append(f"python {python}: {need.name} is not locked")
            elif not need.specifier.contains(version, prereleases=True):
                errors.append(
                    f"python {python}: {need.name} is locked to {version}, outside {need.specifier}"
                )
    return errors


def conda_errors(text: str, requires_python: str, lock: str, cuda: str) -> list[str]:
    """Where a conda file's text disagrees: Python's range, the lock it installs (as it names it),
    CUDA's version."""
    environment = yaml.safe_load(text)
    conda = [line for line in environment["dependencies"] if isinstance(line, str)]
    pip = [
        line
        for entry in environment["dependencies"]
        if isinstance(entry, dict)
        for line in entry["pip"]
    ]
    versions = {line.split()[0]: "".join(line.split()[1:]) for line in conda}
    errors = []
    if not {"conda-forge", "nodefaults"} >= set(environment["channels"]):
        errors.append(f"channels: {environment['channels']}")
    if SpecifierSet(versions.get("python", "")) != SpecifierSet(requires_python):
        errors.append(f"python {versions.get('python')}, but pyproject has {requires_python}")
    if pip != [f"--requirement {lock}"]:
        errors.append(f"pip installs {pip}, expected only {lock}")
    if versions.get("cuda-version", f"=={cuda}") != f"=={cuda}":
        errors.append(
            f"cuda-version {versions['cuda-version']}, but the lock's torch is built for {cuda}"
        )
    return errors


@pytest.fixture(scope="module")
def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def suite() -> str:
    return (ROOT / "environments/lock-suite.txt").read_text()


def needs(project: dict, extras: tuple[str, ...]) -> list[str]:
    return project["dependencies"] + [
        line for extra in extras for line in project["optional-dependencies"][extra]
    ]


@pytest.mark.parametrize("path", LOCKS)
def test_a_lock_pins_everything_by_hash_without_addresses(path):
    assert form_errors(whole(path)) == []


@pytest.mark.parametrize(("path", "extras"), LOCKS.items())
def test_a_lock_satisfies_pyproject(project, path, extras):
    assert pin_errors(whole(path), [*needs(project, extras), f"torch=={TORCH}"]) == []


def test_every_extra_is_in_a_lock(project):
    assert set(project["optional-dependencies"]) == {
        extra for extras in LOCKS.values() for extra in extras
    }


def test_constraints_hold_in_every_lock():
    lines = [
        line.split("#")[0].strip()
        for line in (ROOT / "environments/constraints.txt").read_text().splitlines()
    ]
    constraints = [line for line in lines if line]
    assert f"torch=={TORCH}" in constraints
    for path in LOCKS:
        assert pin_errors(whole(path), constraints) == []


@pytest.mark.parametrize("python", PYTHONS)
def test_larger_locks_contain_smaller_ones(python):
    suite, gpu = (pins(whole(path), python).items() for path in LOCKS)
    assert suite < gpu


@pytest.mark.parametrize(("path", "lock"), CONDA.items())
def test_conda_files_agree(project, path, lock):
    cuda = ".".join(pins(whole(lock), "3.12")["nvidia-cuda-runtime"].split(".")[:2])
    relative = (
        (ROOT / lock).relative_to((ROOT / path).parent).as_posix()
    )  # pip reads it from the conda file's folder
    assert conda_errors((ROOT / path).read_text(), project["requires-python"], relative, cuda) == []


def test_python_range_is_the_same_everywhere(project):
    from semhead_lib import doctor

    (low, high), wanted = doctor.PYTHON, SpecifierSet(project["requires-python"])
    assert wanted == SpecifierSet(f">={low[0]}.{low[1]},<{high[0]}.{high[1]}")
    assert all(wanted.contains(python) for python in PYTHONS)
    setup = (ROOT / "environments/setup.sh").read_text()
    assert f"{low} <= sys.version_info[:2] < {high}" in setup
    assert [python for python in PYTHONS if f"python{python}" in setup] == list(PYTHONS)


def test_a_missing_hash_is_noticed(suite):
    entry = entries(suite)[0]
    unhashed = re.sub(r"--hash=\S+", "", entry)
    assert form_errors(f"{entry}\n") == []
    assert form_errors(f"{unhashed}\n") == [f"{entry.split()[0]}: no sha256 hash"]
    assert form_errors(entry.replace("==", ">=", 1)) == [
        f"{entry.split()[0].replace('==', '>=')}: not pinned with =="
    ]


@pytest.mark.parametrize(
    "line",
    [
        "--index-url https://packages.example/simple",
        "--find-links wheels",
        "#    uv pip compile -o /home/somebody/lock.txt",
        "#    uv pip compile -c ~/constraints.txt",
        "    # via -c /dev/fd/63",
    ],
)
def test_an_address_or_path_is_noticed(suite, line):
    assert any("address or absolute path" in error for error in form_errors(f"{line}\n{suite}"))


def test_a_wrong_or_missing_pin_is_noticed(suite):
    assert pin_errors(suite.replace(f"torch=={TORCH}", "torch==2.9.0"), ["torch>=2.11"]) == [
        f"python {python}: torch is locked to 2.9.0, outside >=2.11" for python in PYTHONS
    ]
    assert "python 3.13: no-such-package is not locked" in pin_errors(suite, ["no-such-package"])
    only_old = suite.replace(" \\", " ; python_full_version < '3.12' \\", 1)
    name = requirement(entries(suite)[0]).name
    assert [error.split(":")[0] for error in pin_errors(only_old, [name])] == [
        "python 3.12",
        "python 3.13",
    ]


def test_a_conda_file_that_disagrees_is_noticed(project):
    text = (ROOT / "environment.yml").read_text()

    def errors(old: str, new: str) -> list[str]:
        assert old in text
        return conda_errors(
            text.replace(old, new), project["requires-python"], "environments/lock-gpu.txt", "13.0"
        )

    assert errors("python >=3.11,<3.14", "python >=3.10,<3.14")[0].startswith("python >=3.10,<3.14")
    assert errors("lock-gpu", "lock-suite")[0].startswith("pip installs")
    assert errors("cuda-version ==13.0", "cuda-version ==12.6")[0].startswith("cuda-version ==12.6")
    assert errors("nodefaults", "defaults")[0].startswith("channels")
