"""Labels and noise of a GAN that a config describes: each image meets its own label, each sample its own noise."""

import dataclasses
import io
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import gan_jax
import gan_jax.train
import runs
from gan_jax import config as configs
from gan_jax.config import Call, Config, Data, Log
from gan_jax.config.build import SampleSpec, make_gan
from gan_jax.runtime.sampler import Sampler
from tiny_config import tiny

pytestmark = pytest.mark.usefixtures("quick_compile")


SHADE = 25  # of an image of class 1; the image of class c is c times as bright


class Shade(nn.Module):
    """A generator whose image is its label, as the data's images are."""

    shape: tuple[int, ...]
    classes: int | None = None

    @nn.compact
    def __call__(self, latents, label=None):
        scale = self.param("scale", nn.initializers.ones, ())
        assert (label is None) == (self.classes is None)
        label = jnp.zeros(latents.shape[0]) if label is None else label
        shade = (label * SHADE).reshape(-1, 1, 1, 1) / 127.5 - 1.0
        return jnp.broadcast_to(shade, (latents.shape[0], *self.shape)) + 0.0 * scale


class Judge(nn.Module):
    """A discriminator whose logit is how far an image is from its label's shade."""

    classes: int | None = None

    @nn.compact
    def __call__(self, image, label=None):
        scale = self.param("scale", nn.initializers.ones, ())
        assert (label is None) == (self.classes is None)
        shown = (image + 1.0) * (127.5 / SHADE)
        label = jnp.zeros(image.shape[0]) if label is None else label
        return scale * jnp.abs(shown - label.reshape(-1, 1, 1, 1)).max(axis=(1, 2, 3))


@pytest.fixture
def shades(tmp_path):
    """Images that tell their label, in an order that no index tells, and a config that plays on them."""
    label = np.random.default_rng(0).integers(0, 10, 100).astype(np.int32)
    image = np.broadcast_to((label * SHADE).astype(np.uint8)[:, None, None, None], (100, 4, 4, 1))
    np.savez(tmp_path / "shades.npz", image=image, label=label)
    return tiny(
        steps=8, conditional=True, data=Data(Call("npz", path=str(tmp_path / "shades.npz"))),
        generator=Call(f"{__name__}:Shade"), discriminator=Call(f"{__name__}:Judge"),
        generator_optimizer=Call("sgd", learning_rate=0.0),
        discriminator_optimizer=Call("sgd", learning_rate=0.0), log=Log(every=1, tensorboard=False),
    )  # fmt: skip


@pytest.mark.parametrize("resident", [True, False])
def test_a_label_goes_with_its_image_to_both_players(resident, shades, tmp_path):
    """A whole run: every logit is 0 only if each image, real and generated, meets its own label."""
    config = dataclasses.replace(
        shades, data=dataclasses.replace(shades.data, resident=resident), disc_steps=2, share_latents=False
    )
    np.testing.assert_allclose(train(config, tmp_path / "run"), np.zeros((8, 2)), atol=1e-4)


def test_without_conditional_no_label_is_passed(shades, tmp_path):
    """The same data; each judge takes every label for 0, so the mean logit is the mean label."""
    logits = train(dataclasses.replace(shades, conditional=False), tmp_path / "run")
    assert all(2 < real < 7 and fake == pytest.approx(0, abs=1e-4) for real, fake in logits)


def train(config: Config, workdir) -> list[tuple[float, float]]:
    """The mean logits of reals and fakes at each step."""
    gan_jax.train.train(config, workdir, stream=io.StringIO())
    return [(row["logits/real"], row["logits/fake"]) for row in runs.rows(workdir)]


def test_samples_have_their_labels_in_turn(shades):
    gan = make_gan(shades, SampleSpec((4, 4, 1), "uint8", 10))
    samples = Sampler(gan, seed=0, classes=10)({"params": {"scale": 1.0}}, 25, first=300)
    shown = np.rint((samples[:, 0, 0, 0] + 1) * 127.5 / SHADE)
    assert list(shown) == [i % 10 for i in range(300, 325)]


class Noise:
    """A generator that is all noise of its own: nothing learned, nothing of the latents."""

    def init(self, key, latents):
        return {"params": {}}

    def apply(self, variables, latents, keys):
        return jax.vmap(lambda key: jax.random.uniform(key, (2, 2, 1)))(keys)


def test_noise_inside_a_generator_is_a_samples_own(shades):
    """Sample 300 is sample 300, in whatever block it is drawn, and no two share their noise."""
    gan = dataclasses.replace(make_gan(shades, SampleSpec((4, 4, 1), "uint8", 10)), generator=Noise())
    sampler = Sampler(gan, seed=0)
    samples = sampler({}, 600)
    assert len(np.unique(samples.reshape(600, -1), axis=0)) == 600
    assert (sampler({}, 20, first=250) == samples[250:270]).all()
    assert (Sampler(gan, seed=1)({}, 600) != samples).all(axis=(1, 2, 3)).all()


def test_a_conditional_dcgan_trains_its_label_tables(tmp_path):
    """On the digits, end to end: both players' embeddings move, and there is a row for each of the ten."""
    config = tiny(steps=2, conditional=True, checkpoint=configs.Checkpoint(every=1))
    gan_jax.train.train(config, tmp_path / "run", stream=io.StringIO())
    leaves = [
        json.loads((tmp_path / "run" / "checkpoints" / step / "manifest.json").read_text()) for step in ("1", "2")
    ]
    for player, wide in (("generator", 4), ("discriminator", 4)):
        name = f"state/{player}/params/embed/embedding"
        assert leaves[0]["shapes"][name] == f"float32[10,{wide}]"
        assert leaves[0]["leaves"][name] != leaves[1]["leaves"][name]
