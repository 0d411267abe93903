# What people do daily. Every target does its own set-up: `make run` and `make test` work in a fresh clone.
#   make run     train the quickstart, then twelve iterations of AlexNet, on two devices
#   make test    the tests, two at a time;  make test ARGS="-m slow"  for the slow ones;  WORKERS=8 for eight at a time
#   make lint    ruff, and mypy on the core and the runners
#   make bench   the benchmarks and the tables of benchmarks/README.md;  make bench ARGS=--quick  for short runs, printed
#   make docs    the documentation as a site with search, build/site; warnings are errors
#   make gpu     the tests that need a GPU (installs the CUDA 13 toolkit's wheels)
#   make clean   remove the virtual environments and what was built
# What is installed to test, lint and measure is locked: requirements/ names every version with its hashes.
#   make lock    renew what is locked, to the newest versions and to what pyproject.toml asks for
#   make test-oldest   the tests with the lowest versions that pyproject.toml allows (Python 3.11 or 3.12)
#   make test-newest   the tests with the newest versions there are, today

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
WORKERS ?= 2
SET := test
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
UV := $(BIN)/uv --no-config --quiet
PYTEST = python -m pytest --numprocesses $(WORKERS) --dist worksteal
COMPILE = UV_CUSTOM_COMPILE_COMMAND="make lock" $(UV) pip compile \
	--universal --python-version 3.11 --generate-hashes --no-annotate --upgrade --output-file requirements/
MYPY_CACHE_DIR ?= $(CURDIR)/.mypy_cache

.PHONY: run test lint bench docs gpu clean lock test-oldest test-newest
.DELETE_ON_ERROR:

# Tests start some hundred processes, each of which would translate the sources to bytecode anew.
export PYTHONDONTWRITEBYTECODE :=
export UV_COMPILE_BYTECODE ?= 1

run: $(VENV)/.installed
	$(BIN)/netspec run quickstart
	$(BIN)/netspec run alexnet --iterations 12

test: $(VENV)/.test
	$(BIN)/$(PYTEST) $(ARGS)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	@# mypy sees the parts where they are once installed; the links lie outside, since builds would follow them
	@tree=$$(mktemp -d) && trap "rm -rf $$tree" EXIT && mkdir $$tree/netspec \
	&& ln -s $(foreach part,$(wildcard netspec/*) layers runners,$(CURDIR)/$(part)) $$tree/netspec/ \
	&& cd $$tree && $(abspath $(BIN))/mypy --config-file $(CURDIR)/pyproject.toml --cache-dir $(MYPY_CACHE_DIR) -p netspec

bench: $(VENV)/.test
	$(BIN)/python benchmarks/report.py --measure $(ARGS)

docs: $(VENV)/.dev
	$(BIN)/python -m sphinx -c docs -b html --fail-on-warning --keep-going --quiet --fresh-env --write-all -d build/doctrees . build/site
	@echo "the site: build/site/index.html"

gpu: $(VENV)/.dev
	$(BIN)/python -m pytest -m gpu $(ARGS)

clean:
	rm -rf $(VENV) $(VENV)-oldest $(VENV)-newest build dist

lock: $(VENV)/.made
	$(PIP) install --upgrade uv
	$(COMPILE)dev.txt pyproject.toml --extra dev
	$(COMPILE)test.txt pyproject.toml --extra test --constraints requirements/dev.txt
	$(COMPILE)oldest.txt pyproject.toml --extra test --extra gates --resolution lowest-direct
	echo uv | $(COMPILE)uv.txt -

test-oldest:
	@$(MAKE) --no-print-directory test VENV=$(VENV)-oldest SET=oldest

test-newest:
	@$(MAKE) --no-print-directory $(VENV)-newest/.made VENV=$(VENV)-newest
	@$(VENV)-newest/bin/python -m pip install --disable-pip-version-check --quiet \
		--upgrade --upgrade-strategy eager -e '.[test,gates]'
	$(VENV)-newest/bin/$(PYTEST) $(ARGS)

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "netspec needs Python 3.11 or newer: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed: $(VENV)/.made pyproject.toml
	@echo "installing netspec into $(VENV) (once)"
	@$(PIP) install -e .
	@touch $@

# uv fetches and unpacks several wheels at a time; where only pip's own settings lead to an index, pip does it.
# Hatchling, which builds netspec, is of the locked set too: nothing is fetched besides.
define locked
	@echo "installing requirements/$(1).txt and netspec into $(VENV) (once)"
	@$(PIP) install --require-hashes -r requirements/uv.txt
	@$(UV) pip install --python $(BIN)/python --require-hashes -r requirements/$(1).txt \
	|| $(PIP) install --require-hashes -r requirements/$(1).txt
	@$(PIP) install --no-deps --no-build-isolation -e .
endef

$(VENV)/.test: $(VENV)/.made pyproject.toml requirements/$(SET).txt requirements/uv.txt
	$(call locked,$(SET))
	@touch $@ $(VENV)/.installed

$(VENV)/.dev: $(VENV)/.made pyproject.toml requirements/dev.txt requirements/uv.txt
	$(call locked,dev)
	@touch $@ $(VENV)/.test $(VENV)/.installed
