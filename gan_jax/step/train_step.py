"""One training step of a GAN, written as the papers write the algorithm.

The updates are in `updates.py` (and, where both players move at once, in `simultaneous.py`), the random draws in
`draws.py`.
"""

import jax
import jax.numpy as jnp
from jax import lax

from ..gan import GAN
from ..schedules import decay
from ..state import GANState, PlayerState
from ..types import Batch, Logits, Metrics, PyTree
from .draws import global_batch
from .inputs import UpdateInputs, update_inputs
from .simultaneous import update_simultaneously
from .step import Step
from .updates import GeneratorPass, Updates

Outcome = tuple[PlayerState, PlayerState, Logits, Metrics]


def make_train_step(gan: GAN, *, axis_name: str | None = None) -> Step:
    """Builds one step of training, a pure function `(state, batch) -> (state, metrics)`.

    `batch["image"]` is `[B, *S]`, uint8 (read as [-1, 1]) or floating. `batch["label"]` is `[B]`, if the GAN has
    labels. If `gan.batches_per_step` is above 1, both have that many batches in front: update i of the
    discriminator reads batch i, the generator's update the last one.

    Metrics are scalars, means over the global batch: `loss/generator`, `loss/discriminator`, `logits/real`,
    `logits/fake`, `penalty/<name>` (and `applied/<name>`, 1 or 0, of a lazy one), `grad_norm/generator`,
    `grad_norm/discriminator`, those of the augmentation after the step (`augment/p` of ADA), and `nonfinite`, the
    number of these that are not finite. The discriminator's metrics are those of its last update.

    Args:
        gan: what is trained; closed over.
        axis_name: the name of the device axis, if the step will run under `pmap`.
    """
    updates = Updates(gan, axis_name)
    update_players = _alternating if gan.update == "alternating" else _simultaneous
    # Both players use one pass of the generator if they see the same latents, and the whole batch at once.
    shares_pass = gan.share_latents and gan.microbatches == 1

    def step(state: GANState, batch: Batch) -> tuple[GANState, Metrics]:
        *earlier, last, for_generator = update_inputs(gan, state, batch, axis_name)
        batch_size = global_batch(last.image.shape[0], axis_name)
        state = updates.refresh_generator(state)
        generated = updates.generator_pass(state, for_generator) if shares_pass else None

        new = state
        for inputs in earlier:
            discriminator, _, _ = updates.discriminator(new, inputs, None)
            new = new.replace(discriminator=discriminator)
        discriminator, generator, logits, metrics = update_players(updates, new, last, for_generator, generated)

        augment = gan.augment.update(state.augment, lax.stop_gradient(logits), batch_size)
        keep = decay(gan.ema(updates.images_seen(state, last)), batch_size)
        metrics = {**metrics, **gan.augment.metrics(augment)}
        metrics["nonfinite"] = jnp.stack([jnp.sum(~jnp.isfinite(value)) for value in metrics.values()]).sum()
        return GANState(
            step=state.step + 1,
            key=state.key,
            generator=generator,
            discriminator=discriminator,
            ema=update_ema(state.ema, generator, keep),
            augment=augment,
        ), metrics

    return Step(step, batch_axis=0 if gan.batches_per_step == 1 else 1, axis_name=axis_name)


def _alternating(
    updates: Updates,
    state: GANState,
    for_discriminator: UpdateInputs,
    for_generator: UpdateInputs,
    generated: GeneratorPass | None,
) -> Outcome:
    """The discriminator's last update, then the generator's against the new discriminator."""
    discriminator, logits, metrics = updates.discriminator(state, for_discriminator, generated)
    generator, more = updates.generator(state.replace(discriminator=discriminator), for_generator, generated)
    return discriminator, generator, logits, {**metrics, **more}


def _simultaneous(
    updates: Updates,
    state: GANState,
    for_discriminator: UpdateInputs,
    for_generator: UpdateInputs,
    generated: GeneratorPass | None,
) -> Outcome:
    """Both players' last update at once, against the old opponents."""
    assert generated is not None, "`GAN` refuses simultaneous updates without a shared pass"
    return update_simultaneously(updates, state, for_discriminator, generated)


def update_ema(ema: dict[str, PyTree], generator: PlayerState, keep: jax.Array) -> dict[str, PyTree]:
    """Returns the moving average after a step: `keep * old + (1 - keep) * new` of parameters and batch statistics.

    Other collections are copied: the vectors of spectral norm and mean latents are directions, or averages
    already.
    """

    def mix(old: jax.Array, new: jax.Array) -> jax.Array:
        if not jnp.issubdtype(new.dtype, jnp.floating):
            return new  # a counter
        return old + (1 - keep).astype(new.dtype) * (new - old)

    averaged = {"params", "batch_stats"}
    return {
        name: jax.tree.map(mix, ema[name], new) if name in averaged else new
        for name, new in generator.variables.items()
    }
