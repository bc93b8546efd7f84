"""What a penalty is, and what several penalties compute with."""

import functools
import operator
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from ..pytree import widened
from ..types import Critic, Generate, Images, Key, Latents, Logits, PyTree, Samples, Scalar


@runtime_checkable
class DiscriminatorPenalty(Protocol):
    """The function of a penalty on the discriminator."""

    def __call__(
        self, state: PyTree, critic: Critic, real: Samples, fake: Samples, key: Key, /
    ) -> tuple[Scalar, PyTree]:
        """Returns the value, a mean over the batch, and the new state. `key` is `[B]`, one key for each sample."""
        ...


@runtime_checkable
class GeneratorPenalty(Protocol):
    """The function of a penalty on the generator."""

    def __call__(
        self, state: PyTree, generate: Generate, latents: Latents, real: Samples, key: Key, /
    ) -> tuple[Scalar, PyTree]:
        """Returns the value, a mean over the batch, and the new state. `key` is `[B]`, one key for each sample."""
        ...


class Penalty(NamedTuple):
    """A penalty on one player.

    Attributes:
        name: its metric is `penalty/<name>`.
        init: returns the state that it starts with; `()` if it keeps none.
        apply: computes the penalty. If its signature names `axis_name`, it gets the device axis under `pmap`, else
            None: a penalty that mixes samples, or keeps state, needs it. Its state must be the same on every
            device. If it names `frozen`, it gets the third argument of the step; if it names `batch`, all fields
            of the batch, with images in [-1, 1].
        joint: the penalty shares no pass over the real or the generated samples alone with the loss, so a
            discriminator may read both as one batch (`GAN.joint_pass`). False: each is a batch of its own, unless
            the penalty is lazy, since the penalty would repeat a pass otherwise.
        compared: of a penalty on the generator that is a mean over samples of what it compares: returns that,
            a pytree of `[B, ...]`, from `(frozen, output of the generator, its inputs, real)`. So a step over
            several devices can see that functions of its user keep samples apart, and need not run them.
        apart: it treats samples apart, although `apply` names `axis_name`. So microbatches do not change it, and
            `step.mixes_samples` does not list it.
    """

    name: str
    init: Callable[[], PyTree]
    apply: DiscriminatorPenalty | GeneratorPenalty
    joint: bool = False
    compared: Callable[[PyTree, PyTree, Latents, Samples], PyTree] | None = None
    apart: bool = False


class Outputs(NamedTuple):
    """What the discriminator returned for a batch.

    Attributes:
        output: all of it, at least float32: logits, or a pytree with logits and features.
        logit: the critic's logit, which `Loss.logit` takes out of it.
    """

    output: PyTree
    logit: Logits


@runtime_checkable
class OutputFunction(Protocol):
    """The function of a penalty on what the discriminator returns."""

    def __call__(self, state: PyTree, real: Outputs, fake: Outputs, key: Key, /) -> tuple[Scalar, PyTree]:
        """Returns the value, a mean over the batch, and the new state. `key` is `[B]`, one key for each sample."""
        ...


class OutputPenalty(NamedTuple):
    """A penalty on one player that reads what the discriminator returned, and makes no pass of its own.

    In the discriminator's update these are the outputs that its loss reads. In the generator's update they are
    those of the discriminator that the generator's loss reads (the new one, if `GAN.update` is "alternating"), on
    the batch's real samples and on the generated ones.

    Attributes:
        name, init, apply, apart: as in `Penalty`.
    """

    name: str
    init: Callable[[], PyTree]
    apply: OutputFunction
    apart: bool = False


def stateless(name: str, value: Callable[..., Scalar], joint: bool = False) -> Penalty:
    """Returns a penalty without a state; `value` gets what `Penalty.apply` gets after its state."""
    return Penalty(name, lambda: (), lambda state, *arguments: (value(*arguments), state), joint)


def calling(penalty: Penalty, *functions: Callable | None) -> Penalty:
    """Returns a penalty that calls functions of its user, so that it is checked as one of theirs.

    A step over several devices trusts a penalty whose `apply` is of this package, by the name of its module.
    """
    for function in functions:
        while isinstance(function, functools.partial):
            function = function.func
        module = getattr(function, "__module__", None)
        if module and module.partition(".")[0] != __name__.partition(".")[0]:
            penalty.apply.__module__ = module
    return penalty


def image_gradient(critic: Critic, samples: Samples) -> Images:
    """Returns the gradient of each sample's logit (for patches: of their sum) by its image, `[B, *S]`.

    The pullback of ones is the gradient of the *sum* of logits. Row i is the gradient of logit i if the critic
    treats samples apart. If it mixes them (batch statistics), row i is the gradient of all logits by image i.
    """
    logits, pullback = jax.vjp(lambda image: critic(samples._replace(image=image)), samples.image)
    return pullback(jnp.ones_like(logits))[0]


def squared_norm(gradient: Images) -> jax.Array:
    """Returns the squared Euclidean norm of each sample, over all leaves, `[B]`, in float32 at least."""
    squares = [jnp.sum(leaf**2, axis=tuple(range(1, leaf.ndim))) for leaf in jax.tree.leaves(widened(gradient))]
    return total(squares)


def total(values: Sequence[jax.Array]) -> jax.Array:
    """Returns the sum of one array or more, in their order."""
    return functools.reduce(operator.add, values)


def safe_norm(square: jax.Array) -> jax.Array:
    """`sqrt`, with derivative 0 instead of infinity at 0."""
    positive = square > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1.0)), 0.0)
