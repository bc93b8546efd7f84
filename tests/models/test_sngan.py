"""Tests SNGAN and SAGAN: parameter counts, sizes, the projection, and that a step changes every parameter."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gan_jax
from filled import filled
from gan_jax.models import biggan, sagan, sngan

pytestmark = pytest.mark.usefixtures("quick_compile")

KEY = jax.random.key(0)
LABELS = jnp.asarray([0, 1])


def count(variables):
    return sum(x.size for x in jax.tree.leaves(variables["params"]))


def shapes(network, *inputs, **keywords):
    """Returns the shapes of a network's variables and of its output, without computing them."""
    variables = jax.eval_shape(lambda: network.init(KEY, *inputs, **keywords))
    return variables, jax.eval_shape(lambda v: network.apply(v, *inputs, **keywords), variables)


@pytest.mark.parametrize(("classes", "counts"), [(10, (4_304_387, 1_055_105)), (None, (4_276_739, 1_053_825))])
def test_parameters_are_the_published_code_s(classes, counts):
    generator, _ = shapes(sngan.Generator((32, 32, 3), classes=classes), jnp.ones((2, 128)), LABELS, train=False)
    discriminator, _ = shapes(sngan.Discriminator(classes=classes), jnp.ones((2, 32, 32, 3)), LABELS)
    assert (count(generator), count(discriminator)) == counts


def test_sagan_is_sngan_and_two_attentions():
    def attention(channels):  # query, key, value, out, gamma
        return channels * (2 * (channels // 8) + 2 * (channels // 2)) + 1

    generator, _ = shapes(sagan.Generator((32, 32, 3), classes=10), jnp.ones((2, 128)), LABELS, train=False)
    discriminator, _ = shapes(sagan.Discriminator(classes=10), jnp.ones((2, 32, 32, 3)), LABELS)
    assert count(generator) == 4_304_387 + attention(256)
    assert count(discriminator) == 1_055_105 + attention(128)
    assert {"attention_2"} <= set(generator["params"])
    assert {"attention_1"} <= set(discriminator["params"])
    # In both networks every kernel has spectral norm.
    for variables in (generator, discriminator):

        def places(kind, leaf, variables=variables):
            paths = jax.tree_util.tree_leaves_with_path(variables[kind])
            return {tuple(k.key for k in path[:-1]) for path, _ in paths if path[-1].key == leaf}

        assert places("params", "kernel") == places("spectral", "u")


@pytest.mark.parametrize(
    ("model", "size"),
    [
        *((model, 28) for model in (sngan, sagan, biggan)),
        *((sngan, 32), (biggan, 128)),
        *(
            pytest.param(model, size, marks=pytest.mark.slow)
            for model in (sngan, sagan, biggan)
            for size in (48, 64)
        ),
    ],
)
def test_sizes(model, size):
    latents = jnp.ones((2, 60))  # 3 to 6 chunks
    channels = 1 if size == 28 else 3
    _, image = shapes(model.Generator((size, size, channels), classes=2), latents, LABELS, train=False)
    assert (image.shape, image.dtype) == ((2, size, size, channels), jnp.float32)
    _, logits = shapes(model.Discriminator(classes=2), image_of(image), LABELS)
    assert (logits.shape, logits.dtype) == ((2,), jnp.float32)


def image_of(spec):
    return jnp.zeros(spec.shape, spec.dtype)


@pytest.mark.parametrize("model", [sngan, sagan, biggan], ids=["sngan", "sagan", "biggan"])
def test_other_sizes_need_widths(model):
    with pytest.raises(
        ValueError, match=r"no widths for images of 44 pixels: .*size=40 or 48\. It has.* 28, 32, 48"
    ):
        shapes(model.Generator((44, 44, 3)), jnp.ones((2, 12)), train=False)
    _, image = shapes(model.Generator((40, 40, 3), widths=(8, 6, 4)), jnp.ones((2, 12)), train=False)
    assert image.shape == (2, 40, 40, 3)
    with pytest.raises(ValueError, match="don't make images of 40 pixels"):
        shapes(model.Generator((40, 40, 3), widths=(8, 8, 8, 8, 8)), jnp.ones((2, 10)), train=False)
    with pytest.raises(ValueError, match="of 44 pixels"):
        shapes(model.Discriminator(), jnp.ones((2, 44, 44, 3)))
    with pytest.raises(ValueError, match="can't halve images of 40 pixels"):
        shapes(model.Discriminator(widths=(8,) * 5), jnp.ones((2, 40, 40, 3)))
    with pytest.raises(ValueError, match="needs images"):
        shapes(model.Generator((16,)), jnp.ones((2, 12)), train=False)
    with pytest.raises(ValueError, match="a network with 3 classes needs labels"):
        shapes(model.Discriminator(widths=(8, 8), classes=3), jnp.ones((2, 8, 8, 3)))
    if model is not sngan:
        with pytest.raises(ValueError, match="attention names block 3, but the blocks are 1 to 2"):
            shapes(model.Discriminator(widths=(8, 8), attention=(3,)), jnp.ones((2, 8, 8, 3)))


def test_the_projection_is_its_formula():
    """The logit is `w . f + b + e_y . f`, here for all labels on one image."""
    network = sngan.Discriminator(widths=(4,), classes=3)
    image = jnp.broadcast_to(jax.random.normal(KEY, (1, 4, 4, 3)), (3, 4, 4, 3))
    label = jnp.arange(3)
    variables = filled(jax.eval_shape(network.init, KEY, image, label))
    apply = jax.jit(lambda v: network.apply(v, image, label, capture_intermediates=True, mutable="intermediates"))
    logits, kept = apply(variables)
    block = np.asarray(kept["intermediates"]["block_1"]["__call__"][0], np.float64)
    f = np.maximum(block, 0).sum((1, 2))[0]  # a sum, not a mean

    def used(name):
        weights = np.asarray(variables["params"][name]["kernel"], np.float64)
        return weights / np.linalg.norm(weights @ np.asarray(variables["spectral"][name]["u"], np.float64))

    bias = np.asarray(variables["params"]["logit"]["bias"])
    np.testing.assert_allclose(logits, f @ used("logit")[:, 0] + bias + used("embed") @ f, rtol=1e-4, atol=1e-5)


PLAYERS = {
    "sngan": (sngan.Generator((8, 8, 3), (8, 8), classes=3), sngan.Discriminator((8, 8), classes=3)),
    "sagan": (sagan.Generator((8, 8, 3), (8, 8), classes=3), sagan.Discriminator((8, 8), classes=3)),
    "biggan": (
        biggan.Generator((8, 8, 3), widths=(8, 8), embedding=4, classes=3),
        biggan.Discriminator(widths=(8, 8), classes=3),
    ),
}


_SLOW = [pytest.mark.slow, pytest.mark.timeout(120)]  # sngan stands for them in the quick tests


@pytest.mark.parametrize("name", ["sngan", *(pytest.param(name, marks=_SLOW) for name in ("sagan", "biggan"))])
def test_a_step_moves_every_parameter(name):
    sgd = gan_jax.optimizers.sgd(0.1)
    gan = gan_jax.GAN(*PLAYERS[name], gan_jax.losses.non_saturating(), sgd, sgd, gan_jax.latents.normal(6))
    batch = {"image": jax.random.uniform(KEY, (4, 8, 8, 3), minval=-1.0), "label": jnp.asarray([0, 1, 2, 2])}
    state = filled(jax.eval_shape(lambda: gan_jax.init(gan, KEY, batch)))  # so that attention's gamma is not 0
    before = jax.device_get((state.generator.params, state.discriminator.params))
    state, metrics = gan_jax.jit_step(gan_jax.make_train_step(gan))(state, batch)
    assert metrics["nonfinite"] == 0
    found = {}
    for player, old, new in zip("GD", before, (state.generator.params, state.discriminator.params)):
        moves = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), old, jax.device_get(new))
        for path, move in jax.tree_util.tree_leaves_with_path(moves):
            where = "/".join(key.key for key in path)
            found[f"{player}/{where}"] = move
    # The next norm removes a constant on a whole channel, unless attention comes first.
    still = {where for where, move in found.items() if not move > 1e-6}
    assert all("G/block" in where and where.endswith("/bias") for where in still), still
    assert len(found) > 2 * len(still)
