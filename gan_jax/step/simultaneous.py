"""Simultaneous updates, opt-in: both players are updated against the old opponent.

It is less work, and another algorithm than alternating updates.

With "simultaneous", the discriminator passes over the generated samples once. Its logits are pulled back twice: to
its own parameters, and to the samples for the generator. This is simultaneous gradient descent, which the
convergence theory treats: Mescheder et al., "The numerics of GANs", 2017; Nagarajan and Kolter, 2017.

With "one_stage" they are pulled back once. If the discriminator treats samples apart, then for sample i the
gradient of either loss is the gradient of its logit f_i, times a number. So the generator's gradient is the
discriminator's times

    (d L_G / d f_i) / (d L_D / d f_i)        (for the non-saturating loss -exp(-f_i)).

It equals "simultaneous" to rounding where the discriminator's loss has a slope. On a sample where the slope is 0
in float32 (hinge beyond its margin, a non-saturating logit below -87) the generator learns nothing: use
"simultaneous" if that matters. Shen et al., "Training generative adversarial networks in one stage", 2021.
"""

import jax
import jax.numpy as jnp
from jax import lax

from ..networks import refresh
from ..penalties import OutputPenalty, Penalty
from ..state import GANState, PlayerState
from ..types import Images, Logits, Metrics, PyTree, Samples
from .devices import gather, vary
from .independence import RULES
from .inputs import UpdateInputs
from .mixing import mixing_operations
from .objectives import Adversarial
from .terms import only_if, weight_at
from .updates import GeneratorPass, Updates


def update_simultaneously(
    updates: Updates, state: GANState, inputs: UpdateInputs, generated: GeneratorPass
) -> tuple[PlayerState, PlayerState, Logits, Metrics]:
    """Updates both players once, with `gan.update` "simultaneous" or "one_stage".

    Args:
        updates: what the updates are made of.
        state: of the GAN.
        inputs: of the discriminator's update.
        generated: the pass of the generator on the same inputs.

    Returns:
        The discriminator, the generator, the logit of the real images of the global batch, and the metrics.

    Raises:
        ValueError: "one_stage" with a discriminator or an augmentation that mixes samples, or that keeps model
            state (other than that of spectral norm); or with more than one logit a sample. Operations that the
            analysis does not know (see `independence`) are let through: if they mix samples, gradients are wrong.
    """
    gan, player, draws = updates.gan, state.discriminator, inputs.draws
    model_state = refresh(gan.discriminator, player.params, player.model_state)
    fake = Samples(generated.image, draws.label, draws.fake)
    if gan.update == "one_stage":
        _check_samples_are_apart(updates, player.params, model_state, state.augment, fake)
    real = Samples(inputs.image, inputs.label, draws.real)
    seen = updates.images_seen(state, inputs)
    penalties = updates.penalties(state, seen, inputs)

    # Two passes, whatever `gan.joint_pass` says: the gradient by images is needed for the generated ones alone,
    # and one pass would compute it for both.
    def passes(params: PyTree, image: Images) -> tuple:
        discriminator = (params, model_state, state.augment)
        critic = updates.critic(*discriminator, joint=False)
        fake = Samples(image, draws.label, draws.fake)
        on_real, on_fake, after = updates.discriminate_both(*discriminator, real, fake, joint=False)
        # The generator gets no gradient from the discriminator's penalties.
        constant = fake._replace(image=lax.stop_gradient(image))
        penalty, states, metrics = penalties(
            gan.discriminator_terms, player.penalties, {Penalty: (critic, real, constant, draws.penalty)}
        )
        return (on_real, on_fake, penalty), (after, states, metrics)

    params = vary(player.params, updates.axis_name)
    outputs, pullback, (after, states, metrics) = jax.vjp(passes, params, generated.image, has_aux=True)
    on_real, on_fake, on_penalty = outputs

    def loss_d(on_real: Logits, on_fake: Logits) -> tuple:
        loss = updates.loss(gan.loss.discriminator, on_real, on_fake)
        outputs = updates.outputs(on_real, real), updates.outputs(on_fake, fake), draws.penalty
        more, after, further = penalties(gan.discriminator_terms, states, {OutputPenalty: outputs})
        return weight_d * loss + more, (loss, after, further)

    reads_outputs = any(isinstance(term.penalty, OutputPenalty) for term in gan.generator_terms)

    def loss_g(on_fake: Logits) -> tuple:
        loss = updates.loss(gan.loss.generator, on_real, on_fake)
        outputs = updates.outputs(on_real, real), updates.outputs(on_fake, fake), draws.penalty
        more, after, further = penalties(gan.generator_terms, generated.penalty_states, {OutputPenalty: outputs})
        if callable(gan.generator_weight):  # the generator hears nothing of the discriminator while it is 0
            before = (jnp.zeros_like(more), generated.penalty_states)
            more, after = jax.tree.map(lambda new, old: jnp.where(weight_g != 0, new, old), (more, after), before)
        return vary((loss, more), updates.axis_name), (after, further)

    weight_d, weight_g = (weight_at(w, seen) for w in (gan.discriminator_weight, gan.generator_weight))
    by_outputs = jax.value_and_grad(loss_d, argnums=(0, 1), has_aux=True)
    (value_d, (loss, states, further)), by_logits = by_outputs(on_real, on_fake)
    (loss_of_g, on_outputs), for_generator, (states_g, further_g) = jax.vjp(loss_g, on_fake, has_aux=True)
    grads, by_image = pullback((*by_logits, jnp.ones_like(on_penalty)))
    zeros = jax.tree.map(jnp.zeros_like, (on_real, on_penalty))

    def by_images(by: tuple[jax.Array, jax.Array]) -> Images:
        (by_fake,) = for_generator(by)
        if gan.update == "one_stage":
            return _rescaled(by_image, by_fake, by_logits[1])
        return pullback((zeros[0], by_fake, zeros[1]))[1]

    heard = updates.by_image(by_images, loss_of_g, on_outputs, weight_g, reads_outputs)
    adversarial = Adversarial(loss_of_g, weight_g, on_outputs, heard, states_g, further_g)
    by_params, value_g, of_generator = updates.generator_gradient(generated, adversarial)
    metrics = {**metrics, **further, **of_generator, "loss/discriminator": loss}
    logit = updates.logit(on_real, real)
    logit_fake = updates.logit(on_fake, fake)
    metrics |= {"logits/real": jnp.mean(logit), "logits/fake": jnp.mean(logit_fake)}
    discriminator, metrics = updates.apply_gradients(
        gan.discriminator_tx, player, grads, value_d + on_penalty, (after, states), metrics,
        "grad_norm/discriminator",
    )  # fmt: skip
    if callable(gan.discriminator_weight):
        rest = updates.unchanged(player)
        discriminator = jax.tree.map(lambda new, old: jnp.where(weight_d > 0, new, old), discriminator, rest)
        metrics = only_if(weight_d > 0, metrics, "discriminator", gan.discriminator_terms)
        metrics["weight/discriminator"] = weight_d
    if callable(gan.generator_weight):
        on_outputs_of_g = [term for term in gan.generator_terms if isinstance(term.penalty, OutputPenalty)]
        metrics = only_if(weight_g != 0, metrics, "generator", on_outputs_of_g)
    generator, more = updates.apply_gradients(
        gan.generator_tx, state.generator, by_params, value_g,
        (generated.model_state, states_g), {}, "grad_norm/generator",
    )  # fmt: skip
    return discriminator, generator, gather(logit, updates.axis_name), {**metrics, **more}


def _check_samples_are_apart(
    updates: Updates, params: PyTree, model_state: dict[str, PyTree], augment: PyTree, samples: Samples
) -> None:
    mixing = mixing_operations(updates.gan.discriminator, model_state)
    if not mixing:
        operation = updates.mixing_operation(params, model_state, augment, samples)
        mixing = [f"an operation {operation} over them"] if operation in RULES else []
    if mixing:
        raise ValueError(
            f"update=one_stage needs a discriminator that treats samples apart, and this one has {mixing[0]}: use "
            "update=simultaneous, or a discriminator without it"
        )


def _rescaled(by_image: Images, wanted: Logits, given: Logits) -> Images:
    """Turns the gradient of one loss by the samples into that of another.

    Args:
        by_image: the gradient of the first loss, `[B, *S]`.
        wanted: the derivative of the second loss by the logits.
        given: the derivative of the first loss by the logits.
    """
    size = jax.tree.leaves(by_image)[0].shape[0]
    if not isinstance(wanted, jax.Array) or wanted.size != size:
        raise ValueError(
            "update=one_stage needs one logit for each sample: use update=simultaneous for this discriminator"
        )
    flat = given == 0
    ratio = jnp.where(flat, 0.0, wanted / jnp.where(flat, 1.0, given)).reshape(size)
    # For a fake that the discriminator is sure of, the ratio overflows while the gradient vanishes: it is clipped.
    ratio = jnp.clip(ratio, jnp.finfo(ratio.dtype).min, jnp.finfo(ratio.dtype).max)
    return jax.tree.map(lambda g: g * ratio.reshape((size,) + (1,) * (g.ndim - 1)), by_image)
