"""Checks that a step may work on one device's share of a batch: what mixes samples has to name `axis_name`.

A network, augmentation or penalty that names the keyword `axis_name` is trusted to reduce over it, and so are the
ones of this package. Of any other one it is shown that it keeps samples apart, or else the step is refused.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..augment import Augment
from ..errors import NeedsWholeBatch, first_line
from ..gan import GAN
from ..losses import Loss
from ..networks import call_network, sample_network
from ..networks.composites import After, Ensemble, member_state
from ..networks.keywords import Adapter, name_of, names_axis, read_signature
from ..penalties import OutputPenalty, Penalty
from ..state import GANState, PlayerState
from ..types import Network, PyTree
from .independence import mixing_primitive
from .inputs import UpdateInputs
from .mixing import SCALES, is_mean_of_halves, remembered

_ADVICE = "give it a keyword axis_name, the device axis, and take its means over that axis as well (jax.lax.pmean)"
_PACKAGE = __name__.partition(".")[0]
_SAMPLES = 16  # of the test of a penalty


def check_samples_apart(
    gan: GAN, state: GANState, inputs: UpdateInputs, devices: int, frozen: PyTree = None
) -> None:
    """Checks the networks and the augmentation of a GAN; its loss and penalties are checked where they are called.

    Args:
        gan: what is trained.
        state: its state.
        inputs: of one update, for one device.
        devices: their number. A network sees the global batch here: what it does may depend on the size.
        frozen: the third argument of the step.

    Raises:
        NeedsWholeBatch: one of them does not name `axis_name`, and is not shown to keep samples apart.
    """
    draws, image, label = _enlarged((inputs.draws, inputs.image, inputs.label), max(devices, 2))
    of_generator = (draws.latents, draws.label, draws.generator)
    _check_network("generator", gan.generator, state.generator, frozen, *of_generator)
    _check_network("discriminator", gan.discriminator, state.discriminator, frozen, image, label, draws.real)
    if not _is_of_the_package(gan.augment.apply):
        _check_augment(gan.augment, state.augment, image, draws.real)


def _is_of_the_package(thing: Any) -> bool:
    return str(getattr(thing, "__module__", "")).partition(".")[0] == _PACKAGE


def _check_network(
    player: str,
    network: Network,
    state: PlayerState,
    frozen: PyTree,
    inputs: PyTree,
    label: PyTree,
    keys: jax.Array,
) -> None:
    if isinstance(network, Ensemble):
        for name, member in network.members.items():
            own = state.replace(params=state.params[name], model_state=member_state(state.model_state, name))
            _check_network(f"{player}'s member {name}", member, own, frozen, inputs, label, keys)
        return
    if isinstance(network, After):
        if (found := _mixing(network.function, (), (inputs,))) is not None:
            raise NeedsWholeBatch(f"the function before the {player} is not shown to keep samples apart ({found})")
        return _check_network(
            player, network.network, state, frozen, jax.eval_shape(network.function, inputs), label, keys
        )
    adapted = isinstance(network, Adapter)
    if names_axis(network) or (_is_of_the_package(type(network)) and not adapted and not _is_wrapper(network)):
        return
    # The adapter gives the axis to its batch norms. So it is looked at as it samples: with running statistics.
    sampling = adapted and bool(state.model_state)

    def apply(
        params: PyTree, model_state: PyTree, frozen: PyTree, inputs: PyTree, label: PyTree, keys: jax.Array
    ) -> PyTree:
        extra = {"label": label, "axis_name": None, "keys": keys, "frozen": frozen}
        if sampling:
            return sample_network(network, {"params": params, **model_state}, inputs, **extra)
        return call_network(network, params, model_state, inputs, **extra)[0]

    found = _mixing(apply, (state.params, state.model_state, frozen), (inputs, label, keys))
    if found is not None:
        raise NeedsWholeBatch(
            f"the {player}, {name_of(network)}, is not shown to keep samples apart ({found}): " + _ADVICE
        )


def _is_wrapper(network: Network) -> bool:
    """Returns whether a network of this package only calls functions of its user (`networks.from_functions`)."""
    return type(network).__module__.startswith(f"{_PACKAGE}.networks")


def _check_augment(augment: Augment, state: PyTree, image: jax.Array, keys: jax.Array) -> None:
    found = _mixing(augment.apply, (state,), (image, keys))
    if found is not None:
        raise NeedsWholeBatch(f"the augmentation is not shown to keep samples apart ({found})")


def check_logit_apart(loss: Loss, output: PyTree) -> None:
    """Raises NeedsWholeBatch if `loss.logit` is not shown to keep samples apart."""
    if not _is_of_the_package(loss.logit) and (found := _mixing(loss.logit, (), (_enlarged(output, 2),))):
        raise NeedsWholeBatch(f"Loss.logit is not shown to keep samples apart ({found}): take means in the loss")


def _mixing(function: Callable, shared: Sequence[PyTree], samples: Sequence[PyTree]) -> str | None:
    """Returns what mixes the samples, or None.

    Args:
        function: of all arguments.
        shared: arguments without samples.
        samples: arguments whose leaves are `[B, ...]`; those of another length have no samples.
    """
    leaves = jax.tree.leaves(samples)
    size = max((leaf.shape[0] for leaf in leaves if leaf.shape), default=0)
    axes = [None] * len(jax.tree.leaves(shared)) + [0 if leaf.shape[:1] == (size,) else None for leaf in leaves]
    try:
        return mixing_primitive(jax.make_jaxpr(function)(*shared, *samples), axes)
    except Exception as error:  # of the function, at this size, or of the analysis
        return first_line(error)


def _enlarged(tree: PyTree, times: int) -> PyTree:
    """Returns the shapes of that many times as many samples."""
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((x.shape[0] * times, *x.shape[1:]), x.dtype) if jnp.ndim(x) else x, tree
    )


# -- penalties


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
    if _is_of_the_package(penalty.apply) or "axis_name" in read_signature(penalty.apply)[0]:
        return
    if arguments and not (
        _compares_apart(penalty, arguments, keywords) or _is_mean(penalty, state, arguments, keywords)
    ):
        raise NeedsWholeBatch(
            f"the penalty {penalty.name} is not known to be a mean over samples, so it might be that of one "
            f"device only: {_ADVICE}"
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
    return _mixing(penalty.compared, (_enlarged(frozen, 1),), _enlarged(samples, 2)) is None


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
