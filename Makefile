# What people do daily. Every target does its own set-up: `make run` and `make test` work in a fresh clone.
#   make run     train the quickstart, then twelve iterations of AlexNet, on two devices
#   make test    the tests;  make test ARGS="-m slow"  for the slow ones
#   make lint    ruff, and mypy on the core and the runners
#   make bench   the benchmarks and the tables of benchmarks/README.md;  make bench ARGS=--quick  for short runs, printed
#   make gpu     the tests that need a GPU (installs the CUDA 13 toolkit's wheels)
#   make clean   remove the virtual environment and what was built

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: run test lint bench gpu clean
.DELETE_ON_ERROR:

run: $(VENV)/.installed
	$(BIN)/netspec run quickstart
	$(BIN)/netspec run alexnet --iterations 12

test: $(VENV)/.test
	$(BIN)/python -m pytest $(ARGS)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	@# mypy sees the parts where they are once installed; the links lie outside, since builds would follow them
	@tree=$$(mktemp -d) && trap "rm -rf $$tree" EXIT && mkdir $$tree/netspec \
	&& ln -s $(foreach part,$(wildcard netspec/*) layers runners,$(CURDIR)/$(part)) $$tree/netspec/ \
	&& cd $$tree && $(abspath $(BIN))/mypy --config-file $(CURDIR)/pyproject.toml --cache-dir $(CURDIR)/.mypy_cache -p netspec

bench: $(VENV)/.test
	$(BIN)/python benchmarks/report.py --measure $(ARGS)

gpu: $(VENV)/.gpu
	$(BIN)/python -m pytest -m gpu $(ARGS)

clean:
	rm -rf $(VENV) build dist

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "netspec needs Python 3.11 or newer: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed: $(VENV)/.made pyproject.toml
	@echo "installing netspec into $(VENV) (once)"
	@$(PIP) install -e .
	@touch $@

$(VENV)/.test: $(VENV)/.installed
	@$(PIP) install -e '.[test]'
	@touch $@

$(VENV)/.dev: $(VENV)/.installed
	@$(PIP) install -e '.[dev]'
	@touch $@

$(VENV)/.gpu: $(VENV)/.test
	@$(PIP) install -e '.[test,cuda13]'
	@touch $@
