# make demo   train on real handwritten digits, from nothing, and say what to look at
# make test   install and run the tests      (make test PYTHON=python3.13 for another Python)
# make slow   the longer proofs              make lint   ruff and pyright
# make docs   build the site into docs/_build/html
# make peers  PyTorch and matplotlib, for the benchmarks
# make ratios two ratios that a wrong formulation of a convolution breaks
PYTHON ?= python3
ifeq ($(origin PYTHON), file)
  VENV ?= .venv
else
  # Another Python gets an environment of its own, so that one never stands in for the other.
  VENV ?= .venv-$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
endif
BIN := $(VENV)/bin
TORCH ?= torch>=2.6

.PHONY: demo test slow docs peers ratios lint install dev clean

demo: install
	$(BIN)/gan-jax train configs/digits.py --workdir runs/digits

# Two processes, a file of tests in one of them: most of the time is compiling, which takes one thread. One that
# died is not replaced: xdist may wait for ever for what it was to do.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile --max-worker-restart=0

test: dev
	$(PYTEST)

slow: dev
	$(PYTEST) -m slow

docs: $(VENV)/.installed-docs
	JAX_PLATFORMS=cpu $(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet -b html docs docs/_build/html
	@echo docs/_build/html/index.html

peers: dev
	$(BIN)/python -m pip install --quiet '$(TORCH)' -e '.[benchmark]'

ratios: dev
	$(BIN)/python -m benchmarks.ratios

lint: dev
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/pyright

install: $(VENV)/.installed
dev: $(VENV)/.installed-dev

$(VENV)/.installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed pyproject.toml
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	touch $@

$(VENV)/.installed-docs: $(VENV)/.installed pyproject.toml
	$(BIN)/python -m pip install --quiet -e '.[docs]'
	touch $@

clean:
	rm -rf .venv .venv-* .pytest_cache .ruff_cache docs/_build
