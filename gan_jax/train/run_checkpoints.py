"""The checkpoints of a run. All processes call these methods at the same time; process 0 reads and writes."""

import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import jax

from ..checkpoint import Checkpoints, Restored
from ..errors import NonFiniteError
from ..metrics.measures import best_by
from ..pytree import named_leaves
from ..runtime.hosts import Hosts
from ..step.meter import Carry, FirstBad
from ..types import PyTree
from .prepare import Prepared


class RunCheckpoints:
    """Saves and restores the carry of one run. A context manager.

    Args:
        prepared: the run.
        workdir: where it lives.
        hosts: the processes of the run.
        say: prints a line.

    Attributes:
        settled: the newest step with a complete checkpoint that the run will never go back behind; -1: none. A run
            with `health.returns` may go back behind a checkpoint that a stop left.
    """

    def __init__(self, prepared: Prepared, workdir: Path, hosts: Hosts, say: Callable[[str], None]):
        self._prepared, self._folder, self._hosts, self._say = prepared, workdir / "checkpoints", hosts, say
        self._stack = contextlib.ExitStack()
        self.settled = self._under_way = -1

    @functools.cached_property
    def _checkpoints(self) -> Checkpoints:
        """Opened when it is first needed: a run that cannot start leaves the workdir as it was."""
        config = self._prepared.config
        keep, best = config.checkpoint.keep, best_by(config.checkpoint.best)
        return self._stack.enter_context(
            Checkpoints(self._folder, keep=keep, best=best, grid=config.health.returns > 0)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    def good_steps(self) -> list[int]:
        """Returns the steps whose checkpoints are intact, in process 0."""
        if not self._folder.is_dir():
            return []
        return [step for step in self._checkpoints.steps() if self._checkpoints.verify(step) is None]

    def restore(self, grid: bool = False, step: int | None = None) -> tuple[int, Carry, dict[str, Any]] | None:
        """Restores the newest good checkpoint: its step, the carry on the devices, and the record.

        Process 0 reads and verifies it, and sends it to the others.

        Args:
            grid: restore the newest checkpoint that a run without stops would also have.
            step: restore the checkpoint of this step.

        Returns:
            None if there is no checkpoint.
        """
        placement = self._prepared.placement
        shapes = placement.shapes(self._prepared.programs.shapes)
        if self._hosts.count == 1:
            restored = self._read(shapes, grid, step)
            self._begin(restored and (restored.step, restored.record))
            return None if restored is None else (restored.step, restored.state, restored.record)
        leaves: dict[str, PyTree] = {}

        def read() -> list | None:
            restored = self._read(placement.on_host(shapes), grid, step)
            if restored is None:
                return None
            leaves.update(named_leaves(restored.state))
            return [restored.step, restored.record]

        found = self._hosts.from_first(read)
        self._begin(found)
        if found is None:
            return None
        arrays = self._hosts.arrays_from_first(leaves, named_leaves(shapes))
        carry = jax.tree.unflatten(jax.tree.structure(shapes), list(arrays.values()))
        return found[0], placement.put_state(carry, shapes), found[1]

    def _read(self, target: PyTree, grid: bool, step: int | None) -> Restored | None:
        restored = self._checkpoints.restore(target, step, grid=grid) if self._folder.is_dir() else None
        for step, reason in restored.passed_over if restored else ():
            self._say(f"checkpoint {step} is passed over: {reason}")
        return restored

    def save(self, step: int, carry: Carry, **record: object) -> None:
        """Starts to save a checkpoint.

        Args:
            step: number of steps done.
            carry: on the devices.
            record: added to the checkpoint's record.
        """
        on_host = self._prepared.placement.fetch(carry)
        more = {**self._prepared.record, **record}
        self._hosts.from_first(lambda: self._checkpoints.save(step, on_host, more))
        self.settled = self._under_way  # it waited for the one before
        self._note(step, more)

    def wait(self) -> None:
        """Waits until the checkpoint under way is complete."""
        self._hosts.from_first(lambda: self._checkpoints.wait())
        self.settled = self._under_way

    def _begin(self, restored: Sequence[Any] | None) -> None:
        """Settles what was restored, a step and a record; None: nothing was."""
        self._under_way = -1
        if restored is not None:
            self._note(*restored)
        self.settled = self._under_way

    def _note(self, step: int, record: Mapping[str, object]) -> None:
        if record.get("grid") or not self._prepared.config.health.returns:
            self._under_way = step

    def forget_after(self, step: int) -> None:
        """Deletes the checkpoints of later steps."""
        self._hosts.from_first(lambda: self._checkpoints.forget(step))

    def check_finite(self, bad: FirstBad | None) -> None:
        """Raises NonFiniteError if a metric is not finite: where, and which checkpoint is left."""
        if bad is not None:
            raise NonFiniteError(self._hosts.from_first(lambda: self._nonfinite(*bad)))

    def _nonfinite(self, step: int, metric: str) -> str:
        checkpoints = self._checkpoints
        checkpoints.wait()
        good = next((s for s in reversed(checkpoints.steps()) if checkpoints.verify(s) is None), None)
        where = "there is no checkpoint yet" if good is None else f"the last good checkpoint is step {good}"
        if metric == "labels/out_of_range":
            return f"a label is none of the classes at step {step}; {where}: mend the labels of the data"
        return (
            f"{metric} is not finite at step {step}; {where}: lower the learning rates, or raise the "
            "discriminator's penalty, in another --workdir"
        )
