"""A training step as JAX tutorials write it, which shows what the obvious code costs.

It uses native convolutions with JAX's own derivatives, one jitted function and one optimizer per player, images
that the host normalises and sends as float32, and losses that are read in every step. Parameters and arithmetic
are the same as gan_jax's.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypedDict

import jax
import jax.numpy as jnp
import numpy as np
import optax

import gan_jax
from gan_jax.networks import call_network
from gan_jax.ops import FORMULATIONS, primitives
from gan_jax.ops import native as plain_ops
from gan_jax.ops.backend import default_platform
from gan_jax.types import PyTree, Samples

from ..cases import Case


class Player(TypedDict):
    """Parameters and model state of one network."""

    params: PyTree
    state: PyTree


@contextmanager
def native() -> Iterator[None]:
    """Makes each operation that is traced in the context one of `lax`, and its derivatives JAX's own."""
    platform, plain = default_platform(), {"forward": plain_ops.forward, "transpose": plain_ops.transpose}
    row, ours = FORMULATIONS[platform], {name: getattr(primitives, name) for name in plain}
    FORMULATIONS[platform] = row._replace(resample="native")
    for name, function in plain.items():
        setattr(primitives, name, function)
    try:
        yield
    finally:
        FORMULATIONS[platform] = row
        for name, function in ours.items():
            setattr(primitives, name, function)


def too_slow(case: Case) -> bool:
    """Returns whether a step takes minutes. Native gradients of R3GAN's grouped convolutions do on a CPU."""
    return jax.default_backend() == "cpu" and case.name.startswith("r3gan")


def make(
    case: Case, state: gan_jax.GANState, sgd: float | None = None
) -> tuple[Callable[..., tuple[float, float]], list[Player]]:
    """Returns `step` and the list of the two players, generator first, whose entries `step` replaces.

    `step(images, z)` takes uint8 images and returns the losses of D and G. It draws latents unless `z` is given.
    The players start with the weights of `state`. With `sgd`, both use plain SGD at that rate instead of Adam.
    """
    gan = case.gan()
    generator, discriminator = gan.generator, gan.discriminator
    tx = optax.sgd(sgd) if sgd is not None else optax.adam(case.learning_rate, b1=case.b1, b2=case.b2)
    penalty = gan_jax.penalties.r1_r2()

    @jax.jit
    def train_discriminator(
        d: Player, opt: PyTree, g: Player, real: jax.Array, z: jax.Array
    ) -> tuple[Player, PyTree, jax.Array]:
        fake = call_network(generator, g["params"], g["state"], z)[0]

        def objective(params: PyTree) -> tuple[jax.Array, PyTree]:
            real_logits, after = call_network(discriminator, params, d["state"], real)
            fake_logits, after = call_network(discriminator, params, after, fake)
            loss = total = gan.loss.discriminator(real_logits, fake_logits)
            if case.gamma:

                def critic(samples: Samples) -> jax.Array:
                    return call_network(discriminator, params, d["state"], samples.image)[0]

                pair = [Samples(x, None, None) for x in (real, fake)]  # type: ignore[arg-type]
                total += case.gamma * penalty.apply((), critic, *pair, jax.random.key(0))[0]  # type: ignore[call-arg]
            return total, (loss, after)

        grads, (loss, after) = jax.grad(objective, has_aux=True)(d["params"])
        updates, opt = tx.update(grads, opt)
        return {"params": optax.apply_updates(d["params"], updates), "state": after}, opt, loss

    @jax.jit
    def train_generator(
        g: Player, opt: PyTree, d: Player, real: jax.Array, z: jax.Array
    ) -> tuple[Player, PyTree, jax.Array]:
        def objective(params: PyTree) -> tuple[jax.Array, PyTree]:
            fake, after = call_network(generator, params, g["state"], z)
            fake_logits = call_network(discriminator, d["params"], d["state"], fake)[0]
            real_logits = call_network(discriminator, d["params"], d["state"], real)[0]
            return gan.loss.generator(real_logits, fake_logits), after

        (loss, after), grads = jax.value_and_grad(objective, has_aux=True)(g["params"])
        updates, opt = tx.update(grads, opt)
        return {"params": optax.apply_updates(g["params"], updates), "state": after}, opt, loss

    players: list[Player] = [
        {"params": jax.tree.map(jnp.copy, p.params), "state": jax.tree.map(jnp.copy, p.model_state)}
        for p in (state.generator, state.discriminator)
    ]
    optimizers = [tx.init(p["params"]) for p in players]
    key = jax.random.key(0)

    def step(images: np.ndarray, z: jax.Array | np.ndarray | None = None) -> tuple[float, float]:
        nonlocal key
        if z is None:
            key, step_key = jax.random.split(key)
            z = jax.random.normal(step_key, (case.batch, case.latent))
        real = jax.device_put(images.astype(np.float32) / 127.5 - 1)
        with native():  # matters only in the first call, which traces
            players[1], optimizers[1], loss_d = train_discriminator(players[1], optimizers[1], players[0], real, z)
            players[0], optimizers[0], loss_g = train_generator(players[0], optimizers[0], players[1], real, z)
        return float(loss_d), float(loss_g)

    return step, players
