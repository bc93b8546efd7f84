"""The members of a sweep: values, names and refusals; and the stages of halving."""

import re

import pytest

import small_sweeps
from devices import run_json
from gan_jax.config import Parallel
from gan_jax.errors import UserError
from gan_jax.sweep.grid import check_names, make_members, read_axes, short_names
from gan_jax.sweep.halving import better_first, interval, rungs
from gan_jax.sweep.search import read_space

WEIGHT = "discriminator_terms.0.weight"


def members(*words, zipped=False, config=None):
    config = config or small_sweeps.swept()
    axes, shared = read_axes(config, words)
    return make_members(config, axes, shared, zipped)


def error_of(*words, **options):
    with pytest.raises(UserError) as caught:
        check_names(members(*words, **options))
    return str(caught.value)


def test_members_are_combinations():
    found = members(f"{WEIGHT}=0.3,1", "seed=0..2", "steps=7")
    assert [one.name for one in found][:4] == [
        "weight=0.3,seed=0",
        "weight=0.3,seed=1",
        "weight=0.3,seed=2",
        "weight=1,seed=0",
    ]
    assert [(one.config.discriminator_terms[0].weight, one.config.seed) for one in found] == [
        (weight, seed) for weight in (0.3, 1.0) for seed in (0, 1, 2)
    ]
    assert {one.config.steps for one in found} == {7}
    assert found[1].overrides == ("steps=7", f"{WEIGHT}=0.3", "seed=1")


def test_zipped_members():
    assert [one.values for one in members("seed=1,2", f"{WEIGHT}=3,4", zipped=True)] == [("1", "3"), ("2", "4")]


@pytest.mark.parametrize(
    ("word", "values"),
    [
        ("loss=hinge,wasserstein", ("hinge", "wasserstein")),
        ("generator_optimizer.learning_rate=1e-3, 1e-4", ("1e-3", "1e-4")),
        ("metrics.names=(frechet,kernel),(frechet)", ("(frechet,kernel)", "(frechet)")),
        ("init_from=runs/a,'runs/b,c'", ("runs/a", "'runs/b,c'")),
        ("seed=3..5", ("3", "4", "5")),
    ],
)
def test_values(word, values):
    (axis,), shared = read_axes(small_sweeps.swept(), [word])
    assert axis.values == values
    assert shared == []


def test_a_list_is_one_value_of_a_list():
    assert read_axes(small_sweeps.swept(), ["metrics.names=frechet,kernel"]) == (
        [],
        ["metrics.names=frechet,kernel"],
    )


def test_names_are_short_and_safe():
    assert short_names([WEIGHT, "generator_terms.0.weight", "seed"]) == [
        WEIGHT,
        "generator_terms.0.weight",
        "seed",
    ]
    assert short_names(["generator.width", "discriminator.width"]) == ["generator.width", "discriminator.width"]
    assert short_names([WEIGHT, "ema.half_life"]) == ["weight", "half_life"]
    found = members("init_from=/a/b,../../c", f"{WEIGHT}=1,2")
    assert all(re.fullmatch(r"[\w.,=+-]+", one.name) for one in found)
    assert found[2].name == "init_from=.._.._c,weight=1"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["steps=5"], "a sweep needs a field with several values, such as seed=1,2,3 or discriminator_terms"),
        (["seed"], "'seed' is not of the form field=value or field=value,value,..."),
        (["seed=1,,2"], "seed=1,,2 has an empty value: separate values by single commas"),
        (["seed=1,2,1"], "seed has the value '1' twice: leave one out"),
        (["seed=1,2", "seed=3,4"], "seed has several values twice: write all of them behind one seed="),
        (["seed=5..2"], "seed=5..2 is no range: the second number must be larger, as in 0..7"),
        (["seed=0..99999"], "seed=0..99999 is no range"),
        (["seed=1,x"], "seed wants an int, got 'x'"),
        (["sed=1,2"], "unknown field 'sed': did you mean 'seed'"),
        ([f"{WEIGHT}=1,nan"], f"{WEIGHT} wants"),
        (["loss=hinge,hing"], "loss=hing: no 'hing' in gan_jax.losses: did you mean 'hinge'"),
        (["seed=0..99", "batch=1..99"], "these are 9900 members, and a sweep has at most 1000: leave values out"),
        (["init_from=a/b,a b"], "two members would have the folder init_from=a_b"),
        (["init_from=a,A"], "two members would have the folder init_from=a"),
    ],
)  # fmt: skip
def test_refusals(words, sentence):
    assert sentence in error_of(*words)


def test_zip_wants_as_many_values():
    assert error_of("seed=1,2", f"{WEIGHT}=1,2,3", zipped=True) == (
        f"--zip wants as many values of each field: seed has 2, {WEIGHT} has 3"
    )


# ---- halving


def test_stages():
    """Of n members 1 / factor go on each time, after factor times the steps."""
    config = small_sweeps.swept(steps=800)
    assert rungs(config, 8, 2, 10) == [(100, 8), (200, 4), (400, 2), (800, 1)]
    assert rungs(config, 9, 3, 10) == [(90, 9), (270, 3), (800, 1)]
    assert rungs(config, 5, 2, 10) == [(100, 5), (200, 3), (400, 2), (800, 1)]
    assert rungs(config, 1, 2, 10) == [(800, 1)]


def test_metrics_are_measured_at_the_stages():
    plain = small_sweeps.swept().metrics
    without = small_sweeps.swept(steps=800, metrics=plain.__class__(every=0), parallel=Parallel(fuse=8))
    assert interval(without, 8, 2) == 96
    assert interval(small_sweeps.swept(steps=800), 8, 2) == 10
    every = interval(without, 8, 2)
    assert all(rung.steps % every == 0 for rung in rungs(without, 8, 2, every)[:-1])


def test_too_few_steps_to_choose():
    with pytest.raises(UserError, match="halving would choose after 10, 10, 10, 20 steps, because metrics are"):
        rungs(small_sweeps.swept(), 8, 2, 10)
    with pytest.raises(UserError, match="--factor must be at least 2, got 1"):
        rungs(small_sweeps.swept(), 8, 1, 10)


def test_better_members():
    scores = {"a": 3.0, "b": 1.0, "c": 2.0}
    assert better_first(scores, "frechet", 2) == ["b", "c"]
    assert better_first(scores, "recall", 2) == ["a", "c"]


@pytest.mark.parametrize(("metric", "best"), [("frechet", ["b", "a"]), ("recall", ["a", "b"])])
def test_a_number_that_is_not_finite_is_no_best(metric, best):
    nan = float("nan")
    assert better_first({"x": nan, "a": 2.0, "y": nan, "b": 1.0, "z": nan}, metric, 2) == best


# ---- ranges for Optuna


def test_ranges():
    assert read_space("x", "0.1..30") == ("x", 0.1, 30.0, True, ())
    assert read_space("x", "1..5") == ("x", 1, 5, False, ())
    assert read_space("x", "-1..1e2") == ("x", -1.0, 100.0, False, ())
    assert read_space("x", "a..b") is None
    with pytest.raises(UserError, match=r"x=3\.\.3 is no range"):
        read_space("x", "3..3")


@pytest.mark.slow
def test_no_device_is_used_before_members_train():
    """A process that only starts others must leave the memory of the GPUs to them."""
    source = """
import json
from jax._src import xla_bridge
import small_sweeps
from devices import run_json
from gan_jax.config import override
from gan_jax.sweep.choose import check_members, choose_mode
members = [override(small_sweeps.swept(), [f"discriminator_terms.0.weight={weight}"]) for weight in (1, 2)]
mode, _ = choose_mode(members, check_members(members))
print(json.dumps([mode, xla_bridge.backends_are_initialized()]))
"""
    assert run_json(source) == ["vmap", False]
