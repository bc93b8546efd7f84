"""One training step of a game.

It is `disc_steps` turns of the discriminator, then one of the generator against the new discriminator, then the
moving average. The functions of a turn are in `turns.py`, the draws in `draws.py`; where both players move
at once, the last turns are one, in `joint.py`.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from ..gan import GAN
from ..pixels import to_float
from ..schedules import decay
from ..state import GANState, PlayerState
from ..types import Batch, Metrics
from .draws import deal, global_index
from .simultaneous import joint_turn
from .updates import Game


@dataclasses.dataclass(frozen=True)
class Step:
    """A training step, `(state, batch, *shared) -> (state, metrics)`, and what a wrapper needs to place it.

    Attributes:
        function: the pure function.
        batch_axis: which axis of the batch's leaves is the samples'.
        axis_name: the device axis it reduces over (under `pmap`), or None.
    """

    function: Callable[..., Any]
    batch_axis: int = 0
    axis_name: str | None = None

    def __call__(self, state: Any, batch: Any, *shared: Any) -> Any:
        return self.function(state, batch, *shared)


def make_train_step(gan: GAN, *, axis_name: str | None = None) -> Step:
    """One step of training, a pure function `(state, batch) -> (state, metrics)`.

    `batch["image"]` is `[B, *S]`, uint8 (read as [-1, 1]) or floating; `batch["label"]`, where the game has
    labels, `[B]`. With `gan.rows > 1` both have that many rows in front: the discriminator's turn i takes
    row i, the generator's own turn the last.

    Metrics are scalars, means over the global batch: `loss/generator`, `loss/discriminator`, `logits/real`,
    `logits/fake`, `penalty/<name>` (and `applied/<name>`, 1 or 0, of a lazy one), `grad_norm/generator`,
    `grad_norm/discriminator`, the augmentation's own, as they are after the step (`augment/p` of ADA), and
    `nonfinite`, the number of these that are not finite. The discriminator's are those of its last turn.

    Args:
        gan: the game; closed over.
        axis_name: the name of the device axis if the step will run under `pmap`.
    """
    game = Game(gan, axis_name)

    def step(state: GANState, batch: Batch) -> tuple[GANState, Metrics]:
        if gan.rows > 1 and batch["image"].shape[0] != gan.rows:
            raise ValueError(
                f"a step of this game eats {gan.rows} rows, so a batch is [{gan.rows}, B, ...], "
                f"but its shape is {batch['image'].shape}"
            )
        rows = [batch] if gan.rows == 1 else [jax.tree.map(lambda x, i=i: x[i], batch) for i in range(gan.rows)]
        images = [to_float(row["image"]) for row in rows]
        labels = [row.get("label") for row in rows]
        index = global_index(images[0].shape[0], axis_name)
        batch_size = index.shape[0] * (1 if axis_name is None else lax.axis_size(axis_name))
        seen = state.step.astype(float) * batch_size

        def dealt(turn: int, row: int) -> Any:
            return deal(gan, state.key, state.step, turn, labels[row], index)

        discriminator, logits, metrics = state.discriminator, None, {}
        forward, state = None, state.replace(generator=game.refresh_generator(state.generator))
        own = dealt(gan.disc_steps, -1)  # the generator's turn: draws of its own, but for what it shares
        together = gan.update != "alternating"
        generator = None
        for turn in range(gan.disc_steps):
            draws = dealt(turn, turn)
            old = state.replace(discriminator=discriminator)
            if turn == gan.disc_steps - 1 and gan.share_latents:
                own = own._replace(latents=draws.latents, label=draws.label, generator=draws.generator)
                if gan.microbatches == 1:
                    forward = game.generate_once(state, seen, images[-1], labels[-1], own)
            if forward is not None and together:
                discriminator, generator, logits, metrics = joint_turn(
                    game, old, seen, images[turn], labels[turn], draws, forward
                )
            else:
                discriminator, logits, metrics = game.discriminator_turn(
                    old, seen, images[turn], labels[turn], draws, forward
                )
        augment = gan.augment.update(state.augment, lax.stop_gradient(logits), batch_size)
        if generator is None:
            generator, more = game.generator_turn(
                state.replace(discriminator=discriminator),
                seen, images[-1], labels[-1], own, forward,
            )  # fmt: skip
            metrics = {**metrics, **more}
        metrics = {**metrics, **gan.augment.metrics(augment)}
        bad = [jnp.sum(~jnp.isfinite(value)) for value in metrics.values()]
        metrics["nonfinite"] = jnp.stack(bad).sum()
        return GANState(
            step=state.step + 1,
            key=state.key,
            generator=generator,
            discriminator=discriminator,
            ema=average(state.ema, generator, decay(gan.ema(seen), batch_size)),
            augment=augment,
        ), metrics

    return Step(step, batch_axis=0 if gan.rows == 1 else 1, axis_name=axis_name)


def mixes_samples(gan: GAN, state_shapes: GANState) -> list[str]:
    """What of a game is of a part of the batch where `microbatches` cut it, as words; none: nothing that shows.

    It is the same whatever `gan.microbatches` is. Batch norm and minibatch deviation (a discriminator's attribute
    `group`) are then within a part; batch statistics, a network's other collections but spectral norm's, and
    penalties' states move once a part. What a loss, a penalty or a network of your own mixes beside these can't be
    seen from here.

    Args:
        state_shapes: a state, or its `jax.ShapeDtypeStruct`s.
    """
    players = (
        ("generator", state_shapes.generator, gan.generator_penalties),
        ("discriminator", state_shapes.discriminator, gan.discriminator_penalties),
    )
    found = []
    for name, player, penalties in players:
        found += [f"the {name}'s {collection}" for collection in sorted(set(player.model_state) - {"spectral"})]
        for (_, penalty, _), state in zip(penalties, player.penalties, strict=True):
            if jax.tree.leaves(state):
                found.append(f"the state of the penalty {penalty.name}")
    group = getattr(gan.discriminator, "group", 1)
    if isinstance(group, int) and group > 1:
        found.append(f"the discriminator's minibatch deviation (group={group})")
    return found


def average(ema: dict[str, Any], generator: PlayerState, keep: jax.Array) -> dict[str, Any]:
    """The moving average after a step: `keep * old + (1 - keep) * new` of parameters and batch statistics.

    Other collections are taken over as they are: the vectors of spectral norm and mean latents are
    averages, or directions, already.
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
