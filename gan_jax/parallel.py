"""Where a step runs: on one device, over a mesh, under `pmap`, or K steps in one program. Wrappers `step -> step`.

All have one signature, `(state, batch, *shared) -> (state, metrics)`. The batch is the global one. The state is
whole (without a leading device axis) and donated. `shared` is further data that the step reads, such as a resident
data set: the same on every device, and not donated. On the CPU platform with several devices, keep at most one
step in flight besides the one you wait for: collectives that queue up there can deadlock.
"""

from collections.abc import Sequence

import jax
import numpy as np
from jax import lax
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from .ops import compiler_options
from .step import Step, StepFunction
from .types import Device, PyTree

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


def _spec(axis: int, name: str = AXIS) -> P:
    """A partition of axis `axis` over the devices."""
    return P(*([None] * axis), name)


def _as_step(step: Step | StepFunction) -> Step:
    return step if isinstance(step, Step) else Step(step)


def _compiled(
    step: StepFunction, batch_axis: int, places: tuple[PyTree, NamedSharding, NamedSharding] | None = None
) -> Step:
    """Compiles a step with its state donated.

    Args:
        step: the function.
        batch_axis: the axis of the samples.
        places: where the state lies, where the batch lies, and where metrics and shared data lie; None: on one
            device.
    """

    def program(state: PyTree, batch: PyTree, shared: tuple[PyTree, ...]) -> tuple[PyTree, PyTree]:
        return step(state, batch, *shared)

    shardings = {}
    if places is not None:
        state, batch, rest = places
        shardings = {"in_shardings": (state, batch, rest), "out_shardings": (state, rest)}
    jitted = jax.jit(program, donate_argnums=0, compiler_options=compiler_options(), **shardings)
    return Step(
        lambda state, batch, *shared: jitted(state, batch, shared), batch_axis, trace_function=jitted.trace
    )


def jit_step(step: Step | StepFunction) -> Step:
    """Compiles `step` for one device, with its state donated."""
    step = _as_step(step)
    return _compiled(step, step.batch_axis)


def shard_step(step: Step | StepFunction, mesh: Mesh, state: PyTree = None) -> Step:
    """Compiles `step` over `mesh`, with the batch split over the devices and the state donated.

    Args:
        step: from `make_train_step`, or from `fuse_steps`.
        mesh: from `make_mesh`.
        state: where the state lies: a sharding for each leaf, or for whole branches, as `state_shardings` returns
            them. None: whole on every device.
    """
    step = _as_step(step)
    whole, split = NamedSharding(mesh, P()), NamedSharding(mesh, _spec(step.batch_axis))
    return _compiled(step, step.batch_axis, (whole if state is None else state, split, whole))


def pmap_step(step: Step | StepFunction, axis_name: str, devices: Sequence[Device] | None = None) -> Step:
    """Maps `step` over devices with `jax.pmap`. It must be built with the same `axis_name`.

    The state keeps its shape (`in_axes=None`). The batch is the global one, and is split here. If the devices
    belong to several processes, the same function is mapped by `jax.shard_map`.

    Raises:
        ValueError: the step reduces over another axis, or the devices do not divide the batch.
    """
    if isinstance(step, Step) and step.axis_name != axis_name:
        raise ValueError(f"pmap_step over {axis_name!r}, but the step was built with axis_name={step.axis_name!r}")
    step = _as_step(step)
    devices = list(jax.local_devices() if devices is None else devices)
    axis = step.batch_axis

    mesh = Mesh(np.asarray(devices), (axis_name,), axis_types=(AxisType.Auto,))
    whole, split = NamedSharding(mesh, P()), NamedSharding(mesh, _spec(axis, axis_name))

    def cut(x: jax.Array) -> jax.Array:
        return x.reshape(*x.shape[:axis], len(devices), x.shape[axis] // len(devices), *x.shape[axis + 1 :])

    def program(state: PyTree, batch: PyTree, shared: tuple[PyTree, ...]) -> tuple[PyTree, PyTree]:
        return step(state, batch, *shared)

    if len({device.process_index for device in devices}) > 1:
        # pmap itself, inside a jit, accepts devices of one process only. This is what pmap is made of.
        specs = (P(), split.spec, P())
        over_hosts = jax.shard_map(program, mesh=mesh, in_specs=specs, out_specs=(P(), P()), check_vma=False)

        def mapped(state: PyTree, batch: PyTree, *shared: PyTree) -> tuple[PyTree, PyTree]:
            return over_hosts(state, batch, shared)
    else:
        # One packed argument: JAX 0.10 takes `in_axes` for a flat list if it has as many entries as there are
        # leaves.
        over_devices = jax.pmap(
            lambda packed: program(*packed), axis_name, in_axes=((None, axis, None),), out_axes=(None, None),
            devices=devices,
        )  # fmt: skip

        def mapped(state: PyTree, batch: PyTree, *shared: PyTree) -> tuple[PyTree, PyTree]:
            return over_devices((state, jax.tree.map(cut, batch), shared))

    # pmap takes no compiler options. A jit around it does, and splits the batch without a program of its own.
    compiled = _compiled(mapped, axis, (whole, split, whole))

    def call(state: PyTree, batch: PyTree, *shared: PyTree) -> tuple[PyTree, PyTree]:
        _check_divides(batch, axis, len(devices))
        # A state that lies elsewhere is placed first: the program would be compiled for its place, and not donate
        # it.
        first = jax.tree.leaves(state)[0]
        if not isinstance(first, jax.Array) or not first.sharding.is_equivalent_to(whole, first.ndim):
            state = jax.device_put(state, whole)
        return compiled(state, batch, *shared)

    return Step(call, axis, trace_function=compiled.trace_function)


def fuse_steps(step: Step | StepFunction, k: int) -> Step:
    """Puts `k` steps into one program. The batch has a leading `[k]`, and so have the metrics.

    This is the innermost wrapper: `shard_step(fuse_steps(step, k), mesh)`.
    """
    step = _as_step(step)

    def fused(state: PyTree, batches: PyTree, *shared: PyTree) -> tuple[PyTree, PyTree]:
        return lax.scan(lambda state, batch: step(state, batch, *shared), state, batches, length=k)

    return Step(fused, step.batch_axis + 1, step.axis_name)


def state_shardings(state: PyTree, mesh: Mesh, least: int = 4096) -> PyTree:
    """Returns a sharding for each leaf of a state: its largest axis that the devices divide is split over them.

    A leaf without such an axis, and a leaf of fewer than `least` numbers, is whole on every device. So each device
    holds a share of the parameters, of the optimizer state and of the moving average; the compiler gathers a
    parameter where a layer needs it. Rajbhandari et al., "ZeRO", 2020; Xu et al., "GSPMD", 2021.

    Args:
        state: arrays or `jax.ShapeDtypeStruct`s.
        mesh: from `make_mesh`.
        least: the smallest leaf that is split, in numbers. To gather a smaller one costs more than it saves.
    """

    def sharding(leaf: jax.Array | jax.ShapeDtypeStruct) -> NamedSharding:
        axes = [axis for axis, size in enumerate(leaf.shape) if size % mesh.size == 0 and size]
        if not axes or leaf.size < least:
            return NamedSharding(mesh, P())
        return NamedSharding(mesh, _spec(max(axes, key=lambda axis: (leaf.shape[axis], axis))))

    return jax.tree.map(sharding, state)


def _check_divides(batch: PyTree, axis: int, devices: int) -> None:
    for leaf in jax.tree.leaves(batch):
        if leaf.shape[axis] % devices:
            raise ValueError(f"{devices} devices do not divide a batch of {leaf.shape[axis]}: change either")


def place_batch(batch: PyTree, mesh: Mesh, axis: int = 0) -> PyTree:
    """Splits a host batch over `mesh` along `axis` (`Step.batch_axis`).

    Raises:
        ValueError: the devices do not divide the batch.
    """
    _check_divides(batch, axis, mesh.size)
    return jax.device_put(batch, NamedSharding(mesh, _spec(axis)))


def place_state(state: PyTree, mesh: Mesh) -> PyTree:
    """Puts a state (or a data set) whole on every device of `mesh`."""
    return jax.device_put(state, NamedSharding(mesh, P()))
