"""The files in `samples/` of a workdir: their names, and what lies beside a sample grid."""

import os
import re

import numpy as np

from .gif import choose_frames, clip_gif
from .images import grid, png_bytes
from .view import FRAME_RATE, RATE, choose_view
from .wav import wav_bytes

SAMPLES = "samples"
REALS = f"{SAMPLES}/reals.png"
SIDE = 256  # pixels, the least length of the longer side of a single clip
SOUNDS = 4  # the samples of a grid that are written as WAV files
_NAME = re.compile(r"(?:step_(\d{1,18})|reals)(?:_\d+\.wav|\.png|\.gif)", re.ASCII)
_CLAIMED = re.compile(r"(?:step_.*|reals)(?:_\d+\.wav|\.png|\.gif)", re.ASCII | re.DOTALL)


def grid_name(step: int) -> str:
    """Returns the name of the sample grid after `step` steps, relative to the workdir."""
    return f"{SAMPLES}/step_{step:08d}.png"


def grid_names(step: int) -> dict[str, str]:
    """Returns the names of the grids of reals and of samples after `step` steps, and of the clips beside them."""
    grids = {"reals": REALS, "samples": grid_name(step)}
    clips = {f"{kind}.gif": f"{name.removesuffix('.png')}.gif" for kind, name in grids.items()}
    return dict(sorted({**grids, **clips}.items()))


def step_of(name: str) -> int | None:
    """Returns the step of a file in `samples/`; None if no step wrote it."""
    found = _NAME.fullmatch(os.path.basename(name))
    return None if found is None or found[1] is None else int(found[1])


def is_claimed(name: str) -> bool:
    """Returns whether a run reads or writes files of this name in `samples/`."""
    return _CLAIMED.fullmatch(name) is not None


def files_beside(grid_name: str, samples: np.ndarray, rate: float | None, groups: int | None) -> dict[str, bytes]:
    """Returns the contents, by name, of what lies beside a sample grid of these samples, `[N, *S]`.

    Of clips it is a GIF that plays them, of audio WAV files of the first samples; of others it is nothing.

    Args:
        rate: of the data, see `data.source.rate`.
        groups: as for `images.grid`.
    """
    kind, stem = choose_view(samples.shape[1:]).kind, grid_name.removesuffix(".png")
    if kind == "clips":
        return {f"{stem}.gif": clips(samples, rate, groups)}
    if kind == "audio":
        return {f"{stem}_{i}.wav": wav_bytes(audio, rate or RATE) for i, audio in enumerate(samples[:SOUNDS])}
    return {}


def file_of(sample: np.ndarray, rate: float | None) -> bytes:
    """Returns the content of the file of one sample, a PNG, GIF or WAV file by `View.suffix`; `rate`: of the data.

    Raises:
        ValueError: there is no such file.
    """
    view = choose_view(sample.shape)
    if view.kind == "audio":
        return wav_bytes(sample, rate or RATE)
    if view.kind == "clips":
        return clips(sample[None], rate, pad=0, min_side=SIDE)
    if view.kind != "images":
        raise ValueError(f"a sample of shape {sample.shape} has no file of its own")
    image = view.cells(sample[None])[0]
    return png_bytes(image[..., 0] if image.shape[-1] == 1 else image)


def clips(samples: np.ndarray, rate: float | None, groups: int | None = None, **options: int) -> bytes:
    """Returns a GIF in which a grid of clips `[N, T, H, W, C]` plays. `options`: those of `images.grid`."""
    chosen, durations = choose_frames(samples.shape[1], rate or FRAME_RATE)
    return clip_gif([grid(samples[:, time], groups=groups, **options) for time in chosen], durations)
