"""One training step of a GAN, written as the papers write the algorithm.

The updates are in `updates.py` (and, where both players move at once, in `simultaneous.py`), the random draws in
`draws.py`.
"""

import jax
import jax.numpy as jnp
from jax import lax

from ..checks import check_batch, check_frozen, check_state
from ..errors import NeedsWholeBatch
from ..gan import GAN
from ..networks import statistics_names
from ..pytree import widened
from ..schedules import decay
from ..state import GANState, PlayerState
from ..types import AxisName, Batch, Logits, Metrics, PyTree
from .devices import check_axis_types, psum
from .draws import global_batch
from .inputs import UpdateInputs, labels_out_of_range, update_inputs
from .samples_apart import check_samples_apart
from .simultaneous import update_simultaneously
from .split_state import Axes, SplitUpdates
from .step import Step
from .updates import GeneratorPass, Updates

Outcome = tuple[PlayerState, PlayerState, Logits, Metrics]


def make_train_step(gan: GAN, *, axis_name: AxisName | None = None) -> Step:
    """Builds one step of training, a pure function `(state, batch) -> (state, metrics)`.

    `batch["image"]` is `[B, *S]`, uint8 (read as [-1, 1]) or floating, or a pytree of such arrays.
    `batch["label"]` is a pytree of `[B, ...]`, if the GAN has labels. `GAN.inputs` and penalties may read other
    fields.

    If `gan.batches_per_step` is above 1, both have that many batches in front: update i of
    the discriminator reads batch i, the generator's update the last one.

    Metrics are scalars, means over the global batch: `loss/generator`, `loss/discriminator`, `logits/real`,
    `logits/fake`, `penalty/<name>` (and `applied/<name>`, 1 or 0, of a lazy one), `grad_norm/generator`,
    `grad_norm/discriminator`, `weight/generator` and `weight/discriminator` (of adversarial losses whose weight
    changes), those of the augmentation after the step (`augment/p` of ADA), and `nonfinite`, the
    number of these that are not finite. The discriminator's metrics are those of its last update. If a network
    says how many `classes` it has, `labels/out_of_range` is the number of labels that are none of them, and
    `nonfinite` counts these too.

    The step takes a third argument, `step(state, batch, frozen)`, for what is read and not trained: the variables
    of a feature network or a teacher. It is any pytree. Networks and penalties get it as the keyword `frozen`, if
    they name it. It is no part of the state, and no constant of the program.

    Args:
        gan: what is trained; closed over.
        axis_name: the name of the device axis, if the step will run under `pmap`. `shard_step` builds the step
            anew with one.

    Raises:
        NeedsWholeBatch: when a step with `axis_name` is traced, if a part of the GAN is not shown to keep samples
            apart and does not name `axis_name`.
    """
    return _make(gan, axis_name, None)


def _make(gan: GAN, axis_name: AxisName | None, axes: Axes | None) -> Step:
    """Builds the step; `axes` says along which axis each leaf of the state is split over the devices, if it is."""
    if axes is not None and {name: axes.generator.variables[name] for name in axes.ema} != dict(axes.ema):
        raise NeedsWholeBatch("the moving average is split over the devices otherwise than the generator")
    without_frozen = Updates(gan, axis_name) if axes is None else SplitUpdates(gan, axis_name, axes)
    update_players = {"alternating": _alternating, "generator_first": _generator_first}.get(
        gan.update, _simultaneous
    )
    # Both players use one pass of the generator if they see the same latents, and the whole batch at once.
    shares_pass = gan.share_latents and gan.microbatches == 1 and gan.update != "generator_first"

    def step(state: GANState, batch: Batch, frozen: PyTree = None) -> tuple[GANState, Metrics]:
        updates = without_frozen.reading(frozen)
        check_batch(batch, gan.batches_per_step)
        check_frozen(gan, frozen)
        check_state(gan, state)
        check_axis_types((state, batch))
        before, state = state, updates.whole(state)
        *for_discriminator, for_generator = update_inputs(gan, state, batch, axis_name)
        batch_size = global_batch(for_generator.size, axis_name)
        if axis_name is not None:
            check_samples_apart(gan, state, for_discriminator[-1], lax.axis_size(axis_name), frozen)
        state = updates.refresh_generator(state)
        generated = updates.generator_pass(state, for_generator) if shares_pass else None
        wrong_labels = labels_out_of_range(gan, [*for_discriminator, for_generator])

        discriminator, generator, logit, metrics = update_players(
            updates, state, for_discriminator, for_generator, generated
        )

        generator = updates.share(generator, "generator")
        augment = gan.augment.update(state.augment, lax.stop_gradient(logit), batch_size)
        if "weight/discriminator" in metrics:  # the logits of a discriminator that has not begun say nothing
            begun = metrics["weight/discriminator"] > 0
            augment = jax.tree.map(lambda new, old: jnp.where(begun, new, old), augment, state.augment)
        keep = decay(gan.ema(updates.images_seen(state, for_generator)), batch_size)
        metrics = {**metrics, **gan.augment.metrics(augment)}
        nonfinite = jnp.stack([jnp.sum(~jnp.isfinite(value)) for value in metrics.values()]).sum()
        if wrong_labels is not None:
            wrong_labels = psum(wrong_labels, axis_name)
            metrics["labels/out_of_range"] = wrong_labels.astype(jnp.float32)
            nonfinite = nonfinite + wrong_labels
        metrics["nonfinite"] = nonfinite
        return GANState(
            step=before.step + 1,
            key=before.key,
            generator=generator,
            discriminator=updates.share(discriminator, "discriminator"),
            ema=update_ema(before.ema, generator, keep, {"params", *statistics_names(gan.generator)}),
            augment=updates.share_augment(augment),
        ), metrics

    built = Step(step, batch_axis=0 if gan.batches_per_step == 1 else 1, axis_name=axis_name)
    return built.with_over(lambda axis_name, axes: _make(gan, axis_name, axes))


def _earlier(updates: Updates, state: GANState, earlier: list[UpdateInputs]) -> GANState:
    """Returns the state after all updates of the discriminator but the last."""
    for inputs in earlier:
        discriminator, *_ = updates.discriminator(state, inputs, None)
        state = state.replace(discriminator=updates.whole_discriminator(discriminator))
    return state


def _generator_first(
    updates: Updates,
    state: GANState,
    for_discriminator: list[UpdateInputs],
    for_generator: UpdateInputs,
    generated: GeneratorPass | None,
) -> Outcome:
    """The generator's update, then those of the discriminator on samples of the new generator."""
    generator, metrics = updates.generator(state, for_generator, None)
    state = state.replace(generator=updates.whole_generator(generator))
    *earlier, last = for_discriminator
    state = _earlier(updates, state, earlier)
    discriminator, logit, more, _ = updates.discriminator(state, last, None)
    return discriminator, generator, logit, {**more, **metrics}


def _alternating(
    updates: Updates,
    state: GANState,
    for_discriminator: list[UpdateInputs],
    for_generator: UpdateInputs,
    generated: GeneratorPass | None,
) -> Outcome:
    """The discriminator's updates, then the generator's against the new discriminator."""
    *earlier, last = for_discriminator
    state = _earlier(updates, state, earlier)
    discriminator, logit, metrics, grads = updates.discriminator(state, last, generated)
    opponent = state.replace(discriminator=updates.whole_discriminator(discriminator))
    if generated is None:
        # Without a device axis, waiting for the norm costs least memory. With one, the norm is known only after
        # the devices have exchanged their gradients. A discriminator that may rest has no gradient: its parameters
        # are known as late.
        gradient = discriminator.params if grads is None else grads
        last = metrics["grad_norm/discriminator"] if updates.axis_name is None else gradient
        for_generator = _after(last, for_generator)
    generator, more = updates.generator(opponent, for_generator, generated)
    return discriminator, generator, logit, {**metrics, **more}


def _after(last: PyTree, inputs: UpdateInputs) -> UpdateInputs:
    """Returns the inputs of an update that begins when the values `last` of the one before are known.

    The generator's pass does not read the new discriminator. Without this the compiler may begin it during the
    discriminator's update, and keep the activations of both. With gradients it may still begin before the devices
    have exchanged them. Compiled for one H200, `ffhq64_r3gan` needs 51 GiB of temporaries with the norm of the
    gradients, and 64 GiB with the gradients.
    """
    latents, _ = lax.optimization_barrier((inputs.draws.latents, last))
    return inputs._replace(draws=inputs.draws._replace(latents=latents))


def _simultaneous(
    updates: Updates,
    state: GANState,
    for_discriminator: list[UpdateInputs],
    for_generator: UpdateInputs,
    generated: GeneratorPass | None,
) -> Outcome:
    """Both players' last update at once, against the old opponents."""
    assert generated is not None, "`GAN` refuses simultaneous updates without a shared pass"
    *earlier, last = for_discriminator
    return update_simultaneously(updates, _earlier(updates, state, earlier), last, generated)


def update_ema(
    ema: dict[str, PyTree], generator: PlayerState, keep: jax.Array, averaged: set[str]
) -> dict[str, PyTree]:
    """Returns the moving average after a step: `keep * old + (1 - keep) * new`, in float32 at least.

    Only the collections in `averaged` (parameters and batch statistics) are averaged. The others are copied: the
    vectors of spectral norm and mean latents are directions, or averages already.
    """

    def mix(old: jax.Array, new: jax.Array) -> jax.Array:
        if not jnp.issubdtype(new.dtype, jnp.floating):
            return new  # a counter
        return old + (1 - keep).astype(old.dtype) * (new.astype(old.dtype) - old)

    return {
        name: jax.tree.map(mix, ema[name], new) if name in averaged else widened(new)
        for name, new in generator.variables.items()
    }
