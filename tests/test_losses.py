"""Compares the losses with closed forms in NumPy, and with the optima that theory gives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from gan_jax import losses

pytestmark = pytest.mark.usefixtures("strict_ranks", "quick_compile")

REAL = np.array([-2.5, -0.1, 0.0, 0.7, 3.0])
FAKE = np.array([1.5, -0.9, 0.2, -4.0, 0.6])


def s(x):
    return 1 / (1 + np.exp(-x))


# Name: (loss, D's loss, G's loss), written from the papers' equations and not from the code.
CLOSED = {
    "minimax": (
        losses.minimax(),
        lambda r, f: -np.mean(np.log(s(r))) - np.mean(np.log(1 - s(f))),
        lambda r, f: np.mean(np.log(1 - s(f))),
    ),
    "minimax, smoothed": (
        losses.minimax(real_label=0.9),
        lambda r, f: -np.mean(0.9 * np.log(s(r)) + 0.1 * np.log(1 - s(r))) - np.mean(np.log(1 - s(f))),
        lambda r, f: np.mean(np.log(1 - s(f))),
    ),
    "non_saturating": (
        losses.non_saturating(),
        lambda r, f: -np.mean(np.log(s(r))) - np.mean(np.log(1 - s(f))),
        lambda r, f: -np.mean(np.log(s(f))),
    ),
    "non_saturating, smoothed": (
        losses.non_saturating(real_label=0.8),
        lambda r, f: -np.mean(0.8 * np.log(s(r)) + 0.2 * np.log(1 - s(r))) - np.mean(np.log(1 - s(f))),
        lambda r, f: -np.mean(np.log(s(f))),
    ),
    "least_squares": (
        losses.least_squares(),
        lambda r, f: 0.5 * np.mean((r - 1) ** 2) + 0.5 * np.mean(f**2),
        lambda r, f: 0.5 * np.mean((f - 1) ** 2),
    ),
    "least_squares, a b c": (
        losses.least_squares(a=-1.0, b=1.0, c=0.0),
        lambda r, f: 0.5 * np.mean((r - 1) ** 2) + 0.5 * np.mean((f + 1) ** 2),
        lambda r, f: 0.5 * np.mean(f**2),
    ),
    "hinge": (
        losses.hinge(),
        lambda r, f: -np.mean(np.minimum(0, -1 + r)) - np.mean(np.minimum(0, -1 - f)),
        lambda r, f: -np.mean(f),
    ),
    "wasserstein": (
        losses.wasserstein(),
        lambda r, f: np.mean(f) - np.mean(r),
        lambda r, f: -np.mean(f),
    ),
    "relativistic": (
        losses.relativistic(),
        lambda r, f: -np.mean([np.log(s(a - b)) for a, b in zip(r, f)]),
        lambda r, f: -np.mean([np.log(s(b - a)) for a, b in zip(r, f)]),
    ),
    "over_members, of one": (
        losses.over_members(losses.least_squares()),
        lambda r, f: 0.5 * np.mean((r - 1) ** 2) + 0.5 * np.mean(f**2),
        lambda r, f: 0.5 * np.mean((f - 1) ** 2),
    ),
}
ALL = pytest.mark.parametrize("name", CLOSED)


def test_every_loss_of_the_module_is_in_the_table():
    public = {
        name
        for name, value in vars(losses).items()
        if callable(value) and getattr(value, "__module__", "") == losses.__name__ and name[0].islower()
    }
    assert public == {name.split(",")[0] for name in CLOSED}


@ALL
@pytest.mark.parametrize("column", [False, True], ids=["[B]", "[B, 1]"])
def test_value(name, column):
    loss, on_discriminator, on_generator = CLOSED[name]
    with jax.enable_x64(True):
        real, fake = (jnp.asarray(x[:, None] if column else x) for x in (REAL, FAKE))
        np.testing.assert_allclose(loss.discriminator(real, fake), on_discriminator(REAL, FAKE), rtol=1e-12)
        np.testing.assert_allclose(loss.generator(real, fake), on_generator(REAL, FAKE), rtol=1e-12)


@ALL
def test_gradient_is_that_of_the_closed_form(name):
    loss, *closed = CLOSED[name]
    for function, reference in zip((loss.discriminator, loss.generator), closed):
        with jax.enable_x64(True):
            grads = jax.grad(function, argnums=(0, 1))(jnp.asarray(REAL), jnp.asarray(FAKE))
        for i, step in enumerate(np.eye(5) * 1e-6):
            by_real = (reference(REAL + step, FAKE) - reference(REAL - step, FAKE)) / 2e-6
            by_fake = (reference(REAL, FAKE + step) - reference(REAL, FAKE - step)) / 2e-6
            np.testing.assert_allclose([grads[0][i], grads[1][i]], [by_real, by_fake], atol=1e-8)


@ALL
def test_finite_at_huge_logits(name):
    loss = CLOSED[name][0]
    real, fake = jnp.asarray([-1e4, -1e4, 1e4, 1e4]), jnp.asarray([-1e4, 1e4, -1e4, 1e4])
    for function in (loss.generator, loss.discriminator):
        value, grads = jax.value_and_grad(function, argnums=(0, 1))(real, fake)
        assert np.isfinite(value)
        assert np.isfinite(grads).all()


@pytest.mark.parametrize(
    ("loss", "on_discriminator", "on_generator"),
    [
        (losses.minimax(), 2 * np.log(2), -np.log(2)),
        (losses.non_saturating(), 2 * np.log(2), np.log(2)),
        (losses.relativistic(), np.log(2), np.log(2)),
    ],
    ids=["minimax", "non_saturating", "relativistic"],
)
def test_value_where_the_discriminator_cannot_tell(loss, on_discriminator, on_generator):
    zero = jnp.zeros(8)
    np.testing.assert_allclose(loss.discriminator(zero, zero), on_discriminator, rtol=1e-6)
    np.testing.assert_allclose(loss.generator(zero, zero), on_generator, rtol=1e-6)


# A discrete distribution on three points: the data has probabilities p, the generator q. The batch repeats each
# point in proportion, so its means are the exact expectations.
P, Q = np.array([6, 3, 1]), np.array([2, 3, 5])


def discriminator_loss(loss, logits):
    """D's loss where its logit of point i is `logits[i]`."""
    return loss.discriminator(logits[np.repeat(range(3), P)], logits[np.repeat(range(3), Q)])


@pytest.mark.parametrize(
    ("loss", "best"),
    [
        (losses.minimax(), np.log(P / Q)),  # s(D) = p / (p + q)
        (losses.non_saturating(real_label=0.9), np.log(0.9 * P / (0.1 * P + Q))),  # s(D) = 0.9 p / (p + q)
        (losses.least_squares(a=-1.0, b=2.0), (2.0 * P - Q) / (P + Q)),
    ],
    ids=["minimax", "non_saturating, smoothed", "least_squares"],
)
def test_gradient_vanishes_at_the_optimal_discriminator(loss, best):
    with jax.enable_x64(True):
        grad = jax.grad(lambda d: discriminator_loss(loss, d))
        np.testing.assert_allclose(grad(jnp.asarray(best)), 0, atol=1e-12)
        assert np.abs(grad(jnp.asarray(best + 0.1))).min() > 1e-3


def test_minimax_at_the_optimal_discriminator_is_the_jensen_shannon_divergence():
    p, q = P / 10, Q / 10
    middle = (p + q) / 2
    divergence = 0.5 * np.sum(p * np.log(p / middle)) + 0.5 * np.sum(q * np.log(q / middle))
    with jax.enable_x64(True):
        value = discriminator_loss(losses.minimax(), jnp.asarray(np.log(P / Q)))
    np.testing.assert_allclose(-value, 2 * divergence - 2 * np.log(2), rtol=1e-12)


@pytest.mark.parametrize("loss", [losses.minimax(), losses.least_squares()], ids=["minimax", "least_squares"])
def test_minimiser_found_by_search(loss):
    """SciPy searches the best logit of each point; JAX's gradient vanishes at the result."""
    with jax.enable_x64(True):
        value = jax.jit(lambda d: discriminator_loss(loss, d))
        found = [minimize_scalar(lambda x, e=point: float(value(x * e))).x for point in jnp.eye(3)]
        np.testing.assert_allclose(jax.grad(value)(jnp.asarray(found)), 0, atol=1e-6)


def test_hinge_optimum_is_the_sign_of_p_minus_q():
    """Lim and Ye, 2017: the best logit is 1 where p > q and -1 where p < q."""
    grid = np.linspace(-2, 2, 41)
    for point in (0, 2):
        value = jax.vmap(lambda x, i=point: discriminator_loss(losses.hinge(), jnp.zeros(3).at[i].set(x)))(grid)
        assert grid[np.argmin(value)] == pytest.approx(np.sign(P - Q)[point])


def test_saturation():
    """G's gradient vanishes under `minimax`, and not under `non_saturating`, where D is sure of the fakes."""
    fake = jnp.full((4,), -20.0)
    saturating = jax.grad(losses.minimax().generator, argnums=1)(fake, fake)
    moving = jax.grad(losses.non_saturating().generator, argnums=1)(fake, fake)
    assert np.abs(saturating).max() < 1e-8
    np.testing.assert_allclose(moving, -0.25, rtol=1e-6)


def test_relativistic_reads_logits_in_pairs():
    loss = losses.relativistic()
    assert loss.discriminator(jnp.asarray([0.0, 5.0]), jnp.asarray([-5.0, 0.0])) < 0.01
    assert loss.discriminator(jnp.asarray([0.0, 5.0]), jnp.asarray([0.0, -5.0])) > 0.3


# Several discriminators, with features or without.


def members(logits):
    """Returns outputs of five samples: a dict of logits `[B]`, a map `[B, 2, 3]` with features, and `[B, 1]`."""
    scales = jnp.arange(1.0, 7.0).reshape(2, 3) / 6
    tall = losses.LogitsAndFeatures(jnp.multiply.outer(logits, scales), [logits[:, None], {"deep": logits}])
    return {"b": jnp.asarray(logits), "a": (tall, [2 * logits[:, None]])}


@pytest.mark.parametrize("mean", [False, True])
@pytest.mark.parametrize("name", ["non_saturating", "hinge", "relativistic"])
def test_over_members_is_the_sum_of_the_losses_of_the_members(name, mean):
    loss, on_discriminator, on_generator = CLOSED[name]
    both = losses.over_members(loss, mean)
    with jax.enable_x64(True):
        real, fake = members(jnp.asarray(REAL)), members(jnp.asarray(FAKE))
        scales = [np.arange(1, 7) / 6, np.array([2.0]), np.array([1.0])]
        pairs = [(np.outer(REAL, scale).ravel(), np.outer(FAKE, scale).ravel()) for scale in scales]
        for ours, closed in ((both.discriminator, on_discriminator), (both.generator, on_generator)):
            total = sum(closed(r, f) for r, f in pairs)
            np.testing.assert_allclose(ours(real, fake), total / 3 if mean else total, rtol=1e-12)


def test_parts_of_an_output():
    output = members(jnp.asarray(REAL))
    assert [x.shape for x in losses.logits_of(output)] == [(5, 2, 3), (5, 1), (5,)]
    assert [x.shape for x in losses.features_of(output)] == [(5, 1), (5,)]
    assert losses.features_of(REAL) == []
    logit = losses.over_members(losses.hinge()).logit(output)
    assert logit.shape == (5, 8, 1)
    np.testing.assert_allclose(logit[:, -1, 0], REAL, rtol=1e-6)
    with pytest.raises(ValueError, match=r"members return logits of the shapes \[\(\), \(5,\)\]"):
        losses.over_members(losses.hinge()).logit([jnp.zeros(()), jnp.zeros(5)])
    with pytest.raises(ValueError, match="has a function `logit` of its own"):
        losses.over_members(losses.hinge()._replace(logit=lambda output: output["adv"]))
