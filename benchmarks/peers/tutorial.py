"""A training loop as JAX tutorials write it: what the obvious code costs.

Native convolutions and transposed convolutions with the derivatives that JAX makes of them, a jitted function for
each player, images normalised on the host and sent as float32, one optimizer a player, losses read each step. The
parameters and the arithmetic are the benchmark's own.
"""

from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import gan_jax
from gan_jax.networks import call_network
from gan_jax.ops import FORMULATIONS
from gan_jax.types import Samples

from ..cases import Case


@contextmanager
def native() -> Any:
    """Every operation as `lax` has it, while tracing."""
    platform = jax.default_backend()
    kept = FORMULATIONS[platform]
    FORMULATIONS[platform] = kept._replace(convolution="native", grouped="native", resample="native")
    try:
        yield
    finally:
        FORMULATIONS[platform] = kept


def too_slow(case: Case) -> bool:
    """On a CPU the native gradients of R3GAN's grouped convolutions take minutes a step."""
    return jax.default_backend() == "cpu" and case.name.startswith("r3gan")


def make(
    case: Case, state: gan_jax.GANState, sgd: float | None = None
) -> tuple[Callable[..., tuple[float, float]], list[Any]]:
    """`step(uint8 images, latents) -> losses` from the weights of `state`, and the two players that it moves.

    By plain SGD at the rate `sgd` where that is given; with latents of its own where none are.
    """
    gan = case.gan()
    generator, discriminator = gan.generator, gan.discriminator
    tx = optax.sgd(sgd) if sgd is not None else optax.adam(case.learning_rate, b1=case.b1, b2=case.b2)
    penalty = gan_jax.penalties.r1_r2()

    @jax.jit
    def train_discriminator(d: Any, opt: Any, g: Any, real: jax.Array, z: jax.Array) -> tuple:
        fake = call_network(generator, g["params"], g["state"], z)[0]

        def objective(params: Any) -> tuple:
            on_real, after = call_network(discriminator, params, d["state"], real)
            on_fake, after = call_network(discriminator, params, after, fake)
            loss = total = gan.loss.discriminator(on_real, on_fake)
            if case.gamma:

                def critic(samples: Samples) -> jax.Array:
                    return call_network(discriminator, params, d["state"], samples.image)[0]

                pair = [Samples(x, None, None) for x in (real, fake)]  # type: ignore[arg-type]
                total += case.gamma * penalty.apply((), critic, *pair, jax.random.key(0))[0]
            return total, (loss, after)

        grads, (loss, after) = jax.grad(objective, has_aux=True)(d["params"])
        updates, opt = tx.update(grads, opt)
        return {"params": optax.apply_updates(d["params"], updates), "state": after}, opt, loss

    @jax.jit
    def train_generator(g: Any, opt: Any, d: Any, real: jax.Array, z: jax.Array) -> tuple:
        def objective(params: Any) -> tuple:
            fake, after = call_network(generator, params, g["state"], z)
            on_fake = call_network(discriminator, d["params"], d["state"], fake)[0]
            on_real = call_network(discriminator, d["params"], d["state"], real)[0]
            return gan.loss.generator(on_real, on_fake), after

        (loss, after), grads = jax.value_and_grad(objective, has_aux=True)(g["params"])
        updates, opt = tx.update(grads, opt)
        return {"params": optax.apply_updates(g["params"], updates), "state": after}, opt, loss

    players = [
        {"params": jax.tree.map(jnp.copy, p.params), "state": jax.tree.map(jnp.copy, p.model_state)}
        for p in (state.generator, state.discriminator)
    ]
    optimizers = [tx.init(p["params"]) for p in players]
    key = jax.random.key(0)

    def step(images: np.ndarray, z: Any = None) -> tuple[float, float]:
        nonlocal key
        if z is None:
            key, now = jax.random.split(key)
            z = jax.random.normal(now, (case.batch, case.latent))
        real = jax.device_put(images.astype(np.float32) / 127.5 - 1)
        with native():  # read while tracing, in the first call
            players[1], optimizers[1], loss_d = train_discriminator(players[1], optimizers[1], players[0], real, z)
            players[0], optimizers[0], loss_g = train_generator(players[0], optimizers[0], players[1], real, z)
        return float(loss_d), float(loss_g)

    return step, players
