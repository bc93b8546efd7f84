# make demo    train on real handwritten digits from random weights, and print which images to look at
# make test    install and run the tests        (make test PYTHON=python3.13 for another Python)
# make slow    the long proofs                  (make test CONSTRAINTS=tests/oldest.txt for the oldest dependencies)
# make programs  the guards of the programs that are compiled for GPUs and TPUs, which need not be here
# make lint    ruff and pyright
# make docs    build the site into docs/_build/html, and run the tutorial as a notebook
# make peers   PyTorch and matplotlib, for the benchmarks
# make ratios  two speed ratios that a wrong formulation of a convolution breaks
# make wheel   build the wheel and run it in an environment of its own
PYTHON ?= python3
CONSTRAINTS ?=
# Another Python, or other versions of the dependencies, get an environment of their own.
ifeq ($(origin PYTHON), file)
  VENV ?= .venv$(if $(CONSTRAINTS),-$(basename $(notdir $(CONSTRAINTS))))
else
  VENV ?= .venv-$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')$(if $(CONSTRAINTS),-$(basename $(notdir $(CONSTRAINTS))))
endif
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet $(if $(CONSTRAINTS),--constraint $(CONSTRAINTS))
TORCH ?= torch>=2.6

.PHONY: demo test slow programs docs peers ratios lint wheel install dev clean

demo: install
	$(BIN)/gan-jax train configs/digits.py --workdir runs/digits

# Two processes, and each file of tests stays in one of them: most of the time is compilation, which takes one
# thread. A process that died is not replaced: xdist can wait for ever for the tests that it had.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile --max-worker-restart=0

test: dev
	$(PYTEST)

slow: $(VENV)/.installed-after
	$(PYTEST) -m slow

# A program is compiled once: all its tests run in one process (tests/programs/conftest.py).
programs: $(VENV)/.installed-programs
	JAX_PLATFORMS=cpu $(BIN)/python -m pytest -n 2 --max-worker-restart=0 -m programs tests/programs tests/targets tests/commands

docs: $(VENV)/.installed-docs
	JAX_PLATFORMS=cpu $(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet -b html docs docs/_build/html
	cd docs/_build/html && JAX_PLATFORMS=cpu $(abspath $(BIN))/jupyter-execute --inplace --timeout=600 first_gan.ipynb
	@echo docs/_build/html/index.html

peers: dev
	$(PIP) '$(TORCH)' -e '.[benchmark]'

ratios: dev
	$(BIN)/python -m benchmarks.ratios

lint: $(VENV)/.installed-after
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/pyright --pythonpath $(BIN)/python

wheel: install
	$(PIP) build
	rm -rf $(VENV)/dist $(VENV)/wheel
	$(BIN)/python -m build --outdir $(VENV)/dist .
	$(BIN)/python -m venv $(VENV)/wheel
	$(VENV)/wheel/bin/python -m pip install --quiet $(VENV)/dist/*.whl
	cd $(VENV) && wheel/bin/gan-jax doctor

install: $(VENV)/.installed
dev: $(VENV)/.installed-dev

$(VENV)/.installed: pyproject.toml $(CONSTRAINTS)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(PIP) -e .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed pyproject.toml
	$(PIP) -e '.[dev]'
	touch $@

$(VENV)/.installed-programs: $(VENV)/.installed-dev
	$(PIP) -e '.[dev,target-gpu,target-tpu]'
	touch $@

$(VENV)/.installed-after: $(VENV)/.installed-dev
	$(PIP) -e '.[dev,after]'
	touch $@

$(VENV)/.installed-docs: $(VENV)/.installed pyproject.toml
	$(BIN)/python -m pip install --quiet -e '.[docs]'
	touch $@

clean:
	rm -rf .venv .venv-* .pytest_cache .ruff_cache docs/_build
