"""What a GAN is, and how its state starts. Read this file first, then `step/train_step.py`.

state = gan_jax.init(gan, key, batch)
step = gan_jax.jit_step(gan_jax.make_train_step(gan))
state, metrics = step(state, batch)
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax.errors import FlaxError

from .augment import Augment, identity
from .checks import check_aux, check_batch, check_gan, check_images, check_key, check_logit, check_optimizer
from .errors import first_line
from .latents import Latent, missing
from .losses import Loss
from .networks import call_network, init_network
from .networks.keywords import name_of
from .outputs import split_output
from .penalties import OutputPenalty, Penalty, Term
from .pixels import to_float
from .pytree import widened
from .schedules import half_life
from .state import GANState, PlayerState
from .types import Batch, Images, Inputs, Key, Labels, Latents, Network, PyTree, Schedule

Weight = float | jax.Array | Schedule  # a schedule is a function of the images seen
GANTerm = Term[Weight, Penalty | OutputPenalty]


class AdaptiveWeight(NamedTuple):
    """A weight of the adversarial loss that follows the gradients: `min(|grad terms| / (|grad adv| + eps), most)`.

    Both gradients are those by one parameter of the generator, the last one that all its losses pass through;
    `terms` is the weighted sum of the generator's terms. No gradient goes through the weight. It is computed from
    the gradients of the global batch, or of one microbatch. Esser et al., "Taming transformers", 2021, equation 7.

    Attributes:
        last_layer: takes that parameter (or a pytree of them) out of the generator's parameters.
        most: the largest weight.
        eps: keeps the quotient finite.
    """

    last_layer: Callable[[PyTree], PyTree]
    most: float = 1e4
    eps: float = 1e-4


@dataclasses.dataclass(frozen=True)
class GAN:
    """A generative adversarial network: networks, losses and how they are trained. Holds functions, no arrays.

    Attributes:
        generator: turns latents `[B, ...]` into images `[B, *S]`, or into a tuple `(images, aux)`.
        discriminator: turns images into logits, `[B]` or `[B, 1]`, or into a pytree that the loss knows.
        loss: what each player minimises, the adversarial loss.
        generator_tx, discriminator_tx: the Optax optimizer of each player.
        latent: turns one key into one latent, with which the generator is called.
        inputs: in place of `latent`, turns one row of the batch and a key into what the generator is called with:
            an image, a pair. See `gan_jax.types.Inputs`.
        generator_terms, discriminator_terms: penalties that are added to each player's loss.
        augment: the augmentation of the images that the discriminator sees.
        fake_labels: turns one key into the label of one generated sample, a pytree like that of one real image.
            None: generated samples have the labels of the batch's real images.
        ema: the half-life of the moving average of the generator's variables, in images, as a schedule.
        disc_steps: updates of the discriminator in a step.
        share_latents: the generator's update uses the latents and real images of the discriminator's last update.
            So the generator runs forward once (if `disc_steps` and `microbatches` are 1).
        update: "alternating": the generator is updated against the new discriminator. "generator_first": the
            generator is updated first, then the discriminator on samples of the new generator. "simultaneous" and
            "one_stage" update both against the old opponent, with the same pass of the discriminator: less work
            and another algorithm, see `step/simultaneous.py`.
        microbatches: the gradient of each update is the mean over this many parts of the batch, to save memory. It
            equals that of the whole batch if networks, losses and penalties compute each sample independently of
            the others. Batch norm and minibatch deviation see one part. Running means (batch statistics, the mean
            of w, that of path length) are updated once for each part. `step.mixes_samples` lists what a GAN has of
            these.
        joint_pass: the discriminator's update passes over real and generated samples as one batch of 2B where the
            numbers stay the same to rounding: where the discriminator and the augmentation keep samples apart (no
            batch norm, no minibatch deviation; their traced program shows it), and no penalty would repeat a pass
            (`Penalty.joint`). Elsewhere, with "simultaneous" and "one_stage", and with False they are two passes;
            the state after the first goes into the second.
        generator_weight: the weight of the adversarial loss in the generator's, beside its terms. A schedule that
            begins with 0 lets it start late: until then the generator learns from its terms alone.
        discriminator_weight: the weight of the discriminator's loss. A schedule that begins with 0 lets the
            discriminator start late: while the weight is 0, neither the discriminator nor its optimizer changes.
        adaptive_weight: multiplies `generator_weight` in every step, so that adversarial loss and terms have
            gradients of the same norm, see `AdaptiveWeight`.
    """

    generator: Network
    discriminator: Network
    loss: Loss
    generator_tx: optax.GradientTransformation
    discriminator_tx: optax.GradientTransformation
    latent: Latent = missing
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
    inputs: Inputs | None = None
    generator_weight: Weight = 1.0
    discriminator_weight: Weight = 1.0
    adaptive_weight: AdaptiveWeight | None = None

    def __post_init__(self) -> None:
        check_gan(self)

    @property
    def batches_per_step(self) -> int:
        """Batches that one step reads. If it is above 1, it is the leading axis of what a step gets."""
        return self.disc_steps + (0 if self.share_latents else 1)


def init(gan: GAN, key: Key, batch: Batch, frozen: PyTree = None) -> GANState:
    """Returns the state at step 0.

    Pure: it can be traced by `jax.eval_shape`, or jitted with `out_shardings`.

    Args:
        gan: what will be trained.
        key: a typed key, `jax.random.key(seed)`. Everything random in the run follows from it.
        batch: a batch, or the `jax.ShapeDtypeStruct`s of one. Only its shapes and types are read.
        frozen: what the step gets as its third argument, or the shapes of that.

    Raises:
        ValueError: the batch, the generator's samples or the discriminator's logits have a wrong shape or type; or
            the key is of a type that draws other numbers where a batch is split.
        TypeError: a network's `init` does not return a mapping with "params".
    """
    check_batch(batch, gan.batches_per_step)
    check_key(key)
    for_generator, for_discriminator, for_run = jax.random.split(key, 3)
    one = _example(gan, batch, for_run, 1)
    frozen = jax.tree.map(lambda x: _zeros(x) if isinstance(x, jax.ShapeDtypeStruct) else x, frozen)
    extra = {"train": False, "axis_name": None, "keys": one.keys, "frozen": frozen}
    with _naming_inputs(gan, one.latents):
        params, model_state = init_network(
            gan.generator, for_generator, one.latents, label=one.fake_label, **extra
        )
    generator = _player("generator_tx", gan.generator_tx, gan.generator_terms, params, model_state)
    params, model_state = init_network(gan.discriminator, for_discriminator, one.image, label=one.label, **extra)
    discriminator = _player("discriminator_tx", gan.discriminator_tx, gan.discriminator_terms, params, model_state)
    # A batch of one cannot show that an output has lost the axis of the samples.
    jax.eval_shape(
        lambda key: _check_outputs(gan, _example(gan, batch, key, 2), generator, discriminator, frozen), for_run
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

    rows = jax.tree.map(lambda leaf: _zeros(leaf, (size, *leaf.shape[lead:])), dict(batch))
    rows["image"] = jax.tree.map(lambda x: jnp.zeros(x.shape), rows["image"])
    keys = jax.random.split(key, size)
    label = fake_label = rows.get("label")
    if gan.fake_labels is not None:
        fake_label = jax.vmap(gan.fake_labels)(keys)
        label = fake_label if label is None else label
        shapes = [jax.tree.map(jnp.shape, tree) for tree in (label, fake_label)]
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"fake_labels makes labels of the shape {shapes[1]} for {size} samples, but those of the batch "
                f"have {shapes[0]}: they must be alike"
            )
    return _Example(rows["image"], label, make_inputs(gan, rows, keys), fake_label, keys)


def _zeros(leaf: PyTree, shape: tuple[int, ...] | None = None) -> jax.Array:
    return jnp.zeros(leaf.shape if shape is None else shape, jax.dtypes.canonicalize_dtype(leaf.dtype))


def make_inputs(gan: GAN, rows: Batch, keys: Key) -> Latents:
    """Returns what the generator is called with, `[B, ...]`, from the rows of a batch and `[B]` keys.

    With `gan.latent` only the keys are read.
    """
    if gan.inputs is None:
        return jax.vmap(gan.latent)(keys)
    return jax.vmap(gan.inputs)({**rows, "image": to_float(rows["image"])}, keys)


@contextlib.contextmanager
def _naming_inputs(gan: GAN, inputs: Latents) -> Iterator[None]:
    """Says what the generator was called with, if it fails and that was not noise."""
    try:
        yield
    except (TypeError, ValueError, AttributeError, FlaxError) as error:
        if gan.inputs is None:
            raise
        shapes = jax.tree.map(jnp.shape, inputs)
        raise ValueError(
            f"the generator, {name_of(gan.generator)}, makes no samples of what `inputs` gives it, arrays of the "
            f"shape {shapes} (of gan_jax.models only mlp takes images): {first_line(error)}"
        ) from error


def _check_outputs(
    gan: GAN, two: _Example, generator: PlayerState, discriminator: PlayerState, frozen: PyTree
) -> None:
    """Checks the shapes of what the networks return for a batch of two."""
    extra = {"axis_name": None, "keys": two.keys, "frozen": frozen}
    params, model_state = generator.params, generator.model_state
    with _naming_inputs(gan, two.latents):
        output, _ = call_network(gan.generator, params, model_state, two.latents, label=two.fake_label, **extra)
        images, aux = split_output(output)
        check_images(images, 2, jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), two.image))
    check_aux(aux, 2)
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
    # The state is donated. A network may return arrays that its user keeps, and some optimizers keep the
    # parameters themselves in their state: so both are copied.
    params, model_state = jax.tree.map(jnp.copy, (params, model_state))
    opt_state = jax.tree.map(jnp.copy, tx.init(widened(params)))
    check_optimizer(field, tx, params, opt_state)
    states = tuple(term.penalty.init() for term in terms)
    return PlayerState(params=params, model_state=model_state, opt_state=opt_state, penalties=states)
