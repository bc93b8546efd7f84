"""The updates of a step: one of the discriminator, one of the generator.

An update takes the gradient of the player's loss on its batch (over microbatches, if the GAN has them), averages
it over the devices, and makes one optimizer step. A network's model state changes in its own player's update only;
the other player's update reads it.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from ..checks import axis_keyword, takes
from ..losses import LossFunction
from ..networks import refresh
from ..pytree import widened
from ..state import GANState, PlayerState
from ..types import Images, Key, Labels, Latents, Logits, Metrics, PyTree, Samples, Scalar
from .devices import gather, pmean, vary
from .draws import global_batch
from .gradients import global_norm
from .inputs import UpdateInputs
from .microbatches import over_microbatches
from .mixing import check_separable
from .passes import Passes
from .terms import weighted_sum


class GeneratorPass(NamedTuple):
    """One pass of the generator, which both players' updates can use.

    Attributes:
        image: the generated images, `[B, *S]`.
        penalty: the weighted sum of the generator's penalties.
        pullback: `(d image, d penalty) -> (d params,)`.
        model_state: the generator's model state after the pass.
        penalty_states: the states of its penalties after the pass.
        metrics: of its penalties.
    """

    image: Images
    penalty: Scalar
    pullback: Callable[[tuple[Images, Scalar]], tuple[PyTree]]
    model_state: dict[str, PyTree]
    penalty_states: tuple[PyTree, ...]
    metrics: Metrics


@dataclasses.dataclass(frozen=True)
class Updates(Passes):
    """The updates of a `GAN`, on the device axis `axis_name` (under `pmap`) or on none."""

    # -- the two updates

    def discriminator(
        self, state: GANState, inputs: UpdateInputs, generated: GeneratorPass | None
    ) -> tuple[PlayerState, Logits, Metrics, PyTree]:
        """Updates the discriminator once.

        Args:
            state: of the GAN.
            inputs: of this update.
            generated: the pass of the generator on these inputs, if it was made already.

        Returns:
            The discriminator, the logit of the real images of the global batch, the metrics, and the gradient
            before the mean over devices.
        """
        gan, player, generator = self.gan, state.discriminator, state.generator
        seen = self.images_seen(state, inputs)

        def gradients(carry: tuple, inputs: UpdateInputs) -> tuple:
            model_state, penalty_states = carry
            draws, image = inputs.draws, inputs.fake
            if image is None:
                image, _ = self.generate(generator.params, generator.model_state, draws.latents, draws)
            real = Samples(inputs.image, inputs.label, draws.real)
            fake = Samples(lax.stop_gradient(image), draws.label, draws.fake)
            joint = self.is_joint(player.params, model_state, state.augment, real, fake)

            def objective(params: PyTree) -> tuple:
                discriminator = (params, model_state, state.augment)
                critic = self.critic(*discriminator, joint)
                on_real, on_fake, after = self.discriminate_both(*discriminator, real, fake, joint)
                loss = self.loss(gan.loss.discriminator, on_real, on_fake)
                penalty, states, metrics = weighted_sum(
                    gan.discriminator_terms, penalty_states,
                    (critic, real, fake, draws.penalty), state.step, seen, self.axis_name,
                )  # fmt: skip
                logit = self.logit(on_real, real)
                metrics |= {"loss/discriminator": loss, "logits/real": jnp.mean(logit)}
                metrics |= {"logits/fake": jnp.mean(self.logit(on_fake, fake))}
                return loss + penalty, ((after, states), logit, metrics)

            by_params = jax.value_and_grad(objective, has_aux=True)
            (value, (carry, logit, metrics)), grads = by_params(vary(player.params, self.axis_name))
            return grads, carry, logit, (value, metrics)

        carry = (refresh(gan.discriminator, player.params, player.model_state), player.penalties)
        if generated is not None:
            inputs = inputs._replace(fake=generated.image)
        grads, carry, logit, (value, metrics) = over_microbatches(
            gradients, carry, inputs, gan.microbatches, self.axis_name
        )
        player, metrics = self.apply_gradients(
            gan.discriminator_tx, player, grads, value, carry, metrics, "grad_norm/discriminator"
        )
        return player, gather(logit, self.axis_name), metrics, grads

    def generator(
        self, state: GANState, inputs: UpdateInputs, generated: GeneratorPass | None
    ) -> tuple[PlayerState, Metrics]:
        """Updates the generator once, against `state.discriminator`.

        Args:
            state: of the GAN.
            inputs: of this update.
            generated: the pass of the generator on these inputs, if it was made already.

        Returns:
            The generator and the metrics.
        """
        gan, player, opponent = self.gan, state.generator, state.discriminator
        seen = self.images_seen(state, inputs)

        def gradients(carry: tuple, inputs: UpdateInputs) -> tuple:
            draws = inputs.draws
            own = generated or self._generator_pass(state, seen, carry, inputs)

            def loss(image: Images) -> jax.Array:
                def logits(image: Images, label: Labels | None, key: Key) -> Logits:
                    samples = Samples(image, label, key)
                    return self.discriminate(opponent.params, opponent.model_state, state.augment, samples)[0]

                # If the loss does not read the logits of the real images, the compiler drops their pass.
                on_real = logits(inputs.image, inputs.label, draws.real)
                return self.loss(gan.loss.generator, on_real, logits(image, draws.label, draws.fake))

            value, by_image = jax.value_and_grad(loss)(own.image)
            (grads,) = own.pullback((by_image, jnp.ones_like(own.penalty)))
            carry = (own.model_state, own.penalty_states)
            return grads, carry, None, (value + own.penalty, {"loss/generator": value, **own.metrics})

        carry = (player.model_state, player.penalties)
        grads, carry, _, (value, metrics) = over_microbatches(
            gradients, carry, inputs, gan.microbatches, self.axis_name
        )
        return self.apply_gradients(gan.generator_tx, player, grads, value, carry, metrics, "grad_norm/generator")

    # -- what they are made of

    def images_seen(self, state: GANState, inputs: UpdateInputs) -> jax.Array:
        """Returns the images seen before this step: what schedules are functions of."""
        return state.step.astype(float) * global_batch(inputs.image.shape[0], self.axis_name)

    def loss(self, function: LossFunction, real: Logits, fake: Logits) -> Scalar:
        if self.axis_name is not None:
            check_separable(function, real, fake)
        value = function(real, fake, **axis_keyword(function, self.axis_name))
        if jnp.shape(value) != ():
            raise ValueError(f"a loss must be a scalar, a mean over the batch, not an array {jnp.shape(value)}")
        return value

    def refresh_generator(self, state: GANState) -> GANState:
        """Returns the state at the start of the generator's update (see `Network.refresh`)."""
        player = state.generator
        model_state = refresh(self.gan.generator, player.params, player.model_state)
        return state.replace(generator=player.replace(model_state=model_state))

    def generator_pass(self, state: GANState, inputs: UpdateInputs) -> GeneratorPass:
        """Makes the pass of the generator that both players' updates use."""
        carry = (state.generator.model_state, state.generator.penalties)
        return self._generator_pass(state, self.images_seen(state, inputs), carry, inputs)

    def _generator_pass(
        self, state: GANState, seen: jax.Array, carry: tuple, inputs: UpdateInputs
    ) -> GeneratorPass:
        model_state, penalty_states = carry
        draws = inputs.draws
        real = Samples(inputs.image, inputs.label, draws.real)

        def run(params: PyTree) -> tuple:
            image, new_state = self.generate(params, model_state, draws.latents, draws)

            def generate(latents: Latents, /, **keywords: PyTree) -> PyTree:
                if latents is draws.latents and not keywords:
                    return image  # the pass that was just made
                return self.generate(params, model_state, latents, draws, **keywords)[0]

            penalty, states, metrics = weighted_sum(
                self.gan.generator_terms, penalty_states,
                (generate, draws.latents, real, draws.penalty), state.step, seen, self.axis_name,
            )  # fmt: skip
            return (image, penalty), (new_state, states, metrics)

        params = vary(state.generator.params, self.axis_name)
        (image, penalty), pullback, (new_state, states, metrics) = jax.vjp(run, params, has_aux=True)
        return GeneratorPass(image, penalty, pullback, new_state, states, metrics)

    def apply_gradients(
        self,
        tx: optax.GradientTransformation,
        player: PlayerState,
        grads: PyTree,
        value: Scalar,
        carry: tuple,
        metrics: Metrics,
        norm: str,
    ) -> tuple[PlayerState, Metrics]:
        """Makes one optimizer step with the mean gradient over devices; `norm` is the name of its metric.

        The optimizer computes in float32 at least. If it takes `value`, it gets the player's loss with penalties.
        """
        value, metrics = pmean((value, metrics), self.axis_name)
        keywords = {"value": value} if takes(tx.update, "value") else {}
        params, opt_state, length = self.optimize(tx, player, widened(grads), keywords, norm.rpartition("/")[2])
        model_state, penalty_states = carry
        player = PlayerState(params=params, model_state=model_state, opt_state=opt_state, penalties=penalty_states)
        return player, {**metrics, norm: length}

    def optimize(
        self,
        tx: optax.GradientTransformation,
        player: PlayerState,
        grads: PyTree,
        keywords: dict[str, PyTree],
        name: str,
    ) -> tuple[PyTree, PyTree, jax.Array]:
        """Returns the player's new parameters, the optimizer's new state, and the norm of the mean gradient.

        Args:
            tx: the optimizer.
            player: before its update.
            grads: of this device, in float32 at least.
            keywords: further arguments of `tx.update`.
            name: "generator" or "discriminator".
        """
        grads = pmean(grads, self.axis_name)
        updates, opt_state = tx.update(grads, player.opt_state, widened(player.params), **keywords)
        return optax.apply_updates(player.params, updates), opt_state, global_norm(grads)

    # -- for a state that is split over the devices (`split_state.py`)

    def whole(self, state: GANState) -> GANState:
        """Returns the state with whole leaves wherever an update reads them."""
        return state

    def whole_discriminator(self, player: PlayerState) -> PlayerState:
        """Returns the discriminator after an update, with whole parameters."""
        return player

    def share(self, player: PlayerState, name: str) -> PlayerState:
        """Returns this device's share of the player `name` after its update."""
        return player

    def share_augment(self, augment: PyTree) -> PyTree:
        """Returns this device's share of the state of the augmentation."""
        return augment
