"""Training on images that are not square: a step of every architecture, and every mode on four devices."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gan_jax
from architectures import CLASSES, LATENT, adaptive, either, with_adam
from devices import run_json
from gan_jax import augment, losses, penalties
from gan_jax.models import dcgan, r3gan, sngan, stylegan2
from modes import FIRST_GRADIENT, MODES, TOLERANCE, difference, make_step, on_host, play, relative

B = 16


def make(model, shape, shared, of_generator=None, *, loss=None, rate=0.005, labels=True, **keywords):
    classes = {"classes": CLASSES if labels else None}
    return gan_jax.GAN(
        model.Generator(shape, **classes, **shared, **(of_generator or {})),
        model.Discriminator(**classes, **shared),
        loss=loss or losses.non_saturating(), latent=gan_jax.latents.normal(LATENT),
        generator_tx=either(rate), discriminator_tx=either(rate), **keywords,
    )  # fmt: skip


def small_stylegan2(**keywords):
    shared = {"channel_base": 32, "channel_max": 4, "mapping_layers": 1}
    return make(stylegan2, (12, 8, 3), shared, {"w_size": 4}, **keywords)


GANS = {
    "dcgan": lambda: make(dcgan, (12, 8, 3), {"width": 4}, augment=augment.diff_augment()),
    "sngan": lambda: make(sngan, (12, 8, 3), {"widths": (8, 4)}, loss=losses.hinge(), augment=adaptive()),
    "r3gan": lambda: make(
        r3gan, (8, 12, 3), {"widths": (4, 4), "cardinality": 2, "blocks": 1}, loss=losses.relativistic(),
        augment=augment.ada("r3gan", p=0.5, target=None),
        discriminator_terms=(gan_jax.Term(0.1, penalties.r1_r2()),),
    ),
    "stylegan2": lambda: small_stylegan2(
        augment=adaptive(), generator_terms=(gan_jax.Term(0.5, penalties.path_length()),)
    ),
}  # fmt: skip


def batches(gan, steps):
    rng = np.random.default_rng(0)
    shape = gan.generator.shape
    image = np.tanh(rng.normal(size=(steps, B, *shape)) + np.linspace(-2, 2, shape[0])[:, None, None])
    return {
        "image": image.astype(np.float32),
        "label": rng.integers(0, CLASSES, (steps, B)).astype(np.int32),
    }


def start(gan):
    batch = jax.tree.map(lambda x: x[0], batches(gan, 1))
    return jax.jit(lambda key: gan_jax.init(gan, key, batch))(jax.random.key(0))


@pytest.mark.usefixtures("quick_compile")
@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    "name", ["dcgan", *(pytest.param(name, marks=pytest.mark.slow) for name in GANS if name != "dcgan")]
)
def test_a_step_is_finite_and_moves_both_players(name):
    gan = GANS[name]()
    state = start(gan)
    before = on_host(state)
    state, metrics = gan_jax.jit_step(gan_jax.make_train_step(gan))(
        state, jax.tree.map(lambda x: jnp.asarray(x[0]), batches(gan, 1))
    )
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(jax.device_get(metrics)))
    assert metrics["nonfinite"] == 0
    for player in ("generator", "discriminator"):
        old, new = (getattr(s, player).params for s in (before, on_host(state)))
        moved = [np.any(a != b) for a, b in zip(jax.tree.leaves(old), jax.tree.leaves(new))]
        assert sum(moved) > len(moved) / 3  # some layers of r3gan start at zero, and hide those before them


def main():
    """Prints how far each mode ends from jit after 8 steps of SGD, and its first gradients with Adam."""
    jax.config.update("jax_disable_most_optimizations", True)
    gan = small_stylegan2(augment=adaptive())
    state, eight, found, ends, gradients = start(gan), batches(gan, 8), {}, {}, {}
    for mode in MODES:
        step = make_step(gan, mode)  # compiled once for both optimizers
        ends[mode] = on_host(play(step, mode, state, eight))
        if mode != "fused":  # whose gradients are those of its fourth step
            end = on_host(play(step, mode, with_adam(state), jax.tree.map(lambda x: x[:1], eight)))
            gradients[mode] = [player.opt_state.grads for player in (end.discriminator, end.generator)]
    for mode in MODES[1:]:
        found[mode] = [difference(ends[mode], ends["jit"])]
        if mode in gradients:
            found[mode].append(relative(gradients[mode], gradients["jit"]))
    print(json.dumps(found))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_mode_agrees_on_four_devices():
    found = run_json("import test_modes_not_square; test_modes_not_square.main()", devices=4, timeout=560)
    assert set(found) == set(MODES[1:])
    for mode, (end, *gradients) in found.items():
        assert end < TOLERANCE, mode
        assert all(gradient < FIRST_GRADIENT for gradient in gradients), mode
