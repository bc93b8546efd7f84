"""The table of formulations: its spellings give equal numbers, and its timing computes every call."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.formulations import TOY, by_value, repeated, winner
from benchmarks.layers import Layer, layers
from benchmarks.spellings import directions, spellings

OTHERS = [
    Layer("conv", (2, 4, 4, 3), (4, 4, 3, 5), (("padding", 1), ("stride", 1))),
    Layer("downsample", (2, 4, 4, 3), (4,), (("factor", 2), ("gain", 1.0), ("taps", (1.0, 3.0, 3.0, 1.0)))),
]
LAYERS = [pytest.param(layer, marks=pytest.mark.slow) for layer in [*TOY, *OTHERS]]


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_spellings_are_equal(layer):
    for direction in directions(layer):
        found = spellings(layer, direction)
        assert len(found) > 1
        shapes = next(iter(found.values()))[1]
        arrays = [jax.random.normal(jax.random.key(i), shape) for i, shape in enumerate(shapes)]
        results = jax.jit(lambda *a, found=found: {name: function(*a) for name, (function, _) in found.items()})(
            *arrays
        )
        for name, result in results.items():
            np.testing.assert_allclose(result, results["native"], atol=1e-4, err_msg=f"{direction}, {name}")


def test_each_spelling_is_another_program():
    upsampling = next(layer for layer in TOY if layer.kind == "upsample")
    grouped = next(layer for layer in TOY if layer.kind == "grouped_conv")
    for layer, names in (
        (upsampling, {"native", "shifts", "strides"}),
        (grouped, {"native", "patches", "2 groups merged", "4 groups merged", "8 groups merged"}),
    ):
        found = spellings(layer, "forward")
        assert set(found) == names
        texts = {jax.jit(f).lower(*map(jnp.ones, shapes)).as_text() for f, shapes in found.values()}
        assert len(texts) == len(names)


def test_every_call_is_in_the_loop():
    """A program of n calls multiplies n times: the product is in the body of the loop, not before it."""
    a = jnp.ones((8, 8))
    text = jax.jit(repeated(lambda a, b: a @ b, 5)).lower(a, a).compile().as_text()
    computations = re.split(r"\n(?=%|ENTRY)", text)
    holders = [c for c in computations if re.search(r" dot\(|fusion_type|ynn|custom-call", c)]
    assert holders
    assert not any(c.startswith("ENTRY") for c in holders)


def test_a_call_reads_the_result_before_it():
    once, twice = (repeated(lambda a, b: a + b, n)(jnp.zeros(2), jnp.ones(2)) for n in (1, 2))
    np.testing.assert_array_equal(once, [1, 1])
    np.testing.assert_array_equal(twice, [2, 1])


def test_the_layers_of_a_recipe():
    found = layers(["cifar10_dcgan"], 7)
    down = Layer("conv", (7, 32, 32, 3), (4, 4, 3, 64), (("padding", 1), ("stride", 2)))
    up = Layer("conv_transpose", (7, 16, 16, 64), (4, 4, 3, 64), (("padding", 1), ("stride", 2)))
    assert {down, up} <= set(found)
    assert down.y == (7, 16, 16, 64)
    assert up.y == down.x
    assert down.flops == up.flops == 2 * 7 * 16 * 16 * 4 * 4 * 3 * 64
    assert found[down] == ["cifar10_dcgan"]
    assert len(found) == 6


def test_open_choices_come_first():
    kinds = [layer.kind for layer in by_value(TOY)]
    assert kinds[0] == "grouped_conv"


def test_the_winner_is_named_first():
    row = {"kind": "conv", "x": (1, 2, 2, 3), "kernel": (1, 1, 3, 4), "settings": {}, "direction": "forward"}
    rows = [
        {**row, "spelling": "native", "us_median": 20.0, "tflops": 1.0},
        {**row, "spelling": "patches", "us_median": 10.0, "tflops": 2.0},
        {**row, "spelling": "own", "note": "not compiled: no algorithm"},
    ]
    times = "patches 10.0 us, native 20.0 us, 2.0 TFLOP/s; own: not compiled: no algorithm"
    assert winner(rows) == f"conv 1x2x2x3 by 1x1x3x4, forward: {times}"
