"""Tests StudioGAN's DCGAN: parameter counts by hand, its layers in NumPy's order, sizes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from filled import filled
from gan_jax.models import dcgan_studiogan

pytestmark = pytest.mark.usefixtures("quick_compile")

KEY = jax.random.key(0)
TRAIN = {"train": True, "axis_name": None}
MUTABLE = ["batch_stats", "intermediates"]


def variables_of(network, x):
    return jax.eval_shape(lambda: network.init(KEY, x, **TRAIN))


def count(tree):
    return sum(x.size for x in jax.tree.leaves(tree))


def layer(size, inputs, outputs):
    """The parameters of a convolution of size x size with a bias."""
    return size * size * inputs * outputs + outputs


def test_parameters_are_those_counted_by_hand():
    generator = layer(1, 128, 512 * 16) + layer(3, 64, 3)
    generator += sum(layer(4, a, b) + 2 * b for a, b in ((512, 256), (256, 128), (128, 64)))
    discriminator = layer(3, 256, 512) + 2 * 512 + layer(1, 512, 1)
    discriminator += sum(layer(3, a, b) + layer(4, b, b) + 4 * b for a, b in ((3, 64), (64, 128), (128, 256)))
    assert (generator, discriminator) == (3_812_355, 2_931_009)  # measured on the original
    g = variables_of(dcgan_studiogan.Generator((32, 32, 3)), jnp.ones((2, 128)))
    d = variables_of(dcgan_studiogan.Discriminator(), jnp.ones((2, 32, 32, 3)))
    assert (count(g["params"]), count(d["params"])) == (generator, discriminator)
    assert count(g["batch_stats"]) == 2 * (256 + 128 + 64)
    assert count(d["batch_stats"]) == 2 * (2 * (64 + 128 + 256) + 512)


def test_the_order_of_its_layers():
    """The generator's first map has no norm; norm and ReLU follow every other layer but the last."""

    def outputs(network, x):
        variables = filled(variables_of(network, x))
        kept = jax.jit(lambda v: network.apply(v, x, **TRAIN, capture_intermediates=True, mutable=MUTABLE))
        maps = kept(variables)[1]["intermediates"]
        return variables["params"], {
            name: np.asarray(m["__call__"][0]) for name, m in maps.items() if name[0] != "_"
        }

    latents = jax.random.normal(KEY, (4, 6))
    _, maps = outputs(dcgan_studiogan.Generator((8, 8, 1), (8, 4)), latents)
    assert {name: m.shape[1:] for name, m in maps.items()} == {
        "project": (128,), "up_1": (8, 8, 4), "norm_1": (8, 8, 4), "image": (8, 8, 1)
    }  # fmt: skip
    image = jax.random.normal(KEY, (4, 8, 8, 1))
    network = dcgan_studiogan.Discriminator((4, 8))
    params, maps = outputs(network, image)
    assert set(maps) == {"conv_1", "norm_1", "down_1", "down_norm_1", "last", "last_norm", "logit"}
    assert [maps[name].shape[1:] for name in ("conv_1", "down_1", "last")] == [(8, 8, 4), (4, 4, 4), (4, 4, 8)]
    before = {"norm_1": "conv_1", "down_norm_1": "down_1", "last_norm": "last"}
    for norm, conv in before.items():
        x = maps[conv].astype(np.float64)
        expected = (x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + 1e-4)
        affine = params[norm]["norm"]
        np.testing.assert_allclose(maps[norm], expected * affine["scale"] + affine["bias"], rtol=1e-3, atol=1e-3)
    features = np.maximum(maps["last_norm"], 0).sum((1, 2))
    np.testing.assert_allclose(
        maps["logit"], features @ params["logit"]["kernel"] + params["logit"]["bias"], rtol=1e-3, atol=1e-3
    )


def test_labels_enter_by_batch_norm_and_projection():
    label = jnp.asarray([0, 1])
    g = dcgan_studiogan.Generator((8, 8, 1), (8, 4), classes=3)
    d = dcgan_studiogan.Discriminator((4, 8), classes=3)
    g, d = (
        jax.eval_shape(lambda n=n, x=x: n.init(KEY, x, label, **TRAIN))["params"]
        for n, x in ((g, jnp.ones((2, 6))), (d, jnp.ones((2, 8, 8, 1))))
    )
    assert {name: leaf["kernel"].shape for name, leaf in g["norm_1"].items()} == {"gain": (3, 4), "bias": (3, 4)}
    assert d["embed"]["kernel"].shape == (3, 8)
    with pytest.raises(ValueError, match="a network with 3 classes needs labels"):
        variables_of(dcgan_studiogan.Discriminator((4, 8), classes=3), jnp.ones((2, 8, 8, 1)))


def test_sizes_that_its_widths_do_not_make():
    message = "makes and reads 32 pixels with 4 widths, not 64: change `widths`, or resize the data"
    with pytest.raises(ValueError, match=message):
        variables_of(dcgan_studiogan.Generator((64, 64, 3)), jnp.ones((2, 6)))
    with pytest.raises(ValueError, match=message):
        variables_of(dcgan_studiogan.Discriminator(), jnp.ones((2, 64, 64, 3)))
    for widths in ((), (8, 0)):
        with pytest.raises(ValueError, match=r"no image with 0 widths|must be at least 1, got 0"):
            variables_of(dcgan_studiogan.Discriminator(widths), jnp.ones((2, 8, 8, 3)))
