"""Tests of ADA as a whole: its probability, its draws, and first and second derivatives of every operation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from devices import run_json
from gan_jax import augment, schedules
from gan_jax.augment.adaptive import POLICIES
from gan_jax.augment.pipeline import Strengths, draw
from gan_jax.config.resolve import choices, resolve
from quick import some

pytestmark = pytest.mark.usefixtures("strict_ranks", "quick_compile")

KEYS = jax.random.split(jax.random.key(3), 4)
IMAGES = jax.random.normal(jax.random.key(4), (4, 8, 8, 3))
OPERATIONS = Strengths._fields


def only(name, **keywords):
    return augment.ada("none", p=1.0, **{name: 1.0}, **keywords)


def test_names_of_the_package_are_those_a_config_may_use():
    assert choices("gan_jax.augment") == sorted(augment.__all__) == ["ada", "diff_augment", "identity", "mirror"]
    assert resolve("ada", "gan_jax.augment") is augment.ada


def test_p_follows_the_signs_by_hand():
    """With 10 images a step and a speed of 1 kimg, p moves by 0.02 every 2 steps. Comments give the mean sign."""
    ada = augment.ada(target=0.5, every=2, speed_kimg=1.0)
    trace = [  # (logits > 0, of 4, p after it)
        (4, 0.00), (4, 0.02),  # mean sign 1
        (4, 0.02), (2, 0.02),  # (4 + 0) / 8 = 0.5, the target: p stays
        (4, 0.02), (3, 0.04),  # 0.75
        (1, 0.04), (2, 0.02),  # -0.25
        (0, 0.02), (0, 0.00),  # -1
        (0, 0.00), (0, 0.00),  # the floor
        (4, 0.00), (4, 0.02),  # p moves up at once from the floor
    ]  # fmt: skip
    state, update = ada.init(), jax.jit(ada.update, static_argnums=2)
    for positive, expected in trace:
        logits = jnp.where(jnp.arange(4) < positive, 3.0, -0.1)[:, None]
        state = update(state, logits, 10)
        assert float(state.p) == pytest.approx(expected, abs=1e-7)
    assert state.steps == len(trace)
    assert [leaf.shape for leaf in jax.tree.leaves(state)] == [()] * 5
    assert {str(leaf.dtype) for leaf in jax.tree.leaves(state)} == {"float32", "int32"}


def test_the_usual_speed_and_no_cap():
    ada = augment.ada(p=0.9999)
    state = ada.init()
    for _ in range(4):
        state = ada.update(state, {"a": jnp.ones(64), "b": jnp.ones((64, 1))}, 64)
    assert float(state.p) == pytest.approx(0.9999 + 64 * 4 / 500_000)


def test_p_on_a_schedule_of_images_and_fixed():
    ada = augment.ada("r3gan", p=schedules.linear(0.1, 0.5, 40), target=None)
    state, seen = ada.init(), []
    for _ in range(5):
        seen.append(float(state.p))
        state = ada.update(state, jnp.ones(4), 10)
    np.testing.assert_allclose(seen, [0.1, 0.2, 0.3, 0.4, 0.5], rtol=1e-6)
    fixed = augment.ada(p=0.3, target=None)
    assert fixed.update(fixed.init(), jnp.ones(4), 10).p == fixed.init().p == jnp.float32(0.3)


def test_policies():
    assert {k for k, v in POLICIES["bgc"].items() if v == 1} == set(OPERATIONS[:12])
    r3gan = Strengths(**POLICIES["r3gan"])
    assert r3gan == Strengths(*[1.0] * 7, *[0.5] * 5, cutout=1.0)


def test_p_of_nothing_is_the_identity():
    ada = augment.ada("bgcfnc")  # all operations
    images = jax.random.normal(jax.random.key(5), (2, 24, 22, 3))
    np.testing.assert_allclose(jax.jit(ada.apply)(ada.init(), images, KEYS[:2]), images, atol=4e-6)


def test_a_sample_s_augmentation_is_its_key_s():
    """One key always gives one augmentation; permuting samples and keys permutes the results."""
    ada = augment.ada("r3gan", p=0.8, noise=1.0)
    apply = jax.jit(ada.apply)
    out = apply(ada.init(), IMAGES, KEYS)
    order = np.array([2, 0, 3, 1])
    np.testing.assert_allclose(apply(ada.init(), IMAGES[order], KEYS[order]), out[order], atol=1e-6)
    same = apply(ada.init(), jnp.tile(IMAGES[:1], (4, 1, 1, 1)), jnp.stack([KEYS[0], KEYS[0], KEYS[1], KEYS[0]]))
    np.testing.assert_array_equal(same[0], same[1])
    np.testing.assert_array_equal(same[0], same[3])
    assert jnp.abs(same[0] - same[2]).max() > 0.1


def test_sixteen_bits_are_computed_in_float32():
    ada = augment.ada(p=0.8)
    images = IMAGES.astype(jnp.bfloat16)
    apply = jax.jit(ada.apply)
    out, exact = (apply(ada.init(), x, KEYS) for x in (images, images.astype(jnp.float32)))
    assert out.dtype == jnp.bfloat16
    np.testing.assert_array_equal(out, exact.astype(jnp.bfloat16))


def test_draws_have_their_probabilities_and_distributions():
    count = 4000
    keys = jax.random.split(jax.random.key(6), count)
    s = Strengths(*[1.0] * 7, *[0.5] * 5, 1.0, 1.0, 1.0)
    drawn = jax.jit(jax.vmap(lambda key: draw(key, jnp.asarray(0.6), s)))(keys)
    g, c = drawn.geometry, drawn.color
    half_turn = 1 - np.sqrt(0.4)
    shares = [
        (g.flip != 0, 0.3), (g.turns != 0, 0.45), (g.scale != 1, 0.6), (g.aniso != 1, 0.6),
        (g.before != 0, half_turn), (g.after != 0, half_turn), ((g.before != 0) | (g.after != 0), 0.6),
        (g.xint[0] != 0, 0.6), (g.xfrac[1] != 0, 0.6), (c.brightness != 0, 0.3), (c.contrast != 1, 0.3),
        (c.lumaflip != 0, 0.15), (c.hue != 0, 0.3), (c.saturation != 1, 0.3), (drawn.bands != 1, 0.6),
        (drawn.noise != 0, 0.6), (drawn.size != 0, 0.6),
    ]  # fmt: skip
    for acted, share in shares:
        assert np.mean(acted) == pytest.approx(share, abs=5 * 0.5 / count**0.5)
    spreads = [
        (np.log2(g.scale[g.scale != 1]), 0.2), (np.log2(g.aniso[g.aniso != 1]), 0.2),
        (g.xfrac[0][g.xfrac[0] != 0], 0.125), (g.xint[1][g.xint[1] != 0], 0.125 / 3**0.5),
        (g.before[g.before != 0], np.pi / 3**0.5), (c.brightness[c.brightness != 0], 0.2),
        (np.log2(c.contrast[c.contrast != 1]), 0.5), (np.log2(c.saturation[c.saturation != 1]), 1.0),
        (c.hue[c.hue != 0], np.pi / 3**0.5), (np.log2(drawn.bands[drawn.bands != 1]), 1.0),
    ]  # fmt: skip
    for values, deviation in spreads:
        assert np.std(values) == pytest.approx(deviation, rel=0.12)  # 6 standard errors of 1200 normals
        assert np.mean(values) == pytest.approx(0, abs=0.15 * deviation)
    noise = drawn.noise[drawn.noise != 0]
    assert np.sqrt(np.mean(noise**2)) == pytest.approx(0.1, rel=0.1)


_QUICK = ("rotate", "hue", "imgfilter")  # one of each costly kind; the rest share their code


@pytest.mark.parametrize("name", some(OPERATIONS, *_QUICK))
def test_gradients_of_both_orders_go_through(name):
    """Differentiates a penalty twice. A tanh makes the critic nonlinear, since every operation is affine."""
    side = 22 if name == "imgfilter" else 8
    images, weights = jax.random.normal(jax.random.key(7), (2, 2, side, side, 3))
    ada = only(name)

    @jax.jit
    def penalty(weights, images):
        critic = lambda x: jnp.sum(jnp.tanh(weights * ada.apply(ada.init(), x, KEYS[:2])))  # noqa: E731
        return jnp.sum(jax.grad(critic)(images) ** 2)

    value, (by_weights, by_images) = jax.value_and_grad(penalty, argnums=(0, 1))(weights, images)
    for array in (value, by_weights, by_images):
        assert np.isfinite(array).all()
        assert jnp.abs(array).max() > 0
    out = ada.apply(ada.init(), images, KEYS[:2])
    assert jnp.abs(out - images).max() > 1e-3  # the operation acts for these keys


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_r1_through_the_pipeline_against_finite_differences():
    """Compares the directional derivative of R1, the norm of a gradient, with finite differences in float64."""
    source = """
import json, jax, jax.numpy as jnp
from gan_jax import augment
ada = augment.ada("bgcfnc", p=0.9)
keys = jax.random.split(jax.random.key(0), 2)
x, w, v = jax.random.normal(jax.random.key(1), (3, 2, 22, 22, 3))
@jax.jit
def r1(w):
    critic = lambda x: jnp.sum(jnp.tanh(w * ada.apply(ada.init(), x, keys)))
    return jnp.sum(jax.grad(critic)(x) ** 2)
e = 1e-5
print(json.dumps([float(jnp.vdot(jax.jit(jax.grad(r1))(w), v)), float((r1(w + e * v) - r1(w - e * v)) / (2 * e))]))
"""
    slope, difference = run_json(source, JAX_ENABLE_X64="1")
    assert slope == pytest.approx(difference, rel=1e-7)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: augment.ada("bcg"), "ada has no policy 'bcg': use one of blit"),
        (lambda: augment.ada(hue=1.5), "hue multiplies a probability, so it must be from 0 to 1, got 1.5"),
        (lambda: augment.ada(p=schedules.constant(0.1)), "both a schedule and a target: add target=None"),
        (lambda: augment.ada(p=-0.1), "p is a probability, so it must not be negative, got -0.1"),
        (lambda: augment.ada(every=0), "every and speed_kimg must be above 0, got 0 and 500.0"),
        (
            lambda: only("hue").apply(only("hue").init(), IMAGES[..., :2], KEYS),
            "with 1 or 3 channels, not float32",
        ),
        (lambda: only("scale").apply(only("scale").init(), IMAGES[:, :1], KEYS), "sides of 2 pixels or more"),
    ],
)
def test_bad_input_is_told_in_a_sentence(make, message):
    with pytest.raises(ValueError, match=message):
        make()
