"""Every architecture and every augmentation in a GAN of the smallest size."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import gan_jax
from gan_jax import augment, losses, penalties, schedules
from gan_jax.models import biggan, dcgan, mlp, r3gan, sagan, sngan, stylegan2

B, LATENT, CLASSES = 16, 4, 3
GREY, COLOUR = (8, 8, 1), (8, 8, 3)


class Either(NamedTuple):
    """The state of `either`; `adam` is 1 where Adam moves the parameters, and 0 where SGD does."""

    adam: jax.Array
    grads: Any
    states: Any


def either(rate: float) -> optax.GradientTransformation:
    """Returns SGD with momentum and Adam in one program. Its state keeps the last gradients."""
    both = gan_jax.optimizers.sgd(rate, momentum=0.9), gan_jax.optimizers.adam()

    def init(params: Any) -> Either:
        zeros = jax.tree.map(jnp.zeros_like, params)
        return Either(jnp.zeros((), jnp.int32), zeros, tuple(tx.init(params) for tx in both))

    def update(grads: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        by_sgd, by_adam = (tx.update(grads, s, params) for tx, s in zip(both, state.states))
        updates = jax.tree.map(lambda a, b: jnp.where(state.adam > 0, a, b), by_adam[0], by_sgd[0])
        return updates, Either(state.adam, grads, (by_sgd[1], by_adam[1]))

    return optax.GradientTransformation(init, update)


def with_adam(state: gan_jax.GANState) -> gan_jax.GANState:
    """Returns the state with Adam switched on for both players."""

    def switched(player: Any) -> Any:
        return player.replace(opt_state=player.opt_state._replace(adam=jnp.ones((), jnp.int32)))

    return state.replace(generator=switched(state.generator), discriminator=switched(state.discriminator))


def _game(generator: Any, discriminator: Any, rate: float = 0.005, **keywords: Any) -> gan_jax.GAN:
    """`rate` of SGD moves parameters by 1e-3 or more in 8 steps, and does not amplify rounding errors."""
    defaults = {"loss": losses.non_saturating(), "latent": gan_jax.latents.normal(LATENT)}
    defaults |= {"generator_tx": either(rate), "discriminator_tx": either(rate)}
    return gan_jax.GAN(generator, discriminator, **{**defaults, **keywords})


def _players(
    model: Any, shared: dict[str, Any], of_generator: Any = None, of_discriminator: Any = None,
    shape: tuple[int, ...] = GREY,
) -> tuple:  # fmt: skip
    generator = model.Generator(shape, classes=CLASSES, **shared, **(of_generator or {}))
    return generator, model.Discriminator(classes=CLASSES, **shared, **(of_discriminator or {}))


def _stylegan2(**keywords: Any) -> gan_jax.GAN:
    """Each group of 8 samples lies on two of four devices."""
    shared = {"channel_base": 32, "channel_max": 4, "mapping_layers": 1}
    players = _players(stylegan2, shared, {"w_size": 4, "style_mixing": 0.9}, {"group": 8})
    return _game(*players, **keywords)


def _augmented(augmentation: augment.Augment) -> gan_jax.GAN:
    return _game(
        mlp.Generator(COLOUR, width=8, layers=1), mlp.Discriminator(width=8, layers=1), augment=augmentation
    )


def adaptive() -> augment.Augment:
    """p moves by 0.08 a step. In the first step the first device alone would move it the other way."""
    return augment.ada(p=0.4, every=1, speed_kimg=0.2, target=0.25)


ARCHITECTURES = {
    "mlp": lambda: _game(*_players(mlp, {"width": 8})),
    "dcgan": lambda: _game(*_players(dcgan, {"width": 4})),
    "sngan": lambda: _game(*_players(sngan, {"widths": (8, 4)}), loss=losses.hinge(), rate=0.002),
    "sagan": lambda: _game(*_players(sagan, {"widths": (8, 4)}), loss=losses.hinge(), rate=0.002),
    # On some processors pmap's sums round so that 0.002 ends at 1.008e-6 from jit.
    "biggan": lambda: _game(
        *_players(
            biggan,
            {"width": 4, "widths": (8, 4), "spectral_vectors": "uv"},
            {"embedding": 3, "running_variance": "unbiased"},
        ),
        loss=losses.hinge(),
        rate=0.0015,
    ),
    "stylegan2": _stylegan2,
    "stylegan2, lazy": lambda: _stylegan2(
        generator_terms=(gan_jax.Term(0.5, penalties.path_length(), 2),),
        discriminator_terms=(gan_jax.Term(0.1, penalties.r1(), 2),),
    ),
    "r3gan": lambda: _game(
        *_players(r3gan, {"widths": (4, 4), "cardinality": 2, "blocks": 1}, {"embedding": 3}),
        loss=losses.relativistic(),
        rate=0.02,
        discriminator_terms=(gan_jax.Term(0.1, penalties.r1_r2()),),
    ),
}
RANKS = {
    "audio": lambda: _game(
        *_players(r3gan, {"widths": (4, 4, 4), "cardinality": 2, "blocks": 1}, {"embedding": 3}, shape=(16, 1)),
        loss=losses.relativistic(),
        rate=0.02,
        discriminator_terms=(gan_jax.Term(0.1, penalties.r1_r2()),),
    ),
    # One stage leaves the time axis alone, and one doubles it. Its sums are long, so the rate and the weight
    # keep its gradients small: with those of others they end at 5e-6.
    "video": lambda: _game(
        *_players(dcgan, {"width": 2, "base": 2}, shape=(8, 8, 8, 1)),
        rate=0.001,
        discriminator_weight=0.25,
        augment=augment.diff_augment(),
    ),
}
AUGMENTATIONS = {
    "mirror": lambda: _augmented(augment.mirror()),
    "diff_augment": lambda: _augmented(augment.diff_augment()),
    "ada": lambda: _augmented(adaptive()),
    "ada, scheduled": lambda: _augmented(
        augment.ada("r3gan", p=schedules.cosine(0.8, 0.3, images=100.0), target=None)
    ),
}
GAMES = ARCHITECTURES | RANKS | AUGMENTATIONS


def batches(gan: gan_jax.GAN, steps: int) -> dict[str, np.ndarray]:
    """Returns noisy bars, `image` `[steps, B, *S, C]`, and `label` `[steps, B]` where the GAN has classes."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(steps, B, *gan.generator.shape))
    found = {"image": np.tanh(noise + np.linspace(-2, 2, noise.shape[-2])[:, None]).astype(np.float32)}
    if gan.generator.classes is not None:
        found["label"] = rng.integers(0, CLASSES, (steps, B)).astype(np.int32)
    return found


def start(gan: gan_jax.GAN, seed: int = 0) -> gan_jax.GANState:
    """Returns the state at step 0, with random numbers in parameters that are zero at first.

    Such zeros would hide the layers before them: attention, noise inputs, the last convolution of a block.
    """
    batch = jax.tree.map(lambda x: x[0], batches(gan, 1))
    state = jax.jit(lambda key: gan_jax.init(gan, key, batch))(jax.random.key(seed))
    rng = np.random.default_rng(seed)

    def filled(x: jax.Array) -> jax.Array:
        return x if np.any(x) else jnp.asarray(rng.normal(size=x.shape) * 0.2, x.dtype)

    generator, discriminator = (
        player.replace(params=jax.tree.map(filled, player.params))
        for player in (state.generator, state.discriminator)
    )
    return state.replace(
        generator=generator,
        discriminator=discriminator,
        ema={**state.ema, "params": jax.tree.map(jnp.copy, generator.params)},
    )
