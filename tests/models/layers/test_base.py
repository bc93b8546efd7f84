"""Batch norm's running variance: PyTorch's unbiased one, on one device, over devices, and measured again."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import gan_jax
from devices import run_json
from gan_jax.batch_statistics import _PURPOSE, standing_statistics
from gan_jax.models.layers import BatchNorm, RunningVariance, SpectralVectors
from gan_jax.models.layers.base import check_choice
from gan_jax.step.draws import Purpose, sample_keys

pytestmark = pytest.mark.usefixtures("quick_compile")

KEY = jax.random.key(0)
KEYWORDS = {"train": True, "axis_name": None}


def batches(count, *shape):
    rng = np.random.default_rng(0)
    return [jnp.asarray(3 * rng.normal(size=shape) + 1, jnp.float32) for _ in range(count)]


def running(layer, inputs):
    """Returns the running mean and variance after the batches `inputs`, and the last output."""
    variables = layer.init(KEY, inputs[0], **KEYWORDS)
    for x in inputs:
        y, moved = layer.apply(variables, x, **KEYWORDS, mutable=["batch_stats"])
        variables = {**variables, **moved}
    return variables["batch_stats"]["norm"], y


@pytest.mark.parametrize(("name", "ddof"), [("biased", 0), ("unbiased", 1)])
def test_the_running_variance_is_numpys(name, ddof):
    """Two samples of 2 x 1 pixels: n is 4, so the two variances differ by a third."""
    inputs, mean, variance = batches(3, 2, 2, 1, 5), 0.0, 1.0
    for x in (np.asarray(x, np.float64) for x in inputs):
        mean = 0.9 * mean + 0.1 * x.mean((0, 1, 2))
        variance = 0.9 * variance + 0.1 * x.var((0, 1, 2), ddof=ddof)
    found, y = running(BatchNorm(running_variance=name), inputs)
    np.testing.assert_allclose(found["mean"], mean, rtol=1e-5)
    np.testing.assert_allclose(found["var"], variance, rtol=1e-5)
    last = np.asarray(inputs[-1])  # what is normalised is divided by the biased deviation in both
    np.testing.assert_allclose(y, (last - last.mean((0, 1, 2))) / np.sqrt(last.var((0, 1, 2)) + 1e-5), atol=1e-4)


def test_it_is_pytorch_itself():
    torch = pytest.importorskip("torch")
    inputs = batches(3, 2, 2, 1, 5)
    theirs = torch.nn.BatchNorm2d(5, eps=1e-5, momentum=0.1)
    for x in inputs:
        expected = theirs(torch.from_numpy(np.array(x.transpose(0, 3, 1, 2)))).detach().numpy()
    found, y = running(BatchNorm(running_variance="unbiased"), inputs)
    np.testing.assert_allclose(found["mean"], theirs.running_mean.numpy(), rtol=1e-5)
    np.testing.assert_allclose(found["var"], theirs.running_var.numpy(), rtol=1e-5)
    np.testing.assert_allclose(np.transpose(y, (0, 3, 1, 2)), expected, atol=1e-5)


def over_devices():
    """Prints the running variances of one batch on one device and split over four."""
    layer, (x,) = BatchNorm(running_variance="unbiased"), batches(1, 8, 1, 1, 3)
    variables = layer.init(KEY, x, **KEYWORDS)

    def variance(x, axis_name):
        moved = layer.apply(variables, x, train=True, axis_name=axis_name, mutable=["batch_stats"])[1]
        return moved["batch_stats"]["norm"]["var"]

    parts = jax.pmap(lambda x: variance(x, "devices"), "devices")(x.reshape(4, 2, 1, 1, 3))
    print(json.dumps([np.asarray(variance(x, None)).tolist(), np.asarray(parts).tolist()]))


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_n_counts_the_whole_batch_over_devices():
    one, parts = run_json("import test_base; test_base.over_devices()", devices=4)
    np.testing.assert_allclose(parts, [one] * 4, rtol=1e-6)


def test_one_value_per_channel_has_no_unbiased_variance():
    layer = BatchNorm(running_variance="unbiased")
    (x,) = batches(1, 1, 3)
    variables = layer.init(KEY, x, **KEYWORDS)  # an example of one sample is enough to make the variables
    layer.apply(variables, x, train=False, axis_name=None)
    with pytest.raises(ValueError, match="needs two values per channel or more, got 1"):
        layer.apply(variables, x, **KEYWORDS, mutable=["batch_stats"])


@pytest.mark.parametrize(
    ("name", "choices", "message"),
    [
        ("running_variance", RunningVariance, "running_variance must be one of biased, unbiased, got 'v'"),
        ("spectral_vectors", SpectralVectors, "spectral_vectors must be one of u, uv, got 'v'"),
    ],
)
def test_another_choice(name, choices, message):
    with pytest.raises(ValueError, match=message):
        check_choice(name, "v", choices)


class Normed(nn.Module):
    """Batch norm as a generator."""

    @nn.compact
    def __call__(self, latents, *, train):
        return BatchNorm(running_variance="unbiased", name="batch")(latents, train=train, axis_name=None)


def test_standing_statistics_are_unbiased_too():
    sgd, latent = gan_jax.optimizers.sgd(0.1), gan_jax.latents.normal(4)
    gan = gan_jax.GAN(Normed(), Normed(), gan_jax.losses.non_saturating(), sgd, sgd, latent)
    variables = Normed().init(KEY, jnp.ones((2, 4)), train=False)
    found = standing_statistics(gan, variables, jax.random.key(5), 6, 3)["batch_stats"]["batch"]["norm"]
    passes = drawn_in(latent, jax.random.key(5), 6, 3)
    np.testing.assert_allclose(found["mean"], np.mean([x.mean(0) for x in passes], 0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["var"], np.mean([x.var(0, ddof=1) for x in passes], 0), rtol=1e-4)


def drawn_in(latent, key, batch, repeats):
    """Returns the latents of each pass of `standing_statistics`, in float64."""
    key = jax.random.fold_in(key, _PURPOSE)
    keys = [sample_keys(key, jnp.int32(i), Purpose.LATENT, jnp.arange(batch)) for i in range(repeats)]
    return [np.asarray(jax.vmap(latent)(k), np.float64) for k in keys]
