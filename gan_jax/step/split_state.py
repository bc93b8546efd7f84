"""A step whose state is split over the devices: gathers parameters, scatters gradients, updates shares.

Each device holds a share of the split leaves. At the start of a step it gathers the parameters of both players,
and those of the discriminator again after each of its updates. It gathers neither the optimizers' state nor the
moving average. Of the mean gradient it gets its share alone (`lax.psum_scatter`), with which the optimizer updates
its share of the parameters. Rajbhandari et al., "ZeRO", 2020, stage 2.

An optimizer that does not treat numbers apart, as one that clips by the global norm, gets whole gradients and its
whole state on every device, and each device keeps its share of the result.
"""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.extend.core import ClosedJaxpr, Jaxpr

from ..pytree import widened
from ..state import GANState, PlayerState
from ..types import AxisName, PyTree
from .devices import pmean, psum
from .independence.rules import ELEMENTWISE
from .updates import Updates

WHOLE = -1  # the axis of a leaf that is not split
Axes = PyTree  # of the structure of a state or a part of it: the axis along which each leaf is split, or WHOLE


@dataclasses.dataclass(frozen=True)
class SplitUpdates(Updates):
    """The updates of a `GAN` whose state is split over `axis_name`."""

    axes: Axes

    def whole(self, state: GANState) -> GANState:
        """Returns the state with all that networks, penalties and the augmentation read whole."""

        def player(player: PlayerState, axes: PlayerState) -> PlayerState:
            return player.replace(
                params=self._gather(player.params, axes.params),
                model_state=self._gather(player.model_state, axes.model_state),
                penalties=self._gather(player.penalties, axes.penalties),
            )

        return state.replace(
            step=self._gather(state.step, self.axes.step),
            key=self._gather(state.key, self.axes.key),
            generator=player(state.generator, self.axes.generator),
            discriminator=player(state.discriminator, self.axes.discriminator),
            augment=self._gather(state.augment, self.axes.augment),
        )

    def whole_discriminator(self, player: PlayerState) -> PlayerState:
        """Returns the discriminator after an update, with whole parameters."""
        return player.replace(params=self._gather(player.params, self.axes.discriminator.params))

    def whole_generator(self, player: PlayerState) -> PlayerState:
        """Returns the generator after an update, with whole parameters."""
        return player.replace(params=self._gather(player.params, self.axes.generator.params))

    def unchanged(self, discriminator: PlayerState) -> PlayerState:
        """As `Updates` does: an update returns this device's share of the parameters."""
        return discriminator.replace(params=self._cut(discriminator.params, self.axes.discriminator.params))

    def share(self, player: PlayerState, name: str) -> PlayerState:
        """Returns this device's share of a player after its update; `name` is "generator" or "discriminator"."""
        axes = getattr(self.axes, name)
        return player.replace(
            model_state=self._cut(player.model_state, axes.model_state),
            penalties=self._cut(player.penalties, axes.penalties),
        )

    def share_augment(self, augment: PyTree) -> PyTree:
        """Returns this device's share of the state of the augmentation."""
        return self._cut(augment, self.axes.augment)

    def optimize(
        self,
        tx: optax.GradientTransformation,
        player: PlayerState,
        grads: PyTree,
        keywords: dict[str, PyTree],
        name: str,
    ) -> tuple[PyTree, PyTree, jax.Array]:
        """As `Updates` does; the parameters and the optimizer's state that it returns are this device's share."""
        axes: PlayerState = getattr(self.axes, name)
        params = self._cut(player.params, axes.params)
        arguments = self._scatter(grads, axes.params), player.opt_state, widened(params)
        if is_elementwise(tx, arguments, keywords):
            updates, opt_state = tx.update(*arguments, **keywords)
            return optax.apply_updates(params, updates), opt_state, self._norm(arguments[0], axes.params)
        whole = player.replace(opt_state=self._gather(player.opt_state, axes.opt_state))
        new, opt_state, length = super().optimize(tx, whole, grads, keywords, name)
        return self._cut(new, axes.params), self._cut(opt_state, axes.opt_state), length

    # -- between whole leaves and shares

    def _gather(self, tree: PyTree, axes: Axes) -> PyTree:
        def whole(x: jax.Array, axis: int) -> jax.Array:
            return x if axis == WHOLE else lax.all_gather(x, self.axis_name, axis=axis, tiled=True)

        return jax.tree.map(whole, tree, axes)

    def _cut(self, tree: PyTree, axes: Axes) -> PyTree:
        def share(x: jax.Array, axis: int) -> jax.Array:
            if axis == WHOLE:
                return x
            size = x.shape[axis] // lax.axis_size(self.axis_name)
            return lax.dynamic_slice_in_dim(x, lax.axis_index(self.axis_name) * size, size, axis)

        return jax.tree.map(share, tree, axes)

    def _scatter(self, grads: PyTree, axes: Axes) -> PyTree:
        """Returns this device's share of the mean gradient. What is whole is averaged in one piece."""
        leaves, structure = jax.tree.flatten(grads)
        along = structure.flatten_up_to(axes)
        assert self.axis_name is not None
        means = iter(pmean([x for x, axis in zip(leaves, along, strict=True) if axis == WHOLE], self.axis_name))
        shares = [
            next(means) if axis == WHOLE else mean_share(x, axis, self.axis_name)
            for x, axis in zip(leaves, along, strict=True)
        ]
        return jax.tree.unflatten(structure, shares)

    def _norm(self, shares: PyTree, axes: Axes) -> jax.Array:
        """Returns the norm of a gradient from the devices' shares."""
        leaves, structure = jax.tree.flatten(shares)
        parts = [[jnp.zeros(())], [jnp.zeros(())]]
        for x, axis in zip(leaves, structure.flatten_up_to(axes), strict=True):
            parts[axis == WHOLE].append(jnp.sum(jnp.abs(x) ** 2))
        split, whole = map(sum, parts)
        return jnp.sqrt(psum(split, self.axis_name) + whole)


def mean_share(x: jax.Array, axis: int, axis_name: AxisName) -> jax.Array:
    """Returns this device's share, along `axis`, of the mean over devices of an array that each has whole."""
    count = lax.axis_size(axis_name)
    # Without the axes of size 1: with them, a TPU's compiler adds up the whole array on every device.
    kept = [a for a, size in enumerate(x.shape) if size > 1 or a == axis]
    narrow = x.reshape([x.shape[a] for a in kept])
    share = lax.psum_scatter(narrow, axis_name, scatter_dimension=kept.index(axis), tiled=True)
    return share.reshape([size // count if a == axis else size for a, size in enumerate(x.shape)]) / count


def split_axes(shardings: PyTree, state: PyTree, names: AxisName) -> Axes | None:
    """Returns the axis along which each leaf is split over all devices; None if a leaf lies otherwise.

    Args:
        shardings: for each leaf of the state, or for whole branches.
        state: the state, or its shapes.
        names: the axes of the mesh.
    """
    names = names if isinstance(names, tuple) else (names,)

    def axis(sharding: jax.sharding.Sharding) -> int | None:
        if not isinstance(sharding, jax.sharding.NamedSharding):
            return None
        split = [(i, part) for i, part in enumerate(sharding.spec) if part not in (None, ())]
        if not split:
            return WHOLE
        (first, part), *more = split
        parts = part if isinstance(part, tuple) else (part,)
        return None if more or parts != names else first

    found = jax.tree.map(axis, jax.tree.broadcast(shardings, state))
    return found if len(jax.tree.leaves(found)) == len(jax.tree.leaves(state)) else None


def is_elementwise(tx: optax.GradientTransformation, arguments: tuple, keywords: dict[str, PyTree]) -> bool:
    """Returns whether an optimizer's update of each number depends on that number, its state and scalars only.

    Args:
        tx: the optimizer.
        arguments, keywords: what its `update` gets. With shares that do not fit together it is False.
    """
    try:
        traced = jax.make_jaxpr(lambda arguments: tx.update(*arguments, **keywords))(arguments)
    except Exception:  # the shares of a parameter and of its state are not alike
        return False
    return _is_elementwise(traced)


def _is_elementwise(program: ClosedJaxpr | Jaxpr) -> bool:
    jaxpr = program.jaxpr if isinstance(program, ClosedJaxpr) else program
    for eqn in jaxpr.eqns:
        inputs, outputs = ([getattr(v.aval, "shape", None) for v in side] for side in (eqn.invars, eqn.outvars))
        shapes = {*inputs, *outputs} - {()}
        inner = [p for p in _flat(eqn.params.values()) if isinstance(p, ClosedJaxpr | Jaxpr)]
        if inner:
            if eqn.primitive.name in ("scan", "while") or not all(map(_is_elementwise, inner)):
                return False
        elif eqn.primitive.name == "broadcast_in_dim":
            if inputs[0] not in ((), outputs[0]):
                return False
        elif shapes and (len(shapes) > 1 or eqn.primitive.name not in ELEMENTWISE):
            return False
    return True


def _flat(values: Sequence | PyTree) -> list[PyTree]:
    return [x for value in values for x in (value if isinstance(value, tuple | list) else (value,))]
