"""Checks of a batch and a state, when a step is traced."""

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from ..networks.keywords import names, read_signature
from ..pytree import widened
from ..types import Batch, PyTree
from .outputs import at

if TYPE_CHECKING:
    from ..gan import GAN
    from ..state import GANState


def check_key(key: object) -> None:
    """Checks the key of a run.

    Raises:
        ValueError: it is no key, or of a type that draws other numbers where a batch is split.
    """
    if not isinstance(key, jax.Array):
        raise ValueError(f"the key must be one of jax.random.key(seed), got {key!r}")
    if (kind := str(jax.random.key_impl(key))) in ("rbg", "unsafe_rbg"):
        raise ValueError(
            f"the key is of the type {kind}, whose numbers for a sample depend on the samples drawn with it: "
            'use jax.random.key(seed, impl="threefry2x32"), or unset JAX_DEFAULT_PRNG_IMPL'
        )


def check_batch(batch: Batch, batches: int) -> None:
    """Checks what a step reads: arrays, or their shapes.

    Raises:
        ValueError: there is no "image", it is a tuple of two or neither uint8 nor floating, or the leading axes do
            not fit.
    """
    if not isinstance(batch, Mapping) or "image" not in batch:
        given = f"the keys {sorted(map(str, batch))}" if isinstance(batch, Mapping) else "no keys"
        raise ValueError(f'a batch is a dictionary with the real samples under "image", but this one has {given}')
    lead = ("B",) if batches == 1 else (batches, "B")
    images = jax.tree_util.tree_leaves_with_path(batch["image"])
    if type(batch["image"]) is tuple and len(batch["image"]) == 2:
        raise ValueError(
            'batch["image"] is a tuple of two, and such a tuple of a generator is read as (images, aux): make the '
            "samples a dict or a NamedTuple"
        )
    if not images:
        raise ValueError(f'batch["image"] must be one array or a pytree of arrays, but it is {batch["image"]!r}')
    for path, image in images:
        _check_batch_image(image, path, lead, batches)
    axes, shape = len(lead), tuple(images[0][1].shape[: len(lead)])
    for path, leaf in jax.tree_util.tree_leaves_with_path(dict(batch)):
        if tuple(jnp.shape(leaf)[:axes]) != shape:
            name, *inner = path
            what = {"label": "labels have", "image": "images have"}.get(name.key, f"batch[{name.key!r}] has")
            raise ValueError(
                f"{what} the shape {tuple(jnp.shape(leaf))}{at(tuple(inner))}, but the images have "
                f"{tuple(images[0][1].shape)}: their leading axes must agree"
            )


def _check_batch_image(image: PyTree, path: tuple, lead: tuple, batches: int) -> None:
    if not hasattr(image, "shape") or not hasattr(image, "dtype"):
        raise ValueError(f'batch["image"] must be one array, but it is a {type(image).__name__}{at(path)}')
    if not (image.dtype == jnp.uint8 or jnp.issubdtype(image.dtype, jnp.floating)):
        raise ValueError(
            f"images must be uint8 (0 to 255) or floating (-1 to 1), but these are {image.dtype}: convert them"
        )
    axes = len(lead)
    if image.ndim <= axes or (batches > 1 and image.shape[0] != batches):
        takes = "one batch" if batches == 1 else f"{batches} batches"
        raise ValueError(
            f"a step of this GAN takes {takes}, so images are [{', '.join(map(str, lead))}, ...], but their shape "
            f"is {tuple(image.shape)}"
        )


def check_state(gan: "GAN", state: "GANState") -> None:
    """Checks that a state has the parts of this GAN.

    Raises:
        ValueError: it is the state of a GAN with other penalties, another optimizer or another augmentation.
    """
    players = (
        ("generator", state.generator, gan.generator_terms, gan.generator_tx),
        ("discriminator", state.discriminator, gan.discriminator_terms, gan.discriminator_tx),
    )
    parts = [("augmentation", state.augment, gan.augment.init)]
    for name, player, terms, tx in players:
        if len(player.penalties) != len(terms):
            raise ValueError(
                f"the state has {len(player.penalties)} penalties of the {name}, but the GAN has {len(terms)}: it "
                "is the state of another GAN, so make one with init(gan, key, batch)"
            )
        for term, kept in zip(terms, player.penalties):
            parts.append((f"penalty {term.penalty.name}", kept, term.penalty.init))
        parts.append((f"{name}'s optimizer", player.opt_state, functools.partial(tx.init, widened(player.params))))
    for name, kept, start in parts:
        try:
            wanted = jax.tree.structure(jax.eval_shape(start))
        except Exception:  # it cannot be traced, for instance since it computes with NumPy
            continue
        if jax.tree.structure(kept) != wanted:
            raise ValueError(
                f"the state of the {name} is that of another GAN: make one with init(gan, key, batch), or use the "
                "GAN that the state was made for"
            )


def frozen_readers(gan: "GAN") -> list[str]:
    """Returns the networks and penalties that name the keyword `frozen`."""
    readers = [name for name in ("generator", "discriminator") if names(getattr(gan, name), "frozen")]
    for term in (*gan.generator_terms, *gan.discriminator_terms):
        if "frozen" in read_signature(term.penalty.apply)[0]:
            readers.append(f"penalty {term.penalty.name}")
    return readers


def check_frozen(gan: "GAN", frozen: PyTree) -> None:
    """Checks that a step which reads `frozen` has got it.

    Raises:
        ValueError: a network or a penalty names the keyword `frozen`, and there is none.
    """
    if frozen is not None:
        return
    if readers := frozen_readers(gan):
        raise ValueError(
            f"the {readers[0]} reads frozen variables, but the step has none: give them as the third argument, "
            "step(state, batch, frozen)"
        )
