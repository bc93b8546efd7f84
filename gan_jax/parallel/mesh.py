"""Meshes, and where a state and a batch lie on them."""

import contextlib
from collections.abc import Iterator, Sequence

import jax
import numpy as np
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, Sharding, get_abstract_mesh
from jax.sharding import PartitionSpec as P

from ..types import Device, PyTree

AXIS = "data"


def make_mesh(devices: Sequence[Device] | int | None = None) -> Mesh:
    """Builds a one-dimensional mesh with the axis "data".

    Args:
        devices: the devices, or the number of devices; None: all. The devices of one process stay together, so its
            part of a batch does too.

    Raises:
        ValueError: there are fewer devices than asked for.
    """
    if devices is None or isinstance(devices, int):
        existing = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
        if devices is not None and devices > len(existing):
            platform = existing[0].platform
            raise ValueError(f"{devices} devices are asked for, but there are {len(existing)} ({platform})")
        devices = existing[:devices]
    return Mesh(np.asarray(devices), (AXIS,), axis_types=(AxisType.Auto,))


def auto_mesh(mesh: Mesh | AbstractMesh) -> Mesh:
    """Returns the mesh of the same devices and axes, whose axes all have the type Auto.

    In a program over Explicit axes, which `jax.make_mesh` makes since JAX 0.9, a network would have to name the
    sharding of every product and reshape.

    Raises:
        TypeError: `mesh` is not a mesh of devices.
    """
    if not isinstance(mesh, Mesh):
        raise TypeError(f"a mesh of devices is needed, from gan_jax.make_mesh() or jax.make_mesh, got {mesh!r}")
    types = (AxisType.Auto,) * len(mesh.axis_names)
    return mesh if mesh.axis_types == types else Mesh(mesh.devices, mesh.axis_names, axis_types=types)


def split(mesh: Mesh, axis: int) -> NamedSharding:
    """Returns the sharding that splits axis `axis` over all devices of `mesh`, whatever the names of its axes."""
    return NamedSharding(auto_mesh(mesh), P(*([None] * axis), mesh.axis_names))


def whole(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of a value that lies whole on every device of `mesh`."""
    return NamedSharding(auto_mesh(mesh), P())


@contextlib.contextmanager
def on_auto_mesh(place: Sharding, traced: bool = False) -> Iterator[None]:
    """Replaces the mesh that `jax.set_mesh` has set, if there is one, by that of `place`, whose axes are Auto.

    Args:
        place: on the mesh.
        traced: a program is being traced, where only the mesh without its devices can be replaced.
    """
    if get_abstract_mesh().empty or not isinstance(place, NamedSharding):
        yield
    else:
        mesh = place.mesh
        assert isinstance(mesh, Mesh)
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh) if traced else jax.set_mesh(mesh):
            yield


def put(tree: PyTree, place: PyTree) -> PyTree:
    """Puts a tree where a compiled step expects it, if it lies elsewhere. Its first leaf is looked at.

    A program would be compiled for another place, and not donate what lies there.

    Args:
        tree: arrays, or `jax.ShapeDtypeStruct`s. One in host memory is returned as it is.
        place: a sharding for the tree, for whole branches, or for each leaf.
    """
    leaf = _first_leaf(tree)
    lies = getattr(leaf, "sharding", None)
    if leaf is None or lies is None:
        return tree
    right = _first_leaf(place)
    explicit = isinstance(lies, NamedSharding) and AxisType.Explicit in lies.mesh.axis_types
    if not explicit and lies.is_equivalent_to(right, leaf.ndim):
        return tree
    if isinstance(leaf, jax.Array):
        return jax.device_put(tree, place)
    places = jax.tree.broadcast(place, tree)
    return jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), tree, places)


def _first_leaf(tree: PyTree) -> PyTree:
    """Returns the first leaf, or None; unlike `jax.tree.leaves`, in a time that does not grow with the tree."""
    if jax.tree_util.all_leaves([tree]):
        return tree
    children, _ = jax.tree_util.default_registry.flatten_one_level(tree) or ((), None)
    return next((leaf for leaf in map(_first_leaf, children) if leaf is not None), None)


def state_shardings(state: PyTree, mesh: Mesh, least: int = 4096) -> PyTree:
    """Returns a sharding for each leaf of a state: one axis that the devices divide is split over them.

    It is the largest axis whose shares fill the tiles of a TPU's memory, else the largest of all. A leaf without
    an axis that the devices divide, and a leaf of fewer than `least` numbers, is whole on every device. So each
    device holds a share of the parameters, of the optimizer state and of the moving average. A step gathers the
    parameters and scatters the gradients (`step/split_state.py`). Rajbhandari et al., "ZeRO", 2020.

    Args:
        state: arrays or `jax.ShapeDtypeStruct`s.
        mesh: from `make_mesh` or `jax.make_mesh`; a leaf is split over all its axes.
        least: the smallest leaf that is split, in numbers. To gather a smaller one costs more than it saves.
    """
    mesh = auto_mesh(mesh)

    def sharding(leaf: jax.Array | jax.ShapeDtypeStruct) -> NamedSharding:
        axes = [axis for axis, size in enumerate(leaf.shape) if size % mesh.size == 0 and size]
        if not axes or leaf.size < least:
            return whole(mesh)

        def rank(axis: int) -> tuple[bool, int, int]:
            return _fills_tiles(leaf.shape, axis, mesh.size), leaf.shape[axis], axis

        return split(mesh, max(axes, key=rank))

    return jax.tree.map(sharding, state)


def _fills_tiles(shape: tuple[int, ...], axis: int, parts: int) -> bool:
    """Returns whether the parts of an array along `axis` fill a TPU's tiles, in JAX's own order of the axes.

    A tile is 8 x 128 numbers of the last two axes; axes of size 1 do not count. Where parts do not fill tiles, a
    TPU's compiler often adds up a whole gradient on every device instead of scattering it. It may choose another
    order of the axes, so this is a rule of thumb: with it, 91 to 99 % of the bytes of the gradients of the
    CIFAR-10 recipes are scattered over eight devices. docs/accelerators.md has these figures, and what it does on
    GPUs.
    """
    longer_axes_after = sum(size > 1 for size in shape[axis + 1 :])
    tile = {0: 128, 1: 8}.get(longer_axes_after, 1)  # axes before the last two have no tiles
    return shape[axis] // parts % tile == 0


def check_divides(batch: PyTree, axis: int, devices: int) -> None:
    """Raises ValueError if the devices do not divide the batch."""
    for leaf in jax.tree.leaves(batch):
        if leaf.shape[axis] % devices:
            raise ValueError(f"{devices} devices do not divide a batch of {leaf.shape[axis]}: change either")


def place_batch(batch: PyTree, mesh: Mesh, axis: int = 0) -> PyTree:
    """Splits a host batch over `mesh` along `axis` (`Step.batch_axis`).

    Raises:
        ValueError: the devices do not divide the batch.
    """
    check_divides(batch, axis, mesh.size)
    return jax.device_put(batch, split(mesh, axis))


def place_state(state: PyTree, mesh: Mesh) -> PyTree:
    """Puts a state (or a data set) whole on every device of `mesh`."""
    return jax.device_put(state, whole(mesh))
