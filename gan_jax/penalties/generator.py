"""Penalties on the generator."""

import math

import jax
import jax.numpy as jnp
from jax import lax

from ..errors import NeedsWholeBatch
from ..outputs import split_output
from ..types import Generate, Images, Key, Latents, PyTree, Samples, Scalar
from .base import Penalty, safe_norm, squared_norm


def path_length(decay: float = 0.01, shrink: int = 2, through_mean: bool = False) -> Penalty:
    """Returns `E (|J^T y| - a)^2`, with J = d image / d w and y ~ N(0, I) / sqrt(H W). A penalty on the generator.

    It makes a step of one size in w change the image equally much everywhere. Karras et al., "Analyzing and
    improving the image quality of StyleGAN", 2020, section 3.2. a is the moving average of the mean length over
    the global batch. It moves before the comparison, and no gradient goes through it unless `through_mean`. The
    papers' weight is 2, every 4 steps.

    The generator needs two methods. "mapping" turns latents into w: `[B, W]`, or `[B, L, W]` with one w for each
    of L layers. "synthesis" turns w into images, or into `(images, aux)`, whose aux is not read; it gets new
    `keys` for noise, and no labels. Samples that are a pytree are one vector of all their leaves, and each leaf
    has its own y. The length is the root of the squared norm over W and the *mean* over L, as in the authors'
    code. (With the paper's equation, where all layers move together, it would be the norm of the sum over L.)

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
        images, pullback = jax.vjp(
            lambda ws: split_output(generate(ws, method="synthesis", keys=noise, label=None))[0], ws
        )
        (by_ws,) = pullback(_directions(images, keys))
        lengths = safe_norm(squared_norm(by_ws) / math.prod(ws.shape[1:-1]))
        mean = jnp.mean(lengths) if through_mean else lax.stop_gradient(jnp.mean(lengths))
        mean = mean if axis_name is None else lax.pmean(mean, axis_name)
        state = state + decay * (mean.astype(state.dtype) - state)
        return jnp.mean((lengths - state) ** 2), lax.stop_gradient(state)

    return Penalty("path_length", lambda: jnp.zeros(()), apply)


def _directions(images: Images, keys: Key) -> Images:
    """Returns `y ~ N(0, I) / sqrt(H W)` for each leaf; the first one draws from the keys themselves."""
    leaves, structure = jax.tree.flatten(images)

    def drawn(i: int, leaf: jax.Array) -> jax.Array:
        own = keys if i == 0 else jax.vmap(lambda key: jax.random.fold_in(key, 1 + i))(keys)  # 1 is the noise
        directions = jax.vmap(lambda key: jax.random.normal(key, leaf.shape[1:], leaf.dtype))(own)
        return directions / math.sqrt(math.prod(leaf.shape[1:-1]))

    return jax.tree.unflatten(structure, [drawn(i, leaf) for i, leaf in enumerate(leaves)])
