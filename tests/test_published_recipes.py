"""Tests the recipes of papers: the settings, optimizers, schedules and averages are the published ones."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gan_jax.augment.adaptive import AdaState
from gan_jax.config import Call
from gan_jax.config.build import batch_spec
from gan_jax.models import r3gan
from gan_jax.schedules import decay
from recipe_facts import DATA, PUBLISHED, build_gan, recipe, spec

# ---- Networks, loss and steps.


class Facts(NamedTuple):
    """The settings of a published recipe, written by hand; None in a network is the default layout."""

    loss: str
    disc_steps: int
    share_latents: bool
    batch: int
    steps: int
    latent: int
    generator: dict[str, object]
    discriminator: dict[str, object]


def _r3gan(batch: int, steps: int, widths: tuple[int, ...], cardinality: object, precise: int = 4) -> Facts:
    both: dict[str, object] = {"widths": widths, "cardinality": cardinality, "blocks": 2, "expansion": 2}
    both["full_precision_up_to"] = precise
    return Facts("relativistic", 1, False, batch, steps, 64, {**both, "embedding": 64}, both)


_W, _C = (768,) * 4, (96,) * 4
_STYLE = {"channel_base": 32768, "channel_max": 512, "conv_clamp": 256.0}
_KEPT = {"spectral_vectors": "uv"}  # PyTorch's spectral norm
_UNBIASED = {"running_variance": "unbiased"}  # PyTorch's batch norm
_PYTORCH = {**_KEPT, **_UNBIASED}
FACTS = {
    "cifar10_biggan": Facts(
        "hinge", 5, False, 64, 100_000, 80,
        {"width": 96, "widths": None, "embedding": 128, "attention": None, **_PYTORCH},
        {"width": 96, "widths": None, "halvings": None, "attention": (1,), "skip": "rectified", **_KEPT},
    ),
    "cifar10_dcgan_studiogan": Facts(
        "non_saturating", 2, False, 64, 200_000, 128,
        {"widths": (512, 256, 128, 64), **_UNBIASED}, {"widths": (64, 128, 256, 512), **_UNBIASED},
    ),
    "cifar10_r3gan": _r3gan(512, 488_282, _W, 96),
    "cifar10_sngan": Facts(
        "hinge", 5, False, 64, 100_000, 128,
        {"widths": None, **_UNBIASED}, {"widths": None, "skip": "rectified", **_KEPT},
    ),
    "cifar10_stylegan2_ada": Facts(
        "non_saturating", 1, False, 64, 1_562_500, 512,
        {**_STYLE, "w_size": 512, "mapping_layers": 2, "style_mixing": 0.0, "architecture": "skip"},
        {**_STYLE, "mapping_layers": 8, "group": 32, "architecture": "orig", "minibatch_groups": "strided"},
    ),
    "ffhq64_r3gan": _r3gan(256, 78_125, (*_W, 384), (*_C, 48)),
    "ffhq256_r3gan": _r3gan(256, 78_125, (*_W, 384, 192, 96), (*_C, 48, 24, 12), 16),
    "imagenet64_r3gan": _r3gan(4096, 48_829, (1536,) * 5, 96),
}  # fmt: skip


def test_each_published_recipe_has_its_facts():
    assert sorted(FACTS) == sorted(PUBLISHED)


@pytest.mark.parametrize("name", FACTS)
def test_its_settings_are_the_published_ones(name):
    facts, config, gan = FACTS[name], recipe(name), build_gan(name)
    assert config.loss == Call(facts.loss)
    assert config.update == "alternating"
    assert (gan.disc_steps, gan.share_latents) == (facts.disc_steps, facts.share_latents)
    assert (config.batch, config.steps, config.microbatches) == (facts.batch, facts.steps, 1)
    assert config.latent == Call("normal", size=facts.latent)
    assert config.conditional == (DATA[name].classes is not None)
    for network, keywords in ((gan.generator, facts.generator), (gan.discriminator, facts.discriminator)):
        assert {keyword: getattr(network, keyword) for keyword in keywords} == keywords


# ---- Optimizers.


def step_size(tx: optax.GradientTransformation, gradient: float, count: int) -> float:
    """Returns how far `tx` moves a parameter in update number `count`, if its moments are zero before."""
    params = jnp.zeros(())
    state = jax.tree.map(
        lambda x: jnp.full_like(x, count) if jnp.issubdtype(x.dtype, jnp.integer) else x, tx.init(params)
    )
    return -float(tx.update(jnp.asarray(gradient), state, params)[0])


STUDIO = (2e-4, 0.5, 0.999, 1e-6)
ADAMS = [
    ("cifar10_sngan", STUDIO, STUDIO),
    ("cifar10_biggan", STUDIO, STUDIO),
    ("cifar10_dcgan_studiogan", STUDIO, STUDIO),
    ("cifar10_stylegan2_ada", (0.002, 0.0, 0.99**0.8, 1e-8), (0.0025 * 16 / 17, 0.0, 0.99 ** (16 / 17), 1e-8)),
]


@pytest.mark.parametrize(("name", "generator", "discriminator"), ADAMS, ids=[row[0] for row in ADAMS])
def test_adam_is_the_published_one(name, generator, discriminator):
    gan = build_gan(name)
    for tx, (rate, b1, b2, eps) in ((gan.generator_tx, generator), (gan.discriminator_tx, discriminator)):
        assert step_size(tx, 1.0, 0) == pytest.approx(rate, rel=1e-4)
        assert step_size(tx, eps, 0) == pytest.approx(rate / 2, rel=1e-3)  # g / (|g| + eps)
        assert step_size(tx, 1.0, 10**6) == pytest.approx(rate * (1 - b1) / math.sqrt(1 - b2), rel=1e-3)


# ---- R3GAN


class Schedules(NamedTuple):
    """R3GAN's published schedules, written by hand: the values at 0, at half of `images` and at the end."""

    preset: str
    batch: int
    images: float
    gamma: tuple[float, float, float]
    p: tuple[float, float, float]
    half_life: tuple[float, float, float]


R3GAN = {
    "cifar10_r3gan": Schedules("cifar10", 512, 20e6, (0.05, 0.0275, 0.005), (0, 0.275, 0.55), (0, 2.5e6, 5e6)),
    "ffhq64_r3gan": Schedules("ffhq64", 256, 20e6, (2, 1.1, 0.2), (0, 0.15, 0.3), (0, 2.5e5, 5e5)),
    "ffhq256_r3gan": Schedules("ffhq256", 256, 20e6, (150, 82.5, 15), (0, 0.15, 0.3), (0, 2.5e5, 5e5)),
    "imagenet64_r3gan": Schedules("imagenet64", 4096, 200e6, (1, 0.55, 0.1), (0, 0.2, 0.4), (0, 2.5e7, 5e7)),
}


@pytest.mark.parametrize("name", R3GAN)
def test_r3gans_schedules_are_the_published_ones(name):
    facts, gan, config = R3GAN[name], build_gan(name), recipe(name)
    assert config.batch == facts.batch
    (term,) = gan.discriminator_terms
    gamma, every = term.weight, term.every
    assert callable(gamma)
    assert every == 1
    times = [0.0, facts.images / 2, facts.images, 3 * facts.images]
    for images, g, p, half_life, rate, b2 in zip(
        times,
        (*facts.gamma, facts.gamma[-1]),
        (*facts.p, facts.p[-1]),
        (*facts.half_life, facts.half_life[-1]),
        (2e-4, 1.25e-4, 5e-5, 5e-5),
        (0.9, 0.945, 0.99, 0.99),
    ):
        seen = jnp.asarray(images)
        assert float(gamma(seen)) == pytest.approx(g, rel=1e-4)
        assert float(gan.ema(seen)) == pytest.approx(half_life, rel=1e-4, abs=0.01)
        steps = round(images / facts.batch)
        if steps:  # the state before the step that ends at `images`
            before = gan.augment.init()._replace(steps=jnp.asarray(steps - 1))
            assert float(gan.augment.update(before, jnp.zeros(1), facts.batch).p) == pytest.approx(p, rel=1e-3)
        expected = rate if steps == 0 else rate / math.sqrt(1 - b2)
        for tx in (gan.generator_tx, gan.discriminator_tx):
            assert step_size(tx, 1.0, steps) == pytest.approx(expected, rel=1e-3)
    assert float(gan.augment.init().p) == 0
    assert float(decay(gan.ema(jnp.zeros(())), facts.batch)) == 0  # after the first step the EMA is the generator


@pytest.mark.parametrize("name", R3GAN)
def test_r3gans_networks_are_the_published_ones(name):
    gan, shape, preset = build_gan(name), DATA[name].shape, R3GAN[name].preset
    assert isinstance(gan.generator, r3gan.Generator)
    assert isinstance(gan.discriminator, r3gan.Discriminator)
    stages = r3gan.Generator(shape=shape, preset=preset, dtype=jnp.bfloat16).stages(shape[:2])
    assert gan.generator.stages(shape[:2]) == gan.discriminator.stages(shape[:2]) == stages
    assert (gan.generator.blocks, gan.generator.expansion, gan.generator.embedding) == (2, 2, 64)
    assert (stages[0].dtype, stages[-1].dtype) == (jnp.float32, jnp.bfloat16)


@pytest.mark.parametrize(
    ("name", "batches"),
    [*((name, 2) for name in R3GAN), ("cifar10_sngan", 6), ("cifar10_dcgan_studiogan", 3)],
)
def test_the_generator_has_its_own_draws(name, batches):
    assert build_gan(name).batches_per_step == batches
    assert batch_spec(recipe(name), build_gan(name), spec(name))["image"].shape[:2] == (
        batches,
        recipe(name).batch,
    )


# ---- Moving averages.


def test_biggans_ema_begins_at_step_1000_with_the_published_decay():
    gan = build_gan("cifar10_biggan")
    kept = [float(decay(gan.ema(jnp.asarray(64.0 * step)), 64)) for step in (0, 999, 1000, 99_999)]
    assert kept[:2] == [0, 0]
    assert np.log(kept[2:]) == pytest.approx([math.log(0.9999)] * 2, rel=2e-3)


@pytest.mark.parametrize("name", ["cifar10_sngan", "cifar10_dcgan_studiogan"])
def test_without_an_ema_it_is_the_generator_itself(name):
    gan = build_gan(name)
    assert float(decay(gan.ema(jnp.asarray(1e6)), 64)) < 1e-12


def test_stylegan2s_ema_and_augmentation_are_adas():
    gan = build_gan("cifar10_stylegan2_ada")
    assert [float(gan.ema(jnp.asarray(seen))) for seen in (0.0, 1e6, 1e8)] == [0, 50_000, 500_000]
    (term,) = gan.discriminator_terms
    assert (term.weight, term.penalty.name, term.every) == (0.01, "r1", 16)
    state: AdaState = gan.augment.init()
    for _ in range(4):  # all logits are positive: the mean sign of 1 is above 0.6
        state = gan.augment.update(state, jnp.ones(64), 64)
    assert float(state.p) == pytest.approx(4 * 64 / 500_000)
