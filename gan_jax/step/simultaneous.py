"""Both players' turns as one, against the old discriminator: less work a step, and another game. Opt-in.

With "simultaneous", the discriminator passes over the generated samples once, and its logits are pulled back
twice: to its own parameters, and to the samples for the generator. It is simultaneous gradient descent, the form
that the convergence theory treats: Mescheder et al., "The numerics of GANs", 2017; Nagarajan and Kolter, 2017.

With "one_stage" they are pulled back once. Where the discriminator treats samples apart, sample i's gradient of
either loss is a number times the gradient of its own logit f_i, so the generator's is the discriminator's times

    (d L_G / d f_i) / (d L_D / d f_i)        (for the non-saturating loss -exp(-f_i)).

It equals "simultaneous" to rounding where the discriminator's loss has a slope. On a sample where it has none in
float32 (hinge beyond its margin, a non-saturating logit below -87) the generator learns nothing: take
"simultaneous" where that matters. Shen et al., "Training generative adversarial networks in one stage", 2021.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from .. import penalties
from ..networks import refresh
from ..state import GANState, PlayerState
from ..types import Images, Labels, Logits, Metrics, Samples
from .draws import Draws
from .updates import Forward, Game, mean_logit


def joint_turn(
    game: Game,
    state: GANState,
    seen: jax.Array,
    image: Images,
    label: Labels | None,
    draws: Draws,
    forward: Forward,
) -> tuple[PlayerState, PlayerState, Logits, Metrics]:
    """One optimizer step of both: `(discriminator, generator, logits on the global batch of reals, metrics)`.

    Raises:
        ValueError: "one_stage" with a discriminator that has batch statistics, or more than one logit a sample.
            Other operations across samples (a minibatch deviation) can't be seen from here, and would be wrong.
    """
    gan, player = game.gan, state.discriminator
    one_stage = gan.update == "one_stage"
    if one_stage and "batch_stats" in player.model_state:
        raise ValueError(
            "update=one_stage needs a discriminator that treats samples apart, and this one has batch statistics: "
            "train it without batch norm, or with update=simultaneous"
        )
    model_state = refresh(gan.discriminator, player.params, player.model_state)
    real = Samples(image, label, draws.real)

    def passes(params: Any, made: Images) -> tuple:
        def critic(samples: Samples) -> Logits:
            return game.discriminate(params, model_state, state.augment, samples)[0]

        fake = Samples(made, draws.label, draws.fake)
        on_real, after_real = game.discriminate(params, model_state, state.augment, real)
        on_fake, after = game.discriminate(params, after_real, state.augment, fake)
        # The penalties are the discriminator's own: what they say of a sample is not for the generator.
        still = fake._replace(image=lax.stop_gradient(made))
        weighted, states, metrics = penalties.total(
            gan.discriminator_penalties,
            player.penalties,
            (critic, real, still, draws.penalty),
            state.step,
            seen,
            game.axis_name,
        )
        return (on_real, on_fake, weighted), (after, states, metrics)

    outputs, pullback, (after, states, metrics) = jax.vjp(passes, player.params, forward.image, has_aux=True)
    on_real, on_fake, weighted = outputs
    loss_d, by_logits = jax.value_and_grad(gan.loss.discriminator, argnums=(0, 1))(on_real, on_fake)
    loss_g, for_generator = jax.value_and_grad(gan.loss.generator, argnums=1)(on_real, on_fake)
    grads, by_image = pullback((*by_logits, jnp.ones_like(weighted)))
    if one_stage:
        by_image = _rescaled(by_image, for_generator, by_logits[1])
    else:
        zeros = jax.tree.map(jnp.zeros_like, (on_real, weighted))
        by_image = pullback((zeros[0], for_generator, zeros[1]))[1]
    (by_params,) = forward.pullback((by_image, jnp.ones_like(forward.penalty)))

    metrics = {**metrics, **forward.metrics, "loss/discriminator": loss_d, "loss/generator": loss_g}
    metrics |= {"logits/real": mean_logit(on_real), "logits/fake": mean_logit(on_fake)}
    discriminator, metrics = game.update(
        gan.discriminator_tx, player, grads, (after, states), metrics, "grad_norm/discriminator"
    )
    generator, more = game.update(
        gan.generator_tx, state.generator, by_params, (forward.model_state, forward.penalty_states), {},
        "grad_norm/generator",
    )  # fmt: skip
    return discriminator, generator, game.gather(on_real), {**metrics, **more}


def _rescaled(by_image: Images, wanted: Logits, had: Logits) -> Images:
    """The samples' gradients of one loss from those of another, by the ratio of the losses' own derivatives."""
    size = by_image.shape[0]
    if not isinstance(wanted, jax.Array) or wanted.size != size:
        raise ValueError(
            "update=one_stage needs one logit a sample: use update=simultaneous for this discriminator"
        )
    silent = had == 0
    ratio = jnp.where(silent, 0.0, wanted / jnp.where(silent, 1.0, had)).reshape(size)
    # Where it is sure of a fake, the ratio overflows while the gradient vanishes: the largest float is enough.
    ratio = jnp.clip(ratio, jnp.finfo(ratio.dtype).min, jnp.finfo(ratio.dtype).max)
    return by_image * ratio.reshape((size,) + (1,) * (by_image.ndim - 1))
