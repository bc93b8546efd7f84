"""The wrappers `step -> step`: each says where a step runs, and compiles it for that place."""

import dataclasses
import functools
import warnings
from collections.abc import Callable, Sequence

import jax
import numpy as np
from jax import lax
from jax.core import eval_context
from jax.extend.core import get_opaque_trace_state
from jax.sharding import AxisType, Mesh, Sharding, SingleDeviceSharding
from jax.sharding import PartitionSpec as P

from ..errors import NeedsWholeBatch
from ..ops import compiler_options
from ..ops.backend import platform_of
from ..step import Step, StepFunction
from ..step.split_state import split_axes
from ..types import AxisName, Device, PyTree
from .mesh import auto_mesh, check_divides, on_auto_mesh, put, split, whole
from .replicated import replicated

Places = tuple[PyTree, Sharding, Sharding]
"""Where the state lies, where the batch lies, and where metrics and shared data lie."""


def _as_step(step: Step | StepFunction) -> Step:
    return step if isinstance(step, Step) else Step(step)


def _is_traced() -> bool:
    """Returns whether JAX traces a function now (`jit`, `scan`, `eval_shape`, `vmap`, `grad`, ...)."""
    with eval_context():
        at_the_top = get_opaque_trace_state()
    return get_opaque_trace_state() != at_the_top


def _compiled(
    step: StepFunction,
    batch_axis: int,
    places: Places | None = None,
    axis_name: AxisName | None = None,
    device: Device | None = None,
) -> Step:
    """Compiles a step with its state donated. Inside another transformation it is part of the outer program.

    Args:
        step: the function.
        batch_axis: the axis of the samples.
        places: None: on the default device.
        axis_name: the device axis that the step still reduces over.
        device: one of those that it is compiled for; None: the default device.
    """

    def program(state: PyTree, batch: PyTree, shared: tuple[PyTree, ...]) -> tuple[PyTree, PyTree]:
        return step(state, batch, *shared)

    shardings = {}
    if places is not None:
        state, batch, rest = places
        shardings = {"in_shardings": (state, batch, rest), "out_shardings": (state, rest)}
    options = compiler_options(None if device is None else platform_of(device))
    jitted = jax.jit(program, donate_argnums=0, compiler_options=options, **shardings)
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


def jit_step(step: Step | StepFunction, device: Device | None = None) -> Step:
    """Compiles `step` for one device, with its state donated.

    Args:
        step: from `make_train_step`, or from `fuse_steps`.
        device: None: JAX's default device. It may be one that is not here, of `jax.experimental.topologies`.
    """
    step = _as_step(step)
    place = None if device is None else SingleDeviceSharding(device)
    places = None if place is None else (place, place, place)
    return _compiled(step, step.batch_axis, places, step.axis_name, device).with_over(step.over)


def shard_step(step: Step | StepFunction, mesh: Mesh, state: PyTree = None) -> Step:
    """Compiles `step` over `mesh`, with the batch split over the devices and the state donated.

    A state or batch that lies elsewhere is put on the mesh first.

    A step of `make_train_step` is built anew for the axes of the mesh and mapped over the devices by
    `jax.shard_map`, as under `pmap`: devices exchange sums of gradients, of statistics and of metrics, and what a
    model gathers by name. Where a part of the GAN mixes samples and does not name `axis_name`, a warning says so
    once, and the compiler splits the whole step instead: the numbers are the same, but on GPUs the devices may
    gather activations. It also splits a step of another origin. A split state is gathered and scattered by
    `step/split_state.py`.

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
    function = step.function
    if step.over is not None and mesh.size > 1:
        function = _where_possible(_over_devices(step.over, mesh, state), step.function)
    return _checked(_compiled(function, step.batch_axis, places, device=mesh.devices.flat[0]), mesh.size)


def _over_devices(over: Callable[[AxisName, PyTree], Step], mesh: Mesh, places: PyTree) -> StepFunction:
    """Returns the step that `over` builds, mapped over `mesh`, for a state that lies at `places` (None: whole)."""
    names = mesh.axis_names[0] if len(mesh.axis_names) == 1 else mesh.axis_names
    if places is None:
        return _mapped(over(names, None), mesh)

    def function(state: PyTree, batch: PyTree, *shared: PyTree) -> tuple[PyTree, PyTree]:
        axes = split_axes(places, state, names)
        if axes is None:
            raise NeedsWholeBatch("a leaf of the state is split otherwise than gan_jax.state_shardings does")
        return _mapped(over(names, axes), mesh, axes)(state, batch, *shared)

    return function


def _mapped(step: Step, mesh: Mesh, axes: PyTree = None) -> StepFunction:
    """Maps a step over the devices of `mesh`: each gets its part of the batch, the shared data, and the state.

    When it is traced it raises NeedsWholeBatch if results may differ between devices that should be the same.

    Args:
        step: it reduces over the axes of `mesh`.
        mesh: the devices.
        axes: along which axis each leaf of the state is split; None: it is whole on every device.
    """
    assert step.axis_name is not None
    checked = replicated(step, step.axis_name, axes)
    batch, rest = split(mesh, step.batch_axis).spec, P()
    state = P() if axes is None else jax.tree.map(lambda axis: P() if axis < 0 else split(mesh, axis).spec, axes)
    # Types do not say what varies over devices: networks that are right without an axis would have to be marked.
    # `replicated` finds the same.
    mapped = jax.shard_map(
        lambda state, batch, shared: checked(state, batch, *shared),
        mesh=mesh, in_specs=(state, batch, rest), out_specs=(state, rest), check_vma=False,
    )  # fmt: skip

    def function(state: PyTree, batch: PyTree, *shared: PyTree) -> tuple[PyTree, PyTree]:
        with on_auto_mesh(whole(mesh), traced=True):
            return mapped(state, batch, shared)

    return function


def _where_possible(over_devices: StepFunction, whole_batch: StepFunction) -> StepFunction:
    """Returns the first function; or, with a warning, the second one if the first is refused when it is traced."""
    warned = False

    def function(state: PyTree, batch: PyTree, *shared: PyTree) -> tuple[PyTree, PyTree]:
        nonlocal warned
        try:
            return over_devices(state, batch, *shared)
        except NeedsWholeBatch as refusal:
            if not warned:
                warnings.warn(
                    "the compiler splits this step over the devices, so GPUs may exchange activations, which is "
                    f"slow: {refusal}",
                    stacklevel=2,
                )
            warned = True
            return whole_batch(state, batch, *shared)

    return function


def pmap_step(step: Step | StepFunction, axis_name: str, devices: Sequence[Device] | None = None) -> Step:
    """Maps `step` over devices, as `jax.pmap` does. It must be built with the same `axis_name`.

    The state keeps its shape and is whole on every device. The batch is the global one, and is split here. What is
    mapped is the same as in `shard_step`, which builds the step itself, and never refuses it.

    Raises:
        ValueError: the step reduces over another axis. When it is called: the devices do not divide the batch. Or
            a part of the GAN is not shown to keep samples apart, and does not name `axis_name`. Or
            a leaf of the new state, or a metric, may differ between devices, since it depends on the batch and is
            not reduced over `axis_name`: a batch norm without it.
    """
    if isinstance(step, Step) and step.axis_name != axis_name:
        raise ValueError(f"pmap_step over {axis_name!r}, but the step was built with axis_name={step.axis_name!r}")
    step = dataclasses.replace(_as_step(step), axis_name=axis_name)
    devices = list(jax.local_devices() if devices is None else devices)
    mesh = Mesh(np.asarray(devices), (axis_name,), axis_types=(AxisType.Auto,))
    places = (whole(mesh), split(mesh, step.batch_axis), whole(mesh))
    compiled = _compiled(_mapped(step, mesh), step.batch_axis, places, device=devices[0])
    return _checked(compiled, len(devices))


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

    over = step.over
    fused_over = over and (lambda axis_name, axes: fuse_steps(over(axis_name, axes), k))
    return Step(fused, step.batch_axis + 1, step.axis_name).with_over(fused_over)
