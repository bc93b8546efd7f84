"""Writes figures of samples: walks between latents, and samples beside their nearest reals."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .. import pixels, report
from ..config import Call
from ..config.build import Allow, make_source
from ..config.location import located
from ..data.classes import rows_legend
from ..errors import UserError
from ..files.folder import write_atomically
from ..metrics.evaluator import Evaluator
from ..metrics.features.choose import choose_extractor
from ..report.gif import clip_gif
from ..report.sample_files import SIDE
from ..report.view import choose_view
from ..train.open_run import OpenedRun, open_run
from .arguments import data_option
from .sample_run import as_user_error, check_count, open_sampler, say_legend

WALK = 9  # images from one sample to the next
_FRAME = 100  # milliseconds


def interpolate(
    workdir: str | os.PathLike,
    *,
    count: int = 8,
    steps: int = WALK,
    seed: int = 0,
    step: int | str | None = None,
    truncation: float = 1.0,
    labels: Sequence[int | str] | None = None,
    out: str | os.PathLike | None = None,
    allow: Allow = (),
) -> list[Path]:
    """Writes a walk from sample to sample and back to the first, with `steps` images from each to the next.

    It is a grid with one row from each sample to the next (default: `<workdir>/interpolation_<step>.png`), or an
    animation where `out` ends in .gif. Videos are film strips there, and audio spectrograms. Latents
    move along great circles (`runtime.sampler.slerp`).

    Raises:
        UserError: as `sample`; or the samples are vectors.
    """
    workdir = Path(workdir)
    check_count(count, 2)
    if steps < 2:
        raise UserError(f"--interpolate must be at least 2 images from one sample to the next, got {steps}")
    run = open_run(workdir, step, allow)
    path = Path(out) if out is not None else workdir / f"interpolation_{run.step:08d}.png"
    if path.suffix not in (".png", ".gif"):
        raise UserError(f"an interpolation is a .png or a .gif, not {path}: give another --out")
    sampler = run.sampler(seed, truncation, labels)
    rows = sampler.between(run.state.ema, [*range(count), 0], steps)
    flat = rows.reshape(-1, *rows.shape[2:])
    view = choose_view(run.spec.shape)
    if view.size is None:
        raise UserError(f"samples of shape {run.spec.shape} are no images: there is nothing to show between them")
    with as_user_error(path):
        if path.suffix == ".png":
            report.save_png(path, report.picture(flat, columns=steps))
            say_legend(run, sampler, count, lambda names: rows_legend(names, count))
        else:
            write_atomically(path, walk_gif(view.cells(flat)), sync=False)
    return [path]


def neighbours(
    workdir: str | os.PathLike,
    *,
    nearest_reals: int,
    count: int = 16,
    features: Call | None = None,
    data: str | None = None,
    seed: int = 0,
    step: int | str | None = None,
    truncation: float = 1.0,
    labels: Sequence[int | str] | None = None,
    out: str | os.PathLike | None = None,
    allow: Allow = (),
) -> list[Path]:
    """Writes a grid: each row has one sample, then its nearest real images by the Euclidean distance of features.

    It shows whether the generator copies its data. The default path is `<workdir>/neighbours_<step>.png`. `data`:
    where the data lie now; None: where the config says.

    Raises:
        UserError: as `sample`; the samples are no images; or there are no such features.
    """
    workdir = Path(workdir)
    check_count(count, 1)
    if nearest_reals < 1:
        raise UserError(f"--neighbours must be at least 1 real image for each sample, got {nearest_reals}")
    run = open_run(workdir, step, allow)
    path = Path(out) if out is not None else workdir / f"neighbours_{run.step:08d}.png"
    if path.suffix != ".png":
        raise UserError(f"neighbours are shown in a .png, not {path}: give another --out")
    sampler = open_sampler(run, seed, truncation, labels, data if run.gan.inputs is not None else None)
    values = sampler(run.state.ema, count)
    _check_images(values, run, "they have no features")
    config = run.config if data is None else located(run.config, data, allow)
    with data_option(data):
        source = make_source(config, allow)
    evaluator = Evaluator(source, choose_extractor(features, config, source, allow), ())
    samples = pixels.to_uint8(values)
    try:
        reals = evaluator.nearest_reals(samples, nearest_reals)
    except ValueError as error:
        raise UserError(f"--neighbours {nearest_reals}: {error}") from error
    grid = np.concatenate([samples[:, None], reals], axis=1).reshape(-1, *samples.shape[1:])
    with as_user_error(path):
        report.save_png(path, report.picture(grid, columns=nearest_reals + 1))
        say_legend(run, sampler, count, lambda names: rows_legend(names, count))
    return [path]


def walk_gif(images: np.ndarray) -> bytes:
    """Returns a GIF that shows images, uint8 `[N, H, W, C]`, one after the other, and holds the last one."""
    frames = [report.grid(image[None], pad=0, min_side=SIDE) for image in images]
    return clip_gif(frames, [_FRAME] * (len(frames) - 1) + [2000])


def _check_images(values: np.ndarray, run: OpenedRun, consequence: str) -> None:
    if values.ndim != 4 or values.shape[-1] not in (1, 3, 4):
        raise UserError(f"samples of shape {run.spec.shape} are no images: {consequence}")
