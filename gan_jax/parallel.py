"""Where a step runs: one device, a mesh, `pmap`, K steps fused in one program. Wrappers `step -> step`.

All have one signature, `(state, batch, *shared) -> (state, metrics)`: the batch is the global one, the state
is whole (no leading device axis) and donated; `shared` is anything more the step reads, the same on every
device and not donated (a resident data set). On the CPU platform with several devices, have at most one step
in flight beyond the one that is waited for: collectives that queue up there can deadlock.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from .ops import compiler_options
from .step import Step
from .types import PyTree

AXIS = "data"


def make_mesh(devices: Sequence[Any] | int | None = None) -> Mesh:
    """A one-dimensional mesh with the axis "data".

    Args:
        devices: the devices, or how many of those there are; None: all. Those of one process stay together, so
            that its rows of a batch do.

    Raises:
        ValueError: more devices are asked for than there are.
    """
    if devices is None or isinstance(devices, int):
        there = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
        if devices is not None and devices > len(there):
            raise ValueError(f"{devices} devices are asked for, but there are {len(there)} ({there[0].platform})")
        devices = there[:devices]
    return Mesh(np.asarray(devices), (AXIS,), axis_types=(AxisType.Auto,))


def _axis(step: Callable) -> int:
    return getattr(step, "batch_axis", 0)


def _spec(axis: int) -> P:
    return P(*([None] * axis), AXIS)


def _lazily(make: Callable[[int], Callable]) -> Callable:
    """A step compiled by the number of its shared arguments, which only the first call tells; `made` has each."""
    made = functools.lru_cache(maxsize=None)(make)

    def call(state: PyTree, batch: PyTree, *shared: PyTree) -> tuple[PyTree, PyTree]:
        return made(len(shared))(state, batch, *shared)

    call.made = made  # type: ignore[attr-defined]
    return call


def jit_step(step: Callable) -> Step:
    """`step` compiled for one device, its state donated."""
    compiled = jax.jit(step, donate_argnums=0, compiler_options=compiler_options())
    return Step(compiled, _axis(step))


def shard_step(step: Callable, mesh: Mesh, state: PyTree = None) -> Step:
    """`step` compiled over `mesh`, the batch split over it.

    Args:
        step: of `make_train_step`, or of `fuse_steps`.
        mesh: of `make_mesh`.
        state: how the state lies, a sharding for each leaf or for whole branches, such as `state_shardings`
            gives; None: whole on every device.
    """
    whole, split = NamedSharding(mesh, P()), NamedSharding(mesh, _spec(_axis(step)))
    state = whole if state is None else state

    def make(shared: int) -> Callable:
        return jax.jit(
            step,
            in_shardings=(state, split, *[whole] * shared),
            out_shardings=(state, whole),
            donate_argnums=0,
            compiler_options=compiler_options(),
        )

    return Step(_lazily(make), _axis(step))


def pmap_step(step: Callable, axis_name: str, devices: Sequence[Any] | None = None) -> Step:
    """`step` under `jax.pmap`. It must have been made with the same `axis_name`.

    The state keeps its shape (`in_axes=None`), and the batch is the global one, cut here. Where `devices` are of
    several processes, the same function is mapped by `jax.shard_map`.

    Raises:
        ValueError: the step reduces over another axis, or the devices don't divide the batch.
    """
    own = getattr(step, "axis_name", axis_name)
    if own != axis_name:
        raise ValueError(f"pmap_step over {axis_name!r}, but the step was made with axis_name={own!r}")
    devices = list(jax.local_devices() if devices is None else devices)
    axis = _axis(step)

    mesh = Mesh(np.asarray(devices), (axis_name,), axis_types=(AxisType.Auto,))
    whole, split = NamedSharding(mesh, P()), NamedSharding(mesh, P(*[None] * axis, axis_name))
    several = len({device.process_index for device in devices}) > 1

    def cut(x: Any) -> Any:
        return x.reshape(*x.shape[:axis], len(devices), x.shape[axis] // len(devices), *x.shape[axis + 1 :])

    def over_devices(shared: int) -> Callable:
        in_axes = (None, axis, *[None] * shared)
        mapped = jax.pmap(step, axis_name, in_axes=in_axes, out_axes=(None, None), devices=devices)
        return lambda state, batch, *shared: mapped(state, jax.tree.map(cut, batch), *shared)

    def over_hosts(shared: int) -> Callable:
        # What pmap is made of. In a jit, pmap itself knows devices of one process only.
        specs = (P(), split.spec, *[P()] * shared)
        return jax.shard_map(step, mesh=mesh, in_specs=specs, out_specs=(P(), P()), check_vma=False)

    def make(shared: int) -> Callable:
        # pmap takes no compiler options; a jit around it does, and cuts the batch without a program of its own.
        return jax.jit(
            over_hosts(shared) if several else over_devices(shared),
            in_shardings=(whole, split, *[whole] * shared),
            out_shardings=(whole, whole),
            donate_argnums=0,
            compiler_options=compiler_options(),
        )

    mapped = _lazily(make)

    def call(state: PyTree, batch: PyTree, *shared: PyTree) -> tuple[PyTree, PyTree]:
        for leaf in jax.tree.leaves(batch):
            if leaf.shape[axis] % len(devices):
                raise ValueError(f"a batch of {leaf.shape[axis]} can't be divided over {len(devices)} devices")
        # A state that lies elsewhere is placed first: as it is, it would be compiled for, and not donated.
        first = jax.tree.leaves(state)[0]
        if not isinstance(first, jax.Array) or not first.sharding.is_equivalent_to(whole, first.ndim):
            state = jax.device_put(state, whole)
        return mapped(state, batch, *shared)

    call.made = mapped.made  # type: ignore[attr-defined]
    return Step(call, axis)


def fuse_steps(step: Callable, k: int) -> Step:
    """`k` steps in one program. The batch has a leading `[k]`, and so have the metrics.

    The innermost wrapper: `shard_step(fuse_steps(step, k), mesh)`.
    """

    def fused(state: PyTree, batches: PyTree, *shared: PyTree) -> tuple[PyTree, PyTree]:
        return lax.scan(lambda state, batch: step(state, batch, *shared), state, batches, length=k)

    return Step(fused, _axis(step) + 1, getattr(step, "axis_name", None))


def state_shardings(state: PyTree, mesh: Mesh, least: int = 4096) -> PyTree:
    """A sharding for each leaf of a state: its largest axis that the devices divide is cut over them.

    A leaf without such an axis, and one of fewer than `least` numbers, is whole on every device. So each device
    holds a share of the parameters, of what the optimizer keeps of them and of their average; the compiler gathers
    a parameter where a layer needs it. Rajbhandari et al., "ZeRO", 2020; Xu et al., "GSPMD", 2021.

    Args:
        state: arrays or `jax.ShapeDtypeStruct`s.
        mesh: of `make_mesh`.
        least: numbers in a leaf that is worth it; to gather fewer costs more than to hold them.
    """

    def of(leaf: Any) -> NamedSharding:
        axes = [axis for axis, size in enumerate(leaf.shape) if size % mesh.size == 0 and size]
        if not axes or leaf.size < least:
            return NamedSharding(mesh, P())
        return NamedSharding(mesh, _spec(max(axes, key=lambda axis: (leaf.shape[axis], axis))))

    return jax.tree.map(of, state)


def place_batch(batch: PyTree, mesh: Mesh, axis: int = 0) -> PyTree:
    """A host batch split over `mesh` along `axis` (`Step.batch_axis`).

    Raises:
        ValueError: the devices don't divide the batch.
    """
    for leaf in jax.tree.leaves(batch):
        if leaf.shape[axis] % mesh.size:
            raise ValueError(f"a batch of {leaf.shape[axis]} can't be divided over {mesh.size} devices")
    return jax.device_put(batch, NamedSharding(mesh, _spec(axis)))


def place_state(state: PyTree, mesh: Mesh) -> PyTree:
    """A state (or a data set) whole on every device of `mesh`."""
    return jax.device_put(state, NamedSharding(mesh, P()))
