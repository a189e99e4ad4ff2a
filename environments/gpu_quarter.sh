#!/usr/bin/env bash
# A short lease of a GPU machine (a cloud machine by the minute, a shared node) used to the last minute: builds the ops
# for its card, tests and measures them, and trains; OUT gets the figures and a compact state that goes on next time.
#
#   gpu_quarter.sh MINUTES DATA.tar OUT [STATE]   DATA.tar of `semhead data pack`, STATE the folder state/ of a lease before
#   gpu_quarter.sh --table OUT                    copies the figures of OUT into papermill_runs/benchmarks and docs/benchmarks.md
#   DEVICE=cpu gpu_quarter.sh 2 DATA.tar OUT      a rehearsal without a GPU
#   gpu_quarter.sh --help                         says what each step does, and what the environment may set
#
# Needs Python with torch, numpy, pillow, safetensors and accelerate; nvcc and a C++ compiler for the ops; no network and
# no installation. At least one minute.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
exec "${PYTHON:-python3}" -m semhead_lib.reproduce.quarter "$@"
