"""Penalties that read what the discriminator returned, and make no pass of their own."""

import jax
import jax.numpy as jnp
from jax import lax

from ..outputs import features_of
from ..types import AxisName, Key, Logits, PyTree, Scalar
from .base import OutputPenalty, Outputs, total


def feature_matching() -> OutputPenalty:
    """Returns the sum over feature maps of `E |f(x) - f(G(z))|`, each a mean over its elements. For the generator.

    The discriminator returns `losses.LogitsAndFeatures`, alone or as a member of an ensemble. Sample i of the
    generated ones is compared with real sample i, so the generator's inputs must be paired with the real samples.
    No gradient goes through the features of the real ones. Larsen et al., 2016; Kumar et al., "High-fidelity audio
    compression with improved RVQGAN" (DAC), 2023, with the weight 2.

    Raises:
        ValueError: when it is applied, if the discriminator returns no features.
    """

    def apply(state: PyTree, real: Outputs, fake: Outputs, keys: Key) -> tuple[Scalar, PyTree]:
        pairs = list(zip(features_of(real.output), features_of(fake.output), strict=True))
        if not pairs:
            raise ValueError(
                "feature_matching needs a discriminator that returns losses.LogitsAndFeatures(logits, features), "
                "and this one returns logits alone"
            )
        return total([jnp.mean(jnp.abs(lax.stop_gradient(r) - f)) for r, f in pairs]), state

    return OutputPenalty("feature_matching", lambda: (), apply)


def lecam(decay: float = 0.999) -> OutputPenalty:
    """Returns `E max(0, D(x) - f)^2 + E max(0, r - D(G(z)))^2`. For the discriminator, where data are few.

    r and f are moving averages of the mean logit of real and generated samples over the global batch. They start
    at 0, and move after they were read. Tseng et al., "Regularizing generative adversarial networks under limited
    data", 2021, equation 6. Usual weights are 0.1 to 0.3 (BigGAN), and 0.001 in tokenizers.

    Args:
        decay: the share of the moving averages that stays in each update.

    Raises:
        ValueError: `decay` is not in [0, 1).
    """
    if not 0 <= decay < 1:
        raise ValueError(f"lecam needs a decay in [0, 1), got {decay}")

    def apply(
        state: PyTree, real: Outputs, fake: Outputs, keys: Key, *, axis_name: AxisName | None = None
    ) -> tuple[Scalar, PyTree]:
        above, below = jax.nn.relu(real.logit - state["fake"]), jax.nn.relu(state["real"] - fake.logit)
        means = {"real": _mean(real.logit, axis_name), "fake": _mean(fake.logit, axis_name)}
        moved = jax.tree.map(lambda old, new: decay * old + (1 - decay) * new.astype(old.dtype), state, means)
        return jnp.mean(above**2) + jnp.mean(below**2), lax.stop_gradient(moved)

    return OutputPenalty("lecam", lambda: {"real": jnp.zeros(()), "fake": jnp.zeros(())}, apply)


def logit_centering() -> OutputPenalty:
    """Returns `((E D(x) + E D(G(z))) / 2)^2`, with means over the global batch. For the discriminator.

    A relativistic loss reads differences of logits alone, so all of them together may drift until they lose
    precision. This penalty is 0 where they are centred, and does not read their differences. A small weight is
    enough, such as 0.01. With microbatches each part is centred.
    """

    def apply(
        state: PyTree, real: Outputs, fake: Outputs, keys: Key, *, axis_name: AxisName | None = None
    ) -> tuple[Scalar, PyTree]:
        return ((_mean(real.logit, axis_name) + _mean(fake.logit, axis_name)) / 2) ** 2, state

    return OutputPenalty("logit_centering", lambda: (), apply)


def _mean(logit: Logits, axis_name: AxisName | None) -> jax.Array:
    mean = jnp.mean(logit)
    return mean if axis_name is None else lax.pmean(mean, axis_name)
