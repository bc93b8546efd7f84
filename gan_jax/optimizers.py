"""Optax optimizers under the settings GANs are trained with. Any `optax.GradientTransformation` will do too."""

from collections.abc import Callable
from typing import Any

import jax
import optax


def adam(
    learning_rate: float | jax.Array | Callable = 2e-4,
    b1: float = 0.5,
    b2: float | jax.Array | Callable = 0.999,
    eps: float = 1e-8,
) -> optax.GradientTransformation:
    """Adam, by default as in Radford et al., "DCGAN", 2015. Two time scales: give each player its own rate.

    A `b2` that is a schedule is taken at the updates done before this one, and the bias is corrected by that value
    alone: `v <- b2 v + (1 - b2) g^2`, `v_hat = v / (1 - b2^t)`, as PyTorch's Adam does whose `b2` is changed on
    the way. The state is the same with and without a schedule.
    """
    if not callable(b2):
        return optax.adam(learning_rate, b1=b1, b2=b2, eps=eps)  # pyright: ignore[reportArgumentType]
    return optax.chain(_scale_by_adam(b1, b2, eps), optax.scale_by_learning_rate(learning_rate))


def _scale_by_adam(b1: float, b2: Callable, eps: float) -> optax.GradientTransformation:
    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        now = optax.scale_by_adam(b1=b1, b2=b2(state.count), eps=eps)
        return now.update(updates, state, params)

    return optax.GradientTransformation(optax.scale_by_adam(b1=b1, eps=eps).init, update)


def sgd(
    learning_rate: float | jax.Array | Callable = 1e-2, momentum: float | None = None
) -> optax.GradientTransformation:
    """Stochastic gradient descent."""
    return optax.sgd(learning_rate, momentum=momentum)


def rmsprop(
    learning_rate: float | jax.Array | Callable = 5e-5, decay: float = 0.99, eps: float = 1e-8
) -> optax.GradientTransformation:
    """RMSProp, by default at the rate of Arjovsky et al., "Wasserstein GAN", 2017."""
    return optax.rmsprop(learning_rate, decay=decay, eps=eps)


def lazy_adam(
    lr: float | jax.Array, betas: tuple[float, float] = (0.0, 0.99), k: int = 16, eps: float = 1e-8
) -> optax.GradientTransformation:
    """Adam corrected for a penalty applied every `k` steps with weight times `k`.

    With c = k / (k + 1): learning rate `lr * c`, betas `beta ** c`. In StyleGAN2 the lazy penalty makes an
    optimizer step of its own, so `k` steps of training are `k + 1` of Adam. Karras et al., "StyleGAN2",
    2020, appendix B.
    """
    c = k / (k + 1)
    return optax.adam(lr * c, b1=betas[0] ** c, b2=betas[1] ** c, eps=eps)
