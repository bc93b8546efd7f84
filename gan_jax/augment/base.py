"""The interface of an augmentation, and the two simplest augmentations."""

from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from ..types import Images, Key, Logits, Metrics, PyTree


@runtime_checkable
class Init(Protocol):
    """Makes the first state of an augmentation."""

    def __call__(self) -> PyTree:
        """Returns a pytree of arrays, each in a buffer of its own; `()` if there is no state."""
        ...


@runtime_checkable
class Apply(Protocol):
    """Augments a batch. Every call of the discriminator, on real and on generated images, goes through it."""

    def __call__(self, state: PyTree, images: Images, keys: Key, /) -> Images:
        """Returns the augmented images `[B, *S]`, which must be twice differentiable in `images`.

        Args:
            state: the state before this step's `update`.
            images: `[B, *S]` in [-1, 1].
            keys: `[B]`; image i draws from key i only, and the same key gives the same augmentation.
        """
        ...


@runtime_checkable
class Update(Protocol):
    """Changes the state once a step, after the discriminator's updates."""

    def __call__(self, state: PyTree, real_logits: Logits, images: int, /) -> PyTree:
        """Returns the next state, with the same structure, shapes and types.

        Args:
            state: the state that `apply` read in this step.
            real_logits: the discriminator's logits of the real images, those of the whole global batch.
            images: the number of images of a step, a Python number.
        """
        ...


@runtime_checkable
class StateMetrics(Protocol):
    """Reads metrics from the state, once a step."""

    def __call__(self, state: PyTree, /) -> Metrics:
        """Returns scalars by name, which join the step's metrics. `state` is that after `update`."""
        ...


def _no_metrics(state: PyTree) -> Metrics:
    return {}


class Augment(NamedTuple):
    """An augmentation: pure functions, and a state that lives in `GANState.augment`.

    Attributes:
        init, apply, update, metrics: see their types.
    """

    init: Init
    apply: Apply
    update: Update
    metrics: StateMetrics = _no_metrics


def keep_state(state: PyTree, real_logits: Logits, images: int) -> PyTree:
    """The `update` of an augmentation whose state never changes."""
    return state


def identity() -> Augment:
    """No augmentation."""
    return Augment(init=lambda: (), apply=lambda state, images, keys: images, update=keep_state)


def mirror(probability: float = 0.5) -> Augment:
    """Flips each image `[H, W, C]`, video or volume `[D, H, W, C]` left to right with `probability`.

    Raises:
        ValueError: `probability` is not in [0, 1], or the samples have no width, as audio.
    """
    if not 0 <= probability <= 1:
        raise ValueError(f"mirror's probability must be from 0 to 1, got {probability}")

    def apply(state: PyTree, images: Images, keys: Key) -> Images:
        if images.ndim not in (4, 5):
            raise ValueError(
                f"mirror needs images [H, W, C], or video or volumes [D, H, W, C], not samples of shape "
                f"{images.shape[1:]}, which have no left and right: leave it out"
            )
        flip = jax.vmap(lambda key: jax.random.bernoulli(key, probability))(keys)
        return jnp.where(jnp.expand_dims(flip, tuple(range(1, images.ndim))), images[..., ::-1, :], images)

    return Augment(init=lambda: (), apply=apply, update=keep_state)


def check_color(images: jax.Array, name: str, ranks: tuple[int, ...] = (4,), instead: str = "") -> None:
    """Raises ValueError unless images are floating-point `[B, H, W, C]` with 1 or 3 channels.

    Args:
        images: what is checked.
        name: of the augmentation.
        ranks: numbers of axes that it takes; 5 stands for video and volumes `[B, D, H, W, C]`.
        instead: advice for video and volumes where it takes none.
    """
    advice = instead if images.ndim == 5 else ": leave it out" if images.ndim < 4 else ""
    if (
        images.ndim not in ranks
        or images.shape[-1] not in (1, 3)
        or not jnp.issubdtype(images.dtype, jnp.floating)
    ):
        kinds = "images [B, H, W, C]" + (", or video or volumes [B, D, H, W, C]," if 5 in ranks else "")
        raise ValueError(
            f"{name} needs floating {kinds} with 1 or 3 channels, not {images.dtype} {images.shape}{advice}"
        )
