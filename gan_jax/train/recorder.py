"""What a run shows: log, sample grids, metrics and the page.

All processes of a run call the recorder at the same time, and process 0 alone writes.
"""

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Concatenate, ParamSpec, TextIO

from ..checkpoint.digest import leaf_digests, state_digest
from ..config.build import Allow
from ..errors import printable
from ..files.folder import Folder
from ..metrics.evaluator import Evaluator
from ..report.legends import keep_legends, make_legends
from ..report.live_page import LivePage
from ..report.loggers.fan_out import Loggers
from ..report.reals import write_reals
from ..report.sample_files import grid_names
from ..report.sample_grids import SampleGrids
from ..report.view import choose_view
from ..report.writer import Writer, rewind
from ..runtime.hosts import Hosts
from ..step.meter import Carry, read
from ..types import Variables
from .due import due_after
from .health import Health
from .periodic_evaluation import PeriodicEvaluation, make_evaluator
from .prepare import Prepared
from .workdir import keep_config, read_config

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
    """Prints and writes what one run shows.

    Args:
        prepared: the run.
        workdir: where it lives.
        hosts: the processes of the run.
        allow: top-level packages that names may come from besides gan_jax; None: any.
        stream: where progress goes; None: standard error.
        evaluator: from `make_evaluator`, where several runs share one; None: one of its own.

    Attributes:
        writes: whether this process writes.
    """

    def __init__(
        self,
        prepared: Prepared,
        workdir: Path,
        hosts: Hosts,
        allow: Allow = None,
        stream: TextIO | None = None,
        evaluator: Callable[[], Evaluator] | None = None,
    ):
        config, programs, source = prepared.config, prepared.programs, prepared.source
        self.writes = hosts.first
        self._prepared, self._config, self._workdir, self._hosts = prepared, config, workdir, hosts
        self._stream = stream or sys.stderr
        self._grids = SampleGrids(workdir, programs.sampler, source, config.sample.count)
        evaluator = evaluator or make_evaluator(config, source, allow)
        self._evaluation = PeriodicEvaluation(config, workdir, programs.metrics_sampler, evaluator)
        cycle = programs.sampler.cycle
        self._health = Health(prepared.gan.loss, source, cycle) if config.health.warn else None
        self._writer: Writer | None = None
        self._loggers: Loggers | None = None
        self._allow = allow

    @functools.cached_property
    def _legends(self) -> dict[str, str]:
        config = self._config
        return make_legends(
            self._prepared.source, config.conditional, config.sample.count, config.inputs is not None
        )

    @functools.cached_property
    def _page(self) -> LivePage:
        return LivePage(self._workdir, self._legends)

    @_in_process_0
    def say(self, text: str) -> None:
        """Prints a line."""
        if self._writer is not None:
            self._writer.message(text)
        else:
            print("\n".join(map(printable, text.split("\n"))), file=self._stream, flush=True)

    # -- the log, sample grids and metrics

    @contextlib.contextmanager
    def writing(self, step: int, record: Mapping[str, object]) -> Iterator[None]:
        """Opens the log, and deletes the files of later steps from the workdir.

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
        else:  # of a run that has ended only the place of its data may change
            saved = read_config(self._workdir)
            keep_config(self._workdir, replace(saved, data=replace(saved.data, source=config.data.source)))
        for note in (rewind(self._workdir, step), self._evaluation.resume(step, record)):
            self._warn(note)
        keep_legends(self._workdir, self._legends)
        if step and not due_after(config, step).grid:
            # The grid at the end of an earlier stop. An undisturbed run has none there.
            self._grids.remove(step)
        self._writer = Writer(
            self._workdir, start_step=step, total_steps=config.steps, images_per_step=config.batch,
            stream=self._stream,
        )  # fmt: skip
        try:
            with self._writer, Loggers(config, self._workdir, step, self.say, self._allow) as self._loggers:
                yield
        finally:
            self._writer = self._loggers = None

    @property
    def _log(self) -> Writer:
        assert self._writer is not None, "the log is open within `writing` only"
        return self._writer

    @_in_process_0
    def log(self, step: int, means: Mapping[str, float]) -> None:
        """Writes a line of metrics, and says what looks wrong in it."""
        self._log.write(step, means)
        if self._loggers is not None:
            self._loggers.line_written()
        self._page.refresh(is_line=True)
        self._warn(self._health and self._health.line(means))

    @_in_process_0
    def say_rest(self, step: int, carry: Carry) -> None:
        """Prints the means since the last line. They are not written: where a run stops is no part of its log."""
        means, _ = read(carry.meter)
        players = (("G", "loss/generator"), ("D", "loss/discriminator"))  # one that starts late has no mean yet
        losses = [f"{player} {means[name]:.2f}" for player, name in players if name in means]
        if losses:
            steps = max(map(int, carry.meter.counts.values()))  # since the last line
            since = "over all steps" if steps == step else "since the last line"
            self.say(f"step {step}: loss {' '.join(losses)} {since}")

    def draw_reals(self) -> None:
        """Writes the grid of real samples as the networks see them."""
        source = self._prepared.source
        count = choose_view(tuple(source.shape)).shown(self._config.sample.count)
        paired = 0 if self._config.inputs is None else count
        self._hosts.from_first(lambda: write_reals(self._workdir, source, paired))

    def draw(self, step: int, carry: Carry, new: bool = True) -> None:
        """Draws the sample grid after `step` steps. `new` is False if it was drawn before."""
        self._draw(step, self._prepared.placement.fetch(carry.state.ema), new)

    @_in_process_0
    def _draw(self, step: int, variables: Variables, new: bool) -> None:
        samples = self._grids.draw(step, variables, self.say)
        self._news()
        if new and step and self._config.sample.truncation == 1.0:
            self._warn(self._health and self._health.samples(samples))

    def measure(self, step: int, carry: Carry) -> None:
        """Measures how good the samples are: a line for each metric, and numbers for the step's checkpoint."""
        variables = self._prepared.placement.fetch(carry.state.ema)

        def measure() -> None:
            records = self._evaluation(step, variables)
            for record in records:
                self.say(record.text())
            self._news()

        self._hosts.from_first(measure)

    @_in_process_0
    def settle(self, step: int) -> None:
        """Says that no kill can undo the steps up to `step`, and that all that they log is written."""
        if self._loggers is not None:
            self._loggers.settle(step)

    def _news(self) -> None:
        """Shows a new grid, or new metrics, to whoever follows the run."""
        if self._loggers is not None:
            self._loggers.wake()
        self._page.refresh()

    def lacks_metrics(self, step: int) -> bool:
        """Returns whether the checkpoint of this step was saved without the metrics that are due."""
        return due_after(self._config, step).metrics and self._hosts.from_first(
            lambda: not self._evaluation.measured(step)
        )

    def measured(self, step: int) -> dict[str, object]:
        """Returns what the checkpoint of this step keeps of its metrics, in process 0; empty in the others."""
        return self._evaluation.measured(step)

    def _warn(self, text: str | None) -> None:
        if text:
            self.say(text)

    # -- the end

    def finish(self, step: int, carry: Carry) -> str:
        """Writes the GIF and the page, says what to look at, and returns the digest of the state."""
        state = self._prepared.placement.fetch(carry.state)

        def finish() -> str:
            config, folder = self._config, Folder(self._workdir)
            gifs = self._grids.gif(step, self.say) if config.sample.gif else []
            legends = self._legends
            lines = "".join(
                f"  {self._workdir / name}{f' ({legends[kind]})' if kind in legends else ''}\n"
                for kind, name in grid_names(step).items()
                if folder.kind(name) == "a file"
            )
            lines += "".join(f"  {path}\n" for path in [*gifs, self._page.finish()])
            digest = state_digest(leaf_digests(state))
            self.say(f"look at:\n{lines}step {step}, state digest {digest}")
            return digest

        return self._hosts.from_first(finish)
