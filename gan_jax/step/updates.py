"""The turns of a step: the discriminator's, then the generator's. `step.make_train_step` strings them together.

Every turn is: gradients of the player's loss on its batch (over microbatches where asked), their mean over
devices, one optimizer step. A network's model state changes in its own turn only; the other's turn reads it.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from .. import penalties
from ..gan import GAN
from ..networks import call_network, refresh
from ..state import GANState, PlayerState
from ..types import Images, Labels, Latents, Logits, Metrics, PyTree, Samples
from .draws import Draws


class Forward(NamedTuple):
    """The generator's pass, kept until its turn: what it made, and how gradients go back through it.

    Attributes:
        image: `[B, *S]`.
        penalty: the generator's weighted penalties.
        pullback: `(d image, d penalty) -> (d params,)`.
        model_state, penalty_states, metrics: as the pass left them.
    """

    image: Images
    penalty: jax.Array
    pullback: Callable[..., Any]
    model_state: dict[str, Any]
    penalty_states: tuple[PyTree, ...]
    metrics: Metrics


class _Inputs(NamedTuple):
    """What one turn reads, every leaf with a leading [B], so that it can be cut into microbatches."""

    image: Images
    label: Labels | None
    draws: Draws
    fake: Images | None = None


def pmean(tree: PyTree, axis_name: str | None) -> PyTree:
    """The mean over devices; the tree itself where there is no device axis."""
    return tree if axis_name is None else lax.pmean(tree, axis_name)


def _float32(logits: Logits) -> Logits:
    """Losses see logits in float32 at least, whatever the networks compute in."""
    return jax.tree.map(lambda x: x.astype(jnp.promote_types(x.dtype, jnp.float32)), logits)


def mean_logit(logits: Logits) -> jax.Array:
    leaves = jax.tree.leaves(logits)
    return jnp.stack([jnp.mean(leaf) for leaf in leaves]).mean()


def over_microbatches(function: Callable, carry: PyTree, inputs: PyTree, count: int) -> tuple:
    """`function(carry, inputs) -> (gradients, carry, logits, metrics)`, over `count` parts of the batch.

    Gradients and metrics are means over the parts, which is the whole batch's mean where samples don't
    mix; the carry (model state) goes from part to part. Part j takes rows j, j + count, ...: so each device
    of a sharded batch works on every part.
    """
    if count == 1:
        return function(carry, inputs)
    size = jax.tree.leaves(inputs)[0].shape[0]
    if size % count:
        raise ValueError(f"a batch of {size} (per device) can't be cut into {count} microbatches: change either")
    parts = jax.tree.map(lambda x: jnp.moveaxis(x.reshape(size // count, count, *x.shape[1:]), 1, 0), inputs)
    shapes = jax.eval_shape(function, carry, jax.tree.map(lambda x: x[0], parts))[0]
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)

    def body(state: tuple, part: PyTree) -> tuple:
        carry, total = state
        gradients, carry, logits, metrics = function(carry, part)
        return (carry, jax.tree.map(jnp.add, total, gradients)), (logits, metrics)

    (carry, total), (logits, metrics) = lax.scan(body, (carry, zeros), parts)
    logits = jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1).reshape(size, *x.shape[2:]), logits)
    return (
        jax.tree.map(lambda x: x / count, total),
        carry,
        logits,
        jax.tree.map(lambda x: jnp.mean(x, axis=0), metrics),
    )


@dataclasses.dataclass(frozen=True)
class Game:
    """A `GAN` on a device axis: the functions that a step is made of."""

    gan: GAN
    axis_name: str | None

    def refresh_generator(self, player: PlayerState) -> PlayerState:
        state = refresh(self.gan.generator, player.params, player.model_state)
        return player.replace(model_state=state)

    def generate(
        self, params: PyTree, model_state: dict, latents: Latents, draws: Draws, **keywords: Any
    ) -> tuple[Images, dict]:
        """The generator in training mode: `(images [B, *S], model_state)`, or what its `method` gives."""
        keywords = {"label": draws.label, "axis_name": self.axis_name, "keys": draws.generator, **keywords}
        return call_network(self.gan.generator, params, model_state, latents, **keywords)

    def discriminate(
        self, params: PyTree, model_state: dict, augment: PyTree, samples: Samples
    ) -> tuple[Logits, dict]:
        """`D(augment(image, key), label)` in training mode: `(logits, model_state)`.

        The augmentation gets `fold_in(key, 0)` and the network `fold_in(key, 1)`: whatever either derives from
        its own, they share no draw.
        """
        for_augment, keys = (jax.vmap(lambda key, i=i: jax.random.fold_in(key, i))(samples.key) for i in (0, 1))
        image = self.gan.augment.apply(augment, samples.image, for_augment)
        logits, model_state = call_network(
            self.gan.discriminator,
            params, model_state, image, label=samples.label, axis_name=self.axis_name, keys=keys,
        )  # fmt: skip
        return _float32(logits), model_state

    def _forward(self, state: GANState, seen: jax.Array, carry: tuple, inputs: _Inputs) -> Forward:
        """One pass of the generator on the draws' latents, with its penalties, ready to be pulled back."""
        model_state, penalty_states = carry
        draws = inputs.draws
        real = Samples(inputs.image, inputs.label, draws.real)

        def forward(params: PyTree) -> tuple:
            image, new_state = self.generate(params, model_state, draws.latents, draws)

            def bound(latents: Latents, **keywords: Any) -> Any:
                if latents is draws.latents and not keywords:
                    return image  # the pass that was just made
                return self.generate(params, model_state, latents, draws, **keywords)[0]

            weighted, states, metrics = penalties.total(
                self.gan.generator_penalties, penalty_states,
                (bound, draws.latents, real, draws.penalty), state.step, seen, self.axis_name,
            )  # fmt: skip
            return (image, weighted), (new_state, states, metrics)

        (image, penalty), pullback, aux = jax.vjp(forward, state.generator.params, has_aux=True)
        return Forward(image, penalty, pullback, *aux)

    def generate_once(
        self, state: GANState, seen: jax.Array, image: Images, label: Labels | None, draws: Draws
    ) -> Forward:
        """The generator's pass that the discriminator's last turn and the generator's own share; its own draws."""
        carry = (state.generator.model_state, state.generator.penalties)
        return self._forward(state, seen, carry, _Inputs(image, label, draws))

    def discriminator_turn(
        self,
        state: GANState,
        seen: jax.Array,
        image: Images,
        label: Labels | None,
        draws: Draws,
        forward: Forward | None,
    ) -> tuple[PlayerState, Logits, Metrics]:
        """One optimizer step of the discriminator: `(player, logits on the global batch of reals, metrics)`."""
        gan, player, generator = self.gan, state.discriminator, state.generator

        def gradients(carry: tuple, inputs: _Inputs) -> tuple:
            model_state, penalty_states = carry
            draws, made = inputs.draws, inputs.fake
            if made is None:
                made, _ = self.generate(generator.params, generator.model_state, draws.latents, draws)
            real = Samples(inputs.image, inputs.label, draws.real)
            fake = Samples(lax.stop_gradient(made), draws.label, draws.fake)

            def objective(params: PyTree) -> tuple:
                def critic(samples: Samples) -> Logits:
                    return self.discriminate(params, model_state, state.augment, samples)[0]

                on_real, after_real = self.discriminate(params, model_state, state.augment, real)
                on_fake, after = self.discriminate(params, after_real, state.augment, fake)
                loss = gan.loss.discriminator(on_real, on_fake)
                weighted, states, metrics = penalties.total(
                    gan.discriminator_penalties, penalty_states,
                    (critic, real, fake, draws.penalty), state.step, seen, self.axis_name,
                )  # fmt: skip
                metrics |= {"loss/discriminator": loss, "logits/real": mean_logit(on_real)}
                metrics |= {"logits/fake": mean_logit(on_fake)}
                return loss + weighted, ((after, states), on_real, metrics)

            grads, (carry, on_real, metrics) = jax.grad(objective, has_aux=True)(player.params)
            return grads, carry, on_real, metrics

        carry = (refresh(gan.discriminator, player.params, player.model_state), player.penalties)
        inputs = _Inputs(image, label, draws, None if forward is None else forward.image)
        grads, carry, logits, metrics = over_microbatches(gradients, carry, inputs, gan.microbatches)
        player, metrics = self.update(
            gan.discriminator_tx, player, grads, carry, metrics, "grad_norm/discriminator"
        )
        return player, self.gather(logits), metrics

    def gather(self, logits: Logits) -> Logits:
        """The logits of the global batch."""
        return logits if self.axis_name is None else lax.all_gather(logits, self.axis_name, tiled=True)

    def generator_turn(
        self,
        state: GANState,
        seen: jax.Array,
        image: Images,
        label: Labels | None,
        draws: Draws,
        forward: Forward | None,
    ) -> tuple[PlayerState, Metrics]:
        """One optimizer step of the generator against `state.discriminator`: `(player, metrics)`."""
        gan, player, rival = self.gan, state.generator, state.discriminator

        def gradients(carry: tuple, inputs: _Inputs) -> tuple:
            draws = inputs.draws
            made = forward or self._forward(state, seen, carry, inputs)

            def loss(image: Images) -> jax.Array:
                def critic(image: Images, label: Labels | None, keys: Any) -> Logits:
                    samples = Samples(image, label, keys)
                    return self.discriminate(rival.params, rival.model_state, state.augment, samples)[0]

                # The reals' logits cost nothing where the loss doesn't read them: dead code is dropped.
                on_real = critic(inputs.image, inputs.label, draws.real)
                return gan.loss.generator(on_real, critic(image, draws.label, draws.fake))

            value, by_image = jax.value_and_grad(loss)(made.image)
            (grads,) = made.pullback((by_image, jnp.ones_like(made.penalty)))
            carry = (made.model_state, made.penalty_states)
            return grads, carry, None, {"loss/generator": value, **made.metrics}

        carry = (player.model_state, player.penalties)
        inputs = _Inputs(image, label, draws)
        grads, carry, _, metrics = over_microbatches(gradients, carry, inputs, gan.microbatches)
        return self.update(gan.generator_tx, player, grads, carry, metrics, "grad_norm/generator")

    def update(
        self,
        tx: optax.GradientTransformation,
        player: PlayerState,
        grads: PyTree,
        carry: tuple,
        metrics: Metrics,
        norm: str,
    ) -> tuple[PlayerState, Metrics]:
        """The mean gradient over devices through the optimizer."""
        grads, metrics = pmean((grads, metrics), self.axis_name)
        updates, opt_state = tx.update(grads, player.opt_state, player.params)
        model_state, penalty_states = carry
        return PlayerState(
            params=optax.apply_updates(player.params, updates),
            model_state=model_state,
            opt_state=opt_state,
            penalties=penalty_states,
        ), {**metrics, norm: optax.tree.norm(grads)}
