"""The updates of a step: one of the discriminator, one of the generator.

An update takes the gradient of the player's loss on its batch (over microbatches, if the GAN has them), averages
it over the devices, and makes one optimizer step. A network's model state changes in its own player's update only;
the other player's update reads it.
"""

import dataclasses

import jax
import jax.numpy as jnp
import optax
from jax import lax

from ..checks import takes
from ..networks import refresh
from ..outputs import split_output
from ..penalties import OutputPenalty, Penalty
from ..pytree import widened
from ..state import GANState, PlayerState
from ..types import Logits, Metrics, PyTree, Samples, Scalar
from .devices import gather, pmean, vary
from .generator_pass import GeneratorPass
from .gradients import global_norm
from .inputs import UpdateInputs
from .microbatches import over_microbatches
from .objectives import Objectives, traced
from .terms import only_if, weight_at


@dataclasses.dataclass(frozen=True)
class Updates(Objectives):
    """The updates of a `GAN`, on the device axis `axis_name` (under `pmap`) or on none."""

    # -- the two updates

    def discriminator(
        self, state: GANState, inputs: UpdateInputs, generated: GeneratorPass | None
    ) -> tuple[PlayerState, Logits, Metrics, PyTree]:
        """Updates the discriminator once, or leaves it as it is while its weight is 0.

        Args:
            state: of the GAN.
            inputs: of this update.
            generated: the pass of the generator on these inputs, if it was made already.

        Returns:
            The discriminator, the logit of the real images of the global batch, the metrics, and the gradient
            before the mean over devices (None, if the weight is a schedule).
        """
        weight = weight_at(self.gan.discriminator_weight, self.images_seen(state, inputs))
        if not callable(self.gan.discriminator_weight):
            return self._discriminator(state, inputs, generated, weight)

        def update() -> tuple[PlayerState, Logits, Metrics]:
            player, logit, metrics, _ = self._discriminator(state, inputs, generated, weight)
            return player, logit, only_if(weight > 0, metrics, "discriminator", self.gan.discriminator_terms)

        update, (_, *like) = traced(update)

        def rest() -> tuple[PlayerState, Logits, Metrics]:
            zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), like)
            return self.unchanged(state.discriminator), *zeros

        player, logit, metrics = lax.cond(weight > 0, update, rest)
        return player, logit, {**metrics, "weight/discriminator": weight}, None

    def _discriminator(
        self, state: GANState, inputs: UpdateInputs, generated: GeneratorPass | None, weight: jax.Array
    ) -> tuple[PlayerState, Logits, Metrics, PyTree]:
        gan, player, generator = self.gan, state.discriminator, state.generator
        seen = self.images_seen(state, inputs)

        def gradients(carry: tuple, inputs: UpdateInputs) -> tuple:
            model_state, penalty_states = carry
            draws, image = inputs.draws, inputs.fake
            if image is None:
                output, _ = self.generate(generator.params, generator.model_state, draws.latents, draws)
                image, _ = split_output(output)
            real = Samples(inputs.image, inputs.label, draws.real)
            fake = Samples(lax.stop_gradient(image), draws.label, draws.fake)
            joint = self.is_joint(player.params, model_state, state.augment, real, fake)

            def objective(params: PyTree) -> tuple:
                discriminator = (params, model_state, state.augment)
                critic = self.critic(*discriminator, joint)
                on_real, on_fake, after = self.discriminate_both(*discriminator, real, fake, joint)
                loss = self.loss(gan.loss.discriminator, on_real, on_fake)
                of_real, of_fake = self.outputs(on_real, real), self.outputs(on_fake, fake)
                penalty, states, metrics = self.penalties(state, seen, inputs)(
                    gan.discriminator_terms, penalty_states,
                    {
                        Penalty: (critic, real, fake, draws.penalty),
                        OutputPenalty: (of_real, of_fake, draws.penalty),
                    },
                )  # fmt: skip
                metrics |= {"loss/discriminator": loss, "logits/real": jnp.mean(of_real.logit)}
                metrics |= {"logits/fake": jnp.mean(of_fake.logit)}
                return weight.astype(loss.dtype) * loss + penalty, ((after, states), of_real.logit, metrics)

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
        gan, player = self.gan, state.generator
        seen = self.images_seen(state, inputs)

        def gradients(carry: tuple, inputs: UpdateInputs) -> tuple:
            own = generated or self.generator_pass(state, inputs, seen, carry)
            adversarial = self.adversarial(state, inputs, own, seen)
            grads, value, metrics = self.generator_gradient(own, adversarial)
            return grads, (own.model_state, adversarial.penalty_states), None, (value, metrics)

        carry = (player.model_state, player.penalties)
        grads, carry, _, (value, metrics) = over_microbatches(
            gradients, carry, inputs, gan.microbatches, self.axis_name
        )
        return self.apply_gradients(gan.generator_tx, player, grads, value, carry, metrics, "grad_norm/generator")

    # -- what they are made of

    def refresh_generator(self, state: GANState) -> GANState:
        """Returns the state at the start of the generator's update (see `Network.refresh`)."""
        player = state.generator
        model_state = refresh(self.gan.generator, player.params, player.model_state)
        return state.replace(generator=player.replace(model_state=model_state))

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

    def whole_generator(self, player: PlayerState) -> PlayerState:
        """Returns the generator after an update, with whole parameters."""
        return player

    def unchanged(self, discriminator: PlayerState) -> PlayerState:
        """Returns the discriminator as an update returns it that changes nothing."""
        return discriminator

    def share(self, player: PlayerState, name: str) -> PlayerState:
        """Returns this device's share of the player `name` after its update."""
        return player

    def share_augment(self, augment: PyTree) -> PyTree:
        """Returns this device's share of the state of the augmentation."""
        return augment
