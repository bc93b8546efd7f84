"""Compares the penalties with a small critic in NumPy, whose derivatives are finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gan_jax
from gan_jax import penalties, schedules
from gan_jax.step.terms import weighted_sum
from gan_jax.types import Samples

pytestmark = pytest.mark.usefixtures("strict_ranks", "quick_compile")

B, SHAPE = 3, (2, 2, 1)
draw = np.random.default_rng(0)
PARAMS = {
    "hidden": draw.normal(size=(4, 5)),
    "label": draw.normal(size=(2, 5)),
    "out": draw.normal(size=(5,)),
}
REAL, FAKE = draw.normal(size=(2, B, *SHAPE))
REAL_LABEL, FAKE_LABEL = np.array([0, 1, 1]), np.array([1, 0, 1])


def reference_logits(params, image, label):
    hidden = np.tanh(image.reshape(len(image), 4) @ params["hidden"] + params["label"][label])
    return hidden @ params["out"]


def reference_gradient(params, image, label, step=1e-5):
    """Returns d logit / d image by central differences, element by element."""
    gradient = np.zeros_like(image)
    for i in np.ndindex(*SHAPE):
        by = np.zeros(SHAPE)
        by[i] = step
        up, down = (reference_logits(params, image + sign * by, label) for sign in (1, -1))
        gradient[(slice(None), *i)] = (up - down) / (2 * step)
    return gradient


def squares(params, image, label):
    return np.sum(reference_gradient(params, image, label) ** 2, axis=(1, 2, 3))


def apply(penalty, params, seen=None):
    """Returns the penalty of the reference critic written in JAX; `seen` collects the critic's inputs."""
    keys = jax.random.split(jax.random.key(0), 3 * B).reshape(3, B)

    def critic(samples):
        if seen is not None:
            jax.debug.callback(lambda *x: seen.append([np.asarray(y) for y in x]), samples.image, samples.label)
        flat = samples.image.reshape(B, 4)
        return jnp.tanh(flat @ params["hidden"] + params["label"][samples.label]) @ params["out"]

    real = Samples(jnp.asarray(REAL), jnp.asarray(REAL_LABEL), keys[0])
    fake = Samples(jnp.asarray(FAKE), jnp.asarray(FAKE_LABEL), keys[1])
    value, state = penalty.apply((), critic, real, fake, keys[2])
    assert state == ()
    return value


def reference_r1(params):
    return np.mean(squares(params, REAL, REAL_LABEL)) / 2


def reference_r2(params):
    return np.mean(squares(params, FAKE, FAKE_LABEL)) / 2


REFERENCE = {
    "r1": (penalties.r1(), reference_r1),
    "r2": (penalties.r2(), reference_r2),
    "r1_r2": (penalties.r1_r2(), lambda params: reference_r1(params) + reference_r2(params)),
}


def around(penalty):
    """Returns the points `[B, *S]` and the labels at which the penalty evaluated the critic."""
    seen = []
    jax.block_until_ready(jax.jit(lambda params: apply(penalty, params, seen))(PARAMS))
    jax.effects_barrier()
    (points,) = seen
    return points


def check_gradient(penalty, reference):
    """Compares the penalty and its gradient by the critic's parameters with the reference."""
    value, grads = jax.jit(jax.value_and_grad(lambda params: apply(penalty, params)))(PARAMS)
    np.testing.assert_allclose(value, reference(PARAMS), rtol=1e-8)
    for name, array in PARAMS.items():
        for i in list(np.ndindex(*array.shape))[::3]:
            by = np.zeros_like(array)
            by[i] = 1e-4
            up, down = (reference({**PARAMS, name: array + sign * by}) for sign in (1, -1))
            np.testing.assert_allclose(grads[name][i], (up - down) / 2e-4, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", REFERENCE)
def test_zero_centred(name):
    with jax.enable_x64(True):
        check_gradient(*REFERENCE[name])


def test_r1_r2_is_the_sum():
    with jax.enable_x64(True):
        terms = penalties.r1(), penalties.r2(), penalties.r1_r2()
        r1, r2, both = jax.jit(lambda params: [apply(term, params) for term in terms])(PARAMS)
        np.testing.assert_allclose(both, r1 + r2, rtol=1e-12)


@pytest.mark.parametrize("target", [1.0, 0.0])
def test_wgan_gp(target):
    with jax.enable_x64(True):
        points, labels = around(penalties.wgan_gp(target))
        share = (points - REAL) / (FAKE - REAL)
        np.testing.assert_allclose(share, np.broadcast_to(share[:, :1, :1], share.shape), rtol=1e-9)
        assert ((share > 0) & (share < 1)).all()
        assert len(np.unique(share[:, 0, 0, 0].round(6))) == B  # each sample has its own draw
        np.testing.assert_array_equal(labels, REAL_LABEL)
        check_gradient(
            penalties.wgan_gp(target),
            lambda params: np.mean((np.sqrt(squares(params, points, REAL_LABEL)) - target) ** 2),
        )


def test_dragan():
    with jax.enable_x64(True):
        points, labels = around(penalties.dragan(scale=0.5, target=1.0))
        noise = points - REAL
        reach = 0.5 * np.std(REAL, axis=(1, 2, 3))[:, None, None, None]
        assert ((noise > 0) & (noise < reach)).all()
        assert len(np.unique(noise.round(9))) == noise.size
        np.testing.assert_array_equal(labels, REAL_LABEL)
        check_gradient(
            penalties.dragan(scale=0.5, target=1.0),
            lambda params: np.mean((np.sqrt(squares(params, points, REAL_LABEL)) - 1.0) ** 2),
        )


def test_gradient_norm_of_zero_has_a_finite_derivative():
    """The critic is constant, and there the derivative of the norm itself is infinite."""
    zeros = jax.tree.map(jnp.zeros_like, PARAMS)
    for penalty in (penalties.wgan_gp(), penalties.dragan()):
        value, grads = jax.jit(jax.value_and_grad(lambda params, p=penalty: apply(p, params)))(zeros)
        assert value == 1.0
        assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))


# The penalties inside a GAN.


class Linear:
    """The base of a constant generator and of a discriminator `<w, x>`, with gradients in closed form."""

    def __init__(self, params):
        self.params = params

    def init(self, key, x):
        return {"params": jnp.asarray(self.params, jnp.float32)}


class Constant(Linear):
    def apply(self, variables, latents):
        return jnp.broadcast_to(variables["params"], (latents.shape[0], *variables["params"].shape))


class Inner(Linear):
    def apply(self, variables, image):
        return image.reshape(image.shape[0], -1) @ variables["params"].reshape(-1)


def game(**keywords):
    defaults = {
        "generator": Constant(np.zeros(SHAPE)),
        "discriminator": Inner([1.0, -2.0, 0.5, 3.0]),
        "loss": gan_jax.losses.wasserstein(),
        "generator_tx": gan_jax.optimizers.sgd(0.0),
        "discriminator_tx": gan_jax.optimizers.sgd(0.0),
        "latent": gan_jax.latents.normal(2),
    }
    return gan_jax.GAN(**{**defaults, **keywords})


BATCH = {"image": jnp.asarray(np.random.default_rng(1).normal(size=(4, *SHAPE)), jnp.float32)}


def play(gan, steps=1, batch=BATCH):
    state = gan_jax.init(gan, jax.random.key(0), batch)
    step = gan_jax.jit_step(gan_jax.make_train_step(gan))
    history = []
    for _ in range(steps):
        state, metrics = step(state, batch)
        history.append(jax.device_get(metrics))
    return state, history


def test_gradient_is_taken_through_the_augmentation():
    """D sees 3 x, so the gradient by the image before augmentation is 3 w."""
    threefold = gan_jax.Augment(lambda: (), lambda state, images, keys: 3 * images, lambda state, *_: state)
    gan = game(augment=threefold, discriminator_terms=(gan_jax.Term(1.0, penalties.r1()),))
    _, (metrics,) = play(gan)
    np.testing.assert_allclose(metrics["penalty/r1"], 9 * (1 + 4 + 0.25 + 9) / 2, rtol=1e-6)


def test_lazy_penalty_in_a_game():
    """Every third step adds -lr * 3 * gamma * w to the parameters; the other steps add nothing."""
    entries = (gan_jax.Term(0.5, penalties.r1(), 3),)
    gan = game(discriminator_terms=entries, discriminator_tx=gan_jax.optimizers.sgd(0.1))
    # Without the penalty. The gradient of this loss does not depend on w.
    still = game(discriminator_tx=gan_jax.optimizers.sgd(0.1))
    weights = np.array([1.0, -2.0, 0.5, 3.0])
    state, plain = (gan_jax.init(g, jax.random.key(0), BATCH) for g in (gan, still))
    step, plain_step = (gan_jax.jit_step(gan_jax.make_train_step(g)) for g in (gan, still))
    extra = np.zeros(4)
    for i in range(5):
        state, metrics = step(state, BATCH)
        plain, _ = plain_step(plain, BATCH)
        due = i % 3 == 0
        assert metrics["applied/r1"] == due
        np.testing.assert_allclose(metrics["penalty/r1"], weights @ weights / 2 if due else 0, rtol=1e-5)
        extra -= 0.1 * 3 * 0.5 * weights * due  # the gradient of gamma |w|^2 / 2
        weights = np.asarray(plain.discriminator.params, np.float64) + extra
        np.testing.assert_allclose(state.discriminator.params, weights, rtol=1e-5)


def test_weight_as_a_schedule_of_images():
    """`weighted_sum` reads the schedule at the images seen; the metric is the value without the weight."""
    constant = penalties.Penalty("two", lambda: (), lambda state, *arguments: (jnp.asarray(2.0), state))
    entries = (
        gan_jax.Term(schedules.linear(0.0, 1.0, 1000.0), constant, 2),
        gan_jax.Term(10.0, constant._replace(name="more")),
    )
    total, states, metrics = weighted_sum(
        entries, ((), ()), {gan_jax.Penalty: ()}, jnp.asarray(4), jnp.asarray(250.0)
    )
    assert total == 0.25 * 2 * 2 + 10 * 2
    assert states == ((), ())
    assert metrics == {"penalty/two": 2.0, "applied/two": 1.0, "penalty/more": 2.0}
    rested, _, metrics = weighted_sum(entries, ((), ()), {gan_jax.Penalty: ()}, jnp.asarray(5), jnp.asarray(250.0))
    assert rested == 20
    assert metrics == {"penalty/two": 0.0, "applied/two": 0.0, "penalty/more": 2.0}


def test_a_penalty_keeps_state():
    """A penalty that counts its calls: the step keeps its state, also when it is computed every second step."""
    counting = penalties.Penalty("count", lambda: jnp.zeros(()), lambda state, *_: (0.0 * state, state + 1))
    other = counting._replace(name="count_too")
    gan = game(
        discriminator_terms=(gan_jax.Term(1.0, counting, 2),),
        generator_terms=(gan_jax.Term(1.0, other),),
        disc_steps=1,
    )
    state, _ = play(gan, steps=5)
    assert state.discriminator.penalties == (3.0,)
    assert state.generator.penalties == (5.0,)


def test_two_penalties_of_one_name_are_refused():
    r1 = penalties.r1()
    with pytest.raises(ValueError, match="different names"):
        game(discriminator_terms=(gan_jax.Term(1.0, r1),), generator_terms=(gan_jax.Term(1.0, r1),))


@pytest.mark.parametrize("disc_steps", [1, 2])
def test_a_generator_penalty_draws_the_same_for_any_number_of_microbatches(disc_steps):
    drawing = penalties.Penalty(
        "draw", lambda: (), lambda state, generate, latents, real, keys: (
            jnp.mean(jax.vmap(jax.random.normal)(keys)) + jnp.mean(jax.vmap(jax.random.normal)(real.key)), state
        ),
    )  # fmt: skip
    values = []
    for microbatches in (1, 2):
        gan = game(generator_terms=(gan_jax.Term(1.0, drawing),), disc_steps=disc_steps, microbatches=microbatches)
        rows = jax.tree.map(lambda x: jnp.stack([x] * disc_steps), BATCH) if disc_steps > 1 else BATCH
        values.append(play(gan, batch=rows)[1][0]["penalty/draw"])
    np.testing.assert_allclose(values[0], values[1], rtol=1e-5)


def test_reconstruction_value():
    made = np.arange(4.0).reshape(SHAPE)
    gan = game(generator=Constant(made), generator_terms=(gan_jax.Term(1.0, penalties.reconstruction()),))
    _, (metrics,) = play(gan)
    expected = np.mean(np.abs(np.asarray(BATCH["image"], np.float64) - made))
    np.testing.assert_allclose(metrics["penalty/reconstruction"], expected, rtol=1e-6)


def test_reconstruction_with_unpaired_latents_asks_for_the_median():
    """With `G(z) = a + b z` and every latent paired with every sample, the optimum is a = median, b = 0."""
    data, z = np.meshgrid([0.0, 0.1, 0.3, 2.0, 9.0], [-1.0, 1.0])
    keys = jax.random.split(jax.random.key(0), 10)
    real = Samples(jnp.asarray(data.reshape(-1, 1)), None, keys)
    latents = jnp.asarray(z.reshape(-1, 1))

    def value(a, b):
        return penalties.reconstruction().apply((), lambda z: a + b * z, latents, real, keys)[0]

    a, b = np.meshgrid(np.linspace(-1, 4, 51), np.linspace(-2, 2, 41))
    table = np.asarray(jax.vmap(value)(jnp.asarray(a.ravel()), jnp.asarray(b.ravel())))
    best = np.argmin(table)
    assert (a.ravel()[best], b.ravel()[best]) == pytest.approx((0.3, 0.0), abs=1e-6)
    assert np.mean(data) > 2  # far from the mean
