#!/usr/bin/env bash
# The steps behind the Makefile; each may be interrupted and repeated.
#
#   setup.sh packages LOCK   makes .venv and installs what LOCK pins, hashes checked
#   setup.sh project         installs semhead itself (editable) and its Jupyter kernel
#   setup.sh caches          makes one head, which fills the caches of its model and its rendering kernels
#   setup.sh browser         installs Debian's Chromium where there is none and it may (root, apt-get): for tests/notebooks
#   setup.sh locks [...]     makes the locks again; further words go to `uv pip compile`
#
# Needs Python 3.11, 3.12 or 3.13 (PYTHON=/path/to/python chooses one). uv is used from PATH when it works there, else
# installed by pip into .cache/uv, which leaves the system's Python as it is.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf 'setup: %s\n' "$*"; }
fail() { printf 'setup: error: %s\n' "$*" >&2; exit 1; }

supported() { # whether COMMAND is a Python that runs and has a version this project takes
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' >/dev/null 2>&1
}

find_python() {
    local candidate
    for candidate in ${PYTHON:-python3.13 python3.12 python3.11 python3 python}; do
        supported "$candidate" && { "$candidate" -c 'import sys; print(sys.executable)'; return; }
    done
    fail "needs Python >=3.11,<3.14; none runs as ${PYTHON:-python3.13, python3.12, python3.11, python3 or python}." \
        "PYTHON=/path/to/python names one."
}

find_uv() {
    local python
    if uv --version >/dev/null 2>&1; then
        echo uv
        return
    fi
    if ! .cache/uv/bin/uv --version >/dev/null 2>&1; then
        say "getting uv by pip into .cache/uv" >&2
        python=$(find_python) || exit 1
        rm -rf .cache/uv .cache/pip
        if ! "$python" -m pip --version >/dev/null 2>&1; then
            "$python" -m venv .cache/pip >/dev/null 2>&1 \
                || fail "$python has neither pip nor ensurepip: install pip or uv, then repeat"
            python=.cache/pip/bin/python
        fi
        export PIP_USER=0 PIP_REQUIRE_VIRTUALENV=0 PIP_ROOT_USER_ACTION=ignore PIP_DISABLE_PIP_VERSION_CHECK=1
        "$python" -m pip install --quiet --target .cache/uv 'uv>=0.8' >&2 \
            || fail "pip could not install uv (see above): install uv, then repeat"
    fi
    echo "$PWD/.cache/uv/bin/uv"
}

packages() {
    local lock=$1 uv python quiet=""
    [ -f "$lock" ] || fail "LOCK=$lock: no such file; there are: $(echo environments/lock-*.txt)"
    [ -t 2 ] || quiet=--quiet
    uv=$(find_uv)
    if [ -e .venv/.unfinished ] || ! supported .venv/bin/python; then # a half-copied package may look installed
        python=$(find_python)
        say "making .venv with $python"
        "$uv" venv --quiet --clear --python "$python" .venv
    fi
    say "installing the packages of $lock (about 3 GB to download the first time)"
    touch .venv/.unfinished
    "$uv" pip install $quiet --python .venv/bin/python --require-hashes \
        --build-constraints environments/constraints.txt -r "$lock"
    rm .venv/.unfinished
}

project() {
    local uv
    uv=$(find_uv)
    say "installing semhead itself"
    # --no-config: without dependencies there is no torch for uv to match (pyproject.toml); the one in .venv serves.
    "$uv" pip install --quiet --no-config --python .venv/bin/python --no-deps --no-build-isolation -e .
    .venv/bin/python -m ipykernel install --prefix .venv --name semhead --display-name semhead >/dev/null
}

caches() { # here, once, rather than in every process that makes heads
    local output
    say "making a first head (up to a minute the first time on a machine: its model and kernels are then cached)"
    output=$(.venv/bin/python -m semhead_lib.data.parametric.caches 2>&1) || fail "$output"
}

browser() {
    local name
    for name in chromium chromium-browser google-chrome; do
        command -v "$name" >/dev/null && return
    done
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        say "no Chromium or Chrome found: tests of the browser will be skipped"
        return
    fi
    say "installing Chromium"
    export DEBIAN_FRONTEND=noninteractive
    { apt-get -qq update && apt-get -qq install -y --no-install-recommends chromium; } >/dev/null 2>&1 \
        || say "Chromium could not be installed: tests of the browser will be skipped"
}

locks() {
    local uv part extras
    uv=$(find_uv)
    # From the largest to the smallest, each bound to the one before: all locks then agree on what they share.
    local bound=environments/constraints.txt
    for part in gpu suite; do
        case $part in
            gpu) extras="data notebooks faces kontext cluster scale dev gpu" ;;
            suite) extras="data notebooks faces kontext cluster scale dev" ;;
        esac
        say "making environments/lock-$part.txt"
        # shellcheck disable=SC2046
        "$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
            --custom-compile-command "make lock" --constraints environments/constraints.txt --constraints "$bound" \
            $(printf -- '--extra %s ' $extras) "$@" --output-file "environments/lock-$part.txt" pyproject.toml
        bound=environments/lock-$part.txt
    done
    beyond_suite
}

beyond_suite() { # leaves in lock-gpu.txt what lock-suite.txt has not, and a line that includes it
    "$(find_python)" - environments/lock-gpu.txt environments/lock-suite.txt <<'PYTHON'
import re, sys
from pathlib import Path
gpu, suite = map(Path, sys.argv[1:])
comments, pins = re.compile(r"(?:#.*\n)+"), re.compile(r"^\S.*(?:\n +.*)*\n", re.M)
head = comments.match(gpu.read_text())[0]
entries, shared = ([p for p in pins.findall(f.read_text()) if p[0] not in "#-"] for f in (gpu, suite))
gpu.write_text(f"{head}-r {suite.name}\n" + "".join(p for p in entries if p not in shared))
PYTHON
}

case ${1:-} in
    packages | project | caches | browser | locks) "$@" ;;
    *) fail "expected packages, project, caches, browser or locks, got '${1:-}'" ;;
esac
