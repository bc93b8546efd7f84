"""What a run leaves in its workdir: log, sample grids, checkpoints, metrics and the page.

All processes of a run call the recorder at the same time, and process 0 alone writes.
"""

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Concatenate, ParamSpec, Self, TextIO

import jax

from ..checkpoint import Checkpoints, Restored
from ..checkpoint.digest import leaf_digests, state_digest
from ..config.build import Allow
from ..metrics.measures import best_by
from ..pytree import named_leaves
from ..report.page import page
from ..report.sample_grids import SampleGrids
from ..report.writer import Writer, rewind
from ..runtime.hosts import Hosts
from ..step.meter import Carry
from ..types import PyTree, Variables
from .due import due_after
from .health import Health
from .periodic_evaluation import PeriodicEvaluation
from .prepare import Prepared
from .workdir import keep_config

P = ParamSpec("P")


def _in_process_0(
    method: Callable[Concatenate["Recorder", P], None],
) -> Callable[Concatenate["Recorder", P], None]:
    """Makes a method do nothing in the other processes."""

    @functools.wraps(method)
    def call(self: "Recorder", *args: P.args, **kwargs: P.kwargs) -> None:
        if self.writes:
            method(self, *args, **kwargs)

    return call


class Recorder:
    """The workdir of one run. A context manager.

    Args:
        prepared: the run.
        workdir: where it lives.
        hosts: the processes of the run.
        allow: top-level packages that names may come from besides gan_jax; None: any.
        stream: where progress goes; None: standard error.

    Attributes:
        writes: whether this process writes.
    """

    def __init__(
        self, prepared: Prepared, workdir: Path, hosts: Hosts, allow: Allow = None, stream: TextIO | None = None
    ):
        config, programs, source = prepared.config, prepared.programs, prepared.source
        self.writes = hosts.first
        self._prepared, self._config, self._workdir, self._hosts = prepared, config, workdir, hosts
        self._stream = stream or sys.stderr
        self._grids = SampleGrids(workdir, programs.sampler, source, config.sample.count)
        self._evaluation = PeriodicEvaluation(config, workdir, programs.metrics_sampler, source, allow)
        self._health = Health(prepared.gan.loss, source) if config.health.warn else None
        self._stack = contextlib.ExitStack()
        self._writer: Writer | None = None

    @functools.cached_property
    def _checkpoints(self) -> Checkpoints:
        """Opened when it is first needed: a run that cannot start leaves the workdir as it was."""
        keep, best = self._config.checkpoint.keep, best_by(self._config.checkpoint.best)
        grid = self._config.health.returns > 0
        return self._stack.enter_context(
            Checkpoints(self._workdir / "checkpoints", keep=keep, best=best, grid=grid)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.__exit__(*error)  # pyright: ignore[reportArgumentType]

    @_in_process_0
    def say(self, text: str) -> None:
        """Prints a line."""
        if self._writer is not None:
            self._writer.message(text)
        else:
            print(text, file=self._stream, flush=True)

    # -- checkpoints

    def restore(self, grid: bool = False) -> tuple[int, Carry, dict] | None:
        """Restores the newest good checkpoint: its step, the carry on the devices, and the record.

        Process 0 reads and verifies it, and sends it to the others.

        Args:
            grid: take the newest of those that an undisturbed run has too.

        Returns:
            None if there is no checkpoint.
        """
        placement = self._prepared.placement
        shapes = placement.shapes(self._prepared.programs.shapes)
        if self._hosts.count == 1:
            restored = self._read(shapes, grid)
            return None if restored is None else (restored.step, restored.state, restored.record)
        leaves: dict[str, PyTree] = {}

        def read() -> list | None:
            restored = self._read(placement.on_host(shapes), grid)
            if restored is None:
                return None
            leaves.update(named_leaves(restored.state))
            return [restored.step, restored.record]

        found = self._hosts.from_first(read)
        if found is None:
            return None
        arrays = self._hosts.arrays_from_first(leaves, named_leaves(shapes))
        carry = jax.tree.unflatten(jax.tree.structure(shapes), list(arrays.values()))
        return found[0], placement.put_state(carry, shapes), found[1]

    def _read(self, target: PyTree, grid: bool) -> Restored | None:
        exists = (self._workdir / "checkpoints").is_dir()
        restored = self._checkpoints.restore(target, grid=grid) if exists else None
        for step, reason in restored.passed_over if restored else ():
            self.say(f"checkpoint {step} is passed over: {reason}")
        return restored

    def save(self, step: int, carry: Carry, **record: object) -> None:
        """Starts to save a checkpoint.

        Args:
            step: number of steps done.
            carry: on the host.
            record: added to the checkpoint's record.
        """
        more = {**self._prepared.record, **record, **self._evaluation.measured(step)}
        self._hosts.from_first(lambda: self._checkpoints.save(step, carry, more))

    def wait(self) -> None:
        """Waits until the checkpoint under way is complete."""
        self._hosts.from_first(lambda: self._checkpoints.wait())

    def forget_after(self, step: int) -> None:
        """Deletes the checkpoints of later steps."""
        self._hosts.from_first(lambda: self._checkpoints.forget(step))

    def nonfinite_message(self, step: int, metric: str) -> str:
        """Returns the sentence for a metric that is not finite: where, and which checkpoint is left."""

        def message() -> str:
            checkpoints = self._checkpoints
            checkpoints.wait()
            good = next((s for s in reversed(checkpoints.steps()) if checkpoints.verify(s) is None), None)
            where = "there is no checkpoint yet" if good is None else f"the last good checkpoint is step {good}"
            return (
                f"{metric} is not finite at step {step}; {where}: lower the learning rates, or raise the "
                "discriminator's penalty, in another --workdir"
            )

        return self._hosts.from_first(message)

    # -- the log, sample grids and metrics

    @contextlib.contextmanager
    def writing(self, step: int, record: Mapping[str, object]) -> Iterator[None]:
        """Opens the log, and deletes what lies in the workdir of later steps.

        Args:
            step: number of steps done.
            record: of the checkpoint that the run goes on from; empty for a new run.
        """
        if not self.writes:
            yield
            return
        config = self._config
        if step < config.steps or step == 0:
            keep_config(self._workdir, config)
        rewind(self._workdir, step)
        self._evaluation.resume(step, record)
        if step and not due_after(config, step).grid:
            # The grid at the end of an earlier stop. An undisturbed run has none there.
            self._grids.path(step).unlink(missing_ok=True)
        self._writer = Writer(
            self._workdir, start_step=step, total_steps=config.steps, images_per_step=config.batch,
            tensorboard=config.log.tensorboard, stream=self._stream,
        )  # fmt: skip
        try:
            with self._writer:
                yield
        finally:
            self._writer = None

    @property
    def _log(self) -> Writer:
        assert self._writer is not None, "the log is open within `writing` only"
        return self._writer

    @_in_process_0
    def log(self, step: int, means: Mapping[str, float]) -> None:
        """Writes a line of metrics, and says what looks wrong in it."""
        self._log.write(step, means)
        self._warn(self._health and self._health.line(means))

    @_in_process_0
    def say_rest(self, step: int, means: Mapping[str, float]) -> None:
        """Prints the means since the last line. They are not written: where a run stops is no part of its log."""
        if "loss/generator" in means:
            losses = f"G {means['loss/generator']:.2f} D {means['loss/discriminator']:.2f}"
            self.say(f"step {step}: loss {losses} since the last line")

    @_in_process_0
    def draw(self, step: int, variables: Variables, new: bool = True) -> None:
        """Draws the sample grid after `step` steps. `new` is False if it was drawn before."""
        samples = self._grids.draw(step, variables, self._log, new)
        if new and step and self._config.sample.truncation == 1.0:
            self._warn(self._health and self._health.samples(samples))

    def measure(self, step: int, variables: Variables) -> None:
        """Measures how good the samples are: a line for each metric, and numbers for the step's checkpoint."""

        def measure() -> None:
            records = self._evaluation(step, variables)
            for record in records:
                self.say(record.text())
            self._log.scalars(step, {f"metrics/{record.metric}": record.value for record in records})

        self._hosts.from_first(measure)

    def lacks_metrics(self, step: int) -> bool:
        """Returns whether the checkpoint of this step was saved without the metrics that are due."""
        return due_after(self._config, step).metrics and self._hosts.from_first(
            lambda: not self._evaluation.measured(step)
        )

    def _warn(self, text: str | None) -> None:
        if text:
            self.say(text)

    # -- the end

    def finish(self, step: int, carry: Carry) -> str:
        """Writes the GIF and the page, says what to look at, and returns the digest of the state."""

        def finish() -> str:
            paths = [self._grids.path(step), *(self._grids.gif() if self._config.sample.gif else [])]
            paths.append(page(self._workdir))
            digest = state_digest(leaf_digests(carry.state))
            lines = "".join(f"  {path}\n" for path in paths)
            self.say(f"look at:\n{lines}step {step}, state digest {digest}")
            return digest

        return self._hosts.from_first(finish)
