"""Checks that a penalty is a mean over samples, so that a step may compute it on one device's share of a batch."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..errors import NeedsWholeBatch
from ..networks.keywords import read_signature
from ..penalties import OutputPenalty, Penalty
from ..types import PyTree
from .mixing import SCALES, is_mean_of_halves, remembered
from .samples_apart import ADVICE, enlarged, is_of_the_package, mixing_of

_SAMPLES = 16  # of the test of a penalty


def check_penalty(
    penalty: Penalty | OutputPenalty, state: PyTree, arguments: tuple[PyTree, ...], keywords: dict[str, PyTree]
) -> None:
    """Checks that a penalty is a mean over samples, or that it names `axis_name`.

    Args:
        penalty: of either player.
        state: its state.
        arguments: what its `apply` gets after the state: a function of samples, if it is no `OutputPenalty`, then
            `[B, ...]`.
        keywords: what it gets besides: `batch` and `frozen`, if it names them.

    Raises:
        NeedsWholeBatch: it is not known to be such a mean.
    """
    if is_of_the_package(penalty.apply) or "axis_name" in read_signature(penalty.apply)[0]:
        return
    if arguments and not (
        _compares_apart(penalty, arguments, keywords) or _is_mean(penalty, state, arguments, keywords)
    ):
        raise NeedsWholeBatch(
            f"the penalty {penalty.name} is not known to be a mean over samples, so it might be that of one "
            f"device only: {ADVICE}"
        )


def _compares_apart(
    penalty: Penalty | OutputPenalty, arguments: tuple[PyTree, ...], keywords: dict[str, PyTree]
) -> bool:
    """Returns whether what a penalty compares is shown to keep samples apart; it is traced and not run."""
    if isinstance(penalty, OutputPenalty) or penalty.compared is None:
        return False
    generate, inputs, real = arguments[:3]
    samples = jax.eval_shape(lambda: (generate(inputs), inputs, real))
    frozen = jax.eval_shape(lambda: keywords.get("frozen"))
    return mixing_of(penalty.compared, (enlarged(frozen, 1),), enlarged(samples, 2)) is None


def _is_mean(
    penalty: Penalty | OutputPenalty, state: PyTree, arguments: tuple[PyTree, ...], keywords: dict[str, PyTree]
) -> bool:
    """Returns whether the penalty of 16 random samples is the mean of those of their halves, at several scales.

    The critic (or the generator) is a random function of each sample here, with outputs of the right shapes: the
    question is what the penalty does with them.
    """
    function, samples = (arguments[0], arguments[1:]) if callable(arguments[0]) else (None, arguments)
    shared, split = ({name: keywords[name] for name in [one] if name in keywords} for one in ("frozen", "batch"))
    apply: Callable[..., Any] = penalty.apply
    shapes: list[PyTree] = []

    def recorded(*inputs: PyTree, **options: PyTree) -> PyTree:
        assert function is not None
        output = function(*inputs, **options)
        shapes.append(jax.eval_shape(lambda: output))
        return output

    first = () if function is None else (recorded,)
    jax.eval_shape(lambda samples: apply(state, *first, *samples, **keywords)[0], samples)
    leaves, structure = jax.tree.flatten(jax.eval_shape(lambda: (state, shared, (samples, split), shapes)))
    types = tuple((leaf.shape, leaf.dtype) for leaf in leaves)
    whether = functools.partial(_is_mean_of, apply, structure, types, function is not None)
    return remembered(apply, (structure, types), whether)


def _is_mean_of(apply: Callable[..., Any], structure: Any, types: tuple[tuple, ...], calls_function: bool) -> bool:
    """Computes `_is_mean` from shapes and types: of the state, of the samples, and of what each call returns."""
    like: PyTree
    state, shared, like, shapes = jax.tree.unflatten(structure, [jax.ShapeDtypeStruct(*one) for one in types])
    random = np.random.default_rng(0)

    def value(state: PyTree, shared: PyTree, whole: PyTree, part: slice, scale: float) -> jax.Array:
        calls = iter(shapes)

        def stand_in(*inputs: PyTree, **keywords: PyTree) -> PyTree:
            output = _random_function(next(calls), (inputs, keywords))
            return jax.tree.map(lambda x: (scale * x).astype(x.dtype), output)

        first = (stand_in,) if calls_function else ()
        samples, split = jax.tree.map(lambda x: x[part], whole)
        return apply(state, *first, *samples, **split, **shared)[0]

    def values(state: PyTree, shared: PyTree, whole: PyTree) -> jax.Array:
        parts = slice(None), slice(_SAMPLES // 2), slice(_SAMPLES // 2, None)
        rows = [[value(state, shared, whole, part, scale) for part in parts] for scale in SCALES]
        return jnp.stack([jnp.stack(row) for row in rows])

    try:
        with jax.ensure_compile_time_eval():  # all arrays are made in here: outside they would be traced
            whole = jax.tree.map(lambda leaf: _random_samples(random, leaf), like)
            shared = jax.tree.map(lambda leaf: _random_array(random, leaf, leaf.shape), shared)
            state = jax.tree.map(lambda leaf: jnp.ones(leaf.shape, leaf.dtype), state)
            found = np.asarray(jax.jit(values)(state, shared, whole)).astype(float)
    except Exception:  # it needs another number of samples, or a part of its own
        return False
    return is_mean_of_halves(found) is True


def _random_samples(random: np.random.Generator, like: jax.ShapeDtypeStruct) -> jax.Array:
    """Returns random samples `[16, ...]`, each of the shape and type of those of `like`."""
    if jnp.issubdtype(like.dtype, jax.dtypes.prng_key):
        return jax.random.split(jax.random.key(0, impl=like.dtype._impl.name), (_SAMPLES, *like.shape[1:]))  # pyright: ignore
    return _random_array(random, like, (_SAMPLES, *like.shape[1:]))


def _random_array(random: np.random.Generator, like: jax.ShapeDtypeStruct, shape: tuple[int, ...]) -> jax.Array:
    values = random.normal(size=shape)
    return jnp.asarray(values if jnp.issubdtype(like.dtype, jnp.inexact) else values > 0, like.dtype)


def _random_function(like: PyTree, inputs: PyTree) -> PyTree:
    """Returns outputs `[B, ...]` of the shapes of `like`, smooth functions of each sample of `inputs`."""
    random = np.random.default_rng(1)
    floats = [x for x in jax.tree.leaves(inputs) if jnp.issubdtype(jnp.result_type(x), jnp.floating)]
    size = floats[0].shape[0]
    rows = [x.reshape(size, -1).astype(jnp.float32) for x in floats]
    weights = [random.normal(size=row.shape[1]).astype(np.float32) / np.sqrt(row.shape[1]) for row in rows]
    feature = jnp.sin(sum(row @ weight for row, weight in zip(rows, weights, strict=True)))

    def output(leaf: jax.ShapeDtypeStruct) -> jax.Array:
        shape = leaf.shape[1:]
        slope, shift = (random.normal(size=shape).astype(np.float32) for _ in range(2))
        return jnp.tanh(jnp.multiply.outer(feature, slope) + shift).astype(leaf.dtype)

    return jax.tree.map(output, like)
