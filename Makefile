# make demo    what safebackup does, in one script, with nothing installed but the package
# make test    everything that has to be green
# make long    the same searches and sweeps in full: hours, where `make test` takes samples
# make bench   safebackup beside restic, borg, tar and a script: hours, see benchmarks/README.md
# make check   formatting, lint, types, layers
# make clean   remove what make made
#
# Everything happens in .venv. Only as root, and only for the tests, missing programs are installed with apt-get: see
# .ci/system-packages. Nobody else's machine is changed.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := test

# The first that runs and is new enough: an interpreter may be on the PATH and still not start.
NEW_ENOUGH = import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3.14 python3; do \
	$$python -c '$(NEW_ENOUGH)' >/dev/null 2>&1 && { command -v $$python; break; }; done)

# Others to try the tests marked "portable" on, where they are found: on the PATH, or brought by pyenv.
OTHER_PYTHONS ?= python3.12 python3.13 python3.14 $(wildcard $(HOME)/.pyenv/versions/3.1[2-9].*/bin/python)

# The others need packages that are installed for one interpreter alone, and cannot even be collected without.
PORTABLE_TESTS = $(shell grep -rl --include='test_*.py' 'mark.portable' tests)

RUN := .venv/bin/python -m
EXTRAS := azure,gcs,obstore,s3,sftp,smb,testing,webdav
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test long bench prepare system check portable clean

demo: .venv/package-ready
	@.venv/bin/python examples/demo.py

# The suite itself comes last, so that its summary is the last thing to read.
test: prepare
	@$(RUN) pytest -n auto

long: .venv/tests-ready .venv/azurite/ready
	@SAFEBACKUP_LONG=1 $(RUN) pytest -o faulthandler_timeout=0

# Options for it: make bench BENCH="--scale 0.1 --corpora tree,media"
bench: .venv/bench-ready
	@$(RUN) benchmarks --json build/benchmarks.json --charts build/benchmarks $(BENCH)

# All that comes before the suite.
prepare: system check portable .venv/azurite/ready

system:
	@.ci/system-packages

check: .venv/tests-ready
	@$(RUN) ruff format --check .
	@$(RUN) ruff check .
	@$(RUN) mypy
	@.venv/bin/lint-imports

portable: .venv/tests-ready
	@tried=; for python in $(OTHER_PYTHONS); do \
	  version=$$($$python -c 'import ensurepip, sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue; \
	  case " $$tried " in *" $$version "*) continue;; esac; \
	  tried="$$tried $$version"; home=.venv-$$version; \
	  if [ ! -e $$home/ready ] || [ pyproject.toml -nt $$home/ready ]; then \
	    rm -rf $$home && $$python -m venv $$home; \
	    $$home/bin/python -m pip install -q --upgrade pip; \
	    $$home/bin/python -m pip install -q -e . --group portable; \
	    touch $$home/ready; \
	  fi; \
	  echo "Python $$version:"; $$home/bin/python -m pytest -q -m portable $(PORTABLE_TESTS); \
	done; echo "portable tests were run on other Pythons:$${tried:- none found}"

.venv/bin/python:
	@if [ -z "$(PYTHON)" ]; then echo "safebackup needs Python 3.11 or newer: install it, or say where it is: make PYTHON=/path/to/python3"; exit 2; fi
	@$(PYTHON) -c '$(NEW_ENOUGH)' || { echo "safebackup needs Python 3.11 or newer, and $(PYTHON) is older"; exit 2; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "$(PYTHON) cannot make an environment: on Debian, apt-get install python3-venv"; exit 2; }
	$(PYTHON) -m venv .venv

# Dependency groups need pip 25.1, and Debian 12 has 23.0.
.venv/package-ready: .venv/bin/python pyproject.toml
	$(RUN) pip install -q --upgrade pip
	$(RUN) pip install -q -e .
	@touch $@

.venv/tests-ready: .venv/package-ready
	$(RUN) pip install -q --no-compile -e '.[$(EXTRAS)]' --group test
	@touch $@

.venv/bench-ready: .venv/package-ready
	$(RUN) pip install -q --group bench
	@touch $@

# Not made where it could not be installed: that is tried again next time, and stops nothing but in CI.
.venv/azurite/ready: .ci/azurite | .venv/tests-ready
	@.ci/azurite .venv/bin/python .venv/azurite

clean:
	rm -rf .venv .venv-* build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find src tests examples -name __pycache__ -type d -prune -exec rm -rf {} +
