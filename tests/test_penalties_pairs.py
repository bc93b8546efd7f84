"""Penalties on pairs and on outputs against values computed by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.core import FrozenDict

from gan_jax import losses, penalties
from gan_jax.metrics.features import perceptual
from gan_jax.penalties import Outputs
from gan_jax.types import Samples

B = 4


def draw(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(B, *shape)).astype(np.float32))


def on_generator(penalty, output, inputs=None, real=None, **keywords):
    """Returns the value of a penalty on a generator that returns `output`."""
    keys = jax.random.split(jax.random.key(0), B)
    real = Samples(draw(1, 3, 2) if real is None else real, None, keys)
    return penalty.apply(penalty.init(), lambda inputs: output, inputs, real, keys, **keywords)[0]


def test_reconstruction_of_images():
    real, made = draw(1, 3, 2), draw(2, 3, 2)
    gap = np.asarray(real - made, np.float64)
    assert on_generator(penalties.reconstruction(), made) == pytest.approx(abs(gap).mean(), rel=1e-6)
    assert on_generator(penalties.reconstruction("l2"), (made, {})) == pytest.approx((gap**2).mean(), rel=1e-6)


def test_reconstruction_of_any_pair():
    """A cycle: what the second generator makes of the first one's image, against the input."""
    inputs, back = {"a": draw(3, 5), "b": draw(4)}, {"a": draw(5, 5), "b": draw(6)}
    cycle = penalties.reconstruction(pair=lambda image, aux, inputs, real: (inputs, aux["back"]), name="cycle")
    value = on_generator(cycle, (draw(2, 3, 2), {"back": back}), inputs)
    by_hand = sum(abs(np.asarray(inputs[k] - back[k])).mean() for k in "ab")
    assert cycle.name == "cycle"
    assert value == pytest.approx(by_hand, rel=1e-6)


def test_reconstruction_of_shapes_that_broadcast():
    with pytest.raises(ValueError, match="reconstruction compares arrays of one shape"):
        on_generator(penalties.reconstruction(), draw(2, 3, 1))


def test_commitment():
    """Values, and which way each of the two gradients goes: beta only scales that of the encoder."""
    encoded, codes = draw(3, 7), draw(4, 7)

    def value(encoded, codes):
        aux = {"encoded": encoded, "codes": codes}
        return on_generator(penalties.commitment(0.25), (draw(2, 3, 2), aux))

    gap = np.asarray(encoded - codes, np.float64)
    assert value(encoded, codes) == pytest.approx(1.25 * (gap**2).mean(), rel=1e-6)
    by_encoded, by_codes = jax.grad(value, (0, 1))(encoded, codes)
    np.testing.assert_allclose(by_encoded, 0.25 * 2 * gap / gap.size, rtol=1e-5)
    np.testing.assert_allclose(by_codes, -2 * gap / gap.size, rtol=1e-5)


def test_commitment_of_a_residual_quantizer():
    """A list with one array for each level: the sum of their values, and of their gradients."""
    encoded, codes = [draw(3, 7), draw(4, 2, 5)], [draw(5, 7), draw(6, 2, 5)]
    of = lambda aux: (aux["residuals"], aux["levels"])  # noqa: E731

    def value(encoded):
        aux = {"residuals": encoded, "levels": codes}
        return on_generator(penalties.commitment(0.25, of=of), (draw(2, 3, 2), aux))

    gaps = [np.asarray(a, np.float64) - np.asarray(b, np.float64) for a, b in zip(encoded, codes)]
    assert value(encoded) == pytest.approx(1.25 * sum((gap**2).mean() for gap in gaps), rel=1e-6)
    for gradient, gap in zip(jax.grad(value)(encoded), gaps):
        np.testing.assert_allclose(gradient, 0.25 * 2 * gap / gap.size, rtol=1e-5)


def test_values_of_16_bits():
    """They are compared in float32: against float64, whose rounding of the same numbers is 2^-8 in bfloat16."""
    one, other = (draw(seed, 40).astype(jnp.bfloat16) for seed in (3, 4))
    gap = np.asarray(one, np.float64) - np.asarray(other, np.float64)
    made = (draw(2, 3, 2), {"encoded": one, "codes": other})
    pair = lambda image, aux, inputs, real: (aux["encoded"], aux["codes"])  # noqa: E731
    values = {
        penalties.commitment(0.0): (gap**2).mean(),
        penalties.reconstruction("l2", pair=pair): (gap**2).mean(),
        penalties.reconstruction(pair=pair): abs(gap).mean(),
    }
    for penalty, by_hand in values.items():
        value = on_generator(penalty, made)
        assert value.dtype == jnp.float32
        assert value == pytest.approx(by_hand, rel=1e-6)


def test_names_of_a_second_one():
    """Two networks, or both directions of a CycleGAN: each has a metric, and its messages say which it is."""
    assert penalties.commitment(name="coarse").name == "coarse"
    assert penalties.perceptual(features, name="back").name == "back"
    with pytest.raises(ValueError, match=r"coarse reads aux\['encoded'\]"):
        on_generator(penalties.commitment(name="coarse"), draw(2, 3, 2))
    with pytest.raises(ValueError, match=r"back reads the network's variables from frozen\['vgg'\]"):
        on_generator(penalties.perceptual(features, "vgg", name="back"), draw(2, 3, 2), frozen={})


def on_outputs(penalty, real, fake, state=None):
    outputs = [Outputs(one, losses.over_members(losses.hinge()).logit(one)) for one in (real, fake)]
    keys = jax.random.split(jax.random.key(0), B)
    return penalty.apply(penalty.init() if state is None else state, *outputs, keys)


def test_feature_matching():
    """The sum over all maps of all members; no gradient through those of the real samples."""

    def outputs(seed):
        return {
            "a": losses.LogitsAndFeatures(draw(seed), [draw(seed + 1, 5), draw(seed + 2, 2, 3)]),
            "b": draw(seed),
        }

    real, fake = outputs(10), outputs(20)
    value, state = on_outputs(penalties.feature_matching(), real, fake)
    pairs = zip(real["a"].features, fake["a"].features)
    assert value == pytest.approx(sum(abs(np.asarray(r - f)).mean() for r, f in pairs), rel=1e-6)
    assert state == ()
    gradient = jax.grad(lambda real: on_outputs(penalties.feature_matching(), real, fake)[0])(real)
    assert not any(leaf.any() for leaf in jax.tree.leaves(gradient))


def test_feature_matching_without_features():
    with pytest.raises(ValueError, match="feature_matching needs a discriminator that returns"):
        on_outputs(penalties.feature_matching(), draw(1), draw(2))


def test_lecam():
    """Two updates: the averages start at 0, and move after they were read."""
    penalty, state = penalties.lecam(decay=0.9), None
    averages = {"real": 0.0, "fake": 0.0}
    for seed in (0, 1):
        real, fake = draw(seed), draw(seed + 5) - 1
        value, state = on_outputs(penalty, real, fake, state)
        r, f = (np.asarray(x, np.float64) for x in (real, fake))
        by_hand = (np.maximum(r - averages["fake"], 0) ** 2).mean() + (
            np.maximum(averages["real"] - f, 0) ** 2
        ).mean()
        assert value == pytest.approx(by_hand, rel=1e-5)
        averages = {
            "real": 0.9 * averages["real"] + 0.1 * r.mean(),
            "fake": 0.9 * averages["fake"] + 0.1 * f.mean(),
        }
        assert {k: float(v) for k, v in state.items()} == pytest.approx(averages, rel=1e-5)


def test_logit_centering():
    real, fake = draw(1), draw(2)
    value = lambda shift: on_outputs(penalties.logit_centering(), real + shift, fake + shift)[0]  # noqa: E731
    middle = float(jnp.mean(real) + jnp.mean(fake)) / 2
    assert value(0.0) == pytest.approx(middle**2, rel=1e-5)
    assert value(-middle) == pytest.approx(0.0, abs=1e-12)


def features(variables, image):
    """Two layers of a network of one number."""
    return [image[..., None] * jnp.array([1.0, variables]), image]


def test_perceptual():
    """Vectors of channels have length 1 before they are compared."""
    real, made, variables = draw(1, 3, 2), draw(2, 3, 2), jnp.float32(2.0)
    frozen = {"perceptual": variables}
    value = on_generator(penalties.perceptual(features, weights=(1.0, 0.5)), made, real=real, frozen=frozen)
    by_hand = 0.0
    for weight, a, b in zip((1.0, 0.5), features(2.0, np.asarray(real)), features(2.0, np.asarray(made))):
        a, b = (np.asarray(x, np.float64) / np.linalg.norm(x, axis=-1, keepdims=True) for x in (a, b))
        by_hand += weight * ((a - b) ** 2).sum(-1).mean()
    assert value == pytest.approx(by_hand, rel=1e-5)
    assert value == on_generator(
        penalties.perceptual(features, weights=(1.0, 0.5)), made, real=real, frozen=FrozenDict(frozen)
    )
    with pytest.raises(ValueError, match=r"weights of the shape \(5,\) for a layer of 2 channels"):
        on_generator(penalties.perceptual(features, weights=(1.0, [0.5] * 5)), made, real=real, frozen=frozen)
    with pytest.raises(ValueError, match="frozen\\['perceptual'\\]"):
        on_generator(penalties.perceptual(features), made, real=real)


def test_feature_networks_of_this_package_are_trusted():
    """By the module of their function, through a partial too; with a function of a user there is a check."""
    ours, theirs = functools.partial(perceptual._efficientnet_maps, (1, 2)), functools.partial(features)
    modules = {net: penalties.perceptual(net).apply.__module__ for net in (perceptual._vgg_maps, ours, theirs)}
    assert list(modules.values()) == ["gan_jax.penalties.pairs", "gan_jax.penalties.pairs", __name__]
    assert penalties.perceptual(ours, pair=lambda *_: (0, 0)).apply.__module__ == __name__


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: penalties.reconstruction("l3"), "norm must be l1 or l2"),
        (lambda: penalties.commitment(-1.0), "beta must not be negative"),
        (lambda: penalties.lecam(1.0), "decay in"),
    ],
)
def test_what_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_commitment_without_aux():
    with pytest.raises(ValueError, match=r"commitment reads aux\['encoded'\] and aux\['codes'\]"):
        on_generator(penalties.commitment(), draw(2, 3, 2))
