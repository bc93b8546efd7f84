"""Checks of what networks return."""

import jax
import jax.numpy as jnp

from ..types import PyTree


def at(path: tuple) -> str:
    """Returns words for the place of a leaf in a pytree; empty if it is the whole tree."""
    return f" at {jax.tree_util.keystr(path)}" if path else ""


def check_images(images: PyTree, size: int, like: PyTree = None) -> None:
    """Checks the images that a generator returned for a batch of `size`.

    Args:
        images: one array, or a pytree.
        size: the number of samples.
        like: one sample of the batch, as a `jax.ShapeDtypeStruct` for each array; None if it is not known.

    Raises:
        ValueError: they are not floating arrays `[size, *S]` of the structure and the shapes of `like`.
    """
    leaves = jax.tree.leaves(images)
    if not leaves or (hasattr(like, "shape") and not hasattr(images, "shape")):
        raise ValueError(f"the generator must return one array of samples, but it returns {_structure(images)}")
    if like is not None and jax.tree.structure(images) != jax.tree.structure(like):
        raise ValueError(
            f"the generator makes samples of the structure {jax.tree.structure(images)}, but the batch's have "
            f"{jax.tree.structure(like)}: they must be alike"
        )
    shapes = [None] * len(leaves) if like is None else [leaf.shape for leaf in jax.tree.leaves(like)]
    for leaf, shape in zip(leaves, shapes, strict=True):
        _check_image(leaf, size, shape)


def _check_image(images: PyTree, size: int, shape: tuple[int, ...] | None) -> None:
    if images.ndim == 0 or images.shape[0] != size:
        raise ValueError(
            f"the generator makes the shape {tuple(images.shape)} from {size} latents: its first axis must "
            "be the batch"
        )
    if shape is not None and tuple(images.shape[1:]) != tuple(shape):
        raise ValueError(
            f"the generator makes samples of shape {tuple(images.shape[1:])}, but the batch's are {tuple(shape)}: "
            "give it the shape of the data"
        )
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise ValueError(f"the generator must make floating samples from -1 to 1, but it makes {images.dtype}")


def check_aux(aux: PyTree, size: int) -> None:
    """Raises ValueError unless every leaf of what a generator returned beside its images is `[size, ...]`."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(aux):
        if jnp.shape(leaf)[:1] != (size,):
            raise ValueError(
                f"the generator returns (images, aux), and aux{at(path)} has the shape {jnp.shape(leaf)} for "
                f"{size} samples: each leaf must have one row for each sample, so that a step can split the batch"
            )


def check_logit(logit: PyTree, size: int) -> None:
    """Checks the logit of `size` samples, which `Loss.logit` takes out of what the discriminator returned.

    Raises:
        ValueError: it is not `[B]`, `[B, 1]`, or a map of logits with three axes or more.
    """
    if not hasattr(logit, "shape"):
        raise ValueError(
            f"the discriminator returns {_structure(logit)}: say which part is the logit, as with "
            'Loss(generator, discriminator, logit=lambda output: output["adv"]), or make the loss that of several '
            "members, with features or without (gan_jax.losses.over_members)"
        )
    shape = tuple(logit.shape)
    if not shape or shape[0] != size or (len(shape) == 2 and shape[1] != 1):
        raise ValueError(
            f"the discriminator must return one logit for each of the {size} samples, as [B], [B, 1] or (for "
            f"patches) a map [B, h, w] or [B, n, 1], but its logit has the shape {shape}"
        )


def _structure(tree: PyTree) -> str:
    shapes = jax.tree.map(lambda leaf: list(getattr(leaf, "shape", ())), tree)
    return f"a {type(tree).__name__} of the shapes {shapes}"
