"""Every architecture and augmentation takes the same step in every mode, and resumes with the same bits.

The cases of a GAN run in one process with four virtual devices (`main`), which prints the differences as JSON.
"""

import contextlib
import functools
import json
import tempfile
import types
from unittest import mock

import jax
import jax.numpy as jnp
import pytest

import architectures
import gan_jax.step.inputs
import gan_jax.step.updates
from devices import run_json
from gan_jax.checkpoint import Checkpoints
from gan_jax.checkpoint.digest import leaf_digests
from gan_jax.models import stylegan2
from gan_jax.models.layers import base as layers
from gan_jax.parallel import wrappers
from gan_jax.penalties import generator
from gan_jax.pytree import named_leaves
from modes import FIRST_GRADIENT, MODES, TOLERANCE, difference, make_step, on_host, place, play, relative

STEPS, STOP = 8, 4

# For each GAN: mistakes in what a step does over devices, made together, and the part of the state that shows it.
BREAKS = {
    "mirror": {"draws by device": "generator/params"},
    "sngan": {"statistics of a device": "generator/params"},
    "stylegan2, lazy": {
        "deviation of a device": "discriminator/opt_state/grads",
        "mean w of a device": "generator/model_state/w_avg",
        "path length of a device": "generator/penalties",
    },
    "ada": {"signs of a device": "augment/p"},
}


# These mistakes give every device the same wrong numbers. `pmap_step` refuses the others.
UNSEEN = {"draws by device", "deviation of a device"}


def broken(hows, refused=False):
    """Puts these mistakes into the steps that are made while it is entered.

    Args:
        hows: names of mistakes.
        refused: whether `pmap_step` still refuses what it can see.
    """
    norm, deviation = layers.nn.BatchNorm, stylegan2.minibatch_deviation
    linen = types.SimpleNamespace(**vars(layers.nn))
    linen.BatchNorm = lambda **keywords: norm(**{**keywords, "axis_name": None})
    lax = types.SimpleNamespace(**{**vars(jax.lax), "pmean": lambda x, axis_name: x})
    mistakes = {
        "draws by device": (gan_jax.step.inputs, "global_index", lambda size, axis: jnp.arange(size)),
        "statistics of a device": (layers, "nn", linen),
        "deviation of a device": (
            stylegan2,
            "minibatch_deviation",
            lambda x, group, axis, *how: deviation(x, group, None, *how),
        ),
        "mean w of a device": (stylegan2, "lax", lax),
        "path length of a device": (generator, "lax", lax),
        "signs of a device": (gan_jax.step.updates, "gather", lambda logit, axis: logit),
    }
    stack = contextlib.ExitStack()
    for how in hows:
        stack.enter_context(mock.patch.object(*mistakes[how]))
    if not refused:
        stack.enter_context(mock.patch.object(wrappers, "replicated", lambda step, *axes: step))
    return stack


def is_refused(gan, how, start, batch):
    """Returns whether `pmap_step` refuses to trace a step with this mistake."""
    with broken([how], refused=True):
        try:
            make_step(gan, "pmap").trace(start, batch)
        except ValueError as error:
            return "would differ between devices" in str(error)
    return False


def part(state, prefix):
    return {name: leaf for name, leaf in named_leaves(state).items() if name.startswith(prefix)}


def resumed(step, mode, start, batches):
    """Returns the final state of a run that is saved on the way and restored from disk."""
    first, rest = (
        jax.tree.map(lambda x, part=part: x[part], batches) for part in (slice(STOP), slice(STOP, None))
    )
    with tempfile.TemporaryDirectory() as folder, Checkpoints(folder) as checkpoints:
        state = play(step, mode, start, first)
        checkpoints.save(STOP, state, {})
        shapes = jax.eval_shape(lambda: place(start, mode))
        restored = checkpoints.restore(shapes)
    return play(step, mode, restored.state, rest)


def gradients(state):
    return [state.discriminator.opt_state.grads, state.generator.opt_state.grads]


def main(name, modes=MODES):
    """Prints the comparisons of a GAN's modes as JSON."""
    jax.config.update("jax_disable_most_optimizations", True)
    gan = architectures.GAMES[name]()
    start, batches = architectures.start(gan), architectures.batches(gan, STEPS)
    by_adam, one = architectures.with_adam(start), jax.tree.map(lambda x: x[:1], batches)
    found, ends, firsts = {"resumed": {}, "broken": {}, "refused": []}, {}, {}
    for mode in modes:
        step = make_step(gan, mode)
        state = play(step, mode, start, batches)
        found["resumed"][mode] = leaf_digests(resumed(step, mode, start, batches)) == leaf_digests(state)
        ends[mode] = on_host(state)
        if mode != "fused":  # after a chunk of fused steps its first gradients are lost
            firsts[mode] = on_host(play(step, mode, by_adam, one))
    found["modes"] = {mode: difference(ends[mode], ends["jit"]) for mode in modes[1:]}
    reference = gradients(firsts["jit"])
    found["first gradient"] = {mode: relative(gradients(end), reference) for mode, end in firsts.items()}
    before = on_host(start)
    found["moved"] = [
        difference(getattr(ends["jit"], player).params, getattr(before, player).params)
        for player in ("generator", "discriminator")
    ]
    found["p"] = [float(jax.tree.leaves(state.augment)[0]) for state in (before, ends["jit"]) if state.augment]
    if name in BREAKS:
        with broken(BREAKS[name]):
            state = on_host(play(make_step(gan, "pmap"), "pmap", by_adam, one))
        for how, prefix in BREAKS[name].items():
            found["broken"][how] = difference(part(state, prefix), part(firsts["jit"], prefix))
        batch = jax.tree.map(lambda x: x[0], one)
        found["refused"] = [how for how in BREAKS[name] if is_refused(gan, how, by_adam, batch)]
    print(json.dumps(found))


# All are slow; of the quick tests, `test_modes.py` runs one GAN in every mode.
# Every second step of "stylegan2, lazy" is one of "stylegan2".
CASES = [
    pytest.param(name, MODES, marks=[pytest.mark.slow, pytest.mark.timeout(180)], id=name)
    for name in architectures.GAMES
    if name != "stylegan2"
]
every_game = pytest.mark.parametrize(("name", "modes"), CASES)


@pytest.fixture(scope="module")
def found():
    def get(name, modes):
        source = f"import test_modes_architectures as t; t.main({name!r}, {modes!r})"
        return run_json(source, devices=4, timeout=160)

    return functools.cache(get)


@every_game
def test_every_mode_is_the_same_step(found, name, modes):
    """8 steps of SGD: parameters, optimizer state, EMA, model state, augmentation, penalties."""
    assert min(found(name, modes)["moved"]) > 500 * TOLERANCE  # else agreement would mean nothing
    assert list(found(name, modes)["modes"]) == list(modes[1:])
    assert max(found(name, modes)["modes"].values()) <= TOLERANCE, found(name, modes)["modes"]


@every_game
def test_first_gradients_with_adam(found, name, modes):
    gaps = found(name, modes)["first gradient"]
    assert "pmap" in gaps
    assert max(gaps.values()) <= FIRST_GRADIENT, gaps


@every_game
def test_taken_up_again_it_ends_with_the_same_bits(found, name, modes):
    """Four steps, a checkpoint on disk and four more steps give the bits of eight steps, in each mode."""
    assert found(name, modes)["resumed"] == dict.fromkeys(modes, True)


@pytest.mark.parametrize(("name", "modes"), [case for case in CASES if case.values[0] in BREAKS])
def test_a_mistake_over_devices_is_seen(found, name, modes):
    gaps = found(name, modes)["broken"]
    assert gaps.keys() == BREAKS[name].keys()
    assert min(gaps.values()) > 100 * TOLERANCE, gaps
    assert set(found(name, modes)["refused"]) == BREAKS[name].keys() - UNSEEN


@pytest.mark.parametrize(("name", "modes"), [case for case in CASES if case.values[0].startswith("ada")])
def test_the_probability_moves(found, name, modes):
    before, after = found(name, modes)["p"]
    assert abs(after - before) > 0.05
