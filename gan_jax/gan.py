"""What a GAN is, how its state starts, how it is sampled. Read this file first, then `step/train_step.py`.

state = gan_jax.init(gan, key, batch)
step = gan_jax.jit_step(gan_jax.make_train_step(gan))
state, metrics = step(state, batch)
"""

import dataclasses
import inspect
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import optax
from jax.core import Tracer

from .augment import Augment, identity
from .latents import Latent
from .losses import Loss
from .networks import accepted, init_network, sample_network
from .penalties import Penalty, Term
from .schedules import half_life
from .state import GANState, PlayerState
from .types import Batch, Images, Key, Labels, Latents, Network, PyTree, Schedule, Variables

GANTerm = Term[float | jax.Array | Schedule, Penalty]


@dataclasses.dataclass(frozen=True)
class GAN:
    """A generative adversarial network: networks, losses and how they are trained. Holds functions, no arrays.

    Attributes:
        generator: turns latents `[B, ...]` into images `[B, *S]`.
        discriminator: turns images into logits, `[B]` or `[B, 1]`.
        loss: what each player minimises.
        generator_tx, discriminator_tx: the Optax optimizer of each player.
        latent: turns one key into one latent.
        generator_terms, discriminator_terms: penalties that are added to each player's loss.
        augment: the augmentation of the images that the discriminator sees.
        fake_labels: turns one key into the label of one generated sample. None: generated samples have the labels
            of the batch's real images.
        ema: the half-life of the moving average of the generator's variables, in images, as a schedule.
        disc_steps: updates of the discriminator in a step.
        share_latents: the generator's update uses the latents and real images of the discriminator's last update.
            So the generator runs forward once (if `disc_steps` and `microbatches` are 1).
        update: "alternating": the generator is updated against the new discriminator. "simultaneous" and
            "one_stage" update it against the old one, with the same pass of the discriminator: less work and
            another algorithm, see `step/simultaneous.py`.
        microbatches: the gradient of each update is the mean over this many parts of the batch, to save memory. It
            equals that of the whole batch if networks and penalties compute each sample independently of the
            others. Batch norm and minibatch deviation see one part. Running means (batch statistics, the mean of
            w, that of path length) are updated once for each part. `step.mixes_samples` lists what a GAN has of
            these.
    """

    generator: Network
    discriminator: Network
    loss: Loss
    generator_tx: optax.GradientTransformation
    discriminator_tx: optax.GradientTransformation
    latent: Latent
    generator_terms: tuple[GANTerm, ...] = ()
    discriminator_terms: tuple[GANTerm, ...] = ()
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
                f"update={self.update} is one pass for both players: set share_latents=True and microbatches=1"
            )
        for function in (self.loss.generator, self.loss.discriminator):
            _check_axis_name("the loss", function, self.loss.wants_axis_name)
        self._check_terms()

    def _check_terms(self) -> None:
        terms = self.generator_terms + self.discriminator_terms
        for term in terms:
            if not isinstance(term, Term) or not isinstance(term.penalty, Penalty):
                raise ValueError(
                    "generator_terms and discriminator_terms hold terms such as "
                    f"gan_jax.Term(5.0, gan_jax.penalties.r1()), got {term!r}"
                )
            _check_axis_name(f"penalty {term.penalty.name}", term.penalty.apply, term.penalty.wants_axis_name)
            if term.every < 1:
                raise ValueError(f"penalty {term.penalty.name}: every must be at least 1, got {term.every}")
        names = [term.penalty.name for term in terms]
        if len(set(names)) < len(names):  # their metrics would have the same name
            raise ValueError(f"penalties must have different names, got {names}")

    @property
    def batches_per_step(self) -> int:
        """Batches that one step reads. If it is above 1, it is the leading axis of what a step gets."""
        return self.disc_steps + (0 if self.share_latents else 1)


def _check_axis_name(name: str, function: Callable[..., PyTree], wanted: bool) -> None:
    """Raises ValueError if a function takes `axis_name` but would not get it: under `pmap` it would be local."""
    try:
        takes = "axis_name" in inspect.signature(function).parameters
    except (TypeError, ValueError):  # a function without a signature
        return
    if takes and not wanted:
        raise ValueError(f"{name} takes axis_name, so set wants_axis_name=True: else it would be None under pmap")


def init(gan: GAN, key: Key, batch: Batch) -> GANState:
    """Returns the state at step 0.

    Pure: it can be traced by `jax.eval_shape`, or jitted with `out_shardings`.

    Args:
        gan: what will be trained.
        key: a typed key, `jax.random.key(seed)`. Everything random in the run follows from it.
        batch: a batch, or the `jax.ShapeDtypeStruct`s of one. Only its shapes are read.

    Raises:
        ValueError: the generator's samples have another shape than the batch's.
        TypeError: a network's `init` does not return a mapping with "params".
    """
    for_generator, for_discriminator, for_run = jax.random.split(key, 3)
    shape = batch["image"].shape[1 if gan.batches_per_step == 1 else 2 :]
    image = jnp.zeros((1, *shape))
    label = jnp.zeros((1,), jnp.int32) if batch.get("label") is not None else None
    keys = jax.random.split(for_run, 1)
    latents = jax.vmap(gan.latent)(keys)
    extra = {"label": label, "train": False, "axis_name": None, "keys": keys}

    params, model_state = init_network(gan.generator, for_generator, latents, **extra)
    generator = _player(gan.generator_tx, gan.generator_terms, params, model_state)
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
        discriminator=_player(gan.discriminator_tx, gan.discriminator_terms, params, model_state),
        ema=jax.tree.map(jnp.copy, generator.variables),  # buffers of its own: the state is donated
        augment=gan.augment.init(),
    )


def _player(
    tx: optax.GradientTransformation, terms: tuple[GANTerm, ...], params: PyTree, model_state: dict[str, PyTree]
) -> PlayerState:
    states = tuple(term.penalty.init() for term in terms)
    return PlayerState(params=params, model_state=model_state, opt_state=tx.init(params), penalties=states)


@runtime_checkable
class SampleFunction(Protocol):
    """What `make_sampler` builds."""

    def __call__(
        self,
        variables: Variables,
        latents: Latents,
        labels: Labels | None = None,
        key: Key | None = None,
        *,
        truncation: float | jax.Array = 1.0,
    ) -> Images:
        """Returns images `[B, *S]`.

        Args:
            variables: `state.ema`, or `state.generator.variables`.
            latents: `[B, ...]`.
            labels: `[B]`, if the GAN has labels.
            key: for generators with noise of their own; sample i draws from `fold_in(key, i)`. Without it there is
                no noise, which is another distribution than the trained one: give a key where samples are
                measured.
            truncation: a Python number, static under `jit`, unless a generator of your own takes a traced one.

        Raises:
            ValueError: there is truncation, but the generator has none.
        """
        ...


def make_sampler(gan: GAN) -> SampleFunction:
    """Builds the function that draws samples from a generator's variables."""

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
                    f"truncation={truncation}, but {type(gan.generator).__name__} has none: leave it at 1.0 for "
                    "this generator"
                )
            extra["truncation"] = truncation
        return sample_network(gan.generator, variables, latents, **extra)

    return sample
