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
    learning_rate: float | jax.Array | Callable = 2e-3,
    b1: float = 0.0,
    b2: float | jax.Array | Callable = 0.99,
    k: int = 16,
    eps: float = 1e-8,
) -> optax.GradientTransformation:
    """StyleGAN2's Adam for a player with a penalty every `k` steps; only to repeat its published numbers.

    With c = k / (k + 1) it is `adam(c learning_rate, b1 ** c, b2 ** c)`, schedules included. There the lazy
    penalty makes a step of its own, so that `k` steps of training are `k + 1` of Adam; here it shares the step,
    so plain `adam` needs no correction. Karras et al., "StyleGAN2", 2020, appendix B.

    Raises:
        ValueError: `k` is below 1.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    c = k / (k + 1)
    return adam(_changed(learning_rate, lambda rate: c * rate), b1**c, _changed(b2, lambda b: b**c), eps)


def _changed(value: Any, change: Callable) -> Any:
    """A number changed, or the schedule of the changed numbers."""
    return (lambda count: change(value(count))) if callable(value) else change(value)
