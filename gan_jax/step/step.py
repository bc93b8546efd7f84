"""`Step`: a training step with what a wrapper must know to place it on devices."""

import dataclasses
from collections.abc import Callable
from typing import TypeAlias

import jax

from ..types import AxisName, PyTree

StepFunction: TypeAlias = Callable[..., tuple[PyTree, PyTree]]
"""`(state, batch, *shared) -> (state, metrics)`, pure. `shared` is further data, the same on every device."""


@dataclasses.dataclass(frozen=True)
class Step:
    """A training step, `(state, batch, *shared) -> (state, metrics)`, plain or placed on devices.

    Attributes:
        function: what a call calls.
        batch_axis: the axis of the samples in the leaves of a batch.
        axis_name: the device axis that the step reduces over (under `pmap` and `jax.shard_map`), or None.
        trace_function: traces a step that was placed on devices; None for a plain function.
        over: builds the same step for a device axis, or None where nobody knows how (see `with_over`).
    """

    function: StepFunction
    batch_axis: int = 0
    axis_name: AxisName | None = None
    trace_function: Callable[..., jax.stages.Traced] | None = None
    # `dataclasses.replace` leaves it out: a step with another function would be built without that function.
    over: "Callable[[AxisName, PyTree], Step] | None" = dataclasses.field(default=None, init=False)

    def with_over(self, over: "Callable[[AxisName, PyTree], Step] | None") -> "Step":
        """Returns this step, which `over(axis_name, axes)` builds for a device axis. `shard_step` uses it.

        `axes` has the structure of the step's state, and says along which axis each leaf is split over the
        devices; -1: it is whole. None: all are.
        """
        step = dataclasses.replace(self)
        object.__setattr__(step, "over", over)
        return step

    def __call__(self, state: PyTree, batch: PyTree, *shared: PyTree) -> tuple[PyTree, PyTree]:
        return self.function(state, batch, *shared)

    def trace(self, state: PyTree, batch: PyTree, *shared: PyTree) -> jax.stages.Traced:
        """Traces the step for such arguments: arrays, or `jax.ShapeDtypeStruct`s with shardings."""
        if self.trace_function is not None:
            return self.trace_function(state, batch, shared)
        return jax.jit(lambda state, batch, shared: self.function(state, batch, *shared)).trace(
            state, batch, shared
        )

    def lower(self, state: PyTree, batch: PyTree, *shared: PyTree) -> jax.stages.Lowered:
        """Lowers the step for such arguments, as `trace` takes them.

        `step.lower(...).compile()` is a program that is called as `program(state, batch, shared)`: `shared` is one
        tuple there.
        """
        return self.trace(state, batch, *shared).lower()
