"""Checks that a step may work on one device's share of a batch: what mixes samples has to name `axis_name`.

A network or augmentation (or a penalty, see `penalty_means.py`) that names the keyword `axis_name` is trusted to
reduce over it, and so are the ones of this package. Of any other one it is shown that it keeps samples apart, or
else the step is refused.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ..augment import Augment
from ..errors import NeedsWholeBatch, first_line
from ..gan import GAN
from ..losses import Loss
from ..networks import call_network, sample_network
from ..networks.composites import After, Ensemble, member_state
from ..networks.keywords import Adapter, name_of, names_axis
from ..state import GANState, PlayerState
from ..types import Network, PyTree
from .independence import mixing_primitive
from .inputs import UpdateInputs

ADVICE = "give it a keyword axis_name, the device axis, and take its means over that axis as well (jax.lax.pmean)"
_PACKAGE = __name__.partition(".")[0]


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
    draws, image, label = enlarged((inputs.draws, inputs.image, inputs.label), max(devices, 2))
    of_generator = (draws.latents, draws.label, draws.generator)
    _check_network("generator", gan.generator, state.generator, frozen, *of_generator)
    _check_network("discriminator", gan.discriminator, state.discriminator, frozen, image, label, draws.real)
    if not is_of_the_package(gan.augment.apply):
        _check_augment(gan.augment, state.augment, image, draws.real)


def is_of_the_package(thing: Any) -> bool:
    """Returns whether a class or a function is of this package, which names the axis where it must."""
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
        if (found := mixing_of(network.function, (), (inputs,))) is not None:
            raise NeedsWholeBatch(f"the function before the {player} is not shown to keep samples apart ({found})")
        return _check_network(
            player, network.network, state, frozen, jax.eval_shape(network.function, inputs), label, keys
        )
    adapted = isinstance(network, Adapter)
    if names_axis(network) or (is_of_the_package(type(network)) and not adapted and not _is_wrapper(network)):
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

    found = mixing_of(apply, (state.params, state.model_state, frozen), (inputs, label, keys))
    if found is not None:
        raise NeedsWholeBatch(
            f"the {player}, {name_of(network)}, is not shown to keep samples apart ({found}): " + ADVICE
        )


def _is_wrapper(network: Network) -> bool:
    """Returns whether a network of this package only calls functions of its user (`networks.from_functions`)."""
    return type(network).__module__.startswith(f"{_PACKAGE}.networks")


def _check_augment(augment: Augment, state: PyTree, image: jax.Array, keys: jax.Array) -> None:
    found = mixing_of(augment.apply, (state,), (image, keys))
    if found is not None:
        raise NeedsWholeBatch(f"the augmentation is not shown to keep samples apart ({found})")


def check_logit_apart(loss: Loss, output: PyTree) -> None:
    """Raises NeedsWholeBatch if `loss.logit` is not shown to keep samples apart."""
    if not is_of_the_package(loss.logit) and (found := mixing_of(loss.logit, (), (enlarged(output, 2),))):
        raise NeedsWholeBatch(f"Loss.logit is not shown to keep samples apart ({found}): take means in the loss")


def mixing_of(function: Callable, shared: Sequence[PyTree], samples: Sequence[PyTree]) -> str | None:
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


def enlarged(tree: PyTree, times: int) -> PyTree:
    """Returns the shapes of that many times as many samples."""
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((x.shape[0] * times, *x.shape[1:]), x.dtype) if jnp.ndim(x) else x, tree
    )
