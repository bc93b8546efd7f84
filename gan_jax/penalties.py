"""Terms added to a player's loss: gradient penalties on the discriminator, reconstruction on the generator.

A `Penalty` is a name and two pure functions. In a `GAN` it stands in a tuple `(weight, penalty, every)`; the
weight may be a schedule of images seen. With `every = k` it is computed on the steps that `k` divides, with
`k` times the weight ("lazy regularisation": Karras et al., StyleGAN2, 2020, appendix B).

The gradient is that of the logits by the image *before* augmentation, through the augmentation: a sum over
the elements of a sample, a mean over the batch, in float32.
"""

import functools
import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from .types import Critic, Generate, Images, Key, Latents, Metrics, PyTree, Samples, Scalar, Schedule


class Penalty(NamedTuple):
    """Attributes:
    name: its metric is `penalty/<name>`.
    init: `() -> state`, usually `()`.
    apply: on the discriminator `(state, critic, real, fake, keys) -> (value, state)`; on the generator
        `(state, generate, latents, real, keys) -> (value, state)`. `real` and `fake` are `Samples`, `keys`
        is `[B]`, one key a sample. One that names the keyword `axis_name` is given the device axis under
        `pmap`, else None: its state has to be the same on every device.
    """

    name: str
    init: Callable[[], PyTree]
    apply: Callable[..., tuple[Scalar, PyTree]]


class Weighted(NamedTuple):
    """A penalty as a game holds it: a number or a schedule of images seen, the penalty, every how many steps."""

    weight: float | Schedule
    penalty: Penalty
    every: int = 1


def _stateless(name: str, value: Callable[..., Scalar]) -> Penalty:
    return Penalty(name, lambda: (), lambda state, *arguments: (value(*arguments), state))


def _ones(logits: PyTree) -> PyTree:
    return jax.tree.map(jnp.ones_like, logits)


def _gradient(critic: Critic, samples: Samples) -> Images:
    """The gradient of each sample's logit by its image, `[B, *S]`.

    The pullback of ones is the gradient of the *sum* of logits: its row i is sample i's own gradient where
    the critic treats samples apart, and all that depends on sample i where it does not (batch statistics).
    """
    logits, pullback = jax.vjp(lambda image: critic(samples._replace(image=image)), samples.image)
    return pullback(_ones(logits))[0]


def _square(gradient: Images) -> jax.Array:
    """Squared Euclidean norm of each sample, `[B]`, in float32 at least."""
    gradient = gradient.astype(jnp.promote_types(gradient.dtype, jnp.float32))
    return jnp.sum(gradient**2, axis=tuple(range(1, gradient.ndim)))


def r1() -> Penalty:
    """`E ||grad D(x)||^2 / 2` on real samples; the weight is the papers' gamma.

    Mescheder et al., "Which training methods for GANs do actually converge?", 2018, equation 9.
    """
    return _stateless("r1", lambda critic, real, fake, keys: jnp.mean(_square(_gradient(critic, real))) / 2)


def r2() -> Penalty:
    """`E ||grad D(G(z))||^2 / 2` on generated samples; the weight is the papers' gamma. Mescheder et al., 2018."""
    return _stateless("r2", lambda critic, real, fake, keys: jnp.mean(_square(_gradient(critic, fake))) / 2)


def r1_r2() -> Penalty:
    """`r1` plus `r2` in one pullback: real and generated samples go through the critic apart, not as one batch.

    Huang et al., "The GAN is dead; long live the GAN!", 2024, section 3.
    """

    def value(critic: Critic, real: Samples, fake: Samples, keys: Key) -> Scalar:
        def both(images: tuple[Images, Images]) -> PyTree:
            return critic(real._replace(image=images[0])), critic(fake._replace(image=images[1]))

        logits, pullback = jax.vjp(both, (real.image, fake.image))
        on_real, on_fake = pullback(_ones(logits))[0]
        return (jnp.mean(_square(on_real)) + jnp.mean(_square(on_fake))) / 2

    return _stateless("r1_r2", value)


def _rows(values: jax.Array, like: Images) -> jax.Array:
    return values.reshape(values.shape + (1,) * (like.ndim - 1))


def wgan_gp(target: float = 1.0) -> Penalty:
    """`E (||grad D(x_hat)|| - target)^2` at `x_hat = x + e (G(z) - x)`, e ~ U(0, 1), one e a sample.

    Interpolates take the real samples' labels and augmentation. The usual weight is 10. Gulrajani et al.,
    "Improved training of Wasserstein GANs", 2017, equation 3.
    """

    def value(critic: Critic, real: Samples, fake: Samples, keys: Key) -> Scalar:
        mix = jax.vmap(lambda key: jax.random.uniform(key, (), real.image.dtype))(keys)
        between = real.image + _rows(mix, real.image) * (fake.image - real.image)
        square = _square(_gradient(critic, real._replace(image=between)))
        return jnp.mean((_safe_norm(square) - target) ** 2)

    return _stateless("wgan_gp", value)


def _safe_norm(square: jax.Array) -> jax.Array:
    """`sqrt`, with derivative 0 instead of infinity at 0."""
    positive = square > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1.0)), 0.0)


def dragan(scale: float = 0.5, target: float = 1.0) -> Penalty:
    """`E (||grad D(x_hat)|| - target)^2` around the data: `x_hat = x + e * scale * std(x) * u`.

    Here u is uniform noise in [0, 1] an element, e ~ U(0, 1) a sample, and std(x) the standard deviation over
    all elements of a sample (the authors take the batch's; a sample's own keeps samples apart). The usual
    weight is 10. Kodali et al., "On convergence and stability of GANs", 2017.
    """

    def noisy(key: Key, image: jax.Array) -> jax.Array:
        elements, one = jax.random.split(key)
        noise = jax.random.uniform(elements, image.shape, image.dtype)
        return image + jax.random.uniform(one, (), image.dtype) * scale * jnp.std(image) * noise

    def value(critic: Critic, real: Samples, fake: Samples, keys: Key) -> Scalar:
        around = real._replace(image=jax.vmap(noisy)(keys, real.image))
        return jnp.mean((_safe_norm(_square(_gradient(critic, around))) - target) ** 2)

    return _stateless("dragan", value)


def reconstruction() -> Penalty:
    """On the generator: `E |x - G(z)|`, a mean over elements too.

    The latents are not those of any x, so for each pixel the best G is the *median* of the data, whatever z:
    a weight above 0 buys a blurred but quick start and pays with variety (`docs/first_gan.md` shows it).
    It is meant for games whose latents are paired with their samples.
    """

    def value(generate: Generate, latents: Latents, real: Samples, keys: Key) -> Scalar:
        return jnp.mean(jnp.abs(real.image - generate(latents)))

    return _stateless("reconstruction", value)


def path_length(decay: float = 0.01, shrink: int = 2) -> Penalty:
    """On a generator with a mapping: `E (|J^T y| - a)^2`, J = d image / d w and y ~ N(0, I) / sqrt(H W).

    A step of one size in w shall change the image by as much wherever it is taken. Karras et al., "Analyzing and
    improving the image quality of StyleGAN", 2020, section 3.2. a is a moving average of the mean length over the
    global batch; it moves before it is compared with, and no gradient goes through it. The papers' weight is 2,
    every 4 steps.

    The generator has the methods "mapping" (latents to `[B, W]`, or `[B, L, W]`, one w for each layer) and
    "synthesis" (those to images, with `keys` for noise, drawn anew; labels are the mapping's). The length is the
    root of the square norm over W and the *mean* of it over L, as in the authors' code: with the L layers moved
    together, as in the paper's equation, it would be the norm of the sum over L.

    Args:
        decay: how much of the way to the new mean a goes each time.
        shrink: every how many samples one is taken; 1: all.

    Raises:
        ValueError: `decay` is not in (0, 1], or `shrink` is below 1. When it is applied under `pmap`: `shrink`
            does not divide a device's share of the batch, so that other samples would be taken than on one device.
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
            raise ValueError(
                f"path_length takes one of every {shrink} samples, which don't divide the {keys.shape[0]} of a "
                "device: change shrink, the batch or the number of devices"
            )
        keys = keys[::shrink]
        ws = generate(latents, method="mapping")[::shrink]
        noise = jax.vmap(lambda key: jax.random.fold_in(key, 1))(keys)
        images, pullback = jax.vjp(lambda ws: generate(ws, method="synthesis", keys=noise, label=None), ws)
        directions = jax.vmap(lambda key: jax.random.normal(key, images.shape[1:], images.dtype))(keys)
        (by_ws,) = pullback(directions / math.sqrt(math.prod(images.shape[1:-1])))
        lengths = _safe_norm(_square(by_ws) / math.prod(ws.shape[1:-1]))
        mean = lax.stop_gradient(jnp.mean(lengths))
        mean = mean if axis_name is None else lax.pmean(mean, axis_name)
        state = state + decay * (mean.astype(state.dtype) - state)
        return jnp.mean((lengths - state) ** 2), state

    return Penalty("path_length", lambda: jnp.zeros(()), apply)


def total(
    entries: Sequence[tuple[Any, Penalty, int]],
    states: tuple[PyTree, ...],
    arguments: tuple[Any, ...],
    step: jax.Array,
    images: jax.Array,
    axis_name: str | None = None,
) -> tuple[Scalar, tuple[PyTree, ...], Metrics]:
    """The weighted sum of penalties, their new states and their metrics; `axis_name` is for those that name it.

    `penalty/<name>` is the unweighted value, 0 on a step where a lazy penalty rests; `applied/<name>`, which
    only lazy penalties have, is 1 where it ran and 0 where not, so that a mean can leave those steps out.
    """
    weighted, new_states, metrics = jnp.zeros(()), [], {}
    for (weight, penalty, every), state in zip(entries, states, strict=True):
        named = "axis_name" in inspect.signature(penalty.apply).parameters
        apply = functools.partial(penalty.apply, axis_name=axis_name) if named else penalty.apply
        if every == 1:
            value, state = apply(state, *arguments)
        else:
            due = step % every == 0
            run = functools.partial(lambda apply, state: apply(state, *arguments), apply)
            dtype = jax.eval_shape(run, state)[0].dtype
            rest = functools.partial(lambda dtype, state: (jnp.zeros((), dtype), state), dtype)
            value, state = lax.cond(due, run, rest, state)
            metrics[f"applied/{penalty.name}"] = due.astype(jnp.float32)
        metrics[f"penalty/{penalty.name}"] = value
        weighted = weighted + jnp.asarray(weight(images) if callable(weight) else weight) * every * value
        new_states.append(state)
    return weighted, tuple(new_states), metrics
