"""Compares the blocks of the SNGAN family with references in NumPy and XLA's own convolutions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import lax

import gan_jax
from filled import filled
from gan_jax.batch_statistics import _PURPOSE, make_standing_statistics, standing_statistics
from gan_jax.models.layers import Embed, spectral_refresh
from gan_jax.models.layers.residual import (
    EPSILON,
    ConditionalBatchNorm,
    DiscriminatorBlock,
    GeneratorBlock,
    SelfAttention,
)
from gan_jax.step.draws import Purpose, sample_keys

pytestmark = pytest.mark.usefixtures("quick_compile", "strict_ranks")

KEY = jax.random.key(0)


def normal(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


def kernel(variables, name):
    """Returns the kernel that a layer computes with: with spectral norm, divided by v . W u = |W u|."""
    value = np.asarray(variables["params"][name]["kernel"], np.float64)
    vectors = variables.get("spectral", {}).get(name)
    if vectors is None:
        return value
    return value / np.linalg.norm(value.reshape(-1, value.shape[-1]) @ np.asarray(vectors["u"], np.float64))


def convolve(x, variables, name):
    weights = jnp.asarray(kernel(variables, name), jnp.float32)
    pad = weights.shape[0] // 2
    y = lax.conv_general_dilated(
        jnp.asarray(x, jnp.float32), weights, (1, 1), ((pad, pad), (pad, pad)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"), precision="highest",
    )  # fmt: skip
    bias = variables["params"][name].get("bias", np.zeros(y.shape[-1]))
    return np.asarray(y) + np.asarray(bias)


def relu(x):
    return np.maximum(x, 0.0)


def pool(x, reduce=np.mean):
    n, h, w, c = x.shape
    return reduce(np.asarray(x).reshape(n, h // 2, 2, w // 2, 2, c), axis=(2, 4))


def test_conditional_batch_norm_is_its_formula():
    x, condition = 3.0 + 2.0 * normal(1, 4, 3, 3, 5), normal(2, 4, 6)
    layer = ConditionalBatchNorm()
    variables = layer.init(KEY, x, condition, train=True, axis_name=None)
    y, _ = layer.apply(variables, x, condition, train=True, axis_name=None, mutable=["batch_stats"])
    x, condition = np.asarray(x, np.float64), np.asarray(condition, np.float64)
    normalised = (x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + EPSILON)
    gain, bias = (condition @ kernel(variables, name) for name in ("gain", "bias"))
    expected = (1.0 + gain)[:, None, None] * normalised + bias[:, None, None]
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)
    assert set(variables["params"]) == {"gain", "bias"}  # batch norm itself has no gain and bias


def test_without_a_condition_it_is_batch_norm_with_this_family_s_epsilon():
    x = 0.01 * normal(1, 8, 2, 2, 3)  # a variance like epsilon's
    layer = ConditionalBatchNorm()
    variables = layer.init(KEY, x, None, train=True, axis_name=None)
    y, _ = layer.apply(variables, x, None, train=True, axis_name=None, mutable=["batch_stats"])
    x = np.asarray(x, np.float64)
    expected = (x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + 1e-4)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)
    assert {name: p.shape for name, p in variables["params"]["batch"]["norm"].items()} == {
        "scale": (3,),
        "bias": (3,),
    }


def test_self_attention_is_its_formula_and_starts_as_the_identity():
    x = normal(1, 2, 4, 6, 16)
    layer = SelfAttention()
    variables, apply = filled(jax.eval_shape(layer.init, KEY, x)), jax.jit(layer.apply)

    def attend(gamma):
        return apply({**variables, "params": {**variables["params"], "gamma": jnp.asarray(gamma)}}, x)

    np.testing.assert_array_equal(attend(0.0), x)
    y = attend(0.7)

    flat = np.asarray(x, np.float64).reshape(2, 24, 16)
    used = {name: kernel(variables, name)[0, 0] for name in ("query", "key", "value", "out")}
    assert {name: w.shape for name, w in used.items()} == {
        "query": (16, 2), "key": (16, 2), "value": (16, 8), "out": (8, 16)
    }  # fmt: skip
    pooled = [
        pool((flat @ used[name]).reshape(2, 4, 6, -1), np.max).reshape(2, 6, -1) for name in ("key", "value")
    ]
    scores = (flat @ used["query"]) @ pooled[0].swapaxes(1, 2)
    weights = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    expected = flat + 0.7 * (weights @ pooled[1]) @ used["out"]
    np.testing.assert_allclose(y, expected.reshape(x.shape), rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="3 x 4 is odd"):
        layer.init(KEY, normal(1, 1, 3, 4, 8))


def test_self_attention_in_bfloat16_has_scores_in_float32():
    """Scores are slightly above 1024, where 16 bits would round to multiples of 4 or 8."""
    x = normal(1, 2, 4, 4, 16).at[..., 0].set(8.0)
    layer = SelfAttention(spectral=False, dtype=jnp.bfloat16)
    point = {"query": 0.3 * normal(2, 16, 2), "key": 0.3 * normal(3, 16, 2)}
    point = {name: w.at[:, 0].set(0.0).at[0].set(jnp.asarray([4.0, 0.0])) for name, w in point.items()}
    point |= {"value": 0.3 * normal(4, 16, 8).at[0].set(0.0), "out": 0.3 * normal(5, 8, 16)}
    params = {name: {"kernel": w[None, None]} for name, w in point.items()} | {"gamma": jnp.asarray(1.0)}
    kept = jax.jit(
        lambda x: layer.apply({"params": params}, x, mutable="intermediates", capture_intermediates=True)
    )
    maps = kept(x)[1]["intermediates"]
    outputs = {name: maps[name]["__call__"][0] for name in point if name in maps}
    exact = {name: np.asarray(rows, np.float64) for name, rows in outputs.items()}
    key, value = (pool(exact[name], np.max).reshape(2, 4, -1) for name in ("key", "value"))

    def attended(scores):
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = (weights / weights.sum(-1, keepdims=True)) @ value
        return (mixed @ np.asarray(point["out"], np.float64)).reshape(x.shape)

    scores = exact["query"].reshape(2, 16, 2) @ key.swapaxes(1, 2)
    assert outputs["query"].dtype == jnp.bfloat16
    np.testing.assert_allclose(exact["out"], attended(scores), atol=0.03)
    rounded = np.asarray(jnp.asarray(scores, jnp.bfloat16), np.float64)
    assert np.abs(attended(rounded) - attended(scores)).max() > 0.3


@pytest.mark.parametrize("halve", [True, False])
@pytest.mark.parametrize(("first", "skip"), [(True, "rectified"), (False, "rectified"), (False, "plain")])
def test_discriminator_block_in_the_papers_order(halve, first, skip):
    """ReLU, 3 x 3, ReLU, 3 x 3, average; the skip connection is 1 x 1, average of relu(x), x, or the image."""
    x = normal(1, 2, 4, 4, 3)
    layer = DiscriminatorBlock(5 if halve else 3, halve, first, skip)
    variables = filled(jax.eval_shape(layer.init, KEY, x))
    y = jax.jit(layer.apply)(variables, x)
    image = np.asarray(x)
    h = convolve(image if first else relu(image), variables, "conv_0")
    h = convolve(relu(h), variables, "conv_1")
    seen = relu(image) if skip == "rectified" and not first else image
    if halve:
        expected = pool(h) + pool(convolve(seen, variables, "skip"))
    else:
        assert "skip" not in variables["params"]
        expected = h + seen
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)


def test_a_skip_by_another_name():
    with pytest.raises(ValueError, match="skip must be rectified or plain, got 'none'"):
        DiscriminatorBlock(3, False, False, "none").init(KEY, normal(1, 1, 2, 2, 3))


def test_generator_block_in_the_papers_order():
    x, condition = normal(1, 2, 3, 3, 4), normal(2, 2, 6)
    layer = GeneratorBlock(5, spectral=True)
    keywords = {"train": False, "axis_name": None}
    variables = filled(jax.eval_shape(lambda: layer.init(KEY, x, condition, **keywords)))
    y = jax.jit(lambda v: layer.apply(v, x, condition, **keywords))(variables)

    def norm(h, name):  # running mean 0, variance 1
        inner = {kind: variables[kind][name] for kind in ("params", "spectral")}
        gain, bias = (np.asarray(condition) @ kernel(inner, part) for part in ("gain", "bias"))
        return (1 + gain)[:, None, None] * h / np.sqrt(1 + EPSILON) + bias[:, None, None]

    def up(h):
        return np.asarray(h).repeat(2, axis=1).repeat(2, axis=2)

    image = np.asarray(x)
    h = convolve(up(relu(norm(image, "norm_0"))), variables, "conv_0")
    h = convolve(relu(norm(h, "norm_1")), variables, "conv_1")
    np.testing.assert_allclose(y, h + convolve(up(image), variables, "skip"), rtol=1e-4, atol=1e-4)


def test_weights_start_orthogonal_and_attention_at_nothing():
    block = DiscriminatorBlock(5, halve=True).init(KEY, normal(1, 1, 2, 2, 4))
    found = [x for path, x in jax.tree_util.tree_leaves_with_path(block["params"]) if path[-1].key == "kernel"]
    assert len(found) == 3
    assert SelfAttention().init(KEY, normal(1, 1, 2, 2, 1))["params"]["gamma"] == 0
    for weights in found:
        matrix = np.asarray(weights).reshape(-1, weights.shape[-1])
        small = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T
        np.testing.assert_allclose(small.T @ small, np.eye(small.shape[1]), atol=1e-5)


def test_embedding_looks_up_and_divides_by_numpy_s_norm():
    layer = Embed(4, spectral=True, classes=7)
    label = jnp.asarray([3, 0, 3])
    variables = layer.init(KEY, label)
    refresh = jax.jit(lambda v: spectral_refresh({name: {"e": x} for name, x in v.items()}))
    for _ in range(200):
        variables = {name: x["e"] for name, x in refresh(variables).items()}
    table = np.asarray(variables["params"]["kernel"], np.float64)
    expected = (table / np.linalg.svd(table, compute_uv=False)[0])[np.asarray(label)]
    np.testing.assert_allclose(layer.apply(variables, label), expected, rtol=1e-4, atol=1e-6)


class Normed(nn.Module):
    """Applies batch norm, with a custom momentum, to the latents plus a hundred times the label."""

    momentum: float = 0.7

    @nn.compact
    def __call__(self, latents, label=None, *, train):
        x = latents if label is None else latents + 100.0 * label[:, None]
        return nn.BatchNorm(use_running_average=not train, momentum=self.momentum, name="norm")(x)


@pytest.mark.parametrize("classes", [None, 3])
def test_standing_statistics_are_means_over_passes(classes):
    sgd = gan_jax.optimizers.sgd(0.1)
    latent = gan_jax.latents.normal(4)
    gan = gan_jax.GAN(Normed(), Normed(), gan_jax.losses.non_saturating(), sgd, sgd, latent)
    variables = gan.generator.init(KEY, jnp.ones((1, 4)), train=False)
    variables = {**variables, "batch_stats": jax.tree.map(lambda x: x + 7.0, variables["batch_stats"])}
    found = standing_statistics(gan, variables, jax.random.key(5), 6, 4, classes)

    means, variances, key = [], [], jax.random.fold_in(jax.random.key(5), _PURPOSE)
    for i in range(4):
        keys = sample_keys(key, jnp.int32(i), Purpose.LATENT, jnp.arange(6))
        x = np.asarray(jax.vmap(latent)(keys), np.float64)
        if classes is not None:
            keys = sample_keys(key, jnp.int32(i), Purpose.LABEL, jnp.arange(6))
            x += 100.0 * np.asarray([jax.random.randint(k, (), 0, classes) for k in keys])[:, None]
        means.append(x.mean(0))
        variances.append(x.var(0))
    norm = found["batch_stats"]["norm"]
    scale = 1.0 if classes is None else 100.0
    np.testing.assert_allclose(norm["mean"], np.mean(means, 0), rtol=1e-4, atol=1e-5 * scale)
    np.testing.assert_allclose(norm["var"], np.mean(variances, 0), rtol=1e-4)
    jax.tree.map(np.testing.assert_array_equal, found["params"], variables["params"])
    assert jax.tree.structure(found) == jax.tree.structure(variables)


def test_standing_statistics_need_statistics():
    sgd, latent = gan_jax.optimizers.sgd(0.1), gan_jax.latents.normal(4)
    gan = gan_jax.GAN(Normed(), Normed(), gan_jax.losses.non_saturating(), sgd, sgd, latent)
    with pytest.raises(ValueError, match="Normed keeps no batch statistics"):
        standing_statistics(gan, {"params": {}}, KEY, 2, 2)
    for repeats in (0, -1):
        with pytest.raises(ValueError, match=f"standing statistics: repeats must be at least 1, got {repeats}"):
            make_standing_statistics(gan, 2, repeats)


def test_standing_statistics_are_not_of_the_samples_that_are_measured():
    """The latents of a pass differ from those that a sampler with the same seed draws."""
    sgd, latent, seen = gan_jax.optimizers.sgd(0.1), gan_jax.latents.normal(4), []

    class Recording(Normed):
        def __call__(self, latents, label=None, *, train):
            jax.debug.callback(lambda rows: seen.append(np.asarray(rows)), latents)
            return super().__call__(latents, label, train=train)

    gan = gan_jax.GAN(Recording(), Normed(), gan_jax.losses.non_saturating(), sgd, sgd, latent)
    variables = Normed().init(KEY, jnp.ones((1, 4)), train=False)
    standing_statistics(gan, variables, jax.random.key(5), 6, 1)
    jax.effects_barrier()
    passes = len(seen)
    assert passes >= 1
    keys = sample_keys(jax.random.key(5), jnp.int32(0), Purpose.LATENT, jnp.arange(6))
    measured = np.asarray(jax.vmap(latent)(keys))
    for rows in seen:
        assert rows.shape == measured.shape
        assert np.abs(rows[:, None] - measured[None]).max(axis=2).min() > 1e-3
