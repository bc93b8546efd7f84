"""Checks of a GAN, its batches, its samples and its logits, when they are built or traced."""

import functools
import inspect
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
import optax

from .augment import Augment
from .losses import Loss
from .networks.keywords import read_signature
from .penalties import Penalty, Term
from .pytree import widened
from .types import AxisName, Batch, PyTree

if TYPE_CHECKING:
    from .gan import GAN
    from .state import GANState


def check_gan(gan: "GAN") -> None:
    """Checks the fields of a GAN.

    Raises:
        ValueError: a field holds another kind of thing, or two fields contradict each other.
    """
    for name in ("disc_steps", "microbatches"):
        if getattr(gan, name) < 1:
            raise ValueError(f"{name} must be at least 1, got {getattr(gan, name)}")
    if gan.update not in ("alternating", "simultaneous", "one_stage"):
        raise ValueError(f"update must be alternating, simultaneous or one_stage, got {gan.update!r}")
    if gan.update != "alternating" and not (gan.share_latents and gan.microbatches == 1):
        raise ValueError(
            f"update={gan.update} is one pass for both players: set share_latents=True and microbatches=1"
        )
    for name in ("generator", "discriminator"):
        network = getattr(gan, name)
        if inspect.isclass(network) or not (hasattr(network, "init") and hasattr(network, "apply")):
            raise ValueError(
                f"{name} must be an object with init and apply, such as a Linen module (other libraries need an "
                f"adapter of gan_jax.networks), got {_words(network)}"
            )
    _check_fields(gan)
    _check_terms((*gan.generator_terms, *gan.discriminator_terms))


def _check_fields(gan: "GAN") -> None:
    for name, kind, example in (("loss", Loss, "gan_jax.losses.hinge()"), ("augment", Augment, "augment.ada()")):
        if not isinstance(getattr(gan, name), kind):
            raise ValueError(f"{name} must be like {example}, got {_words(getattr(gan, name))}")
    for name in ("generator_tx", "discriminator_tx"):
        tx = getattr(gan, name)
        if not (hasattr(tx, "init") and hasattr(tx, "update")):
            raise ValueError(f"{name} must be an Optax optimizer such as optax.adam(2e-4), got {_words(tx)}")
    for name in ("generator_terms", "discriminator_terms"):
        if not isinstance(getattr(gan, name), tuple | list):
            raise ValueError(f"{name} must be a tuple of terms, got {_words(getattr(gan, name))}")
    if not callable(gan.latent):
        raise ValueError(f"latent must be a function of a key, such as latents.normal(100), got {gan.latent!r}")
    if not callable(gan.ema):
        raise ValueError(
            "ema must be a schedule of the half-life in images, such as schedules.half_life(10_000), got "
            f"{gan.ema!r}: a decay d per step at batch B is a half-life of B * log(0.5) / log(d) images"
        )


def _check_terms(terms: tuple[PyTree, ...]) -> None:
    for term in terms:
        if not isinstance(term, Term) or not isinstance(term.penalty, Penalty):
            raise ValueError(
                "generator_terms and discriminator_terms hold terms such as "
                f"gan_jax.Term(5.0, gan_jax.penalties.r1()), got {_words(term)}"
            )
        number = isinstance(term.weight, int | float | np.number) and math.isfinite(term.weight)
        if not (number or callable(term.weight) or getattr(term.weight, "shape", None) == ()):
            raise ValueError(
                f"penalty {term.penalty.name}: the weight must be a finite number or a schedule, got "
                f"{term.weight!r}"
            )
        if not isinstance(term.every, int | np.integer):
            raise ValueError(f"penalty {term.penalty.name}: every must be an integer, got {term.every!r}")
        if term.every < 1:
            raise ValueError(f"penalty {term.penalty.name}: every must be at least 1, got {term.every}")
    names = [term.penalty.name for term in terms]
    if len(set(names)) < len(names):  # their metrics would have the same name
        raise ValueError(f"penalties must have different names, got {names}")


def _words(value: object) -> str:
    """Describes a value that is no valid field; a function or a class may have been meant to be called."""
    if isinstance(value, Term):
        inner = value.penalty
        return (
            f"a term of {inner.name}" if isinstance(inner, Penalty) else f"a term whose penalty is {_words(inner)}"
        )
    if isinstance(value, Penalty):
        return f"the penalty {value.name} without its weight"
    if inspect.isclass(value) or inspect.isfunction(value):
        name = getattr(value, "__name__", "it")
        return f"{name}, which is not called: write {name}(...)"
    plain = isinstance(value, int | float | str | tuple | list | type(None))
    return repr(value)[:60] if plain else f"an object of the type {type(value).__name__}"


def check_batch(batch: Batch, batches: int) -> None:
    """Checks what a step reads: arrays, or their shapes.

    Raises:
        ValueError: there is no "image", it is neither uint8 nor floating, or the leading axes do not fit.
    """
    if not isinstance(batch, Mapping) or "image" not in batch:
        given = f"the keys {sorted(map(str, batch))}" if isinstance(batch, Mapping) else "no keys"
        raise ValueError(f'a batch is a dictionary with the real samples under "image", but this one has {given}')
    image, lead = batch["image"], ("B",) if batches == 1 else (batches, "B")
    if not hasattr(image, "shape") or not hasattr(image, "dtype"):
        raise ValueError(f'batch["image"] must be one array, but it is a {type(image).__name__}')
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
    for path, leaf in jax.tree_util.tree_leaves_with_path(batch.get("label")):
        if tuple(jnp.shape(leaf)[:axes]) != tuple(image.shape[:axes]):
            raise ValueError(
                f"labels have the shape {tuple(jnp.shape(leaf))}{_at(path)}, but the images have "
                f"{tuple(image.shape)}: their leading axes must agree"
            )


def _at(path: tuple) -> str:
    return f" at {jax.tree_util.keystr(path)}" if path else ""


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


def check_images(images: PyTree, size: int, shape: tuple[int, ...] | None = None) -> None:
    """Checks what a generator returned for `size` latents.

    Raises:
        ValueError: it is not one floating array `[size, *shape]`.
    """
    if not hasattr(images, "shape"):
        raise ValueError(f"the generator must return one array of samples, but it returns {_structure(images)}")
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


def takes(function: Callable, keyword: str) -> bool:
    """Returns whether a function's signature names `keyword`, or takes any keyword."""
    named, anything = read_signature(function)  # without a cache: a function may close over traced numbers
    return anything or keyword in named


def axis_keyword(function: Callable, axis_name: AxisName | None) -> dict[str, AxisName | None]:
    """Returns the keyword `axis_name`, the device axis, for a loss or a penalty that takes it."""
    return {"axis_name": axis_name} if takes(function, "axis_name") else {}


def check_optimizer(name: str, tx: optax.GradientTransformation, params: PyTree, opt_state: PyTree) -> None:
    """Checks that an optimizer makes an update of what a step gives it.

    Raises:
        ValueError: it needs more than the mean gradient, the parameters and the loss, such as the loss as a
            function or the gradient of each sample.
    """

    def update(params: PyTree, opt_state: PyTree) -> PyTree:
        keywords = {"value": jnp.zeros(())} if takes(tx.update, "value") else {}
        return tx.update(params, opt_state, params, **keywords)

    try:
        jax.eval_shape(update, widened(params), opt_state)
    except NameError:  # it reduces over a device axis, which is not here
        pass
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(
            f"{name} is an optimizer that a step cannot serve: it gets the mean gradient, the parameters and, as "
            f"`value`, the loss, and fails with them ({str(error).splitlines()[0]})"
        ) from error
