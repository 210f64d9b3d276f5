# `make demo` and `make test` work on a bare machine with Python 3.11 or later (and its venv module), make and git.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# Two test processes of one thread each are faster than one of two: most tests are small. A file's tests run in one of
# them, so that its fixtures are made once. WORKERS=0 for a debugger.
WORKERS ?= 2
# Text files without an encoding are UTF-8, whatever the machine's locale.
PYTEST := PYTHONUTF8=1 OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python -m pytest

.DEFAULT_GOAL := help
.PHONY: help demo test test-all fast lint format types docs plugins coverage dist examples site clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "metavoxel needs Python 3.11 or later: make PYTHON=/path/to/python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -c constraints.txt -e '.[dev]'
	touch $@

$(VENV): $(INSTALLED) ## install metavoxel and its tools into .venv

demo: $(INSTALLED) ## write a phantom cohort, train on it, and answer questions about it (in runs/demo)
	$(BIN)/metavoxel demo --output runs/demo

test: lint types docs plugins fast ## everything that a change must pass

fast: $(INSTALLED) ## the fast tests alone
	$(PYTEST) -n $(WORKERS) --dist loadfile

test-all: lint types docs ## as test, with the slow tests, then the benchmarks with the machine to themselves
	$(BIN)/python tools/test_plugins.py --separate
	EXAMPLES=100 $(PYTEST) -n $(WORKERS) --dist loadfile -m 'not gpu and not benchmark'
	$(PYTEST) -m 'benchmark and not gpu' || [ $$? -eq 5 ]

lint: $(INSTALLED) ## style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(INSTALLED) ## rewrite to the style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(INSTALLED) ## static types
	$(BIN)/mypy

docs: $(INSTALLED) ## links, commands and code in the documentation
	$(BIN)/python tools/check_docs.py

plugins: $(INSTALLED) ## the plugins and the template, installed into a new environment
	$(BIN)/python tools/test_plugins.py

coverage: $(INSTALLED) ## the fast tests with the lines that they reach
	$(PYTEST) -n $(WORKERS) --cov=metavoxel --cov-report=term

dist: $(INSTALLED) ## sdist and wheel, the wheel installed and tried in an environment of its own (in dist)
	rm -rf dist
	$(BIN)/python -m hatchling build
	$(PYTHON) -m venv dist/venv
	dist/venv/bin/python -m pip install -q -c constraints.txt dist/*.whl
	cd dist && venv/bin/metavoxel --help && venv/bin/metavoxel plugins

examples: $(INSTALLED) ## examples that need no data of their own, run short
	OMP_NUM_THREADS=1 $(BIN)/python examples/method_in_one_file.py --steps 300
	OMP_NUM_THREADS=1 $(BIN)/python examples/own_denoiser.py
	$(BIN)/python -m pip install -q -c constraints.txt nbclient ipykernel
	cd examples/notebooks && $(abspath $(BIN))/jupyter execute first_model.ipynb how_sure.ipynb

site: $(INSTALLED) ## the documentation as a site (in runs/site)
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[site]'
	$(BIN)/python -m mkdocs build --strict

clean: ## remove what make made, runs excepted
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
