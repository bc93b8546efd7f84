"""Tests BigGAN: parameter counts, which layers have spectral norm, chunks of latents, truncation against SciPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import gan_jax
from filled import filled
from gan_jax.models import biggan

pytestmark = pytest.mark.usefixtures("quick_compile", "strict_ranks")

KEY = jax.random.key(0)
LABELS = jnp.asarray([0, 1])


def count(variables):
    return sum(x.size for x in jax.tree.leaves(variables["params"]))


def places(tree, leaf):
    found = jax.tree_util.tree_leaves_with_path(tree)
    return {"/".join(key.key for key in path[:-1]) for path, _ in found if path[-1].key == leaf}


def test_parameters_are_the_published_code_s():
    generator, discriminator = biggan.Generator((32, 32, 3), classes=10), biggan.Discriminator(classes=10)
    g = jax.eval_shape(lambda: generator.init(KEY, jnp.ones((2, 80)), LABELS, train=False))
    d = jax.eval_shape(lambda: discriminator.init(KEY, jnp.ones((2, 32, 32, 3)), LABELS))
    assert (count(g), count(d)) == (9_416_196, 2_415_170)
    assert places(g["params"], "kernel") - places(g["spectral"], "u") == {"embed"}
    assert places(d["params"], "kernel") == places(d["spectral"], "u")
    assert {"attention_2"} == {name for name in g["params"] if "attention" in name}
    assert g["params"]["block_1"]["norm_0"]["gain"]["kernel"].shape == (148, 384)
    # Without labels there is no embedding, and the norms get 20 latents.
    generator = biggan.Generator((32, 32, 3))
    unconditional = jax.eval_shape(lambda: generator.init(KEY, jnp.ones((2, 80)), train=False))
    assert unconditional["params"]["block_1"]["norm_0"]["gain"]["kernel"].shape == (20, 384)
    assert count(g) - count(unconditional) == 10 * 128 + 6 * 2 * 128 * 384


@pytest.mark.parametrize("truncation", [0.5, 0.04, 0.999])
def test_truncation_is_scipy_s_quantile(truncation):
    z = np.concatenate([np.linspace(-6, 6, 241), [-1e-6, 0.0, 1e-6]]).astype(np.float32)
    found = biggan.truncate(jnp.asarray(z), truncation)
    wide = z.astype(np.float64)
    # Use the tail that float64 resolves on each side.
    below = stats.truncnorm.ppf(stats.norm.cdf(wide), -2, 2)
    above = stats.truncnorm.isf(stats.norm.sf(wide), -2, 2)
    np.testing.assert_allclose(found, truncation * np.where(z < 0, below, above), rtol=2e-5, atol=1e-6)
    assert (np.diff(np.asarray(found)[:241]) >= 0).all()
    assert np.abs(found).max() <= 2 * truncation * (1 + 1e-6)


def test_truncation_at_its_ends():
    z = jax.random.normal(KEY, (3, 8))
    np.testing.assert_array_equal(biggan.truncate(z, 1.0), z)
    np.testing.assert_array_equal(biggan.truncate(z, 0.0), np.zeros((3, 8)))
    for wrong in (-0.1, 1.1):
        with pytest.raises(ValueError, match="truncation must be from 0 to 1"):
            biggan.truncate(z, wrong)


@pytest.fixture(scope="module")
def small():
    """Returns a small generator, its variables, and latents of three chunks of two."""
    generator = biggan.Generator((8, 8, 3), widths=(8, 8, 8), embedding=4, attention=(), classes=2)
    latents = jax.random.normal(KEY, (2, 6))
    return generator, filled(jax.eval_shape(lambda: generator.init(KEY, latents, LABELS, train=False))), latents


def test_truncation_reaches_the_sampler(small):
    generator, variables, latents = small
    sgd = gan_jax.optimizers.sgd(1.0)
    gan = gan_jax.GAN(
        generator, biggan.Discriminator(), gan_jax.losses.hinge(), sgd, sgd, gan_jax.latents.normal(6)
    )
    sample = jax.jit(gan_jax.make_sampler(gan), static_argnames="truncation")
    image = sample(variables, latents, LABELS, truncation=0.5)
    np.testing.assert_allclose(
        image, sample(variables, biggan.truncate(latents, 0.5), LABELS), rtol=1e-5, atol=1e-6
    )
    assert np.abs(image - sample(variables, latents, LABELS)).max() > 1e-3
    traced = jax.jit(gan_jax.make_sampler(gan))
    with pytest.raises(ValueError, match=r"truncation must be a Python number.*static_argnames"):
        traced(variables, latents, LABELS, truncation=0.5)


def test_each_chunk_goes_to_its_own_block(small):
    """The first map depends on the first chunk only, block i on the chunks 0 to i."""
    generator, variables, latents = small

    @jax.jit
    def outputs(latents):
        _, kept = generator.apply(
            variables, latents, LABELS, train=False, capture_intermediates=True, mutable=["intermediates"]
        )
        return [kept["intermediates"][name]["__call__"][0] for name in ("project", "block_1", "block_2")]

    plain = outputs(latents)
    for chunk in range(3):
        changed = outputs(latents.at[:, 2 * chunk].add(1.0))
        moved = [bool(np.abs(a - b).max() > 1e-4) for a, b in zip(plain, changed)]
        assert moved == [i >= chunk for i in range(3)]


def test_latents_that_cannot_be_cut():
    with pytest.raises(ValueError, match=r"cuts its latents into 4 chunks, but 50 is not.*latent.size=80"):
        jax.eval_shape(lambda: biggan.Generator((32, 32, 3)).init(KEY, jnp.ones((2, 50)), train=False))
