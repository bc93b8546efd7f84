"""Optax optimizers with the settings that GANs are trained with. Any `optax.GradientTransformation` works too."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import optax

from .types import Number, PyTree

__all__ = ["adam", "lazy_adam", "rmsprop", "sgd"]  # what a config may name


def adam(
    learning_rate: optax.ScalarOrSchedule = 2e-4,
    b1: Number = 0.5,
    b2: optax.ScalarOrSchedule = 0.999,
    eps: Number = 1e-8,
) -> optax.GradientTransformation:
    """Adam; the defaults are those of Radford et al., "DCGAN", 2015.

    For two time scales, give each player its own learning rate.

    Where `b2` is a schedule, an update reads it at the number of updates already done, and corrects the bias with
    that value alone: `v <- b2 v + (1 - b2) g^2`, `v_hat = v / (1 - b2^t)`. PyTorch's Adam does the same when its
    `b2` is changed during training. The state has the same structure with and without a schedule.
    """
    if not callable(b2):
        return optax.adam(learning_rate, b1=b1, b2=b2, eps=eps)
    return optax.chain(_scale_by_adam(b1, b2, eps), optax.scale_by_learning_rate(learning_rate))


def _scale_by_adam(b1: Number, b2: optax.Schedule, eps: Number) -> optax.GradientTransformation:
    def update(updates: PyTree, state: PyTree, params: PyTree = None) -> tuple[PyTree, PyTree]:
        current = optax.scale_by_adam(b1=b1, b2=b2(state.count), eps=eps)
        return current.update(updates, state, params)

    return optax.GradientTransformation(optax.scale_by_adam(b1=b1, eps=eps).init, update)


def sgd(
    learning_rate: optax.ScalarOrSchedule = 1e-2, momentum: Number | None = None
) -> optax.GradientTransformation:
    """Stochastic gradient descent."""
    return optax.sgd(learning_rate, momentum=momentum)


def rmsprop(
    learning_rate: optax.ScalarOrSchedule = 5e-5, decay: Number = 0.99, eps: Number = 1e-8
) -> optax.GradientTransformation:
    """RMSProp; the default learning rate is that of Arjovsky et al., "Wasserstein GAN", 2017."""
    return optax.rmsprop(learning_rate, decay=decay, eps=eps)


def lazy_adam(
    learning_rate: optax.ScalarOrSchedule = 2e-3,
    b1: Number = 0.0,
    b2: optax.ScalarOrSchedule = 0.99,
    k: int = 16,
    eps: Number = 1e-8,
) -> optax.GradientTransformation:
    """StyleGAN2's Adam for a player whose penalty acts every `k` steps; use it only to repeat published numbers.

    With c = k / (k + 1) it is `adam(c learning_rate, b1 ** c, b2 ** c)`, also for schedules. In StyleGAN2 the lazy
    penalty has an update of its own, so `k` training steps are `k + 1` updates of Adam. Here the penalty is part
    of the step's update, so plain `adam` needs no correction. Karras et al., "StyleGAN2", 2020, appendix B.

    Raises:
        ValueError: `k` is below 1.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    c = k / (k + 1)
    return adam(_transformed(learning_rate, lambda rate: c * rate), b1**c, _transformed(b2, lambda b: b**c), eps)


def freeze_first(
    tx: optax.GradientTransformation, blocks: Callable[[list[str]], Sequence[Sequence[str]]], count: int
) -> optax.GradientTransformation:
    """Leaves the parameters of a network's first blocks as they are, and updates the others with `tx`.

    For a discriminator that begins with the weights of another run: Mo et al., "Freeze the discriminator", 2020,
    arXiv:2002.10964. Frozen parameters have no state of the optimizer, and it does not see their gradients.

    Only parameters are frozen. What a block updates by itself, outside of the optimizer, goes on: the running
    statistics of batch norm, and the vectors u of spectral norm.

    Args:
        tx: the optimizer.
        blocks: turns the keys of `params` into the keys of each block, the block nearest to the image first, such
            as the method `image_blocks` of a discriminator in `gan_jax.models`.
        count: the number of blocks that are frozen.

    Raises:
        ValueError: from `init`, if there are fewer blocks.
    """

    def labels(params: PyTree) -> PyTree:
        ordered = blocks(list(params))
        if count > len(ordered):
            names = "; ".join(", ".join(block) for block in ordered)
            raise ValueError(f"{count} blocks can't be frozen: there are {len(ordered)} ({names})")
        frozen = {name for block in ordered[:count] for name in block}
        kinds = {name: "frozen" if name in frozen else "trained" for name in params}
        return {name: jax.tree.map(lambda _, kind=kinds[name]: kind, part) for name, part in params.items()}

    return optax.partition({"trained": tx, "frozen": optax.set_to_zero()}, labels)


def _transformed(value: optax.ScalarOrSchedule, function: Callable[[Any], Any]) -> optax.ScalarOrSchedule:
    """Applies `function` to a number, or to every value of a schedule."""
    return (lambda count: function(value(count))) if callable(value) else function(value)
