"""Penalties: terms added to a player's loss, such as R1 on the discriminator.

A `Penalty` is a name and two pure functions. A `Term` is a penalty with its weight; a `GAN` has a tuple of terms
for each player. Gradient penalties differentiate the logits by the image *before* augmentation, through the
augmentation. They sum over the elements of a sample and take the mean over the batch, in float32.
"""

import math
from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax import lax

from .errors import NeedsWholeBatch
from .pytree import interleaved
from .terms import Term as Term
from .types import Critic, Generate, Images, Key, Latents, Logits, PyTree, Samples, Scalar


@runtime_checkable
class DiscriminatorPenalty(Protocol):
    """The function of a penalty on the discriminator."""

    def __call__(
        self, state: PyTree, critic: Critic, real: Samples, fake: Samples, key: Key, /
    ) -> tuple[Scalar, PyTree]:
        """Returns the value, a mean over the batch, and the new state. `key` is `[B]`, one key for each sample."""
        ...


@runtime_checkable
class GeneratorPenalty(Protocol):
    """The function of a penalty on the generator."""

    def __call__(
        self, state: PyTree, generate: Generate, latents: Latents, real: Samples, key: Key, /
    ) -> tuple[Scalar, PyTree]:
        """Returns the value, a mean over the batch, and the new state. `key` is `[B]`, one key for each sample."""
        ...


class Penalty(NamedTuple):
    """A penalty on one player.

    Attributes:
        name: its metric is `penalty/<name>`.
        init: returns the state that it starts with; `()` if it keeps none.
        apply: computes the penalty. If its signature names `axis_name`, it gets the device axis under `pmap`, else
            None: a penalty that mixes samples, or keeps state, needs it. Its state must be the same on every
            device. If it names `frozen`, it gets the third argument of the step; if it names `batch`, all fields
            of the batch, with images in [-1, 1].
        joint: the penalty shares no pass over the real or the generated samples alone with the loss, so a
            discriminator may read both as one batch (`GAN.joint_pass`). False: each is a batch of its own, unless
            the penalty is lazy, since the penalty would repeat a pass otherwise.
    """

    name: str
    init: Callable[[], PyTree]
    apply: DiscriminatorPenalty | GeneratorPenalty
    joint: bool = False


class Outputs(NamedTuple):
    """What the discriminator returned for a batch.

    Attributes:
        output: all of it, at least float32: logits, or a pytree with logits and features.
        logit: the critic's logit, which `Loss.logit` takes out of it.
    """

    output: PyTree
    logit: Logits


@runtime_checkable
class OutputFunction(Protocol):
    """The function of a penalty on what the discriminator returns."""

    def __call__(self, state: PyTree, real: Outputs, fake: Outputs, key: Key, /) -> tuple[Scalar, PyTree]:
        """Returns the value, a mean over the batch, and the new state. `key` is `[B]`, one key for each sample."""
        ...


class OutputPenalty(NamedTuple):
    """A penalty on one player that reads what the discriminator returned, and makes no pass of its own.

    In the discriminator's update these are the outputs that its loss reads. In the generator's update they are
    those of the new discriminator on the batch's real samples and on the generated ones.

    Attributes:
        name, init, apply: as in `Penalty`.
    """

    name: str
    init: Callable[[], PyTree]
    apply: OutputFunction


def _stateless(name: str, value: Callable[..., Scalar], joint: bool = False) -> Penalty:
    return Penalty(name, lambda: (), lambda state, *arguments: (value(*arguments), state), joint)


def _gradient(critic: Critic, samples: Samples) -> Images:
    """Returns the gradient of each sample's logit (for patches: of their sum) by its image, `[B, *S]`.

    The pullback of ones is the gradient of the *sum* of logits. Row i is the gradient of logit i if the critic
    treats samples apart. If it mixes them (batch statistics), row i is the gradient of all logits by image i.
    """
    logits, pullback = jax.vjp(lambda image: critic(samples._replace(image=image)), samples.image)
    return pullback(jnp.ones_like(logits))[0]


def _square(gradient: Images) -> jax.Array:
    """Returns the squared Euclidean norm of each sample, `[B]`, in float32 at least."""
    gradient = gradient.astype(jnp.promote_types(gradient.dtype, jnp.float32))
    return jnp.sum(gradient**2, axis=tuple(range(1, gradient.ndim)))


def r1() -> Penalty:
    """Returns `E ||grad D(x)||^2 / 2` on real samples. The weight is the papers' gamma.

    Mescheder et al., "Which training methods for GANs do actually converge?", 2018, equation 9.
    """
    return _stateless("r1", lambda critic, real, fake, keys: jnp.mean(_square(_gradient(critic, real))) / 2)


def r2() -> Penalty:
    """Returns `E ||grad D(G(z))||^2 / 2` on generated samples. The weight is the papers' gamma.

    Mescheder et al., 2018, as for `r1`.
    """
    return _stateless("r2", lambda critic, real, fake, keys: jnp.mean(_square(_gradient(critic, fake))) / 2)


def r1_r2() -> Penalty:
    """Returns `r1` plus `r2`, from one pullback.

    Real and generated samples are one batch for the critic where they are one for the loss (`GAN.joint_pass`), and
    two batches elsewhere. Huang et al., "The GAN is dead; long live the GAN!", 2024, section 3.
    """

    def value(critic: Critic, real: Samples, fake: Samples, keys: Key) -> Scalar:
        if getattr(critic, "joint", False):
            return jnp.mean(_square(_gradient(critic, interleaved(real, fake))))

        def both(images: tuple[Images, Images]) -> PyTree:
            return critic(real._replace(image=images[0])), critic(fake._replace(image=images[1]))

        logits, pullback = jax.vjp(both, (real.image, fake.image))
        on_real, on_fake = pullback(jax.tree.map(jnp.ones_like, logits))[0]
        return (jnp.mean(_square(on_real)) + jnp.mean(_square(on_fake))) / 2

    return _stateless("r1_r2", value, joint=True)


def _per_sample(values: jax.Array, like: Images) -> jax.Array:
    """Reshapes `[B]` values so that they broadcast against images."""
    return values.reshape(values.shape + (1,) * (like.ndim - 1))


def wgan_gp(target: float = 1.0) -> Penalty:
    """Returns `E (||grad D(x_hat)|| - target)^2` at `x_hat = x + e (G(z) - x)`, with e ~ U(0, 1).

    One e is drawn for each sample. `x_hat` has the label and the augmentation of the real sample x. The usual
    weight is 10. Gulrajani et al., "Improved training of Wasserstein GANs", 2017, equation 3.
    """

    def value(critic: Critic, real: Samples, fake: Samples, keys: Key) -> Scalar:
        mix = jax.vmap(lambda key: jax.random.uniform(key, (), real.image.dtype))(keys)
        between = real.image + _per_sample(mix, real.image) * (fake.image - real.image)
        square = _square(_gradient(critic, real._replace(image=between)))
        return jnp.mean((_safe_norm(square) - target) ** 2)

    return _stateless("wgan_gp", value, joint=True)


def _safe_norm(square: jax.Array) -> jax.Array:
    """`sqrt`, with derivative 0 instead of infinity at 0."""
    positive = square > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1.0)), 0.0)


def dragan(scale: float = 0.5, target: float = 1.0) -> Penalty:
    """Returns `E (||grad D(x_hat)|| - target)^2` around the data: `x_hat = x + e * scale * std(x) * u`.

    u is uniform noise in [0, 1], drawn for each element; e ~ U(0, 1) is drawn for each sample. std(x) is the
    standard deviation over the elements of one sample. (The authors use that of the whole batch, which would mix
    samples.) The usual weight is 10. Kodali et al., "On convergence and stability of GANs", 2017.
    """

    def noisy(key: Key, image: jax.Array) -> jax.Array:
        elements, one = jax.random.split(key)
        noise = jax.random.uniform(elements, image.shape, image.dtype)
        return image + jax.random.uniform(one, (), image.dtype) * scale * jnp.std(image) * noise

    def value(critic: Critic, real: Samples, fake: Samples, keys: Key) -> Scalar:
        around = real._replace(image=jax.vmap(noisy)(keys, real.image))
        return jnp.mean((_safe_norm(_square(_gradient(critic, around))) - target) ** 2)

    return _stateless("dragan", value, joint=True)


def reconstruction() -> Penalty:
    """Returns `E |x - G(z)|`, a mean over the batch and over the elements. A penalty on the generator.

    It is meant for GANs whose latents are paired with their real samples. Where they are not paired, the best
    generator makes the *median* of the data in each pixel, whatever z is: a weight above 0 then gives a quick,
    blurred start and costs variety (`docs/first_gan.md` shows it).
    """

    def value(generate: Generate, latents: Latents, real: Samples, keys: Key) -> Scalar:
        return jnp.mean(jnp.abs(real.image - generate(latents)))

    return _stateless("reconstruction", value)


def path_length(decay: float = 0.01, shrink: int = 2, through_mean: bool = False) -> Penalty:
    """Returns `E (|J^T y| - a)^2`, with J = d image / d w and y ~ N(0, I) / sqrt(H W). A penalty on the generator.

    It makes a step of one size in w change the image equally much everywhere. Karras et al., "Analyzing and
    improving the image quality of StyleGAN", 2020, section 3.2. a is the moving average of the mean length over
    the global batch. It moves before the comparison, and no gradient goes through it unless `through_mean`. The
    papers' weight is 2, every 4 steps.

    The generator needs two methods. "mapping" turns latents into w: `[B, W]`, or `[B, L, W]` with one w for each
    of L layers. "synthesis" turns w into images; it gets new `keys` for noise, and no labels. The length is the
    root of the squared norm over W and the *mean* over L, as in the authors' code. (With the paper's equation,
    where all layers move together, it would be the norm of the sum over L.)

    Args:
        decay: the share of the way to the new mean that a moves in each update.
        shrink: the penalty is computed on one of every `shrink` samples; 1 means all.
        through_mean: the gradient goes through the new mean too, as in the authors' code. It becomes smaller by
            `decay` times the product of the mean of l - a and the mean of l's gradient.

    Raises:
        ValueError: `decay` is not in (0, 1], or `shrink` is below 1. Under `pmap`, when it is applied: `shrink`
            does not divide a device's share of the batch, so other samples would be used than on one device.
    """
    if not 0 < decay <= 1 or shrink < 1:
        raise ValueError(
            f"path_length needs a decay in (0, 1] and a shrink of at least 1, got {decay} and {shrink}"
        )

    def apply(
        state: PyTree,
        generate: Generate,
        latents: Latents,
        real: Samples,
        keys: Key,
        *,
        axis_name: str | None = None,
    ) -> tuple[Scalar, PyTree]:
        if axis_name is not None and keys.shape[0] % shrink:
            raise NeedsWholeBatch(
                f"path_length uses one of every {shrink} samples, but {shrink} does not divide the "
                f"{keys.shape[0]} samples of a device: change shrink, the batch or the number of devices"
            )
        keys = keys[::shrink]
        ws = generate(latents, method="mapping")[::shrink]
        noise = jax.vmap(lambda key: jax.random.fold_in(key, 1))(keys)
        images, pullback = jax.vjp(lambda ws: generate(ws, method="synthesis", keys=noise, label=None), ws)
        directions = jax.vmap(lambda key: jax.random.normal(key, images.shape[1:], images.dtype))(keys)
        (by_ws,) = pullback(directions / math.sqrt(math.prod(images.shape[1:-1])))
        lengths = _safe_norm(_square(by_ws) / math.prod(ws.shape[1:-1]))
        mean = jnp.mean(lengths) if through_mean else lax.stop_gradient(jnp.mean(lengths))
        mean = mean if axis_name is None else lax.pmean(mean, axis_name)
        state = state + decay * (mean.astype(state.dtype) - state)
        return jnp.mean((lengths - state) ** 2), lax.stop_gradient(state)

    return Penalty("path_length", lambda: jnp.zeros(()), apply)
