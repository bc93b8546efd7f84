"""The wrappers `step -> step`: each says where a step runs, and compiles it for that place."""

import functools
from collections.abc import Callable, Sequence

import jax
import numpy as np
from jax import lax
from jax.core import eval_context
from jax.extend.core import get_opaque_trace_state
from jax.sharding import AxisType, Mesh, NamedSharding

from ..ops import compiler_options
from ..step import Step, StepFunction
from ..types import Device, PyTree
from .mesh import auto_mesh, check_divides, on_auto_mesh, put, split, whole
from .replicated import replicated

Places = tuple[PyTree, NamedSharding, NamedSharding]
"""Where the state lies, where the batch lies, and where metrics and shared data lie."""


def _as_step(step: Step | StepFunction) -> Step:
    return step if isinstance(step, Step) else Step(step)


def _is_traced() -> bool:
    """Returns whether JAX traces a function now (`jit`, `scan`, `eval_shape`, `vmap`, `grad`, ...)."""
    with eval_context():
        at_the_top = get_opaque_trace_state()
    return get_opaque_trace_state() != at_the_top


def _compiled(
    step: StepFunction, batch_axis: int, places: Places | None = None, axis_name: str | None = None
) -> Step:
    """Compiles a step with its state donated. Inside another transformation it is part of the outer program.

    Args:
        step: the function.
        batch_axis: the axis of the samples.
        places: None: on one device.
        axis_name: the device axis that the step still reduces over.
    """

    def program(state: PyTree, batch: PyTree, shared: tuple[PyTree, ...]) -> tuple[PyTree, PyTree]:
        return step(state, batch, *shared)

    shardings = {}
    if places is not None:
        state, batch, rest = places
        shardings = {"in_shardings": (state, batch, rest), "out_shardings": (state, rest)}
    jitted = jax.jit(program, donate_argnums=0, compiler_options=compiler_options(), **shardings)
    inner = jax.jit(program, **shardings)  # a program inside another one takes no compiler options

    def call(state: PyTree, batch: PyTree, *shared: PyTree) -> tuple[PyTree, PyTree]:
        if _is_traced():
            return inner(state, batch, shared)
        if places is None:
            return jitted(state, batch, shared)
        with on_auto_mesh(places[1]):
            return jitted(*map(put, (state, batch, shared), places))

    def trace(state: PyTree, batch: PyTree, shared: tuple[PyTree, ...]) -> jax.stages.Traced:
        if places is None:
            return jitted.trace(state, batch, shared)
        with on_auto_mesh(places[1]):
            return jitted.trace(*map(put, (state, batch, shared), places))

    return Step(call, batch_axis, axis_name, trace_function=trace)


def jit_step(step: Step | StepFunction) -> Step:
    """Compiles `step` for one device, with its state donated."""
    step = _as_step(step)
    return _compiled(step, step.batch_axis, axis_name=step.axis_name)


def shard_step(step: Step | StepFunction, mesh: Mesh, state: PyTree = None) -> Step:
    """Compiles `step` over `mesh`, with the batch split over the devices and the state donated.

    A state or batch that lies elsewhere is put on the mesh first.

    Args:
        step: from `make_train_step` without an `axis_name`, or from `fuse_steps`.
        mesh: from `make_mesh` or `jax.make_mesh`, with axes of any name and number: the batch is split over all of
            them. Axes of the type Explicit are used as Auto.
        state: where the state lies: a sharding for each leaf, or for whole branches, as `state_shardings` returns
            them. None: whole on every device.

    Raises:
        ValueError: the step reduces over an axis. When it is called: the devices do not divide the batch.
        TypeError: `mesh` has no devices.
    """
    step = _as_step(step)
    if step.axis_name is not None:
        raise ValueError(
            f"shard_step takes a step without a device axis, and this one reduces over {step.axis_name!r}: build "
            "it with make_train_step(gan), or use pmap_step"
        )
    mesh = auto_mesh(mesh)
    places = (whole(mesh) if state is None else state, split(mesh, step.batch_axis), whole(mesh))
    return _checked(_compiled(step, step.batch_axis, places), mesh.size)


def pmap_step(step: Step | StepFunction, axis_name: str, devices: Sequence[Device] | None = None) -> Step:
    """Maps `step` over devices with `jax.pmap`. It must be built with the same `axis_name`.

    The state keeps its shape (`in_axes=None`). The batch is the global one, and is split here. If the devices
    belong to several processes, the same function is mapped by `jax.shard_map`.

    Raises:
        ValueError: the step reduces over another axis. When it is called: the devices do not divide the batch. Or
            a leaf of the new state, or a metric, may differ between devices, since it depends on the batch and is
            not reduced over `axis_name`: a batch norm without it.
    """
    if isinstance(step, Step) and step.axis_name != axis_name:
        raise ValueError(f"pmap_step over {axis_name!r}, but the step was built with axis_name={step.axis_name!r}")
    step = _as_step(step)
    devices = list(jax.local_devices() if devices is None else devices)
    axis = step.batch_axis

    mesh = Mesh(np.asarray(devices), (axis_name,), axis_types=(AxisType.Auto,))
    places = (whole(mesh), split(mesh, axis), whole(mesh))

    checked = replicated(step, axis_name)

    def cut(x: jax.Array) -> jax.Array:
        return x.reshape(*x.shape[:axis], len(devices), x.shape[axis] // len(devices), *x.shape[axis + 1 :])

    def program(state: PyTree, batch: PyTree, shared: tuple[PyTree, ...]) -> tuple[PyTree, PyTree]:
        return checked(state, batch, *shared)

    if len({device.process_index for device in devices}) > 1:
        # pmap itself, inside a jit, accepts devices of one process only. This is what pmap is made of.
        state, batch, rest = (place.spec for place in places)
        over_hosts = jax.shard_map(
            program, mesh=mesh, in_specs=(state, batch, rest), out_specs=(state, rest), check_vma=False
        )

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
    return _checked(_compiled(mapped, axis, places), len(devices))


def _checked(step: Step, devices: int) -> Step:
    """Returns a step that refuses a batch which the devices do not divide."""

    def checked(function: Callable) -> Callable:
        @functools.wraps(function)
        def call(state: PyTree, batch: PyTree, *shared: PyTree) -> PyTree:
            check_divides(batch, step.batch_axis, devices)
            return function(state, batch, *shared)

        return call

    assert step.trace_function is not None
    return Step(checked(step.function), step.batch_axis, trace_function=checked(step.trace_function))


def fuse_steps(step: Step | StepFunction, k: int) -> Step:
    """Puts `k` steps into one program. The batch has a leading `[k]`, and so have the metrics.

    This is the innermost wrapper: `shard_step(fuse_steps(step, k), mesh)`.
    """
    step = _as_step(step)

    def fused(state: PyTree, batches: PyTree, *shared: PyTree) -> tuple[PyTree, PyTree]:
        return lax.scan(lambda state, batch: step(state, batch, *shared), state, batches, length=k)

    return Step(fused, step.batch_axis + 1, step.axis_name)
