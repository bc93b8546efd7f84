"""What a run leaves in its workdir: log, pictures, checkpoints, metrics and the page. One process writes it."""

import contextlib
import functools
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self, TextIO

from ..checkpoint import Checkpoints, Restored
from ..checkpoint.digest import leaf_digests, state_digest
from ..config import Config
from ..config.build import Allow
from ..data.source import Source
from ..metrics.measures import best_by
from ..report.page import page
from ..report.sample_grids import SampleGrids
from ..report.writer import Writer, rewind
from ..state import GANState
from ..types import PyTree, Variables
from .carry import Carry
from .health import Health
from .periodic_evaluation import Measuring
from .programs import Programs
from .workdir import keep_config


class Keeper:
    """The workdir of one run, for as long as this context lasts.

    Args:
        config: of the run.
        workdir: the run's alone.
        programs: draw its samples.
        source: of the reals.
        record: what each checkpoint's record says beside its metrics.
        health: watches the log and the pictures; None for nobody.
        allow: as `resolve` takes it.
        stream: where progress goes; None: standard error.
    """

    def __init__(
        self,
        config: Config,
        workdir: Path,
        programs: Programs,
        source: Source,
        record: Mapping[str, Any],
        health: Health | None,
        allow: Allow = None,
        stream: TextIO | None = None,
    ):
        self._config, self.workdir, self._record, self._health = config, workdir, dict(record), health
        self._stream = stream or sys.stderr
        self.pictures = SampleGrids(workdir, programs.sampler, source, config.sample.count)
        self.measuring = Measuring(config, workdir, programs.many, source, allow)
        self._folder = workdir / "checkpoints"
        self._ends = contextlib.ExitStack()
        self._writer: Writer | None = None

    @functools.cached_property
    def checkpoints(self) -> Checkpoints:
        """Opened when first needed."""
        kept = self._config.checkpoint
        return self._ends.enter_context(
            Checkpoints(
                self._folder, keep=kept.keep, best=best_by(kept.best), grid=self._config.health.returns > 0
            )
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        self._ends.__exit__(*error)

    def say(self, text: str) -> None:
        """A line of its own."""
        if self._writer is not None:
            self._writer.message(text)
        else:
            print(text, file=self._stream, flush=True)

    def restore(self, target: PyTree, grid: bool = False) -> Restored | None:
        """See `Checkpoints.restore`; says what was passed over."""
        restored = self.checkpoints.restore(target, grid=grid) if self._folder.is_dir() else None
        for step, why in restored.passed_over if restored else ():
            self.say(f"checkpoint {step} is passed over: {why}")
        return restored

    @contextlib.contextmanager
    def writing(self, step: int, record: Mapping[str, Any]) -> Iterator[None]:
        """The log from `step` on, a checkpoint with such a record; what lies there of later steps is dropped.

        Not opened before: a run that can't begin leaves the workdir as it was.
        """
        config, fuse = self._config, self._config.parallel.fuse
        if step < config.steps or step == 0:
            keep_config(self.workdir, config)
        rewind(self.workdir, step)
        self.measuring.resume(step, record)
        if step and not crossed(step - fuse, step, config.sample.every):
            # The picture at the end of an earlier stop: off the grid, an undisturbed run has none there.
            self.pictures.path(step).unlink(missing_ok=True)
        self._writer = Writer(
            self.workdir, start_step=step, total_steps=config.steps, images_per_step=config.batch,
            tensorboard=config.log.tensorboard, stream=self._stream,
        )  # fmt: skip
        try:
            with self._writer:
                yield
        finally:
            self._writer = None

    def log(self, step: int, means: Mapping[str, float]) -> None:
        """A line of metrics."""
        self._open.write(step, means)
        self._warn(self._health and self._health.line(means))

    def rest(self, step: int, means: Mapping[str, float]) -> None:
        """Say, but don't write, the means since the last line: where a run stops is no part of its log."""
        if "loss/generator" in means:
            losses = f"G {means['loss/generator']:.2f} D {means['loss/discriminator']:.2f}"
            self.say(f"step {step}: loss {losses} since the last line")

    def draw(self, step: int, variables: Variables, new: bool = True) -> None:
        """The picture after `step` steps; `new` where none was drawn there before."""
        samples = self.pictures.draw(step, variables, self._open, new)
        if new and step and self._config.sample.truncation == 1.0:
            self._warn(self._health and self._health.picture(samples))

    def measure(self, step: int, variables: Variables) -> None:
        """Metrics of the averaged generator: a line each, and numbers for the checkpoint of the same step."""
        records = self.measuring(step, variables)
        for record in records:
            self.say(record.text())
        numbers = {record.metric: record.value for record in records}
        self._open.scalars(step, {f"metrics/{name}": value for name, value in numbers.items()})

    def save(self, step: int, carry: Carry, **record: Any) -> None:
        """Begin a checkpoint, with more for its record."""
        self.checkpoints.save(step, carry, {**self._record, **record, **self.measuring.of(step)})

    def nonfinite(self, step: int, metric: str) -> str:
        """The sentence for numbers that are not finite: where, which, and what is left."""
        self.checkpoints.wait()
        good = next((s for s in reversed(self.checkpoints.steps()) if self.checkpoints.verify(s) is None), None)
        where = "there is no checkpoint yet" if good is None else f"the last good checkpoint is step {good}"
        return (
            f"{metric} is not finite at step {step}; {where}: lower the learning rates, or raise the "
            "discriminator's penalty, in another --workdir"
        )

    def finish(self, step: int, state: GANState) -> str:
        """The film and the page; the digest, and what to look at."""
        look = [self.pictures.path(step), *(self.pictures.gif() if self._config.sample.gif else [])]
        look.append(page(self.workdir))
        digest = state_digest(leaf_digests(state))
        self.say("look at:\n" + "".join(f"  {path}\n" for path in look) + f"step {step}, state digest {digest}")
        return digest

    @property
    def _open(self) -> Writer:
        assert self._writer is not None, "the log is written within `writing`"
        return self._writer

    def _warn(self, text: str | None) -> None:
        if text:
            self.say(text)


def crossed(before: int, step: int, every: int) -> bool:
    """Whether a multiple of `every` lies in `(before, step]`: at the end of a chunk, something is due."""
    return before // every != step // every
