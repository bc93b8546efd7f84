"""The path-length penalty on a linear generator, whose path lengths are known in closed form."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gan_jax
import small_gan
from devices import run_json
from gan_jax import networks, penalties
from gan_jax.models import dcgan, stylegan2
from gan_jax.step.terms import weighted_sum
from gan_jax.types import Samples

pytestmark = pytest.mark.usefixtures("strict_ranks", "quick_compile")

B, L, W, SHAPE = 6, 3, 4, (2, 2, 1)
draw = np.random.default_rng(0)
LATENTS = draw.normal(size=(B, small_gan.LATENT))
PARAMS = {"mapping": draw.normal(size=(small_gan.LATENT, W)), "images": draw.normal(size=(L, W, 4))}
KEYS = jax.random.split(jax.random.key(0), B)
REAL = Samples(jnp.zeros((B, *SHAPE)), None, KEYS)


class Linear:
    """A linear generator: w = z A is the same for all L layers; the image is the sum over layers of w_l M_l."""

    def init(self, key, latents):
        return {"params": jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), PARAMS)}

    def apply(self, variables, x, *, method=None):
        params = variables["params"]
        if method != "synthesis":
            w = x @ params["mapping"]
            x = jnp.broadcast_to(w[:, None], (w.shape[0], L, W))
        if method == "mapping":
            return x
        return jnp.einsum("blw,lwp->bp", x, params["images"]).reshape(-1, *SHAPE)


def lengths_by_formula(images, shrink, keys=KEYS):
    """Returns the path length `sqrt(mean_l |M_l y|^2)` of every `shrink`-th sample."""
    y = jax.vmap(lambda key: jax.random.normal(key, SHAPE))(keys[::shrink]).reshape(-1, 4)
    y = np.asarray(y, np.float64) / np.sqrt(SHAPE[0] * SHAPE[1])
    by_layer = np.einsum("lwp,bp->blw", np.asarray(images, np.float64), y)
    return np.sqrt(np.mean(np.sum(by_layer**2, axis=2), axis=1))


def value(params, state, penalty, keys=KEYS):
    def generate(latents, method=None, **keywords):
        return Linear().apply({"params": params}, latents, method=method)

    return penalty.apply(state, generate, jnp.asarray(LATENTS, jnp.float32), REAL, keys)


@pytest.mark.parametrize("shrink", [1, 2])
def test_lengths_and_their_running_mean(shrink):
    """Each of three calls has other keys and weights: a += decay (mean(l) - a); the value is mean((l - a)^2)."""
    penalty = penalties.path_length(decay=0.1, shrink=shrink)
    run = jax.jit(lambda *a: value(*a[:2], penalty, a[2]))
    state, a = penalty.init(), 0.0
    assert state == 0
    for i in range(3):
        keys = jax.random.split(jax.random.key(i), B)
        params = {**PARAMS, "images": (i + 1) * PARAMS["images"]}
        found, state = run(jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), params), state, keys)
        lengths = lengths_by_formula(params["images"], shrink, keys)
        assert len(lengths) == B // shrink
        a += 0.1 * (np.mean(lengths) - a)
        np.testing.assert_allclose(state, a, rtol=1e-5)
        np.testing.assert_allclose(found, np.mean((lengths - a) ** 2), rtol=1e-5)


def test_images_with_aux_and_samples_that_are_a_pytree():
    """aux is not read. A second leaf adds its part to the gradient by w: |J1^T y1 + J2^T y2|."""
    depth = draw.normal(size=(L, W, 3))

    def generate(pytree, latents, method=None, **keywords):
        output = Linear().apply({"params": PARAMS}, latents, method=method)
        if method != "synthesis":
            return output
        second = {"image": output, "depth": jnp.einsum("blw,lwp->bp", latents, depth)}
        return (second if pytree else output), {"w": latents}

    found, arguments = [], (jnp.asarray(LATENTS, jnp.float32), REAL, KEYS)
    penalty = penalties.path_length(decay=1.0, shrink=1)
    for pytree in (False, True):
        found.append([float(x) for x in penalty.apply(jnp.zeros(()), partial(generate, pytree), *arguments)])
    plain, state = value(PARAMS, jnp.zeros(()), penalty)
    assert found[0] == pytest.approx([float(plain), float(state)], rel=1e-6)

    by_w = 0.0
    for name, kernel, keys in (
        ("depth", depth, KEYS),  # leaves of a dictionary are in the order of their names
        ("image", PARAMS["images"], jax.vmap(lambda key: jax.random.fold_in(key, 2))(KEYS)),
    ):
        shape, spatial = ((3,), 1) if name == "depth" else (SHAPE, 4)
        y = jax.vmap(lambda key: jax.random.normal(key, shape))(keys).reshape(B, -1)  # noqa: B023
        by_w = by_w + np.einsum("lwp,bp->blw", kernel, np.asarray(y, np.float64) / np.sqrt(spatial))
    lengths = np.sqrt(np.mean(np.sum(by_w**2, axis=2), axis=1))
    assert found[1] == pytest.approx([np.var(lengths), np.mean(lengths)], rel=1e-5)


@pytest.mark.parametrize("through_mean", [False, True])
def test_gradient_against_finite_differences(through_mean):
    """The updated mean is a constant in the gradient, or moves. The mapping's gradient is zero: all is linear."""
    penalty, start = penalties.path_length(decay=0.3, through_mean=through_mean), jnp.asarray(0.7)
    params = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), PARAMS)
    grads, state = jax.jit(jax.grad(lambda p: value(p, start, penalty), has_aux=True))(params)
    a = float(state)
    expected = np.zeros_like(PARAMS["images"])
    for i in np.ndindex(*expected.shape):
        sides = []
        for sign in (1, -1):
            images = PARAMS["images"].copy()
            images[i] += sign * 1e-5
            lengths = lengths_by_formula(images, 2)
            mean = 0.7 + 0.3 * (np.mean(lengths) - 0.7) if through_mean else a
            sides.append(np.mean((lengths - mean) ** 2))
        expected[i] = (sides[0] - sides[1]) / 2e-5
    np.testing.assert_allclose(grads["images"], expected, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(grads["mapping"], 0, atol=1e-6)


def test_a_generator_that_does_nothing_has_a_gradient():
    """The square root in a path length of 0 does not make the gradient infinite."""
    params = jax.tree.map(jnp.zeros_like, jax.tree.map(jnp.asarray, PARAMS))
    grads, _ = jax.grad(lambda p: value(p, jnp.zeros(()), penalties.path_length()), has_aux=True)(params)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(grads))


@pytest.mark.parametrize("keywords", [{"decay": 0.0}, {"decay": 1.5}, {"shrink": 0}])
def test_numbers_that_make_no_sense(keywords):
    with pytest.raises(ValueError, match=r"path_length needs a decay in \(0, 1\] and a shrink of at least 1"):
        penalties.path_length(**keywords)


def test_devices_that_would_take_other_samples_than_one():
    with pytest.raises(ValueError, match="every 4 samples, but 4 does not divide the 6 samples of a device"):
        penalties.path_length(shrink=4).apply(
            jnp.zeros(()), lambda latents, **keywords: latents, LATENTS, REAL, KEYS, axis_name="i"
        )


# In a GAN.


def game(generator, every=1, **keywords):
    entries = (gan_jax.Term(2.0, penalties.path_length(decay=0.1), every),)
    return small_gan.make(generator=generator, generator_terms=entries, **keywords)


@pytest.mark.parametrize("share", [True, False])
def test_in_a_game_it_moves_only_what_makes_images(share):
    """The loss is zero, so only the penalty moves parameters, and only on the steps on which it is computed."""
    silent = gan_jax.Loss(lambda real, fake: 0.0 * jnp.sum(fake), lambda real, fake: 0.0 * jnp.sum(fake))
    gan = game(Linear(), 2, loss=silent, share_latents=share, generator_tx=gan_jax.optimizers.sgd(0.01))
    batch = small_gan.batches(B) if share else small_gan.batches(2, B)
    state, history = small_gan.train(gan, batch, steps=1)
    (a,) = state.generator.penalties
    assert a > 0
    assert history[0]["penalty/path_length"] > 0
    np.testing.assert_allclose(state.generator.params["mapping"], PARAMS["mapping"], rtol=1e-6)
    moved = np.asarray(state.generator.params["images"])
    assert np.abs(moved - PARAMS["images"]).max() > 1e-4
    kept = float(a)
    state, history = small_gan.train(gan, batch, steps=1, state=state)
    assert history[0]["applied/path_length"] == 0
    np.testing.assert_allclose(state.generator.params["images"], moved, rtol=1e-6)
    np.testing.assert_allclose(state.generator.penalties[0], kept, rtol=1e-7)


def test_a_generator_without_a_mapping_is_refused():
    with pytest.raises(ValueError, match="Generator of small_gan has no method 'mapping'"):
        small_gan.train(game(small_gan.Generator()), small_gan.batches(B))
    with pytest.raises(ValueError, match=r"Generator of gan_jax\.models\.dcgan has no method 'mapping'"):
        networks.accepted(dcgan.Generator((8, 8, 1)), "apply", {"method": "mapping"})


def test_keywords_are_those_of_the_method():
    network = stylegan2.Generator((8, 8, 1))
    keywords = {"label": 1, "train": True, "axis_name": "i", "keys": 2, "mutable": ["w_avg"]}
    synthesis = networks.accepted(network, "apply", {**keywords, "method": "synthesis"})
    assert synthesis == {"train": True, "keys": 2, "mutable": ["w_avg"], "method": "synthesis"}
    mapping = {**keywords, "method": "mapping"}
    assert networks.accepted(network, "apply", mapping) == mapping
    assert networks.accepted(network, "apply", keywords) == keywords


def test_axis_name_is_given_to_a_penalty_that_names_it():
    def named(state, *arguments, axis_name):
        return jnp.asarray(3.0 if axis_name == "i" else 1.0), state

    plain = penalties.Penalty("plain", lambda: (), lambda state, *arguments: (jnp.asarray(2.0), state))
    knows = penalties.Penalty("knows", lambda: (), named)
    for every in (1, 2):
        entries = (gan_jax.Term(1.0, plain, every), gan_jax.Term(1.0, knows, every))
        for axis, expected in (("i", 3.0), (None, 1.0)):
            sum_on = lambda _, axis=axis, entries=entries: weighted_sum(  # noqa: E731
                entries, ((), ()), {gan_jax.Penalty: ()}, jnp.asarray(0), jnp.asarray(0.0), axis
            )[2]
            metrics = jax.vmap(sum_on, axis_name="i", out_axes=None)(jnp.zeros(1))
            assert (metrics["penalty/plain"], metrics["penalty/knows"]) == (2.0, expected)


DEVICES = """
import json
import jax, jax.numpy as jnp, numpy as np
import gan_jax, small_gan, test_path_length as t

jax.config.update("jax_disable_most_optimizations", True)
gan, batch = t.game(t.Linear(), 2), small_gan.batches(4)
states = []
for axis in (None, "i"):
    step = gan_jax.make_train_step(gan, axis_name=axis)
    step = gan_jax.jit_step(step) if axis is None else gan_jax.pmap_step(step, axis)
    state = gan_jax.init(gan, jax.random.key(2), batch)
    for _ in range(3):
        state, _ = jax.block_until_ready(step(state, batch))
    states.append(jax.device_get(state.generator))
pairs = list(zip(*(jax.tree.leaves(state) for state in states), strict=True))
print(json.dumps([max(float(np.max(np.abs(a - b))) for a, b in pairs), float(states[0].penalties[0])]))
"""


@pytest.mark.slow
@pytest.mark.timeout(150)
def test_two_devices_are_one():
    """Compares parameters and the running mean, which changes on the first and the third step."""
    gap, a = run_json(DEVICES, devices=2)
    assert a > 0
    assert gap < 1e-5
