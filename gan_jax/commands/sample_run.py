"""Writes samples of a run: a grid, a file of arrays, or single images."""

import contextlib
import itertools
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import pixels, report
from ..config.build import Allow
from ..data.classes import folder_names
from ..errors import UserError
from ..files.folder import write_atomically
from ..metrics.evaluator import generate
from ..report.layout import choose_layout, grid_legend
from ..report.sample_files import clips, file_of
from ..report.view import RATE, View, choose_view
from ..report.wav import wav_bytes
from ..runtime.sampler import BLOCK, Sampler
from ..train.open_run import OpenedRun, open_run
from .arguments import data_option


def sample(
    workdir: str | os.PathLike,
    *,
    count: int = 64,
    seed: int = 0,
    step: int | str | None = None,
    truncation: float = 1.0,
    labels: Sequence[int | str] | None = None,
    data: str | None = None,
    out: str | os.PathLike | None = None,
    allow: Allow = (),
) -> list[Path]:
    """Writes `count` samples of the moving average of a run's generator, and returns the paths.

    Args:
        workdir: the folder of the run.
        count: the number of samples.
        seed: the seed of the latents.
        step: the step of the checkpoint; None: the newest good one; "best": the best one that was kept.
        truncation: the truncation of the latents, 1.0 for none; only for generators that define it.
        labels: the classes of a conditional run, by number or name, used in turn; None: all.
        data: where the data lie now, for a run with `inputs`, whose samples are made from them; None: where the
            config says.
        out: what is written. A path that ends in .png: a grid (default: `<workdir>/samples_<step>.png`). A path
            that ends in .gif: a grid of clips that play. A path that ends in .wav: audio, one sample after the
            other. A path that ends in .npz: an array `image` (uint8 or float32, as the data), and for a
            conditional run `label` (int32) and `names`, the names of the classes. A path without an ending, or an
            existing folder: single samples `00000.png`, `00001.png`, ... in that folder, or for a conditional run
            in a sub-folder for each class: `circle/00000.png`. Videos and volumes are .gif files, audio is .wav.

    Raises:
        UserError: there is no run, no such checkpoint or label; `out` has another ending; or the generator defines
            no truncation.
    """
    workdir = Path(workdir)
    check_count(count, 1)
    path = None if out is None else Path(out)
    is_folder = path is not None and (path.is_dir() or not path.suffix)
    if path is not None and not is_folder and path.suffix not in (".png", ".npz", ".gif", ".wav"):
        raise UserError(f"samples are not written as {path.suffix}: give --out a .png or .npz file, or a folder")
    run = open_run(workdir, step, allow)
    view = choose_view(run.spec.shape)
    sampler = open_sampler(run, seed, truncation, labels, data)
    path = path or workdir / f"samples_{run.step:08d}.png"
    if (is_folder or path.suffix in (".gif", ".wav")) and view.suffix is None:
        raise UserError(f"samples of shape {run.spec.shape} are no images: give --out a .png or .npz file")
    if not is_folder and path.suffix in (".gif", ".wav") and path.suffix != view.suffix:
        known = "a .png or .npz file, or a folder"
        raise UserError(f"samples of shape {run.spec.shape} are not written as {path.suffix}: give --out {known}")
    with as_user_error(path):
        if is_folder:
            return _write_each(path, run, sampler, count, view)
        _write_together(path, run, sampler, count, view)
    return [path]


def open_sampler(
    run: OpenedRun, seed: int, truncation: float, labels: Sequence[int | str] | None, data: str | None
) -> Sampler:
    """Returns the sampler of a run. One with `inputs` reads its data, and a note says if they are others."""
    if run.gan.inputs is None:
        if data is not None:
            raise UserError("--data is for --neighbours: samples of this run are not made from data")
        return run.sampler(seed, truncation, labels)
    with data_option(data):
        source, note = run.open_data(data)
    if note is not None:
        print(f"note: {note}", file=sys.stderr)
    return run.sampler(seed, truncation, labels, source)


def check_count(count: int, least: int) -> None:
    """Raises UserError if there are fewer samples than `least`."""
    if count < least:
        raise UserError(f"--count must be at least {least}, got {count}")


@contextlib.contextmanager
def as_user_error(path: Path) -> Iterator[None]:
    """Turns an error of writing to `path` into a UserError."""
    try:
        yield
    except OSError as error:
        raise UserError(f"can't write to {path} ({error.strerror}): give another --out") from error


def say_legend(run: OpenedRun, sampler: Sampler, count: int, legend: Callable[[list[str]], str]) -> None:
    """Says which class is where, beside the paths, which alone are standard output."""
    names, cycle = run.spec.names(), sampler.cycle
    if names is not None and cycle is not None and len(shown := cycle[:count]):
        print(legend([names[label] for label in shown]), file=sys.stderr)


def _write_together(path: Path, run: OpenedRun, sampler: Sampler, count: int, view: View) -> None:
    """Writes all samples to one file, by its ending."""
    samples, groups = sampler(run.state.ema, count), sampler.groups
    if path.suffix == ".npz":
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, **_arrays(run, sampler, samples))
        return
    if path.suffix == ".wav":
        write_atomically(path, wav_bytes(np.concatenate(samples), run.rate or RATE), sync=False)
        return
    if path.suffix == ".gif":
        write_atomically(path, clips(samples, run.rate, groups), sync=False)
    else:
        report.save_png(path, report.picture(samples, groups=groups))
    size = view.frame if path.suffix == ".gif" else view.size
    layout = None if size is None else choose_layout(count, *size, groups)
    say_legend(run, sampler, count, lambda names: grid_legend(names, layout))


def _arrays(run: OpenedRun, sampler: Sampler, values: np.ndarray) -> dict[str, Any]:
    """Returns what an .npz file contains. The source `npz` reads it."""
    arrays: dict[str, Any] = {"image": pixels.to_uint8(values) if run.spec.dtype == "uint8" else values}
    label, names = sampler.labels(np.arange(len(values))), run.spec.names()
    if label is not None and names is not None:
        arrays |= {"label": label, "names": np.array(names, np.str_)}
    return arrays


def _write_each(folder: Path, run: OpenedRun, sampler: Sampler, count: int, view: View) -> list[Path]:
    """Writes one file for each sample. Blocks of samples are drawn one after the other, to save memory."""
    label, names = sampler.labels(np.arange(count)), run.spec.names()
    if label is None or names is None:
        paths = [folder / f"{i:05d}{view.suffix}" for i in range(count)]
    else:
        folders, numbers = folder_names(names), [itertools.count() for _ in names]
        paths = [folder / folders[one] / f"{next(numbers[one]):05d}{view.suffix}" for one in label]
    samples = itertools.chain.from_iterable(generate(sampler, run.state.ema, count, chunk=BLOCK))
    for path, sample in zip(paths, samples, strict=True):
        write_atomically(path, file_of(sample, run.rate), sync=False)
    return paths
