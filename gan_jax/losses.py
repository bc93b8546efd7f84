"""GAN losses: what the generator and the discriminator minimise, as functions of logits.

Each function takes `(real_logits, fake_logits)` and returns a scalar to be minimised, a mean over the batch.
Below, `r` and `f` are the discriminator's logits of real and generated samples, and `s` is the logistic sigmoid.
`over_members` turns each of them into the loss of several discriminators, with features or without.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax.nn import relu, softplus

from .outputs import LogitsAndFeatures as LogitsAndFeatures
from .outputs import features_of as features_of
from .outputs import logits_of as logits_of
from .types import Logits, PyTree, Scalar


@runtime_checkable
class LossFunction(Protocol):
    """Computes the loss of one player from the logits of a batch."""

    def __call__(self, real: Logits, fake: Logits, /) -> Scalar:
        """Returns the loss, a mean over the batch.

        Args:
            real: the discriminator's output on real samples, at least float32: `[B]` or `[B, 1]` as a rule, or the
                pytree that the discriminator returns.
            fake: its output on generated samples, in the same shape.

        A loss that mixes samples takes a keyword `axis_name` besides: the device axis under `pmap`, else None.
        """
        ...


def _whole_output(output: PyTree) -> PyTree:
    """Returns the output itself: the logit of a discriminator that returns nothing else."""
    return output


class Loss(NamedTuple):
    """The losses of both players.

    Attributes:
        generator: what the generator minimises.
        discriminator: what the discriminator minimises.
        logit: takes the critic's logit out of what the discriminator returns, if that is a pytree (logits and
            classes, for one). Penalties, adaptive augmentation and the metrics `logits/*` read the logit alone. It
            is `[B]`, `[B, 1]` or, for patches, a map `[B, h, w]`.
    """

    generator: LossFunction
    discriminator: LossFunction
    logit: Callable[[PyTree], Logits] = _whole_output


def _cross_entropy(real: Logits, fake: Logits, real_label: float) -> Scalar:
    # -log s(r) = softplus(-r), and -log(1 - s(r)) = softplus(r): both are finite for any logit.
    on_real = real_label * softplus(-real) + (1 - real_label) * softplus(real)
    return jnp.mean(on_real) + jnp.mean(softplus(fake))


def minimax(real_label: float = 1.0) -> Loss:
    """The zero-sum GAN: D minimises `-E log s(r) - E log(1 - s(f))`, G minimises `E log(1 - s(f))`.

    At the equilibrium both logits are 0: D's loss is `2 log 2` and G's is `-log 2`. G's gradient vanishes where D
    separates real from generated samples, so train with `non_saturating` instead.

    Args:
        real_label: D's target on real samples; below 1 it is one-sided label smoothing (Salimans et al., 2016).

    Goodfellow et al., "Generative Adversarial Nets", 2014, equation 1.
    """
    return Loss(
        generator=lambda real, fake: -jnp.mean(softplus(fake)),
        discriminator=lambda real, fake: _cross_entropy(real, fake, real_label),
    )


def non_saturating(real_label: float = 1.0) -> Loss:
    """Binary cross-entropy for both players: D as in `minimax`, G minimises `-E log s(f)`.

    Args:
        real_label: D's target on real samples; below 1 it is one-sided label smoothing.

    Goodfellow et al., 2014, section 3.
    """
    return Loss(
        generator=lambda real, fake: jnp.mean(softplus(-fake)),
        discriminator=lambda real, fake: _cross_entropy(real, fake, real_label),
    )


def least_squares(a: float = 0.0, b: float = 1.0, c: float = 1.0) -> Loss:
    """D minimises `E(r - b)^2 / 2 + E(f - a)^2 / 2`, G minimises `E(f - c)^2 / 2`.

    Mao et al., "Least Squares Generative Adversarial Networks", 2017, equation 2.
    """
    return Loss(
        generator=lambda real, fake: jnp.mean((fake - c) ** 2) / 2,
        discriminator=lambda real, fake: jnp.mean((real - b) ** 2) / 2 + jnp.mean((fake - a) ** 2) / 2,
    )


def hinge() -> Loss:
    """D minimises `E max(0, 1 - r) + E max(0, 1 + f)`, G minimises `-E f`.

    Lim and Ye, "Geometric GAN", 2017; Miyato et al., 2018, equations 16 and 17.
    """
    return Loss(
        generator=lambda real, fake: -jnp.mean(fake),
        discriminator=lambda real, fake: jnp.mean(relu(1 - real)) + jnp.mean(relu(1 + fake)),
    )


def wasserstein() -> Loss:
    """D minimises `E f - E r`, G minimises `-E f`; D must be kept Lipschitz, as with `penalties.wgan_gp`.

    Arjovsky et al., "Wasserstein GAN", 2017.
    """
    return Loss(
        generator=lambda real, fake: -jnp.mean(fake),
        discriminator=lambda real, fake: jnp.mean(fake) - jnp.mean(real),
    )


def relativistic() -> Loss:
    """Compares samples in pairs: D minimises `E softplus(f - r)`, G minimises `E softplus(r - f)`.

    Both losses are `log 2` where D cannot tell the two samples apart. Jolicoeur-Martineau, "The relativistic
    discriminator", 2018 (RpGAN); Huang et al., "The GAN is dead; long live the GAN!", 2024, equation 2.
    """
    return Loss(
        generator=lambda real, fake: jnp.mean(softplus(real - fake)),
        discriminator=lambda real, fake: jnp.mean(softplus(fake - real)),
    )


def over_members(loss: Loss, mean: bool = False) -> Loss:
    """Returns the loss of a discriminator that returns several logits, or features beside its logits.

        discriminator = networks.ensemble({"full": d1, "half": networks.after(downsample, d2)})
        loss = losses.over_members(losses.least_squares())

    The discriminator returns an array of logits, `LogitsAndFeatures`, or a tuple, list or dict of these (see
    `networks.ensemble`): each of them is a member. `loss` is computed on the logits of each member, a mean over
    its own elements, and each player minimises the sum over the members. Features are not read here: a
    term such as `penalties.feature_matching` reads them.

    The critic's logit is that of all members together, `[B, n, 1]` with every element of every map. So gradient
    penalties differentiate the sum over all of them, and the metrics `logits/*` are means over all of them.

    Args:
        loss: a loss of one array of logits.
        mean: each player minimises the mean over the members instead of the sum.

    Raises:
        ValueError: `loss` takes its own logit out of what the discriminator returns (`Loss.logit`).

    The sum is that of Kumar et al., "High-fidelity audio compression with improved RVQGAN" (DAC), 2023, and of
    Kong et al., "HiFi-GAN", 2020, both with `least_squares` (up to a factor of 2).
    """
    if loss.logit is not _whole_output:
        raise ValueError(
            "over_members takes a loss of one array of logits, but this one has a function `logit` of its own: "
            "let the discriminator return arrays of logits, or gan_jax.losses.LogitsAndFeatures(logits, features)"
        )
    return Loss(_summed(loss.generator, mean), _summed(loss.discriminator, mean), _all_logits)


def _summed(function: LossFunction, mean: bool) -> LossFunction:
    # `wraps` keeps the signature and the module: they say if the loss takes `axis_name`, and whose loss it is.
    @functools.wraps(function)
    def summed(real: PyTree, fake: PyTree, **keywords: PyTree) -> Scalar:
        pairs = list(zip(logits_of(real), logits_of(fake), strict=True))
        total = sum((function(r, f, **keywords) for r, f in pairs[1:]), function(*pairs[0], **keywords))
        return total / len(pairs) if mean else total

    return summed


def _all_logits(output: PyTree) -> jax.Array:
    """Returns the logits of all members as one map, `[B, n, 1]`."""
    logits = logits_of(output)
    if not logits or any(not jnp.ndim(one) for one in logits):
        raise ValueError(
            f"the discriminator's members return logits of the shapes {[jnp.shape(one) for one in logits]}: there "
            "must be one member or more, and the first axis of each must be the batch"
        )
    return jnp.concatenate([one.reshape(one.shape[0], -1) for one in logits], axis=1)[..., None]
