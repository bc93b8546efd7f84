"""Draws latents that a workdir keeps by name: images, walks between them, and mixtures of their styles."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from .. import report
from ..config.build import Allow
from ..errors import UserError
from ..files.folder import write_atomically
from ..latent_space import kept
from ..latent_space.images import LatentImages
from ..latent_space.kept import KeptLatents
from ..latent_space.walk import common_space, walk
from ..report.images import png_bytes
from ..train.open_run import open_run
from .sample_figures import walk_gif
from .sample_run import as_user_error


class _Shown(NamedTuple):
    """Images uint8 `[N, H, W, C]`, and how many are in a row of their grid; None: about a square."""

    images: np.ndarray
    columns: int | None = None


def sample_kept(
    workdir: str | os.PathLike,
    names: Sequence[str],
    *,
    steps: int | None = None,
    mix: int | None = None,
    truncation: float = 1.0,
    out: str | os.PathLike | None = None,
    step: int | str | None = None,
    allow: Allow = (),
) -> list[Path]:
    """Draws the latents that a workdir keeps under `names` again, and returns the path of what it wrote.

    Args:
        workdir: the folder of the run.
        names: of latents that `gan-jax project` keeps, in this order.
        steps: a walk from each latent to the next and back to the first, this many images each. z moves on great
            circles, w and w+ on straight lines.
        mix: the number L of coarse layers, for StyleGAN2: a grid of all pairs, in which the image in row i and
            column j has the first L layers of latent i, and the others of latent j.
        truncation: of the images.
        out: a .png (default: `<workdir>/kept_<step>.png`, `walk_...` or `mix_...`), a .gif of a walk, or a .npz
            with an array `image`.
        step, allow: as for `gan-jax sample`.

    Raises:
        UserError: there is no run, the workdir keeps no such latents, or they are of another generator.
    """
    workdir = Path(workdir)
    run = open_run(workdir, step, allow)
    kind = "mix" if mix is not None else "walk" if steps is not None else "kept"
    path = Path(out) if out is not None else workdir / f"{kind}_{run.step:08d}.png"
    if path.suffix not in ((".png", ".gif", ".npz") if kind == "walk" else (".png", ".npz")):
        raise UserError(
            f"kept latents are not written as {path.suffix or 'a folder'}: give --out a .png or .npz file"
        )
    images, stored = LatentImages(run), [kept.read_latents(workdir, name) for name in names]
    for name, one in zip(names, stored, strict=True):
        if one.step != run.step:
            print(f"note: {name} was found at step {one.step}, and this is step {run.step}", file=sys.stderr)
    if mix is not None:
        shown = _mixed(images, stored, mix, truncation)
    elif steps is not None:
        shown = _walk(images, stored, steps, truncation)
    else:
        shown = _Shown(np.concatenate([_draw(images, one, truncation) for one in stored]))
    with as_user_error(path):
        _write(path, shown)
    return [path]


def _draw(images: LatentImages, one: KeptLatents, truncation: float, rows: slice = slice(None)) -> np.ndarray:
    labels = None if one.labels is None else one.labels[rows]
    return images(
        one.latents[rows], space=images.check_space(one.space), labels=labels, truncation=truncation,
        noise_seed=one.noise_seed, noise=_noise(images, one, rows),
    )  # fmt: skip


def _noise(images: LatentImages, one: KeptLatents, rows: slice) -> object:
    """Returns the maps of noise that are kept with latents; None if there are none.

    Raises:
        UserError: they are not those of this generator.
    """
    if not one.noise:
        return None
    shapes, structure = jax.tree.flatten(images.generator.noise)
    if [x.shape[1:] for x in one.noise] != [x.shape for x in shapes]:
        raise UserError("the maps of noise that are kept with the latents are not those of this run's generator")
    return jax.tree.unflatten(structure, [x[rows] for x in one.noise])


def _walk(images: LatentImages, stored: Sequence[KeptLatents], steps: int, truncation: float) -> _Shown:
    """Draws a walk, with the noise of the first latent all the way."""
    if steps < 2:
        raise UserError(f"--interpolate must be at least 2 images from one latent to the next, got {steps}")
    latents, space, labels = common_space(images, stored)
    if len(latents) < 2:
        raise UserError("a walk needs two latents: give --from another name too")
    way = walk(latents, space, steps)
    each = None if labels is None else np.repeat(labels, steps)
    noise = jax.tree.map(lambda x: np.repeat(x, len(way), axis=0), _noise(images, stored[0], slice(0, 1)))
    shown = images(
        way, space=space, labels=each, truncation=truncation, noise_seed=stored[0].noise_seed, noise=noise
    )
    return _Shown(shown, steps)


def _mixed(images: LatentImages, stored: Sequence[KeptLatents], coarse: int, truncation: float) -> _Shown:
    """Draws the grid of all pairs, with drawn noise: the same for all."""
    latents, space, labels = common_space(images, stored)
    layers = images.layers(latents, space, labels)
    if not 0 < coarse < layers.shape[1]:
        raise UserError(f"--mix must be from 1 to {layers.shape[1] - 1} coarse layers, got {coarse}")
    count = len(layers)
    first, second = np.repeat(np.arange(count), count), np.tile(np.arange(count), count)
    both = np.concatenate([layers[first, :coarse], layers[second, coarse:]], axis=1)
    print(f"rows have the layers 1 to {coarse}, columns the others; the diagonal is not mixed", file=sys.stderr)
    return _Shown(images(both, space="w+", truncation=truncation, noise_seed=stored[0].noise_seed), count)


def _write(path: Path, shown: _Shown) -> None:
    if path.suffix == ".npz":
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, image=shown.images)
        return
    if path.suffix == ".gif":
        content = walk_gif(shown.images)
    else:
        content = png_bytes(report.grid(shown.images, columns=shown.columns))
    write_atomically(path, content, sync=False)
