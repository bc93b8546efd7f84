"""One key for a library's layers, whose draws still belong to single samples.

A layer such as `nn.Dropout` takes one key and draws a mask for the whole batch. That draw would depend on how the
batch is split over devices and microbatches. Here that one key holds a key of each sample: `split` and `fold_in`
act on each of them, and a draw of shape `[B, ...]` is made row by row, each from its own key.
"""

import functools
from collections.abc import Hashable
from typing import Any

import jax
from jax.extend.random import define_prng_impl

from ..types import Key


def per_sample_key(keys: Key) -> Key:
    """Returns one key, of shape `[]`, that holds `[B]` keys.

    A layer splits it, folds numbers into it, and draws arrays from it, as from any key. The leading axis of each
    draw must be the batch, `[B, ...]`.

    Raises:
        ValueError: a draw has another leading axis. JAX meets it when it lowers the program.
    """
    data = jax.random.key_data(keys)
    return jax.random.wrap_key_data(data, impl=_implementation(*data.shape, jax.random.key_impl(keys)))


@functools.cache
def _implementation(size: Any, words: int, inner: Hashable) -> Hashable:
    """Returns the random number generator whose key is `size` keys of the generator `inner`, of `words` words.

    `size` is a number, or a symbol where a program for any batch size is exported.
    """

    def wrap(data: jax.Array) -> Key:
        return jax.random.wrap_key_data(data, impl=inner)

    def seed(seed: jax.Array) -> jax.Array:
        raise ValueError("a key of samples is made by per_sample_key(keys), not from a seed")

    def split(data: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        one = lambda key: jax.random.key_data(jax.random.split(wrap(key), shape))  # noqa: E731
        return jax.vmap(one, out_axes=len(shape))(data)

    def fold_in(data: jax.Array, number: Any) -> jax.Array:
        return jax.vmap(lambda key: jax.random.key_data(jax.random.fold_in(wrap(key), number)))(data)

    def random_bits(data: jax.Array, width: int, shape: tuple[int, ...]) -> jax.Array:
        if not shape or shape[0] != size:
            raise ValueError(
                f"a network draws an array of shape {tuple(shape)}, but each draw must belong to one sample of "
                f"{size}, so its leading axis must be the batch: in dropout leave axis 0 out of broadcast_dims "
                "(attention: broadcast_dropout=False), elsewhere draw from `keys`, one key a sample"
            )
        return jax.vmap(lambda key: jax.random.bits(wrap(key), shape[1:], f"uint{width}"))(data)

    return define_prng_impl(
        key_shape=(size, words), seed=seed, split=split, random_bits=random_bits, fold_in=fold_in,
        name=f"gan_jax_{size}_{inner}", tag=f"samples{size}",
    )  # fmt: skip
