"""A run: from a config and a workdir to a trained state, through any number of stops. Read `train` first.

The workdir holds `config.json`, `metrics.jsonl`, `evaluations.jsonl`, `tensorboard/`, `samples/`, `checkpoints/`
and, at the end, `samples.gif` and `report.html`. At a border, in this order: the log line, the sample, the
checkpoint, and metrics, which are then put into its manifest. So a process killed at any instant has written
whatever lies before a checkpoint that counts, or makes up for it.
"""

import contextlib
import functools
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import jax
import numpy as np

from . import config as configs
from .carry import Carry
from .checks import check_run, notes
from .config import Config
from .data.loader import Loader, choose_resident, read_all
from .data.source import Source
from .digest import leaf_digests, state_digest
from .errors import NonFiniteError, UserError
from .measuring import Measuring
from .meter import Meter, Reading, begin_read, read
from .metrics.measures import best_by
from .page import page
from .pictures import Pictures
from .placement import Placement
from .programs import Programs, placed
from .recipe import Allow, SampleSpec, make_gan, make_source
from .state import GANState
from .step import mixes_samples
from .timings import Timings
from .types import PyTree
from .workdir import check_config, keep_config, locked
from .writer import Writer, rewind

if TYPE_CHECKING:
    from .checkpoint import Checkpoints


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
    workdir = Path(workdir)
    with locked(workdir):
        check_config(workdir, config)
        return _Run(config, workdir, allow, stream or sys.stderr, on_first_step, max_seconds, stop).go()


def _crossed(before: int, step: int, every: int) -> bool:
    return before // every != step // every


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
        allow: Allow,
        stream: TextIO,
        on_first_step: Callable[[dict[str, Any]], None] | None,
        max_seconds: float | None,
        stop: Callable[[], str | None],
    ):
        self.config, self.workdir, self.stream, self.on_first_step = config, workdir, stream, on_first_step
        self.stop = stop
        self.stopped: str | None = None  # why, where it was before the last step
        self.folder = workdir / "checkpoints"
        self.timings = Timings()
        self.ends_at = None if max_seconds is None else time.monotonic() + max_seconds
        self.timings.phase("imports")
        self.source: Source = make_source(config, allow)
        self.fingerprint = self.source.fingerprint()
        self.spec = SampleSpec.of(self.source)
        self.timings.phase("data")
        self.gan = make_gan(config, self.spec, allow)
        self.placement = Placement(config)
        check_run(config, self.source)
        self.resident = choose_resident(config.data.resident, self.source, self.placement.memory_bytes())
        self.programs = Programs(config, self.gan, self.spec, self.placement, self.resident)
        self.pictures = Pictures(workdir, self.programs.sampler, self.source, config.sample.count)
        self.measuring = Measuring(config, workdir, self.programs.many, self.source, allow)
        mixed = mixes_samples(self.gan, self.programs.shapes.state) if config.microbatches > 1 else []
        if mixed:
            self._say(
                f"note: with microbatches, these are of a microbatch and not of the batch: {', '.join(mixed)}"
            )
        for line in notes(config, len(self.source)):
            self._say(line)
        self.timings.phase("trace")

    @functools.cached_property
    def checkpoints(self) -> "Checkpoints":
        """Opened when first needed: Orbax is slow to import, and a new run has nothing to restore."""
        from .checkpoint import Checkpoints

        kept = self.config.checkpoint
        return self.ends.enter_context(Checkpoints(self.folder, keep=kept.keep, best=best_by(kept.best)))

    # -- the story

    def go(self) -> str | None:
        config = self.config
        with contextlib.ExitStack() as self.ends:
            step, carry = self._start()
            self.timings.phase("state")
            if step < config.steps or step == 0:
                # Not before: a run that can't begin leaves the workdir as it was.
                keep_config(self.workdir, config)
            rewind(self.workdir, step)
            if step > config.steps:
                self._say(f"this run is at step {step} already: steps={config.steps} adds none")
            if step and not _crossed(step - config.parallel.fuse, step, config.sample.every):
                # The picture at the end of an earlier stop: off the grid, an undisturbed run has none there.
                self.pictures.path(step).unlink(missing_ok=True)
            self.writer = Writer(
                self.workdir, start_step=step, total_steps=config.steps, images_per_step=config.batch,
                tensorboard=config.log.tensorboard, stream=self.stream,
            )  # fmt: skip
            with self.writer:
                if step == 0:
                    self.pictures.draw(0, carry.state.ema, self.writer)
                elif not self.measuring.of(step) and self.measuring.due(step - config.parallel.fuse, step):
                    self._measure(step, carry)  # it ended between the checkpoint and its metrics
                self.timings.phase("picture")
                begun = step
                step, carry = self._steps(step, carry)
                if self.stopped is None:  # else there is little time, and nothing to see that stays
                    self.pictures.draw(step, carry.state.ema, self.writer, new=step > begun)
                self._rest(step, carry.meter)
                self._save(step, carry)
                self.checkpoints.wait()
        return self._finish(step, carry.state)

    def _start(self) -> tuple[int, Carry]:
        """The carry to begin with: restored, or new."""
        programs = self.programs
        there = self.folder.is_dir()
        restored = self.checkpoints.restore(placed(programs.shapes, self.placement.whole)) if there else None
        for step, why in restored.passed_over if restored else ():
            self._say(f"checkpoint {step} is passed over: {why}")
        if restored is not None:
            self._compare(restored.record)
            self._say(f"resuming at step {restored.step}")
        step = restored.step if restored else 0
        self.measuring.resume(step, restored.record if restored else {})
        programs.compile(
            anew=restored is None, trains=step < self.config.steps, samples=len(self.source), timings=self.timings
        )
        self.timings.phase("trace")
        if restored is not None:
            return step, restored.state
        return 0, Carry(programs.make_state(programs.key), programs.empty_meter())

    def _compare(self, record: Any) -> None:
        """Refuse another config or other data than the run began with; say where the device differs."""
        configs.check_resume(configs.from_json(record["config"]), self.config)
        if record["data"] != self.fingerprint:
            raise UserError(
                f"the data set is not the one this run began with (it was {record['data']}, it is "
                f"{self.fingerprint}): restore it, or use another --workdir"
            )
        now, then = self.placement.environment(), record["environment"]
        changed = [f"{name} {then.get(name)} -> {now[name]}" for name in now if then.get(name) != now[name]]
        if changed:
            self._say(f"resumed elsewhere ({', '.join(changed)}): results agree to rounding, not bit for bit")

    def _steps(self, step: int, carry: Carry) -> tuple[int, Carry]:
        """The loop. The host waits only for the step before the one it has just sent."""
        config, fuse = self.config, self.config.parallel.fuse
        axis, shared = self.programs.batch_axis, self._shared()
        loader = Loader(
            self.source, seed=config.seed, batch=config.batch, turns=self.gan.rows, fuse=fuse, start_step=step,
            resident=self.resident, workers=config.data.workers, prefetch=config.data.prefetch,
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
                    before, step, previous = step, step + fuse, token
                    if pending is not None:
                        self._log(*pending)
                        pending = None
                    if _crossed(before, step, config.log.every):
                        pending = step, begin_read(carry.meter)
                        carry = carry._replace(meter=self.programs.empty_meter())
                last = step >= config.steps
                measures = self.measuring.due(before, step)
                samples = _crossed(before, step, config.sample.every) and not last
                saves = measures or (_crossed(before, step, config.checkpoint.every) and not last)
                # The picture and the checkpoint wait for this step anyway, and the line of the log comes first.
                if pending and (samples or saves or last):
                    self._log(*pending)
                    pending = None
                if samples:
                    self.pictures.draw(step, carry.state.ema, self.writer)
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
        self.stopped = self.stop() or ("the time is up" if late else None)
        return self.stopped is not None

    # -- what it does on the way

    def _say(self, text: str) -> None:
        print(text, file=self.stream, flush=True)

    def _fields(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """A batch as the step reads it: labels only where the run is conditional."""
        return {name: rows for name, rows in batch.items() if name != "label" or self.config.conditional}

    def _shared(self) -> tuple[PyTree, ...]:
        return (self.placement.put(self._fields(read_all(self.source))),) if self.resident else ()

    def _check(self, bad: tuple[int, str] | None) -> None:
        if bad is None:
            return
        self.checkpoints.wait()
        good = self.checkpoints.steps()
        where = f"the last good checkpoint is step {good[-1]}" if good else "there is no checkpoint yet"
        raise NonFiniteError(
            f"{bad[1]} is not finite at step {bad[0]}; {where}: lower the learning rates, or raise the "
            "discriminator's penalty, in another --workdir"
        )

    def _log(self, step: int, reading: Reading) -> None:
        means, bad = reading()
        self.writer.write(step, means)
        self._check(bad)

    def _rest(self, step: int, meter: Meter) -> None:
        """Say, but don't write, the means since the last line: where a run stops is no part of its log."""
        means, _ = read(meter)
        if "loss/generator" in means:
            losses = f"G {means['loss/generator']:.2f} D {means['loss/discriminator']:.2f}"
            self.writer.message(f"step {step}: loss {losses} since the last line")

    def _measure(self, step: int, carry: Carry) -> None:
        """Metrics of the averaged generator: a line each, and numbers for the checkpoint of the same step.

        That was saved before, so that nothing is lost where measuring fails.
        """
        records = self.measuring(step, carry.state.ema)
        for record in records:
            self.writer.message(record.text())
        numbers = {record.metric: record.value for record in records}
        self.writer.scalars(step, {f"metrics/{name}": value for name, value in numbers.items()})
        self._save(step, carry)

    def _save(self, step: int, carry: Carry) -> None:
        """A checkpoint, once what it would hold was read as finite."""
        self._check(read(carry.meter)[1])
        record = {
            "config": configs.to_json(self.config),
            "sample": self.spec._asdict(),
            "data": self.fingerprint,
            "environment": self.placement.environment(),
            **self.measuring.of(step),
        }
        self.checkpoints.save(step, carry, record)

    def _finish(self, step: int, state: GANState) -> str | None:
        if self.stopped is not None:
            self._say(
                f"{self.stopped} at step {step} of {self.config.steps}: all is saved, the same command goes on"
            )
            return None
        look = [self.pictures.path(step), *(self.pictures.film() if self.config.sample.gif else [])]
        look.append(page(self.workdir))
        digest = state_digest(leaf_digests(state))
        self._say("look at:\n" + "".join(f"  {path}\n" for path in look) + f"step {step}, state digest {digest}")
        return digest
