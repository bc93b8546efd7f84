"""The table of gradients against float64."""

import itertools
import json

import numpy as np
import pytest

from benchmarks import gradient_errors
from devices import run_python

BOUNDS = {"float32": 1e-3, "bfloat16": 0.5}


def test_the_page_shows_the_records() -> None:
    records = gradient_errors.read()
    names = ("model", "dtype", "mode", "penalty")
    every = itertools.product(*(getattr(gradient_errors, n) for n in ("MODELS", "DTYPES", "MODES", "PENALTIES")))
    assert {tuple(record[name] for name in names) for record in records} == set(every)
    assert gradient_errors.table(records) in gradient_errors.PAGE.read_text()


def test_the_error_is_that_of_the_worst_leaf() -> None:
    exact = [{"['a']": np.array([1.0, -4.0]), "['zero']": np.array([1e-12])}, {"['b']": np.array([2.0])}]
    found = [{"['a']": np.array([1.0, -3.0]), "['zero']": np.array([1e-3])}, {"['b']": np.array([2.2])}]
    assert gradient_errors.error(found, exact) == (0.25, "discriminator['a']")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("model", ["mlp", "r3gan", "dcgan"])
def test_some_cells_again(model: str) -> None:
    program = f"""
from benchmarks import gradient_errors as g
g.measure({model!r}, g.DTYPES, g.MODES, ["lazy r1"])
"""
    printed = run_python(
        program, devices=gradient_errors.DEVICES, timeout=800, JAX_DISABLE_MOST_OPTIMIZATIONS="True"
    )
    records = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
    assert len(records) == 8
    for record in records:
        assert record["error"] < BOUNDS[record["dtype"]], record
