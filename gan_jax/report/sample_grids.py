"""The sample grids of a run, always of the same latents, and the GIF that joins them at the end."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..data.source import Source, rate
from ..files.folder import Folder
from ..metrics.modes import mode_coverage
from ..runtime.sampler import Sampler
from ..types import Variables
from . import images as report
from .gif import save_gif
from .sample_files import SAMPLES, files_beside, grid_name, step_of
from .view import choose_view

_MODE_SAMPLES = 10_000


class SampleGrids:
    """Writes the files in `samples/` of a workdir.

    Args:
        workdir: the run's workdir.
        sampler: draws the samples.
        source: the real data. If it is a mixture with known centers, the centers are drawn too, and the modes
            that the generator reaches are counted.
        count: samples in one grid.
    """

    def __init__(self, workdir: Path, sampler: Sampler, source: Source, count: int):
        self._workdir, self._folder = workdir, Folder(workdir)
        self._sampler, self._source, self._count = sampler, source, count

    def remove(self, step: int) -> None:
        """Removes the sample grid after `step` steps, and what lies beside it, if it is there."""
        for name in self._folder.names(f"{SAMPLES}/step_*"):
            if step_of(name) == step:
                self._folder.remove(name)

    def draw(self, step: int, variables: Variables, say: Callable[[str], None]) -> np.ndarray:
        """Writes the sample grid after `step` steps, and what lies beside it; returns the samples, `[count, *S]`.

        It waits until the variables are computed.

        Args:
            variables: the generator's EMA.
            say: gets the line about modes.
        """
        samples = self._sampler(variables, self._count)
        centers = getattr(self._source, "centers", None)
        groups = self._sampler.groups
        shown = samples[: choose_view(samples.shape[1:]).shown(len(samples), groups)]
        grid = report.picture(shown, centers=centers, groups=groups)
        files = files_beside(grid_name(step), shown, rate(self._source), groups)
        for name, content in {**files, grid_name(step): report.png_bytes(grid)}.items():
            self._folder.write(name, content, sync=False)
        if centers is not None and step:
            more = self._sampler(variables, _MODE_SAMPLES, first=self._count)
            modes = mode_coverage(more, centers, self._source.sigma)  # type: ignore[attr-defined]
            say(f"step {step}: {modes.found} of {len(centers)} modes, {modes.share:.1%} of samples within 3 sigma")
        return samples

    def gif(self, step: int, say: Callable[[str], None]) -> list[Path]:
        """Writes `samples.gif` and returns `[path]`; writes nothing and returns `[]` for fewer than two grids.

        Args:
            step: of the last grid, which was drawn before. Files of later steps are not of this run.
            say: gets one line about files that are left out.
        """
        steps = {name: step_of(name) for name in self._folder.names(f"{SAMPLES}/step_*.png")}
        found = sorted((at, name) for name, at in steps.items() if at is not None and at <= step)
        frames = [self._workdir / name for _, name in found]
        if len(frames) < 2:
            return []
        path = self._workdir / "samples.gif"
        left_out = save_gif(path, frames)
        if left_out:
            more = f" and {len(left_out) - 3} more" if len(left_out) > 3 else ""
            say(f"{path.name} leaves out {', '.join(left_out[:3])}{more}")
        return [path]
