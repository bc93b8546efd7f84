"""Optax optimizers under the settings GANs are trained with. Any `optax.GradientTransformation` will do too."""

from collections.abc import Callable

import jax
import optax


def adam(
    learning_rate: float | jax.Array | Callable = 2e-4, b1: float = 0.5, b2: float = 0.999, eps: float = 1e-8
) -> optax.GradientTransformation:
    """Adam, by default as in Radford et al., "DCGAN", 2015. Two time scales: give each player its own rate."""
    return optax.adam(learning_rate, b1=b1, b2=b2, eps=eps)


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
