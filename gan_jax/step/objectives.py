"""What the updates differentiate: the adversarial losses, with their weights and the penalties on outputs."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import jaxpr_as_fun

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
        by_image: the gradient by the images, `[B, *S]`: of the weighted loss and the penalty together; or, for an
            adaptive weight, of each alone, `(of the loss, of the penalty)`, where None stands for no penalty.
        penalty_states: the states of the generator's penalties.
        metrics: of these penalties.
    """

    loss: Scalar
    weight: jax.Array
    penalty: Scalar
    by_image: Images | tuple[Images, Images | None]
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
        reads_outputs = any(isinstance(term.penalty, OutputPenalty) for term in gan.generator_terms)

        def discriminate(samples: Samples) -> Logits:
            return self.discriminate(opponent.params, opponent.model_state, state.augment, samples)[0]

        def values(image: Images) -> tuple:
            fake = Samples(image, draws.label, draws.fake)
            # If nothing reads the output on the real images, the compiler drops their pass.
            on_real, on_fake = discriminate(real), discriminate(fake)
            loss = self.loss(gan.loss.generator, on_real, on_fake)
            if not reads_outputs:
                return vary((loss, jnp.zeros(())), self.axis_name), (own.penalty_states, {})
            outputs = (self.outputs(on_real, real), self.outputs(on_fake, fake), draws.penalty)
            penalty, states, metrics = self.penalties(state, seen, inputs)(
                gan.generator_terms, own.penalty_states, {OutputPenalty: outputs}
            )
            return vary((loss, penalty), self.axis_name), (states, metrics)

        def heard(image: Images) -> tuple:
            (loss, penalty), pullback, (states, metrics) = jax.vjp(values, image, has_aux=True)
            by_image = self.by_image(lambda by: pullback(by)[0], loss, penalty, weight, reads_outputs)
            return vary((loss, penalty, by_image, metrics), self.axis_name), states

        if not callable(gan.generator_weight):
            (loss, penalty, by_image, metrics), states = heard(own.image)
            return Adversarial(loss, weight, penalty, by_image, states, metrics)

        # While the weight is 0, the generator hears nothing of the discriminator: its passes are left out.
        heard, (like, _) = traced(heard, own.image)

        def silent(image: Images) -> tuple:
            zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), like)
            return vary(zeros, self.axis_name), own.penalty_states

        (loss, penalty, by_image, metrics), states = lax.cond(weight != 0, heard, silent, own.image)
        names = ("generator", *(name.partition("/")[2] for name in metrics if name.startswith("penalty/")))
        applied = {f"applied/{name}": (weight != 0).astype(jnp.float32) for name in names}
        return Adversarial(loss, weight, penalty, by_image, states, applied | metrics)

    def by_image(
        self,
        pullback: Callable[[tuple[jax.Array, jax.Array]], Images],
        loss: Scalar,
        penalty: Scalar,
        weight: jax.Array,
        reads_outputs: bool,
    ) -> Images | tuple[Images, Images | None]:
        """Returns `Adversarial.by_image`; `pullback` is `(d loss, d penalty) -> d images`."""
        one, zeros = jnp.ones_like(penalty), (jnp.zeros_like(loss), jnp.zeros_like(penalty))
        if self.gan.adaptive_weight is None:
            return pullback(vary((weight.astype(loss.dtype), one), self.axis_name))
        of_loss = pullback(vary((jnp.ones_like(loss), zeros[1]), self.axis_name))
        return of_loss, pullback(vary((zeros[0], one), self.axis_name)) if reads_outputs else None

    def generator_gradient(self, own: GeneratorPass, adversarial: Adversarial) -> tuple[PyTree, Scalar, Metrics]:
        """Returns the gradient of the generator's whole loss by its parameters, the loss, and the metrics.

        Args:
            own: the pass of the generator.
            adversarial: what the discriminator says about its images.
        """
        gan, weight, by_image = self.gan, adversarial.weight, adversarial.by_image
        if gan.adaptive_weight is not None:
            of_loss, of_penalty = by_image
            factor = adaptive_factor(gan.adaptive_weight, own, of_loss, of_penalty, self.axis_name)
            weight = weight * factor
            by_image = jax.tree.map(lambda g: weight.astype(g.dtype) * g, of_loss)
            by_image = by_image if of_penalty is None else jax.tree.map(jnp.add, by_image, of_penalty)
        (grads,) = own.pullback((by_image, jnp.ones_like(own.penalty)))
        weight = weight.astype(adversarial.loss.dtype)
        metrics = {"loss/generator": adversarial.loss, **own.metrics, **adversarial.metrics}
        if callable(gan.generator_weight) or gan.adaptive_weight is not None:
            metrics["weight/generator"] = weight
        return grads, weight * adversarial.loss + adversarial.penalty + own.penalty, metrics


def adaptive_factor(
    adaptive: AdaptiveWeight,
    own: GeneratorPass,
    of_loss: Images,
    of_penalty: Images | None,
    axis_name: AxisName | None,
) -> jax.Array:
    """Returns what the adversarial weight is multiplied with, see `AdaptiveWeight`.

    Only the last layer's part of each gradient is read, so the compiler leaves out the rest of the generator.

    Args:
        adaptive: says which the last layer is.
        own: the pass of the generator.
        of_loss, of_penalty: the gradients by the images of the adversarial loss and of the penalties on outputs.
        axis_name: the device axis under `pmap`, else None.
    """
    by_image, by_penalty = own.parts()
    adversarial = adaptive.last_layer(by_image(of_loss))
    terms = adaptive.last_layer(by_penalty(jnp.ones_like(own.penalty)))
    if of_penalty is not None:
        terms = jax.tree.map(jnp.add, terms, adaptive.last_layer(by_image(of_penalty)))
    adversarial, terms = pmean(widened((adversarial, terms)), axis_name)
    factor = global_norm(terms) / (global_norm(adversarial) + adaptive.eps)
    return lax.stop_gradient(jnp.minimum(factor, adaptive.most))


def traced(function: Callable[..., PyTree], *arguments: PyTree) -> tuple[Callable[..., PyTree], PyTree]:
    """Traces a function once; returns it as a function of such arguments, and the shapes of its results.

    A branch of `lax.cond` whose shapes the other one needs would be traced twice otherwise.
    """
    program, shapes = jax.make_jaxpr(function, return_shape=True)(*arguments)
    structure = jax.tree.structure(shapes)
    return lambda *given: jax.tree.unflatten(structure, jaxpr_as_fun(program)(*jax.tree.leaves(given))), shapes
