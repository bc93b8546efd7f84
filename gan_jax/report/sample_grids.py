"""The pictures of a run: one of the same latents at every so many steps, and the film of them at the end."""

from pathlib import Path

import numpy as np

from ..data.source import Source
from ..metrics.modes import mode_coverage
from ..runtime.sampler import Sampler
from ..types import Variables
from . import images as report
from .writer import SAMPLES, Writer

_MODE_SAMPLES = 10_000


class Pictures:
    """What lies in `samples/` of a workdir.

    Args:
        workdir: of the run.
        sampler: draws the samples, `count` for a picture.
        source: of the reals; where it knows the centers of a mixture, they are drawn and found modes are counted.
        count: samples in one picture.
    """

    def __init__(self, workdir: Path, sampler: Sampler, source: Source, count: int):
        self._workdir, self._sampler, self._source, self._count = workdir, sampler, source, count

    def path(self, step: int) -> Path:
        """Of the picture after so many steps."""
        return self._workdir / SAMPLES / f"step_{step:08d}.png"

    def draw(self, step: int, variables: Variables, writer: Writer, new: bool = True) -> np.ndarray:
        """The picture after `step` steps, from the generator's averaged variables; for the writer where it is new.

        Waits for the variables. What is in it, as the generator made it: `[count, *S]`.
        """
        values = self._sampler(variables, self._count)
        centers = getattr(self._source, "centers", None)
        picture = report.picture(values, centers=centers, columns=self._sampler.columns(len(values)))
        report.save_png(self.path(step), picture)
        if new:
            writer.image(step, "samples", picture)
        if centers is not None and step:
            many = self._sampler(variables, _MODE_SAMPLES, first=self._count)
            modes = mode_coverage(many, centers, self._source.sigma)  # type: ignore[attr-defined]
            writer.message(
                f"step {step}: {modes.found} of {len(centers)} modes, {modes.share:.1%} of samples within 3 sigma"
            )
        return values

    def film(self) -> list[Path]:
        """Makes `samples.gif` of the pictures there are; its path, or nothing where there is only one."""
        frames = sorted((self._workdir / SAMPLES).glob("step_*.png"))
        if len(frames) < 2:
            return []
        report.save_gif(self._workdir / "samples.gif", frames)
        return [self._workdir / "samples.gif"]
