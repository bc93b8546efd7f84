"""What a GAN is, how its state begins, how it is sampled. Read this file first, then `step.py`.

state = gan_jax.init(gan, key, batch)
step = gan_jax.jit_step(gan_jax.make_train_step(gan))
state, metrics = step(state, batch)
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.core import Tracer

from .augment import Augment, identity
from .losses import Loss
from .networks import accepted, init_network, sample_network
from .penalties import Penalty
from .schedules import half_life
from .state import GANState, PlayerState
from .types import Images, Key, Labels, Latents, Network, Schedule, Variables

_PenaltyEntry = tuple[float | jax.Array | Schedule, Penalty, int]


@dataclasses.dataclass(frozen=True)
class GAN:
    """A generative adversarial network: networks, losses and how they are trained. Holds functions, no arrays.

    Attributes:
        generator: latents `[B, ...]` to images `[B, *S]`.
        discriminator: images to logits, `[B]` or `[B, 1]`.
        loss: what each player minimises.
        generator_tx, discriminator_tx: Optax optimizers; one for each player.
        latent: one key to one latent.
        generator_penalties, discriminator_penalties: tuples of `(weight or schedule, penalty, every)`.
        augment: what the discriminator sees images through.
        fake_labels: one key to one label for generated samples; None: the labels of the batch's reals.
        ema: images seen to the half-life, in images, of the average of the generator's variables.
        disc_steps: turns of the discriminator in a step.
        share_latents: the generator's turn takes the latents and reals of the discriminator's last turn, so
            that the generator runs forward once (where `disc_steps` and `microbatches` are 1).
        update: "alternating": the generator plays against the new discriminator. "simultaneous" and "one_stage"
            save work and change the game, see `joint.py`: it plays against the old one, through the same pass.
        microbatches: each turn's gradient is the mean over this many parts of the batch, to save memory. It is the
            whole batch's where networks and penalties keep samples apart. Batch norm and minibatch deviation are
            of a part; running means (batch statistics, the mean of w, path length's) move once a part, so that
            many times a turn. `step.mixes_samples` names what a game has of these.
    """

    generator: Network
    discriminator: Network
    loss: Loss
    generator_tx: optax.GradientTransformation
    discriminator_tx: optax.GradientTransformation
    latent: Callable[[Key], Latents]
    generator_penalties: tuple[_PenaltyEntry, ...] = ()
    discriminator_penalties: tuple[_PenaltyEntry, ...] = ()
    augment: Augment = dataclasses.field(default_factory=identity)
    fake_labels: Callable[[Key], jax.Array] | None = None
    ema: Schedule = dataclasses.field(default_factory=lambda: half_life(10_000.0, ramp_up=0.05))
    disc_steps: int = 1
    share_latents: bool = True
    update: str = "alternating"
    microbatches: int = 1

    def __post_init__(self) -> None:
        for name in ("disc_steps", "microbatches"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.update not in ("alternating", "simultaneous", "one_stage"):
            raise ValueError(f"update must be alternating, simultaneous or one_stage, got {self.update!r}")
        if self.update != "alternating" and not (self.share_latents and self.microbatches == 1):
            raise ValueError(
                f"update={self.update} is one pass for both players: share_latents, and microbatches=1"
            )
        entries = self.generator_penalties + self.discriminator_penalties
        names = [penalty.name for _, penalty, _ in entries]
        if len(set(names)) < len(names):  # their metrics would have one name
            raise ValueError(f"penalties must have different names, got {names}")
        for _, penalty, every in entries:
            if every < 1:
                raise ValueError(f"penalty {penalty.name}: every must be at least 1, got {every}")

    @property
    def rows(self) -> int:
        """Batches that one step eats: the leading axis of a batch where it is above 1."""
        return self.disc_steps + (0 if self.share_latents else 1)


def init(gan: GAN, key: Key, batch: Mapping[str, Any]) -> GANState:
    """The state at step 0.

    Pure: it can be traced by `jax.eval_shape`, or jitted with `out_shardings`.

    Args:
        gan: the game.
        key: a typed key, `jax.random.key(seed)`; everything random in the run follows from it.
        batch: a batch, or the `jax.ShapeDtypeStruct`s of one; only its shapes are read.

    Raises:
        ValueError: the generator's samples have another shape than the batch's.
        TypeError: a network's `init` does not return a mapping with "params".
    """
    for_generator, for_discriminator, for_run = jax.random.split(key, 3)
    shape = batch["image"].shape[1 if gan.rows == 1 else 2 :]
    image = jnp.zeros((1, *shape))
    label = jnp.zeros((1,), jnp.int32) if batch.get("label") is not None else None
    keys = jax.random.split(for_run, 1)
    latents = jax.vmap(gan.latent)(keys)
    extra = {"label": label, "train": False, "axis_name": None, "keys": keys}

    params, model_state = init_network(gan.generator, for_generator, latents, **extra)
    generator = _player(gan.generator_tx, gan.generator_penalties, params, model_state)
    sample = jax.eval_shape(
        lambda variables: sample_network(gan.generator, variables, latents, **extra),
        generator.variables,
    )
    if sample.shape[1:] != tuple(shape):
        raise ValueError(
            f"the generator makes samples of shape {sample.shape[1:]}, but the batch's are {tuple(shape)}: "
            "give it the shape of the data"
        )
    params, model_state = init_network(gan.discriminator, for_discriminator, image, **extra)
    return GANState(
        step=jnp.zeros((), jnp.int32),
        key=for_run,
        generator=generator,
        discriminator=_player(gan.discriminator_tx, gan.discriminator_penalties, params, model_state),
        ema=jax.tree.map(jnp.copy, generator.variables),  # buffers of its own: the state is donated
        augment=gan.augment.init(),
    )


def _player(tx: optax.GradientTransformation, penalties: tuple, params: Any, model_state: dict) -> PlayerState:
    states = tuple(penalty.init() for _, penalty, _ in penalties)
    return PlayerState(params=params, model_state=model_state, opt_state=tx.init(params), penalties=states)


def make_sampler(gan: GAN) -> Callable[..., Images]:
    """`sample(variables, latents, labels=None, key=None, *, truncation=1.0) -> images [B, *S]`.

    `variables` is `state.ema`, or `state.generator.variables`. `key` is for generators with noise of their own;
    sample i draws from `fold_in(key, i)`. Without it there is no noise, and that is another distribution than the
    one trained: give a key where samples are measured.

    `truncation` is a Python number, static under `jit`, unless a generator of your own takes a traced one.

    Raises:
        ValueError: there is truncation, but the generator defines none.
    """

    def sample(
        variables: Variables,
        latents: Latents,
        labels: Labels | None = None,
        key: Key | None = None,
        *,
        truncation: float | jax.Array = 1.0,
    ) -> Images:
        size = jax.tree.leaves(latents)[0].shape[0]
        keys = None if key is None else jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(size))
        extra = {"label": labels, "axis_name": None, "keys": keys}
        if isinstance(truncation, Tracer) or truncation != 1.0:
            if not accepted(gan.generator, "apply", {"truncation": truncation}):
                raise ValueError(
                    f"truncation={truncation}, but {type(gan.generator).__name__} defines none: "
                    "leave it at 1.0 for this generator"
                )
            extra["truncation"] = truncation
        return sample_network(gan.generator, variables, latents, **extra)

    return sample
