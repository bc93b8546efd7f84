"""A run: from a config and a workdir to a trained state, through any number of stops. Read `train` first.

The workdir holds `config.json`, `metrics.jsonl`, `evaluations.jsonl`, `tensorboard/`, `samples/`, `checkpoints/`
and, at the end, `samples.gif` and `report.html`. At a border, in this order: the log line, the sample, the
checkpoint, and metrics, which are then put into its manifest. So a process killed at any instant has written
whatever lies before a checkpoint that counts, or makes up for it.

Of several processes all run this, and the first alone touches the workdir (`gan_jax.runtime.hosts`).
"""

import contextlib
import functools
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TextIO

import jax
import numpy as np

from .. import config as configs
from ..config import Config
from ..config.build import Allow, SampleSpec, make_gan, make_source
from ..data.loader import Loader, choose_resident, read_all
from ..data.source import Source
from ..errors import NonFiniteError
from ..runtime.hosts import Hosts
from ..runtime.placement import Placement
from ..runtime.startup_timings import Timings
from ..step import mixes_samples
from ..step.meter import Reading, begin_read, read
from ..types import PyTree
from .carry import Carry
from .health import Health
from .programs import Programs
from .recorder import Keeper, crossed
from .resume import check_record, elsewhere, restore
from .validate import check_run, notes
from .workdir import check_config, locked


def train(
    config: Config,
    workdir: str | os.PathLike,
    *,
    allow: Allow = None,
    stream: TextIO | None = None,
    on_first_step: Callable[[dict[str, Any]], None] | None = None,
    max_seconds: float | None = None,
    stop: Callable[[], str | None] = lambda: None,
) -> str | None:
    """Train `config` in `workdir` up to `config.steps`, from the newest good checkpoint there; the digest.

    None where it was stopped first: all is saved, and the same call goes on.

    Args:
        config: what to train.
        workdir: where the run lives.
        allow: top-level packages that names may come from beside gan_jax; None: any.
        stream: where progress goes; None: standard error.
        on_first_step: called once with where the time went until the first step was done
            (`Timings.summary`), for which it waits; a run that makes no step doesn't call it.
        max_seconds: from this call; once they are over, the chunk in flight is the last. There is one at least, so
            that a run that is started again and again gets somewhere.
        stop: asked before every chunk; a reason, such as "SIGTERM came", saves and stops at once.

    Raises:
        UserError: what the user can mend, in one sentence.
        NonFiniteError: training left the finite numbers.
    """
    configs.validate(config)
    workdir, hosts = Path(workdir), Hosts()
    with hosts.alive(), contextlib.ExitStack() as ends:

        def begin() -> None:
            ends.enter_context(locked(workdir))
            check_config(workdir, config)

        hosts.from_first(begin)
        hosts.agree("config", configs.to_json(config))
        return _Run(config, workdir, hosts, allow, stream, on_first_step, max_seconds, stop).go()


def _batch_only(applies: bool) -> contextlib.AbstractContextManager:
    """Nothing goes to the device but the batch, which was placed explicitly; an error names what would.

    Not at the first step: where that is traced only when it is called, constants are placed then.
    """
    return jax.transfer_guard_host_to_device("disallow") if applies else contextlib.nullcontext()


class _Run:
    """One process's share of a run."""

    def __init__(
        self,
        config: Config,
        workdir: Path,
        hosts: Hosts,
        allow: Allow,
        stream: TextIO | None,
        on_first_step: Callable[[dict[str, Any]], None] | None,
        max_seconds: float | None,
        stop: Callable[[], str | None],
    ):
        self.config, self.hosts, self.on_first_step, self.stop = config, hosts, on_first_step, stop
        self.stopped: str | None = None  # why, where it was before the last step
        self.returned = 0  # times it went back, because numbers were not finite any more
        self.timings = Timings()
        self.ends_at = None if max_seconds is None else time.monotonic() + max_seconds
        self.timings.phase("imports")
        self.source: Source = make_source(config, allow)
        self.fingerprint = self.source.fingerprint()
        hosts.agree("data set", self.fingerprint)
        spec = SampleSpec.of(self.source)
        self.timings.phase("data")
        gan = make_gan(config, spec, allow)
        self.rows = gan.batches_per_step
        self.placement = Placement(config)
        check_run(config, self.source)
        memory = self.placement.memory_bytes()
        self.resident: bool = hosts.from_first(lambda: choose_resident(config.data.resident, self.source, memory))
        self.programs = Programs(config, gan, spec, self.placement, self.resident)
        record = {
            "config": configs.to_json(config),
            "sample": spec._asdict(),
            "data": self.fingerprint,
            "environment": self.placement.environment(),
        }
        health = Health(gan.loss, self.source) if config.health.warn else None
        self.keeper = Keeper(config, workdir, self.programs, self.source, record, health, allow, stream)
        self.notes = notes(config, len(self.source))
        mixed = mixes_samples(gan, self.programs.shapes.state) if config.microbatches > 1 else []
        if mixed:
            self.notes.append(f"note: of a microbatch, and not of the batch, are {', '.join(mixed)}")
        self.timings.phase("trace")

    # -- the story

    def go(self) -> str | None:
        if self.hosts.count == 1 and (reason := self.stop()):  # several have to agree
            self._say(f"{reason} before the first step: the same command goes on")
            return None
        with self.keeper:
            step, carry, record = self._start()
            self.timings.phase("state")
            while True:
                try:
                    with self.keeper.writing(step, record) if self.hosts.first else contextlib.nullcontext():
                        step, carry = self._play(step, carry)
                    break
                except NonFiniteError as error:
                    failed = error.with_traceback(None)  # which would keep the state that is lost in memory
                del carry
                step, carry, record = self._return(failed)
            return self._finish(step, carry)

    def _start(self) -> tuple[int, Carry, Mapping[str, Any]]:
        """The step and the carry to begin with, restored or new, and the record of the checkpoint."""
        programs = self.programs
        restored = self._restore()
        step, record = (restored[0], restored[2]) if restored else (0, {})
        if restored is not None:
            check_record(record, self.config, self.fingerprint)
        # Nothing that a mistake in the config or the workdir can stop comes after this line.
        self._say(f"training {self.config.name} in {self.keeper.workdir}")
        for line in self.notes:
            self._say(line)
        if restored is not None:
            if moved := elsewhere(record["environment"], self.placement.environment()):
                self._say(moved)
            self._say(f"resuming at step {step}")
            if step > self.config.steps:
                self._say(f"this run is at step {step} already: steps={self.config.steps} adds none")
        self.returned = record.get("returned", 0)
        programs.compile(
            anew=restored is None, trains=step < self.config.steps, samples=len(self.source), timings=self.timings
        )
        self.timings.phase("trace")
        return step, restored[1] if restored else self._new(), record

    def _new(self) -> Carry:
        return Carry(self.programs.make_state(self.programs.key), self.programs.empty_meter())

    def _restore(self, grid: bool = False) -> tuple[int, Carry, dict[str, Any]] | None:
        return restore(self.keeper, self.hosts, self.placement, self.programs.shapes, grid)

    def _return(self, error: NonFiniteError) -> tuple[int, Carry, Mapping[str, Any]]:
        """Go back to the last checkpoint on the grid with a fresh key, if that is allowed once more.

        On the grid: one that a stop put between would not be there in an undisturbed run. And the key is one of
        the run's key and of how often it went back, so all of it is a function of the config and the seed.
        """
        if self.returned >= self.config.health.returns:
            raise error
        restored = self._restore(grid=True)
        step, carry, record = restored or (0, self._new(), {})
        self.returned += 1
        self.hosts.from_first(lambda: self.keeper.checkpoints.forget(step))
        allowed = self.config.health.returns
        what = str(error).partition(":")[0]  # what to do about it is for a run that has ended
        self._say(f"{what}\nback at step {step} with fresh latents ({self.returned} of {allowed} times)")
        fresh = jax.random.fold_in(self.programs.key, self.returned)
        shape = self.placement.shapes(self.programs.shapes).state.key
        return step, carry._replace(state=carry.state.replace(key=self.placement.put_state(fresh, shape))), record

    def _play(self, step: int, carry: Carry) -> tuple[int, Carry]:
        """From `step` to the last one, or to where the run is stopped, and all is saved."""
        if step == 0:
            self._draw(step, carry)
        elif self._measures(step) and self.hosts.from_first(lambda: not self.keeper.measuring.of(step)):
            self._measure(step, carry)  # it ended between the checkpoint and its metrics
        self.timings.phase("picture")
        begun = step
        step, carry = self._steps(step, carry)
        if self.stopped is None:  # else there is little time, and nothing to see that stays
            self._draw(step, carry, new=step > begun)
        if self.hosts.first:
            self.keeper.rest(step, read(carry.meter)[0])
        self._save(step, carry)
        self.hosts.from_first(lambda: self.keeper.checkpoints.wait())
        return step, carry

    def _steps(self, step: int, carry: Carry) -> tuple[int, Carry]:
        """The loop. The host waits for the step before the one just sent; where it draws or saves, for that."""
        config, fuse = self.config, self.config.parallel.fuse
        axis, shared = self.programs.batch_axis, self._shared
        loader = Loader(
            self.source, seed=config.seed, batch=config.batch, batches_per_step=self.rows, fuse=fuse,
            start_step=step, resident=self.resident, workers=config.data.workers, prefetch=config.data.prefetch,
            local=self.hosts.share(config.batch),
        )  # fmt: skip
        self.timings.phase("input")
        pending: tuple[int, Reading] | None = None
        previous = None
        with loader:
            while step < config.steps and not self._stops(begun=previous is not None):
                batch = self.placement.put_batch(self._fields(next(loader)), axis)
                with _batch_only(previous is not None):
                    carry, token = self.programs.step(tuple(carry), batch, *shared)
                    carry = Carry(*carry)
                    if previous is not None:
                        jax.block_until_ready(previous)
                    elif self.on_first_step is not None:
                        jax.block_until_ready(token)
                        self.timings.phase("first_step")
                        self.on_first_step(self.timings.summary())
                        self.on_first_step = None
                    before, step, previous = step, step + fuse, token
                    if pending is not None:
                        self._log(*pending)
                        pending = None
                    if crossed(before, step, config.log.every):
                        pending = step, begin_read(carry.meter)
                        carry = carry._replace(meter=self.programs.empty_meter())
                last, measures = step >= config.steps, self._measures(step)
                samples = crossed(before, step, config.sample.every) and not last
                saves = measures or (self._on_grid(step) and not last)
                # The picture and the checkpoint wait for this step anyway, and the line of the log comes first.
                if pending and (samples or saves or last):
                    self._log(*pending)
                    pending = None
                if samples:
                    self._draw(step, carry)
                if saves:
                    self._save(step, carry)
                if measures:
                    self._measure(step, carry)
        if pending:
            self._log(*pending)
        return step, carry

    def _stops(self, begun: bool) -> bool:
        """Whether the run is to stop here; `begun`: a chunk was made, as there is to be in any time."""
        late = begun and self.ends_at is not None and time.monotonic() > self.ends_at
        wish = self.stop() or ("the time is up" if late else None)
        self.stopped = self.hosts.stops(wish)
        return self.stopped is not None

    # -- what it does on the way

    def _measures(self, step: int) -> bool:
        return self.keeper.measuring.due(step - self.config.parallel.fuse, step)

    def _on_grid(self, step: int) -> bool:
        """Whether an undisturbed run has a checkpoint here."""
        return crossed(step - self.config.parallel.fuse, step, self.config.checkpoint.every)

    def _say(self, text: str) -> None:
        if self.hosts.first:
            self.keeper.say(text)

    def _fields(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """A batch as the step reads it: labels only where the run is conditional."""
        return {name: rows for name, rows in batch.items() if name != "label" or self.config.conditional}

    @functools.cached_property
    def _shared(self) -> tuple[PyTree, ...]:
        return (self.placement.put(self._fields(read_all(self.source))),) if self.resident else ()

    def _check(self, bad: tuple[int, str] | None) -> None:
        if bad is not None:
            raise NonFiniteError(self.hosts.from_first(lambda: self.keeper.nonfinite(*bad)))

    def _log(self, step: int, reading: Reading) -> None:
        means, bad = reading()
        if self.hosts.first:
            self.keeper.log(step, means)
        self._check(bad)

    def _draw(self, step: int, carry: Carry, new: bool = True) -> None:
        variables = self.placement.fetch(carry.state.ema)
        if self.hosts.first:
            self.keeper.draw(step, variables, new)

    def _measure(self, step: int, carry: Carry) -> None:
        """Metrics, after a checkpoint of the same step was saved: so nothing is lost where measuring fails."""
        variables = self.placement.fetch(carry.state.ema)
        self.hosts.from_first(lambda: self.keeper.measure(step, variables))
        self._save(step, carry)

    def _save(self, step: int, carry: Carry) -> None:
        """A checkpoint, once what it would hold was read as finite."""
        self._check(read(carry.meter)[1])
        alone = self.placement.fetch(carry)
        grid = step == 0 or self._on_grid(step) or self._measures(step)
        self.hosts.from_first(lambda: self.keeper.save(step, alone, grid=grid, returned=self.returned))

    def _finish(self, step: int, carry: Carry) -> str | None:
        if self.stopped is not None:
            self._say(
                f"{self.stopped} at step {step} of {self.config.steps}: all is saved, the same command goes on"
            )
            return None
        state = self.placement.fetch(carry.state)
        return self.hosts.from_first(lambda: self.keeper.finish(step, state))
