"""One step in every mode: jit, a mesh, pmap and fused steps agree, and deliberate mistakes are noticed.

All cases run in one process with four virtual devices (`main` below), which prints the differences as JSON.
"""

import contextlib
import functools
import json
import types
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gan_jax
import gan_jax.step.inputs
import gan_jax.step.updates
from devices import run_json
from gan_jax.models import dcgan
from gan_jax.models.layers import base as layers
from gan_jax.parallel import wrappers
from modes import FIRST_GRADIENT, MODES, TOLERANCE, difference, make_step, on_host, play, relative

B, STEPS = 16, 8
LATENT, SHAPE = 4, (8, 8, 1)

GAMES = {
    "batch norm": {},
    # The hardest case: a second derivative through the statistics of the whole batch.
    "r1": {"discriminator_terms": (gan_jax.Term(1.0, gan_jax.penalties.r1()),)},
    "spectral norm": {"norm": "spectral"},
    "two turns": {"disc_steps": 2},
}
BREAKS = ["no pmean", "local statistics", "latents by device", "n times the gradients"]


def make(norm="batch", tx=None, **keywords):
    tx = tx or gan_jax.optimizers.sgd(0.05, momentum=0.9)
    return gan_jax.GAN(
        generator=dcgan.Generator(SHAPE, width=8, norm="batch"),
        discriminator=dcgan.Discriminator(width=8, norm=norm),
        loss=gan_jax.losses.non_saturating(),
        generator_tx=tx,
        discriminator_tx=tx,
        latent=gan_jax.latents.normal(LATENT),
        **keywords,
    )


def data(gan, steps=STEPS):
    """Returns images `[steps, (updates,) B, 8, 8, 1]`: noisy bars, a batch for each update of D in a step."""
    rows = () if gan.batches_per_step == 1 else (gan.batches_per_step,)
    noise = np.random.default_rng(0).normal(size=(steps, *rows, B, *SHAPE))
    return {"image": np.tanh(noise + np.linspace(-2, 2, 8)[:, None]).astype(np.float32)}


@functools.cache
def start(gan):
    return gan_jax.init(gan, jax.random.key(0), jax.tree.map(lambda x: x[0], data(gan)))


def run(gan, mode, steps=STEPS):
    """Returns the state after `steps` steps."""
    return on_host(play(make_step(gan, mode), mode, start(gan), data(gan, steps)))


def keep_gradients():
    """Returns Adam with the last gradients kept in its state."""
    keep = optax.GradientTransformation(lambda params: params, lambda grads, state, params=None: (grads, grads))
    return optax.chain(keep, gan_jax.optimizers.adam())


def gradients(state):
    return [player.opt_state[0] for player in (state.discriminator, state.generator)]


@contextlib.contextmanager
def broken(how, refused=False):
    """Puts one deliberate mistake into what a step does over devices, while it is entered.

    Args:
        how: of `BREAKS`.
        refused: whether `pmap_step` still refuses what it can see.
    """
    linen = types.SimpleNamespace(**vars(layers.nn))
    norm = layers.nn.BatchNorm
    linen.BatchNorm = lambda **keywords: norm(**{**keywords, "axis_name": None})
    mistakes = {
        "no pmean": (gan_jax.step.updates, "pmean", lambda tree, axis: tree),
        "local statistics": (layers, "nn", linen),
        "latents by device": (gan_jax.step.inputs, "global_index", lambda size, axis: jnp.arange(size)),
        "n times the gradients": (gan_jax.step.updates, "pmean", lambda tree, axis: jax.lax.psum(tree, axis)),
    }
    place, name, mistake = mistakes[how]
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(place, name, mistake))
        if not refused:
            stack.enter_context(mock.patch.object(wrappers, "replicated", lambda step, *axes: step))
        yield


def is_refused(gan, how):
    """Returns whether `pmap_step` refuses to trace a step with this mistake."""
    with broken(how, refused=True):
        try:
            make_step(gan, "pmap").trace(start(gan), jax.tree.map(lambda x: x[0], data(gan, 1)))
        except ValueError as error:
            return "would differ between devices" in str(error)
    return False


def main(optimised, games=tuple(GAMES), breaks=tuple(BREAKS)):
    """Prints the comparisons of these games and mistakes as JSON."""
    jax.config.update("jax_disable_most_optimizations", not optimised)
    found = {"gans": {}, "first gradient": {}, "broken": {}, "refused": []}
    for name in games:
        gan = make(**GAMES[name])
        reference = run(gan, "jit")
        compared = {mode: difference(run(gan, mode), reference) for mode in MODES[1:]}
        compared["moved"] = difference(reference.ema["params"], on_host(start(gan)).ema["params"])
        found["gans"][name] = compared
        if name == "batch norm":
            for how in breaks:
                with broken(how):
                    found["broken"][how] = difference(run(gan, "pmap"), reference)
            found["refused"] = [how for how in BREAKS if is_refused(gan, how)]
    if "r1" in games:
        gan = make(tx=keep_gradients(), **GAMES["r1"])
        reference = gradients(run(gan, "jit", steps=1))
        found["first gradient"] = {
            mode: relative(gradients(run(gan, mode, steps=1)), reference) for mode in ("shard", "pmap")
        }
    print(json.dumps(found))


def test_batch_norm_in_every_mode():
    """A part of what the slow tests compare."""
    found = run_json("import test_modes; test_modes.main(False, ['batch norm'], ['local statistics'])", devices=4)
    assert found["gans"]["batch norm"].pop("moved") > 1e-2  # else agreement would mean nothing
    assert found["gans"]["batch norm"].keys() == set(MODES[1:])
    assert max(found["gans"]["batch norm"].values()) <= TOLERANCE
    assert found["broken"]["local statistics"] > 100 * TOLERANCE
    assert found["refused"] == ["no pmean", "local statistics"]


@pytest.fixture(scope="module", params=[False, True], ids=["few optimisations", "shipped"])
def found(request):
    """Returns the comparisons: compiled with few optimisations, and as a real run compiles."""
    flags = {"XLA_FLAGS": ""} if request.param else {}
    return run_json(f"import test_modes; test_modes.main({request.param})", devices=4, timeout=280, **flags)


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES[1:])
@pytest.mark.parametrize("name", GAMES)
def test_every_mode_is_the_same_step(found, name, mode):
    assert found["gans"][name]["moved"] > 1e-2  # else agreement would mean nothing
    assert found["gans"][name][mode] <= TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("how", BREAKS)
def test_a_broken_step_is_caught(found, how):
    assert found["broken"][how] > 100 * TOLERANCE


@pytest.mark.slow
def test_what_differs_between_devices_is_refused(found):
    """The other mistakes give every device the same wrong numbers."""
    assert found["refused"] == ["no pmean", "local statistics"]


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["shard", "pmap"])
def test_first_gradients_with_adam(found, mode):
    assert found["first gradient"][mode] <= FIRST_GRADIENT


# Errors of the wrappers, in this process with one device.


def test_more_devices_than_there_are():
    with pytest.raises(ValueError, match=r"9999 devices are asked for, but there are \d+ \(cpu\)"):
        gan_jax.make_mesh(9999)


def test_pmap_over_another_axis():
    step = gan_jax.make_train_step(make(), axis_name="one")
    with pytest.raises(ValueError, match="pmap_step over 'two', but the step was built with axis_name='one'"):
        gan_jax.pmap_step(step, "two")


@pytest.mark.parametrize(("rows", "axis"), [(1, 0), (2, 1)])
def test_a_step_knows_its_batch_axis(rows, axis):
    step = gan_jax.make_train_step(make(disc_steps=rows), axis_name="devices")
    assert (step.batch_axis, step.axis_name) == (axis, "devices")
    fused = gan_jax.fuse_steps(gan_jax.fuse_steps(step, 2), 3)
    assert (fused.batch_axis, fused.axis_name) == (axis + 2, "devices")
