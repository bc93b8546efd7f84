"""What a step does over its device axis, under `pmap` and `jax.shard_map`. Without an axis nothing is done.

`jax.shard_map` checks, unless it gets `check_vma=False`, in the type of each value whether it may vary between the
devices. There the derivative by a value that does not vary is a sum over devices, which JAX adds. A step averages
itself, so it takes derivatives by values that are marked as varying (`vary`).
"""

import jax
from jax import lax

from ..types import AxisName, PyTree


def axis_names(axis_name: AxisName) -> tuple[str, ...]:
    """Returns the names of the axes that `axis_name` stands for."""
    return axis_name if isinstance(axis_name, tuple) else (axis_name,)


def varies(x: jax.Array, axis_name: AxisName) -> bool:
    """Returns whether the type of `x` says that it may vary over the axis."""
    return set(axis_names(axis_name)) <= set(jax.typeof(x).mat.varying)


def is_checked(axis_name: AxisName) -> bool:
    """Returns whether types say here what varies over the axis: in a `jax.shard_map` with its default checks."""
    return varies(lax.axis_index(axis_name), axis_name)


def vary(tree: PyTree, axis_name: AxisName | None) -> PyTree:
    """Marks values as varying over devices, where types say so; the numbers stay the same."""
    if axis_name is None or not is_checked(axis_name):
        return tree
    return jax.tree.map(lambda x: _pcast(x, axis_name), tree)


def _pcast(x: jax.Array, axis_name: AxisName) -> jax.Array:
    missing = tuple(name for name in axis_names(axis_name) if not varies(x, name))
    return lax.pcast(x, missing, to="varying") if missing else x


def pmean(tree: PyTree, axis_name: AxisName | None) -> PyTree:
    """Returns the mean over devices."""
    return tree if axis_name is None else lax.pmean(vary(tree, axis_name), axis_name)


def psum(tree: PyTree, axis_name: AxisName | None) -> PyTree:
    """Returns the sum over devices."""
    return tree if axis_name is None else lax.psum(vary(tree, axis_name), axis_name)


def gather(tree: PyTree, axis_name: AxisName | None) -> PyTree:
    """Returns the samples `[B, ...]` of all devices, in order."""
    if axis_name is None:
        return tree
    return lax.all_gather(tree, axis_name, tiled=True, to="invarying" if is_checked(axis_name) else "varying")


def check_axis_types(tree: PyTree) -> None:
    """Checks that no leaf is split over an axis of the type Explicit.

    Raises:
        ValueError: a leaf is.
    """
    for leaf in jax.tree.leaves(tree):
        names = [name for name in jax.typeof(leaf).sharding.spec if name is not None]  # of Explicit axes only
        if names:
            raise ValueError(
                f"state or batch is split over the mesh axis {names[0]!r} of the type Explicit, so networks would "
                "have to name the sharding of every reshape: call shard_step(step, mesh) outside of jit and other "
                "transformations, or use a mesh with Auto axes, as gan_jax.make_mesh() makes"
            )
