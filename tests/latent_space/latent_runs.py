"""Runs whose generators are known: opened runs with a state that the test chooses, and no training."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

import gan_jax
from gan_jax import losses
from gan_jax.config import Call, Config
from gan_jax.config.build import SampleSpec
from gan_jax.latents import normal
from gan_jax.models import mlp, stylegan2
from gan_jax.networks import accepted
from gan_jax.train.open_run import OpenedRun

SIDE = 4


class Linear(nn.Module):
    """Maps latents to images by one matrix: `image = reshape(z A + b)`."""

    shape: tuple[int, ...] = (SIDE, SIDE, 1)

    @nn.compact
    def __call__(self, latents, label=None):
        size = int(np.prod(self.shape))
        return nn.Dense(size, name="only")(latents).reshape(-1, *self.shape)


def open_gan(generator, size=6, classes=None, latent=None, variables=None, step=7):
    """Returns an opened run of a generator that was only initialised, or has the given variables."""
    import optax

    latent = latent or normal(size)
    gan = gan_jax.GAN(
        generator, mlp.Discriminator(width=4), losses.non_saturating(), optax.sgd(0.1), optax.sgd(0.1), latent
    )
    label = None if classes is None else jnp.zeros(2, jnp.int32)
    z = jax.vmap(latent)(jax.random.split(jax.random.key(0), 2))
    extra = {} if label is None else {"label": label}
    extra |= accepted(generator, "apply", {"train": False})
    variables = variables or jax.jit(lambda: generator.init(jax.random.key(1), z, **extra))()
    shape = jax.eval_shape(lambda v: generator.apply(v, z, **extra), variables).shape[1:]
    config = Config("test", generator=Call("mlp"), discriminator=Call("mlp"), conditional=classes is not None)
    state = gan_jax.state.GANState(jnp.int32(step), jax.random.key(0), None, None, variables, None)
    return OpenedRun(config, SampleSpec(shape, "uint8", classes), gan, step, state, "test", ())


def linear_run(seed=0, size=6):
    """Returns a run of `Linear`, its matrix `[N, pixels]` and its bias, whose pixels are mostly in [-1, 1]."""
    rng = np.random.default_rng(seed)
    matrix = (rng.normal(size=(size, SIDE * SIDE)) * np.linspace(0.02, 0.2, size)[:, None]).astype(np.float32)
    bias = rng.uniform(-0.1, 0.1, SIDE * SIDE).astype(np.float32)
    variables = {"params": {"only": {"kernel": jnp.asarray(matrix), "bias": jnp.asarray(bias)}}}
    return open_gan(Linear(), size, variables=variables), matrix, bias


def styled_run(classes=None, noise="random", **options):
    """Returns a run of a small StyleGAN2 of 8 x 8 pixels whose noise is heard, and whose mean w is not 0."""
    generator = stylegan2.Generator(
        (8, 8, 1), classes=classes, w_size=5, mapping_layers=2, channel_max=4, noise=noise, **options
    )
    run = open_gan(generator, 6, classes)

    def louder(path, x):
        return x + 0.3 if "noise_strength" in jax.tree_util.keystr(path) else x

    params = jax.tree_util.tree_map_with_path(louder, run.state.ema["params"])
    ema = {**run.state.ema, "params": params, "w_avg": {"mean": jnp.linspace(-1.0, 1.0, 5)}}
    return run._replace(state=run.state.replace(ema=ema))
