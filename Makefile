# make train, make test, make lint, make docs, make bench: each sets up its environment first, when
# it is missing or when setup.cfg has changed. Nothing but Python 3.11 and make has to be installed.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# The benchmark's peers (torch, jax and others) stay out of the way, in an environment of their own.
PEERS := .venv-peers
# So do Sphinx and the Jupyter kernels that run the documentation's cells.
DOCS := .venv-docs

.DEFAULT_GOAL := help
.PHONY: help train test lint docs bench clean

help:
	@echo 'make train   train the three-layer network on MNIST, into runs/three_layer, or resume'
	@echo 'make test    run the tests, without the slow ones (CI runs all)'
	@echo 'make lint    check style and types'
	@echo 'make docs    build the documentation, into docs/_build/html, running every cell of it'
	@echo 'make bench   measure the speed of training steps, beside torch, jax and others'
	@echo 'make clean   remove the environment, the caches and the builds (not runs/)'
	@echo
	@echo 'The first use sets up .venv, which takes a network. Another Python than python3:'
	@echo 'make test PYTHON=python3.12'

train: $(READY)
	$(BIN)/python -m scripts.train three_layer --out runs/three_layer --resume

test: $(READY)
	$(BIN)/python -m pytest -n auto -m 'not slow'

lint: $(READY)
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy

docs: $(DOCS)/.ready
	$(DOCS)/bin/python -m sphinx -W --keep-going --fresh-env --jobs auto --quiet docs docs/_build/html
	@echo 'Open docs/_build/html/index.html'

bench: $(PEERS)/.ready
	$(PEERS)/bin/python -m scripts.benchmark --write docs/benchmarks.md

clean:
	rm -rf $(VENV) $(PEERS) $(DOCS) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	rm -rf docs/_build docs/reference/generated
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# An environment that works is kept, and brought up to date. One that does not (left half made,
# or its Python gone or too old) is made anew.
WORKS := -c 'import sys; sys.exit(sys.version_info < (3, 11))'

$(READY): EXTRAS := dev
$(PEERS)/.ready: EXTRAS := dev,peers,mpi
$(DOCS)/.ready: EXTRAS := docs

%/.ready: setup.cfg pyproject.toml
	@if ! { $*/bin/python $(WORKS) && $*/bin/python -c 'import pip'; } 2>/dev/null; then \
	  if ! command -v $(PYTHON) >/dev/null; then \
	    echo 'error: there is no $(PYTHON). Install Python 3.11 or newer, or name the one to use:' >&2; \
	    echo '  make test PYTHON=/path/to/python3.11' >&2; \
	    exit 1; \
	  fi; \
	  if ! $(PYTHON) $(WORKS); then \
	    echo "error: Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) --version 2>&1)." >&2; \
	    echo 'Install one, or name the one to use: make test PYTHON=/path/to/python3.11' >&2; \
	    exit 1; \
	  fi; \
	  if ! $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null; then \
	    echo 'error: $(PYTHON) cannot make environments: it lacks the module venv or ensurepip.' >&2; \
	    echo 'On Debian and Ubuntu: apt install python3-venv' >&2; \
	    exit 1; \
	  fi; \
	  echo "Setting up $* with $$($(PYTHON) --version)"; \
	  $(PYTHON) -m venv --clear $* || exit 1; \
	fi
	@echo 'Installing what setup.cfg lists'
	@if ! $*/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[$(EXTRAS)]'; then \
	  echo 'error: the packages that setup.cfg lists could not be installed; see above why.' >&2; \
	  echo 'The first run needs a network. Run make again when it is there.' >&2; \
	  exit 1; \
	fi
	@touch $@
