"""R1 and R2 from differences of logits, on critics whose penalty is known in closed form."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gan_jax
import small_gan
from devices import run_json
from gan_jax import penalties
from gan_jax.types import Samples

pytestmark = pytest.mark.usefixtures("strict_ranks", "quick_compile")

N, SHAPE = 20_000, (2, 2, 1)
draw = np.random.default_rng(0)
MATRIX, WEIGHTS = draw.normal(size=(4, 4)), draw.normal(size=4)
MATRIX = MATRIX + MATRIX.T


def samples(size, seed=0):
    """Returns `size` copies of one real sample, of one generated sample, and keys of the penalty."""
    keys = jax.random.split(jax.random.key(seed), 3 * size).reshape(3, size)
    images = np.random.default_rng(seed).normal(size=(2, *SHAPE))
    real, fake = (Samples(jnp.asarray([image] * size), None, k) for image, k in zip(images, keys))
    return real, fake, keys[2]


def linear(inputs):
    return inputs.image.reshape(-1, 4) @ WEIGHTS


def quadratic(inputs):
    x = inputs.image.reshape(-1, 4)
    return jnp.sum(x @ MATRIX * x, axis=1) / 2 + x @ WEIGHTS


def squared_slope(x):
    """Of `quadratic`, at one image."""
    return np.sum((MATRIX @ np.asarray(x).reshape(4) + WEIGHTS) ** 2)


def value(penalty, critic, real, fake, keys):
    result, state = penalty.apply((), critic, real, fake, keys)
    assert state == ()
    return result


@pytest.mark.parametrize("kind", ["r1", "r2"])
def test_a_fixed_draw(kind):
    """With a linear critic it is `(w . e)^2 / 2`, whatever the scale; R1 and R2 draw apart."""
    with jax.enable_x64(True):
        real, fake, keys = samples(6)
        folded = jax.vmap(lambda key: jax.random.fold_in(key, 1 if kind == "r1" else 2))(keys)
        noise = jax.vmap(lambda key: jax.random.normal(key, SHAPE))(folded).reshape(6, 4)
        for scale in (0.01, 1.0):
            penalty = getattr(penalties, f"{kind}_approx")(scale)
            expected = np.mean((np.asarray(noise) @ WEIGHTS) ** 2) / 2
            np.testing.assert_allclose(value(penalty, linear, real, fake, keys), expected, rtol=1e-9)


@pytest.mark.parametrize("scale", [0.01, 0.5])
def test_expectation(scale):
    """For x'Ax/2 + w'x it is `(|grad|^2 + s^2 / 4 (tr(A)^2 + 2 tr(A^2))) / 2`; A = 0 gives R1 itself."""
    beyond = scale**2 / 4 * (np.trace(MATRIX) ** 2 + 2 * np.trace(MATRIX @ MATRIX))
    with jax.enable_x64(True):
        real, fake, keys = samples(N)
        for critic, expected in ((linear, WEIGHTS @ WEIGHTS), (quadratic, squared_slope(real.image[0]) + beyond)):
            one = jax.jit(jax.vmap(lambda *x, c=critic: value(penalties.r1_approx(scale), c, *x)))
            values = one(*jax.tree.map(lambda x: x[:, None], (real, fake, keys)))
            error = np.std(values) / math.sqrt(N)
            assert error < 0.02 * expected
            assert abs(np.mean(values) - expected / 2) < 4 * error
        exact = value(penalties.r1(), linear, *samples(2))
        np.testing.assert_allclose(exact, WEIGHTS @ WEIGHTS / 2)  # so the same weight means the same


def test_generated_samples():
    with jax.enable_x64(True):
        real, fake, keys = samples(N)
        found = value(penalties.r2_approx(1e-4), quadratic, real, fake, keys)
        assert found == pytest.approx(squared_slope(fake.image[0]) / 2, rel=0.05)
        assert found != pytest.approx(squared_slope(real.image[0]) / 2, rel=0.2)


def test_both_passes_have_the_same_augmentation_and_share():
    """Samples 0, 2, 4 of six, each twice with its label and key: in one pass if the critic keeps samples apart."""
    real, fake, keys = samples(6)
    real = real._replace(label=jnp.arange(6))
    for joint in (False, True):
        seen = []

        def critic(inputs, seen=seen):
            seen.append(inputs)
            augmented = jax.vmap(lambda key: jax.random.normal(key))(inputs.key)
            return jnp.sum(inputs.image.reshape(-1, 4), axis=1) + augmented

        critic.joint = joint
        found = value(penalties.r1_approx(0.5, share=0.5), critic, real, fake, keys)
        labels = [list(np.asarray(one.label)) for one in seen]
        assert labels == ([[0, 0, 2, 2, 4, 4]] if joint else [[0, 2, 4], [0, 2, 4]])
        noise = jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(key, 1), SHAPE))(keys[::2])
        np.testing.assert_allclose(found, np.mean(np.sum(noise.reshape(3, 4), axis=1) ** 2) / 2, rtol=1e-4)


def test_a_map_of_logits_counts_as_its_sum():
    """As in `r1`: three logits of w, 2 w and -w have the sum 2 w."""
    real, fake, keys = samples(6)

    def critic(inputs):
        return jnp.multiply.outer(linear(inputs), jnp.asarray([[1.0, 2.0, -1.0]]))

    one, many = (value(penalties.r1_approx(1.0), c, real, fake, keys) for c in (linear, critic))
    np.testing.assert_allclose(many, 4 * one, rtol=1e-4)


def test_gradient_by_the_parameters():
    """Against finite differences, with the draw fixed."""
    with jax.enable_x64(True):
        real, fake, keys = samples(5)

        def loss(params):
            critic = lambda inputs: jnp.tanh(inputs.image.reshape(-1, 4) @ params) @ jnp.ones(3)  # noqa: E731
            return value(penalties.r1_approx(0.1), critic, real, fake, keys)

        params = jnp.asarray(draw.normal(size=(4, 3)))
        grads = jax.jit(jax.grad(loss))(params)
        for i in [(0, 0), (1, 2), (3, 1)]:
            by = jnp.zeros((4, 3)).at[i].set(1e-5)
            np.testing.assert_allclose(grads[i], (loss(params + by) - loss(params - by)) / 2e-5, rtol=1e-6)


@pytest.mark.parametrize(("scale", "share"), [(0.0, 1.0), (-1.0, 1.0), (0.01, 0.0), (0.01, 0.3), (0.01, 2.0)])
def test_what_is_refused(scale, share):
    with pytest.raises(ValueError, match="r1_approx needs a scale above 0 and a share of 1, 1/2, 1/3"):
        penalties.r1_approx(scale, share)


def test_a_share_that_does_not_divide_a_device():
    terms = (gan_jax.Term(1.0, penalties.r2_approx(share=1 / 3)),)
    gan = small_gan.make(discriminator_terms=terms)
    step = gan_jax.pmap_step(gan_jax.make_train_step(gan, axis_name="d"), "d")
    batch = small_gan.batches(8)
    with pytest.raises(
        ValueError, match="r2_approx uses one of every 3 samples, but 3 does not divide the 8 samples"
    ):
        step.trace(gan_jax.init(gan, jax.random.key(0), batch), batch)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_in_every_mode():
    """One device, four, fused steps, lazily and, with the whole batch, in microbatches."""
    source = """
import json
import jax, numpy as np
import modes, small_gan, gan_jax
from gan_jax import penalties
from gan_jax.models import dcgan
images = np.tanh(np.random.default_rng(0).normal(size=(4, 16, 8, 8, 1)) + np.linspace(-2, 2, 8)[:, None, None])
batches = {"image": images.astype(np.float32)}
def make(norm, share, every=1, gamma=10.0, **keywords):
    terms = (gan_jax.Term(gamma, penalties.r1_approx(share=share), every),
             gan_jax.Term(gamma, penalties.r2_approx(share=share), every))
    return small_gan.make(
        generator=dcgan.Generator((8, 8, 1), width=8, norm=norm),
        discriminator=dcgan.Discriminator(width=8, norm=norm),
        generator_tx=gan_jax.optimizers.sgd(0.02), discriminator_tx=gan_jax.optimizers.sgd(0.02),
        discriminator_terms=terms, **keywords)
def end(gan, mode):
    state = gan_jax.init(gan, jax.random.key(0), jax.tree.map(lambda x: x[0], batches))
    return modes.on_host(modes.play(modes.make_step(gan, mode), mode, state, batches))
found = {}
for norm, share, every in (("none", 0.5, 1), ("batch", 1.0, 1), ("none", 1.0, 2)):
    gan = make(norm, share, every)
    alone = end(gan, "jit")
    for mode in ("shard", "pmap", "fused"):
        found[f"{norm} {share} {every} {mode}"] = modes.difference(end(gan, mode), alone)
pair = [end(make("none", 1.0, microbatches=n), "jit") for n in (1, 4)]
found["microbatches"] = modes.difference(*pair)
moved = modes.difference(pair[0].discriminator, end(make("none", 1.0, gamma=0.0), "jit").discriminator)
print(json.dumps({"found": found, "moved": moved}))
"""
    found = run_json(source, devices=4, timeout=500)
    assert found["moved"] > 1e-3, found  # else agreement would mean nothing
    assert max(found["found"].values()) < 1e-6, found
