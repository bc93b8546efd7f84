"""What a GAN is, how its state starts, how it is sampled. Read this file first, then `step/train_step.py`.

state = gan_jax.init(gan, key, batch)
step = gan_jax.jit_step(gan_jax.make_train_step(gan))
state, metrics = step(state, batch)
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import optax
from jax.core import Tracer

from .augment import Augment, identity
from .checks import check_batch, check_gan, check_images, check_logit, check_optimizer
from .latents import Latent
from .losses import Loss
from .networks import accepted, call_network, init_network, sample_network, typed_as_initialised
from .penalties import Penalty, Term
from .pytree import widened
from .schedules import half_life
from .state import GANState, PlayerState
from .types import Batch, Images, Key, Labels, Latents, Network, PyTree, Schedule, Variables

GANTerm = Term[float | jax.Array | Schedule, Penalty]


@dataclasses.dataclass(frozen=True)
class GAN:
    """A generative adversarial network: networks, losses and how they are trained. Holds functions, no arrays.

    Attributes:
        generator: turns latents `[B, ...]` into images `[B, *S]`.
        discriminator: turns images into logits, `[B]` or `[B, 1]`, or into a pytree that the loss knows.
        loss: what each player minimises.
        generator_tx, discriminator_tx: the Optax optimizer of each player.
        latent: turns one key into one latent.
        generator_terms, discriminator_terms: penalties that are added to each player's loss.
        augment: the augmentation of the images that the discriminator sees.
        fake_labels: turns one key into the label of one generated sample, a pytree like that of one real image.
            None: generated samples have the labels of the batch's real images.
        ema: the half-life of the moving average of the generator's variables, in images, as a schedule.
        disc_steps: updates of the discriminator in a step.
        share_latents: the generator's update uses the latents and real images of the discriminator's last update.
            So the generator runs forward once (if `disc_steps` and `microbatches` are 1).
        update: "alternating": the generator is updated against the new discriminator. "simultaneous" and
            "one_stage" update it against the old one, with the same pass of the discriminator: less work and
            another algorithm, see `step/simultaneous.py`.
        microbatches: the gradient of each update is the mean over this many parts of the batch, to save memory. It
            equals that of the whole batch if networks, losses and penalties compute each sample independently of
            the others. Batch norm and minibatch deviation see one part. Running means (batch statistics, the mean
            of w, that of path length) are updated once for each part. `step.mixes_samples` lists what a GAN has of
            these.
        joint_pass: the discriminator's update passes over real and generated samples as one batch of 2B where the
            numbers stay the same to rounding: where the discriminator and the augmentation keep samples apart (no
            batch norm, no minibatch deviation; their traced program shows it), and no penalty would repeat a pass
            (`Penalty.joint`). Elsewhere, with another `update` than "alternating", and with False they are two
            passes; the state after the first goes into the second.
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
    fake_labels: Callable[[Key], PyTree] | None = None
    ema: Schedule = dataclasses.field(default_factory=lambda: half_life(10_000.0, ramp_up=0.05))
    disc_steps: int = 1
    share_latents: bool = True
    update: str = "alternating"
    microbatches: int = 1
    joint_pass: bool = True

    def __post_init__(self) -> None:
        check_gan(self)

    @property
    def batches_per_step(self) -> int:
        """Batches that one step reads. If it is above 1, it is the leading axis of what a step gets."""
        return self.disc_steps + (0 if self.share_latents else 1)


def init(gan: GAN, key: Key, batch: Batch) -> GANState:
    """Returns the state at step 0.

    Pure: it can be traced by `jax.eval_shape`, or jitted with `out_shardings`.

    Args:
        gan: what will be trained.
        key: a typed key, `jax.random.key(seed)`. Everything random in the run follows from it.
        batch: a batch, or the `jax.ShapeDtypeStruct`s of one. Only its shapes and types are read.

    Raises:
        ValueError: the batch, the generator's samples or the discriminator's logits have a wrong shape or type.
        TypeError: a network's `init` does not return a mapping with "params".
    """
    check_batch(batch, gan.batches_per_step)
    if not isinstance(key, jax.Array):
        raise ValueError(f"the key must be one of jax.random.key(seed), got {key!r}")
    for_generator, for_discriminator, for_run = jax.random.split(key, 3)
    one = _example(gan, batch, for_run, 1)
    extra = {"train": False, "axis_name": None, "keys": one.keys}
    params, model_state = init_network(gan.generator, for_generator, one.latents, label=one.fake_label, **extra)
    generator = _player("generator_tx", gan.generator_tx, gan.generator_terms, params, model_state)
    params, model_state = init_network(gan.discriminator, for_discriminator, one.image, label=one.label, **extra)
    discriminator = _player("discriminator_tx", gan.discriminator_tx, gan.discriminator_terms, params, model_state)
    # A batch of one cannot show that an output has lost the axis of the samples.
    jax.eval_shape(
        lambda key: _check_outputs(gan, _example(gan, batch, key, 2), generator, discriminator), for_run
    )
    return GANState(
        step=jnp.zeros((), jnp.int32),
        key=for_run,
        generator=generator,
        discriminator=discriminator,
        ema=jax.tree.map(jnp.copy, widened(generator.variables)),  # buffers of its own: the state is donated
        augment=gan.augment.init(),
    )


class _Example(NamedTuple):
    """A batch of example inputs for the networks: zeros where the batch has data. Leaves are `[B, ...]`."""

    image: Images
    label: Labels | None
    latents: Latents
    fake_label: Labels | None
    keys: Key


def _example(gan: GAN, batch: Batch, key: Key, size: int) -> _Example:
    lead = 1 if gan.batches_per_step == 1 else 2

    def zeros(leaf: PyTree) -> jax.Array:
        return jnp.zeros((size, *leaf.shape[lead:]), jax.dtypes.canonicalize_dtype(leaf.dtype))

    keys = jax.random.split(key, size)
    label = fake_label = jax.tree.map(zeros, batch.get("label"))
    if gan.fake_labels is not None:
        fake_label = jax.vmap(gan.fake_labels)(keys)
        label = fake_label if label is None else label
        shapes = [jax.tree.map(jnp.shape, tree) for tree in (label, fake_label)]
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"fake_labels makes labels of the shape {shapes[1]} for {size} samples, but those of the batch "
                f"have {shapes[0]}: they must be alike"
            )
    latents = jax.vmap(gan.latent)(keys)
    return _Example(jnp.zeros((size, *batch["image"].shape[lead:])), label, latents, fake_label, keys)


def _check_outputs(gan: GAN, two: _Example, generator: PlayerState, discriminator: PlayerState) -> None:
    """Checks the shapes of what the networks return for a batch of two."""
    extra = {"axis_name": None, "keys": two.keys}
    params, model_state = generator.params, generator.model_state
    images, _ = call_network(gan.generator, params, model_state, two.latents, label=two.fake_label, **extra)
    check_images(images, 2, two.image.shape[1:])
    params, model_state = discriminator.params, discriminator.model_state
    output, _ = call_network(gan.discriminator, params, model_state, two.image, label=two.label, **extra)
    check_logit(gan.loss.logit(output), 2)


def _player(
    field: str,
    tx: optax.GradientTransformation,
    terms: tuple[GANTerm, ...],
    params: PyTree,
    model_state: dict[str, PyTree],
) -> PlayerState:
    # Some optimizers keep the parameters themselves in their state: the state is donated, so they are copied.
    opt_state = jax.tree.map(jnp.copy, tx.init(widened(params)))
    check_optimizer(field, tx, params, opt_state)
    states = tuple(term.penalty.init() for term in terms)
    return PlayerState(params=params, model_state=model_state, opt_state=opt_state, penalties=states)


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
            labels: leaves `[B, ...]`, if the GAN has labels.
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
    types: dict[str, PyTree] = {}  # of the generator's variables, for each structure and shape of the inputs

    def typed(variables: Variables, latents: Latents, labels: Labels | None, size: int) -> Variables:
        """Casts the moving average of 16-bit parameters, which is float32, to the types of the parameters."""
        given = str(jax.tree.map(jnp.shape, (dict(variables), latents, labels)))
        if given not in types:
            keys = jax.random.split(jax.random.key(0), size)
            extra = {"label": labels, "train": False, "axis_name": None, "keys": keys}
            cast = lambda v: typed_as_initialised(gan.generator, v, latents, **extra)  # noqa: E731
            types[given] = jax.tree.map(lambda leaf: leaf.dtype, jax.eval_shape(cast, dict(variables)))
        return jax.tree.map(lambda x, t: x if x.dtype == t else x.astype(t), dict(variables), types[given])

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
        variables = typed(variables, latents, labels, size)
        return sample_network(gan.generator, variables, latents, **extra)

    return sample
