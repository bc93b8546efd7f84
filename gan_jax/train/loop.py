"""The loop of a run.

After a step, things are written in this order: the line of the log, the sample grid, the checkpoint, and metrics,
which are then put into the checkpoint's manifest. So a process that is killed at any instant has written
everything that comes before its newest checkpoint, or a resumed run writes it again.
"""

import contextlib
import functools
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax

from ..checkpoint.catalogue import ARCHIVED
from ..data.loader import Loader, read_resident, resident_spec
from ..errors import NonFiniteError
from ..runtime.hosts import Hosts
from ..runtime.startup_timings import Timings
from ..step.meter import Carry, Reading
from ..types import PyTree
from .due import due_after
from .prepare import Prepared
from .provenance import Provenance
from .recorder import Recorder
from .resume import elsewhere
from .run_checkpoints import RunCheckpoints
from .transfer import Transfer, with_transfer


class StopRules(NamedTuple):
    """When a run stops before its last step.

    Attributes:
        reason: returns why the run should save and stop, such as "SIGTERM came", or None. Asked before every
            chunk.
        deadline: the run stops after the chunk in flight once `time.monotonic()` is past this; None: never.
    """

    reason: Callable[[], str | None]
    deadline: float | None


class Run:
    """The share of one process in a run."""

    def __init__(
        self,
        prepared: Prepared,
        recorder: Recorder,
        checkpoints: RunCheckpoints,
        provenance: Provenance,
        hosts: Hosts,
        timings: Timings,
        stops: StopRules,
        on_first_step: Callable[[dict[str, Any]], None] | None = None,
    ):
        self.config, self.placement, self.programs = prepared.config, prepared.placement, prepared.programs
        self.prepared, self.recorder, self.checkpoints = prepared, recorder, checkpoints
        self.provenance = provenance
        self.hosts, self.timings = hosts, timings
        self.stops, self.on_first_step = stops, on_first_step
        self.stop_reason: str | None = None
        self.returned = 0  # how often the run went back to a checkpoint because a number was not finite

    def run(self, workdir: Path) -> str | None:
        self.workdir = workdir
        step, carry, record = self._start(workdir)
        while True:
            try:
                with self.recorder.writing(step, record):
                    step, carry = self._train_from(step, carry)
                break
            except NonFiniteError as error:
                failure = error.with_traceback(None)  # a traceback would keep the lost state in memory
            del carry
            step, carry, record = self._go_back(failure)
        if self.stop_reason is not None:
            steps = f"step {step} of {self.config.steps}"
            self.recorder.say(f"{self.stop_reason} at {steps}: all is saved, the same command goes on")
            return None
        return self.recorder.finish(step, carry)

    # -- how it starts

    def _start(self, workdir: Path) -> tuple[int, Carry, Mapping[str, Any]]:
        """Returns the step and the carry to begin with, restored or new, and the record of the checkpoint."""
        config, say = self.config, self.recorder.say
        restored = self.checkpoints.restore()
        step, record = (restored[0], restored[2]) if restored else (0, {})
        transfer, lines = None, []
        if restored is not None:
            lines = self.provenance.resume(step, record)
        elif transfer := self.provenance.begin():
            lines = transfer.lines
        # No mistake in the config or the workdir can stop the run after this line.
        for line in (f"training {config.name} in {workdir}", *self.prepared.notes):
            say(line)
        if restored is not None:
            if changed := elsewhere(record["environment"], self.placement.environment()):
                say(changed)
            say(f"resuming at step {step}")
            if step > config.steps:
                say(f"this run is at step {step} already: steps={config.steps} adds none")
        for line in lines:
            say(line)
        self.returned = record.get("returned", 0)
        shared = (resident_spec(self.prepared.source, config.conditional),) if self.prepared.resident else ()
        chunk = self._loader(step).spec if step < config.steps else None
        self.programs.compile(starts=restored is None, chunk=chunk, shared=shared, timings=self.timings)
        self.timings.phase("trace")
        if restored is None:
            self.recorder.draw_reals()  # while the programs compile
        carry = restored[1] if restored else self._new_carry(transfer)
        self.timings.phase("state")
        return step, carry, record

    def _new_carry(self, transfer: Transfer | None) -> Carry:
        state = self.programs.make_state(self.programs.key)
        if transfer is not None:
            state = with_transfer(state, transfer, self.prepared.gan, self.placement, self.hosts)
        return Carry(state, self.programs.empty_meter())

    def _go_back(self, failure: NonFiniteError) -> tuple[int, Carry, Mapping[str, Any]]:
        """Goes back to a checkpoint with a new key, if `health.returns` allows one more return.

        It takes a checkpoint that an undisturbed run has too, not one that a stop left. The new key follows from
        the run's key and the number of returns. So everything stays a function of the config and the seed.
        """
        allowed = self.config.health.returns
        if self.returned >= allowed:
            raise failure
        restored = self.checkpoints.restore(grid=True)
        step, carry, record = restored or (0, self._new_carry(self.provenance.begin()), {})
        lines = self.provenance.resume(step, record) if restored else []
        self.returned += 1
        self.checkpoints.forget_after(step)
        what = str(failure).partition(":")[0]  # the rest is advice for a run that has ended
        self.recorder.say(f"{what}\nback at step {step} with fresh latents ({self.returned} of {allowed} times)")
        for line in lines:
            self.recorder.say(line)
        key = jax.random.fold_in(self.programs.key, self.returned)
        shape = self.placement.shapes(self.programs.shapes).state.key
        state = carry.state.replace(key=self.placement.put_state(key, shape))
        return step, carry._replace(state=state), record

    # -- how it goes on

    def _train_from(self, step: int, carry: Carry) -> tuple[int, Carry]:
        """Trains from `step` to the last step, or to where the run is stopped, and saves everything."""
        self.provenance.write(self.workdir)
        if self.provenance.begins:  # from here on, the run's own checkpoints hold everything
            self._save(step, carry)
            self.provenance.begins = False
        if step == 0:
            self.recorder.draw(step, carry)
        elif self.recorder.lacks_metrics(step):  # the process ended between the checkpoint and its metrics
            self._measure(step, carry)
        self.timings.phase("grid")
        first = step
        step, carry = self._steps(step, carry)
        if self.stop_reason is None:  # a run that is stopped has little time
            self.recorder.draw(step, carry, new=step > first)
        if step > first:  # else an earlier process has said it
            self.recorder.say_rest(step, carry)
        self._save(step, carry)
        self.checkpoints.wait()
        self.recorder.settle(step if step >= self.config.steps else self.checkpoints.settled)
        return step, carry

    def _steps(self, step: int, carry: Carry) -> tuple[int, Carry]:
        """The loop. The host waits for the step before the one just dispatched; to draw or save, for that one."""
        config, programs, shared = self.config, self.programs, self._shared
        reading: tuple[int, Reading] | None = None  # metrics on their way to the host
        previous = None
        with self._loader(step) as loader:
            self.timings.phase("input")
            while step < config.steps and not self._stops(started=previous is not None):
                self.recorder.settle(self.checkpoints.settled)  # all that these steps log is written by now
                batch = self.placement.put_batch(next(loader), programs.batch_axis)
                with _only_the_batch_is_sent(previous is not None):
                    carry, token = programs.step(carry, batch, *shared)
                    self._wait(previous, token)
                    step, previous = step + config.parallel.fuse, token
                    self._log(reading)
                    reading = None
                    due, last = due_after(config, step), step >= config.steps
                    if due.log:
                        reading = step, programs.begin_read(carry.meter)
                        carry = carry._replace(meter=programs.empty_meter())
                if last or due.grid or due.checkpoint or due.archive or due.metrics:
                    self._log(reading)
                    reading = None
                if due.grid and not last:
                    self.recorder.draw(step, carry)
                if due.metrics or ((due.checkpoint or due.archive) and not last):
                    self._save(step, carry)
                if due.metrics:
                    self._measure(step, carry)
        self._log(reading)
        return step, carry

    def _loader(self, step: int) -> Loader:
        return self._load(step, self.config.seed)

    def _load(self, step: int, seed: int) -> Loader:
        config, data = self.config, self.config.data
        return Loader(
            self.prepared.source, seed=seed, batch=config.batch,
            batches_per_step=self.prepared.gan.batches_per_step, fuse=config.parallel.fuse, start_step=step,
            resident=self.prepared.resident, workers=data.workers, prefetch=data.prefetch,
            local=self.hosts.share(config.batch), labels=config.conditional,
        )  # fmt: skip

    @functools.cached_property
    def _shared(self) -> tuple[PyTree, ...]:
        if not self.prepared.resident:
            return ()
        return (self.placement.put(read_resident(self.prepared.source, self.config.conditional)),)

    def _stops(self, started: bool) -> bool:
        """Returns whether the run stops here. `started`: at least one chunk was made."""
        late = started and self.stops.deadline is not None and time.monotonic() > self.stops.deadline
        self.stop_reason = self.hosts.stops(self.stops.reason() or ("the time is up" if late else None))
        return self.stop_reason is not None

    def _wait(self, previous: jax.Array | None, token: jax.Array) -> None:
        if previous is not None:
            jax.block_until_ready(previous)
        elif self.on_first_step is not None:
            jax.block_until_ready(token)
            self.timings.phase("first_step")
            self.on_first_step(self.timings.summary())
            self.on_first_step = None

    # -- what it does on the way

    def _log(self, reading: tuple[int, Reading] | None) -> None:
        """Writes the line of metrics that is on its way, if there is one."""
        if reading is not None:
            step, finish = reading
            means, bad = finish()
            self.recorder.log(step, means)
            self.checkpoints.check_finite(bad)

    def _measure(self, step: int, carry: Carry) -> None:
        """Measures after a checkpoint of the same step was saved, so nothing is lost if measuring fails."""
        self.recorder.measure(step, carry)
        self._save(step, carry)

    def _check_finite(self, carry: Carry) -> None:
        _, bad = self.programs.begin_read(carry.meter)()
        self.checkpoints.check_finite(bad)

    def _save(self, step: int, carry: Carry) -> None:
        """Saves a checkpoint, if everything that it would contain is finite."""
        self._check_finite(carry)
        due = due_after(self.config, step)
        undisturbed = step == 0 or due.checkpoint or due.metrics or self.provenance.begins
        more = {**self.recorder.measured(step), **self.provenance.record()}
        more |= {ARCHIVED: True} if due.archive else {}
        self.checkpoints.save(step, carry, grid=undisturbed, returned=self.returned, **more)


def _only_the_batch_is_sent(applies: bool) -> contextlib.AbstractContextManager:
    """Makes it an error if anything goes to the device besides the batch, which was placed explicitly.

    It does not apply at the first step: a step that is traced when it is called places its constants then.
    """
    return jax.transfer_guard_host_to_device("disallow") if applies else contextlib.nullcontext()
