# The commands of this repository; `make` alone lists them. Each sets up what it needs, once.

SHELL := bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PROFILE ?= smoke
ARGS ?=
LOCK ?= environments/lock-suite.txt
UPGRADE ?=
WORKERS ?= 2
MINUTES ?= 10

PYTHON_ENV := .venv/bin/python
PACKAGES := .venv/.packages-$(basename $(notdir $(LOCK)))
PROJECT := .venv/.project
CACHES := .venv/.caches
SOURCES := pyproject.toml $(wildcard setup.py csrc/* csrc/*/*)

export PYTHONNOUSERSITE := 1
# Compiled modules are kept even where the machine says not to: importing torch anew takes seconds of each process.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup reproduce notebooks test attack lab bench lint lock clean

help:  ## list the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(PROJECT) $(CACHES)  ## make .venv only (LOCK=environments/lock-gpu.txt: with xformers, too)

reproduce: $(PROJECT) $(CACHES)  ## execute the notebooks and the study of a profile (PROFILE=smoke; ARGS="only=01": these only)
	@.venv/bin/semhead reproduce $(PROFILE) $(ARGS)
	@test -n "$(ARGS)" -o ! -f papermill_runs/profiles/ablations/$(PROFILE).yaml || .venv/bin/semhead ablate $(PROFILE)

notebooks: $(PROJECT) $(CACHES)  ## execute the notebooks with their defaults and keep their outputs in them (ARGS="03": these only)
	@$(PYTHON_ENV) -m semhead_lib.reproduce.outputs $(ARGS)

test: $(PROJECT) $(CACHES)  ## run the tests (ARGS="-k cameras"; WORKERS=0: in one process)
	@OMP_NUM_THREADS=1 $(PYTHON_ENV) -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

attack: $(PROJECT) $(CACHES)  ## damage inputs of everything that reads, and kill commands (MINUTES=10; ARGS="--seed 1")
	@OMP_NUM_THREADS=1 $(PYTHON_ENV) tests/attack/attack.py --minutes $(MINUTES) $(ARGS)

lab: $(PROJECT) $(CACHES)  ## open JupyterLab on the notebooks
	@.venv/bin/jupyter lab --LabApp.default_url=/lab/tree/notebooks $(ARGS)

bench: $(PROJECT) $(CACHES)  ## measure speed
	@$(PYTHON_ENV) -m pytest -m bench --durations=0 -s $(ARGS)

lint: $(PROJECT)  ## check style, format and types
	@$(PYTHON_ENV) -m ruff check . && $(PYTHON_ENV) -m ruff format --check .
	@PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(PYTHON_ENV) -m pyright --pythonpath $(PYTHON_ENV)

lock:  ## make the locks again (UPGRADE=--upgrade takes newer versions)
	@environments/setup.sh locks $(UPGRADE)

clean:  ## remove the environment and everything built; datasets and runs stay
	rm -rf .venv .cache build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find semhead_lib tests -name __pycache__ -prune -exec rm -rf {} +
	find semhead_lib -name '*.so' -delete

# A stamp is written when its step has ended well, so that an interrupted set-up goes on where it was.
$(PACKAGES): $(LOCK) environments/constraints.txt environments/setup.sh
	@environments/setup.sh packages $(LOCK)
	@touch $@

$(PROJECT): $(PACKAGES) $(SOURCES)
	@environments/setup.sh project
	@touch $@

$(CACHES): $(PACKAGES) | $(PROJECT)
	@environments/setup.sh caches
	@touch $@
