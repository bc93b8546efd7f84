"""What mixes the samples of a batch: it needs the whole batch, not a microbatch or one device's share."""

import weakref
from collections.abc import Callable, Hashable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import losses
from ..checks import takes
from ..errors import NeedsWholeBatch
from ..gan import GAN
from ..losses import LossFunction
from ..networks.keywords import parts_of, read_signature
from ..state import GANState
from ..types import Logits, Network, PyTree

SCALES = (1.0, 10.0, 100.0, 1000.0)  # of random logits: a loss may have a threshold


def mixing_operations(network: Network, model_state: dict[str, PyTree]) -> list[str]:
    """Names the operations of a network that mix samples, or that may do so; an empty list if there are none.

    They are: its collections other than spectral norm and constant noise (batch statistics, for one), and a
    minibatch deviation (an attribute `group`). What else a network of your own mixes cannot be seen here.
    """
    found = sorted(set(model_state) - {"spectral", "noise_buffers"})
    for part in parts_of(network):
        group = getattr(part, "group", 1)
        if isinstance(group, int) and group > 1:
            found.append(f"minibatch deviation (group={group})")
    return found


def mixes_samples(gan: GAN, state_shapes: GANState) -> list[str]:
    """Names the operations that see a microbatch instead of the whole batch; an empty list if there are none.

    They are those of `mixing_operations`, the states of penalties, which all move once a microbatch, penalties
    that name `axis_name` (unless they are `apart`), and a loss that names it or is no mean over samples. What a
    penalty or a network of your own mixes besides cannot be seen here. The answer does not depend on
    `gan.microbatches`.

    Args:
        gan: what is trained.
        state_shapes: its state, or the `jax.ShapeDtypeStruct`s of one.
    """
    players = (
        ("generator", gan.generator, state_shapes.generator, gan.generator_terms, gan.loss.generator),
        (
            "discriminator", gan.discriminator, state_shapes.discriminator, gan.discriminator_terms,
            gan.loss.discriminator,
        ),
    )  # fmt: skip
    found = []
    for name, network, player, terms, loss in players:
        found += [f"the {name}'s {operation}" for operation in mixing_operations(network, player.model_state)]
        for term, state in zip(terms, player.penalties, strict=True):
            if jax.tree.leaves(state):
                found.append(f"the state of the penalty {term.penalty.name}")
            elif "axis_name" in read_signature(term.penalty.apply)[0] and not term.penalty.apart:
                found.append(f"the penalty {term.penalty.name}")
        if takes(loss, "axis_name") or is_separable(loss, jnp.zeros(2), jnp.zeros(2)) is False:
            found.append(f"the {name}'s loss")
    return found + ([] if gan.adaptive_weight is None else ["the adaptive weight"])


def is_separable(function: LossFunction, real: Logits, fake: Logits) -> bool | None:
    """Returns whether a loss is a mean over samples (or pairs of them); None if it cannot be told.

    The loss of 16 samples is compared with the mean of the losses of their halves, on random logits
    of several scales.

    Args:
        function: the loss.
        real, fake: outputs of a discriminator; only their structure, shapes and types are read.
    """
    leaves, structure = jax.tree.flatten((real, fake))
    types = tuple((leaf.shape[1:], jnp.dtype(leaf.dtype)) for leaf in leaves)
    return remembered(function, (structure, types), lambda: _is_separable(function, structure, types))


_ANSWERS: weakref.WeakKeyDictionary[Callable, dict[Hashable, Any]] = weakref.WeakKeyDictionary()


def remembered(function: Callable, key: Hashable, answer: Callable[[], Any]) -> Any:
    """Returns `answer()`, which depends on `function` and `key`; once per function, as long as that exists.

    A step is traced more than once, and each answer costs a compilation. The function may close over traced
    numbers, so it is not kept alive.
    """
    try:
        answers = _ANSWERS.setdefault(function, {})
    except TypeError:  # a function without a hash or a weak reference
        return answer()
    if key not in answers:
        answers[key] = answer()
    return answers[key]


def _is_separable(function: LossFunction, structure: Any, types: tuple[tuple, ...]) -> bool | None:
    random = np.random.default_rng(0)

    def losses(scale: float) -> list[jax.Array]:
        drawn = [jnp.asarray(scale * random.normal(size=(16, *shape)), dtype) for shape, dtype in types]
        whole = jax.tree.unflatten(structure, drawn)
        parts = [jax.tree.map(lambda x, part=part: x[part], whole) for part in (slice(8), slice(8, 16))]
        return [function(*outputs) for outputs in (whole, *parts)]

    try:
        with jax.ensure_compile_time_eval():
            values = np.asarray(jax.jit(lambda: jnp.asarray([losses(scale) for scale in SCALES]))()).astype(float)
    except Exception:  # a loss of another structure or another number of samples
        return None
    return is_mean_of_halves(values)


def is_mean_of_halves(values: np.ndarray) -> bool | None:
    """Returns whether a function of 16 samples is the mean of those of their halves; None if it cannot be told.

    Args:
        values: `[scales, 3]`: the function of all samples, and of each half. Scales at which one is not finite are
            left out, except for the first.
    """
    finite: np.ndarray = np.all(np.isfinite(values), axis=1)
    if not finite[0] or not values[finite].any():
        return None
    found = values[finite]
    gaps = abs(found[:, 0] - found[:, 1:].mean(axis=1))
    return bool((gaps <= 1e-4 * abs(found).max(axis=1)).all())


def check_separable(function: LossFunction, real: Logits, fake: Logits) -> None:
    """Raises NeedsWholeBatch if a loss is not known to be a mean over samples, and does not name `axis_name`."""
    if takes(function, "axis_name") or getattr(function, "__module__", None) == losses.__name__:
        return
    separable = is_separable(function, real, fake)
    if not separable:
        fault = "is no mean" if separable is False else "is not known to be a mean"
        raise NeedsWholeBatch(
            f"the loss {fault} over samples, so on several devices it would be that of one device only: make it "
            "a mean, or give it a keyword axis_name, and take its means over that axis as well (jax.lax.pmean)"
        )
