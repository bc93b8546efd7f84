"""What the updates differentiate: the adversarial losses, with their weights and the penalties on outputs."""

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from ..checks import axis_keyword
from ..gan import AdaptiveWeight
from ..losses import LossFunction
from ..penalties import OutputPenalty, Outputs
from ..pytree import widened
from ..state import GANState
from ..types import AxisName, Images, Logits, Metrics, PyTree, Samples, Scalar
from .devices import pmean, vary
from .generator_pass import GeneratorPass, GeneratorPasses
from .gradients import global_norm
from .inputs import UpdateInputs
from .mixing import check_separable
from .terms import weight_at


class Adversarial(NamedTuple):
    """What the discriminator says about generated images.

    Attributes:
        loss: the generator's adversarial loss, without its weight.
        weight: of that loss, without the adaptive factor.
        penalty: the weighted sum of the generator's penalties on outputs.
        by_images: `(d loss, d penalty) -> d images`.
        penalty_states: the states of the generator's penalties.
        metrics: of these penalties.
    """

    loss: Scalar
    weight: jax.Array
    penalty: Scalar
    by_images: Callable[[tuple[jax.Array, jax.Array]], Images]
    penalty_states: tuple[PyTree, ...]
    metrics: Metrics


@dataclasses.dataclass(frozen=True)
class Objectives(GeneratorPasses):
    """The losses of a `GAN`'s players."""

    def loss(self, function: LossFunction, real: Logits, fake: Logits) -> Scalar:
        if self.axis_name is not None:
            check_separable(function, real, fake)
        value = function(real, fake, **axis_keyword(function, self.axis_name))
        if jnp.shape(value) != ():
            raise ValueError(f"a loss must be a scalar, a mean over the batch, not an array {jnp.shape(value)}")
        return value

    def outputs(self, output: PyTree, samples: Samples) -> Outputs:
        """Returns what the discriminator returned for these samples, with the critic's logit."""
        return Outputs(output, self.logit(output, samples))

    def adversarial(
        self, state: GANState, inputs: UpdateInputs, own: GeneratorPass, seen: jax.Array
    ) -> Adversarial:
        """Has `state.discriminator` look at the images of a pass of the generator.

        Args:
            state: of the GAN.
            inputs: of the update.
            own: the pass of the generator on them.
            seen: images seen before this step, for schedules.
        """
        gan, opponent, draws = self.gan, state.discriminator, inputs.draws
        weight = weight_at(gan.generator_weight, seen)
        real = Samples(inputs.image, inputs.label, draws.real)
        on_outputs = any(isinstance(term.penalty, OutputPenalty) for term in gan.generator_terms)

        def discriminate(samples: Samples) -> Logits:
            return self.discriminate(opponent.params, opponent.model_state, state.augment, samples)[0]

        def values(image: Images) -> tuple:
            fake = Samples(image, draws.label, draws.fake)
            # If nothing reads the output on the real images, the compiler drops their pass.
            on_real, on_fake = discriminate(real), discriminate(fake)
            loss = self.loss(gan.loss.generator, on_real, on_fake)
            if not on_outputs:
                return vary((loss, jnp.zeros(())), self.axis_name), (own.penalty_states, {})
            outputs = (self.outputs(on_real, real), self.outputs(on_fake, fake), draws.penalty)
            penalty, states, metrics = self.penalties(state, seen, inputs)(
                gan.generator_terms, own.penalty_states, {OutputPenalty: outputs}
            )
            return vary((loss, penalty), self.axis_name), (states, metrics)

        if callable(gan.generator_weight) and not on_outputs:
            # Until the weight is above 0, nothing reads the discriminator: its passes are left out.
            loss_of = jax.value_and_grad(lambda image: values(image)[0][0])
            silent = functools.partial(self._silent, jax.eval_shape(loss_of, own.image)[0].dtype)
            loss, by_image = lax.cond(weight != 0, loss_of, silent, own.image)
            scaled = lambda by: jax.tree.map(lambda g: by[0].astype(g.dtype) * g, by_image)  # noqa: E731
            metrics = {"applied/generator": (weight != 0).astype(jnp.float32)}
            return Adversarial(loss, weight, jnp.zeros(()), scaled, own.penalty_states, metrics)
        (loss, penalty), pullback, (states, metrics) = jax.vjp(values, own.image, has_aux=True)

        def by_images(by: tuple[jax.Array, jax.Array]) -> Images:
            return pullback(vary(by, self.axis_name))[0]

        return Adversarial(loss, weight, penalty, by_images, states, metrics)

    def _silent(self, dtype: jax.typing.DTypeLike, image: Images) -> tuple[Scalar, Images]:
        """Returns the loss of a discriminator that says nothing, and its gradient."""
        return vary((jnp.zeros((), dtype), jax.tree.map(jnp.zeros_like, image)), self.axis_name)

    def generator_gradient(self, own: GeneratorPass, adversarial: Adversarial) -> tuple[PyTree, Scalar, Metrics]:
        """Returns the gradient of the generator's whole loss by its parameters, the loss, and the metrics.

        Args:
            own: the pass of the generator.
            adversarial: what the discriminator says about its images.
        """
        gan, weight = self.gan, adversarial.weight
        if gan.adaptive_weight is not None:
            weight = weight * adaptive_factor(gan.adaptive_weight, own, adversarial, self.axis_name)
        weight = weight.astype(adversarial.loss.dtype)
        by_image = adversarial.by_images((weight, jnp.ones_like(adversarial.penalty)))
        (grads,) = own.pullback((by_image, jnp.ones_like(own.penalty)))
        metrics = {"loss/generator": adversarial.loss, **own.metrics, **adversarial.metrics}
        if callable(gan.generator_weight) or gan.adaptive_weight is not None:
            metrics["weight/generator"] = weight
        return grads, weight * adversarial.loss + adversarial.penalty + own.penalty, metrics


def adaptive_factor(
    adaptive: AdaptiveWeight, own: GeneratorPass, adversarial: Adversarial, axis_name: AxisName | None
) -> jax.Array:
    """Returns what the adversarial weight is multiplied with, see `AdaptiveWeight`."""

    def by_last_layer(of_loss: float, of_terms: float) -> PyTree:
        by = jnp.full_like(adversarial.loss, of_loss), jnp.full_like(adversarial.penalty, of_terms)
        (grads,) = own.pullback((adversarial.by_images(by), jnp.full_like(own.penalty, of_terms)))
        return adaptive.last_layer(grads)  # nothing reads the rest, so the compiler leaves it out

    of_loss, of_terms = pmean(widened((by_last_layer(1.0, 0.0), by_last_layer(0.0, 1.0))), axis_name)
    factor = global_norm(of_terms) / (global_norm(of_loss) + adaptive.eps)
    return lax.stop_gradient(jnp.minimum(factor, adaptive.most))
