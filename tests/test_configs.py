"""Tests the recipes in `configs/`: each loads, builds and traces, and its networks have the published sizes."""

import json
import math
import runpy
from typing import Any

import jax
import pytest

import gan_jax
from gan_jax.config import from_json, to_json, validate
from gan_jax.config.build import batch_spec
from gan_jax.types import PyTree
from recipe_facts import DATA, FOLDER, PUBLISHED, build_gan, recipe, spec

NAMES = sorted(file.stem for file in FOLDER.glob("*.py"))
PARTS = ["Source", "Data", "Command", "Expected", "Cost"]
BUILT_IN = {"digits", "digits_super_resolution", "gaussians", "moving_digits"}  # their data come with the package


def docstring(name: str) -> str:
    return runpy.run_path(str(FOLDER / f"{name}.py"))["__doc__"]


def parameter(name: str, slow: bool) -> Any:
    """Returns a parameter of a test, marked as slow if it is."""
    return pytest.param(name, marks=[pytest.mark.slow, pytest.mark.timeout(120)] if slow else [])


def counts(*params: PyTree) -> tuple[int, ...]:
    return tuple(sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(one)) for one in params)


# ---- All recipes.


def test_each_file_has_its_data_facts():
    assert sorted(DATA) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_it_is_valid_named_as_its_file_and_survives_json(name):
    config = recipe(name)
    validate(config)
    assert config.name == name
    assert from_json(json.loads(json.dumps(to_json(config)))) == config


@pytest.mark.parametrize("name", NAMES)
def test_its_docstring_has_all_parts(name):
    lines = docstring(name).splitlines()
    parts = [line.split()[0] for line in lines[1:] if line and not line.startswith(" ")]
    assert parts == [part for part in PARTS if part != "Data" or name not in BUILT_IN]
    assert lines[0].endswith(".")
    assert any(f"gan-jax train {name}" in line for line in lines)


@pytest.mark.parametrize("name", [parameter(name, data.slow) for name, data in DATA.items()])
def test_a_whole_step_traces(name):
    """Checks shapes only; nothing is computed."""
    gan = build_gan(name)
    batch = batch_spec(recipe(name), gan, spec(name))
    state = jax.eval_shape(lambda: gan_jax.init(gan, jax.random.key(0), batch))
    after, metrics = jax.eval_shape(gan_jax.make_train_step(gan), state, batch)
    before, now = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), (state, after))
    assert before == now
    assert {"loss/generator", "loss/discriminator", "nonfinite"} <= set(metrics)


@pytest.mark.parametrize("name", [parameter(name, name != "cifar10_sngan") for name in PUBLISHED])
def test_networks_have_the_papers_sizes(name):
    gan = build_gan(name)
    batch = batch_spec(recipe(name), gan, spec(name))
    state = jax.eval_shape(lambda: gan_jax.init(gan, jax.random.key(0), batch))
    found = counts(state.generator.params, state.discriminator.params)
    assert found == DATA[name].counts
    text = " ".join(docstring(name).split())
    assert all(f"{count:,}" in text for count in found)
