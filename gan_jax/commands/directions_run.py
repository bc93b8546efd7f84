"""Finds directions in latent space, keeps them by name, and writes a grid of each."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from .. import report
from ..config import Call
from ..config.build import Allow
from ..data.classes import find_classes, list_names
from ..errors import UserError
from ..files.folder import Folder, write_atomically
from ..latent_space import directions as found
from ..latent_space import kept
from ..latent_space.directions import Directions
from ..latent_space.generator import Space
from ..latent_space.images import LatentImages
from ..metrics.features.choose import make_extractor
from ..metrics.features.extractor import extract
from ..report.images import png_bytes
from ..train.open_run import OpenedRun, open_run
from .arguments import data_option
from .sample_run import as_user_error

AMOUNTS = (-3, -2, -1, 0, 1, 2, 3)  # typical moves, the columns of a grid


def directions(
    workdir: str | os.PathLike,
    method: str,
    *,
    space: Space | None = None,
    count: int = 10,
    seed: int = 0,
    kept_latents: str | None = None,
    label: int | str | None = None,
    truncation: float = 1.0,
    name: str | None = None,
    replace: bool = False,
    data: str | None = None,
    out: str | os.PathLike | None = None,
    step: int | str | None = None,
    allow: Allow = (),
) -> list[Path]:
    """Finds directions, keeps them in `<workdir>/directions/NAME.npz`, and writes their grid beside that.

    A row of the grid is a direction, a column a move from -3 to 3 standard deviations.

    Args:
        workdir: the folder of the run.
        method: "sefa", "pca" or "classes", see `latent_space.directions`.
        space: "z" or "w"; None: "w" where there is one, else "z".
        count: the number of directions of "sefa" and "pca".
        seed: of the sample that the grid moves.
        kept_latents: the name of latents whose first one is moved in its place.
        label: the class of that sample, by number or name; None: the first one, or that of the kept latents.
        truncation: of the images in the grid.
        name: to keep them under; None: the method, and what is kept under that is replaced.
        replace: whether directions that are kept under `name` may be replaced.
        data: where the data lie now, on which "classes" trains its classifier; None: where the config says.
        out: the .png of the grid; None: `<workdir>/directions/NAME.png`.
        step, allow: as for `gan-jax sample`.

    Raises:
        UserError: there is no run, its generator has no such directions, or the name is taken.
    """
    workdir, replace = Path(workdir), replace or name is None
    name = kept.check_name(name or method)
    path = Path(out) if out is not None else workdir / kept.DIRECTIONS / f"{name}.png"
    if count < 1:
        raise UserError(f"--count must be at least 1, got {count}")
    if path.suffix != ".png":
        raise UserError(f"a grid of directions is a .png, not {path}: give another --out")
    run = open_run(workdir, step, allow)
    images = LatentImages(run)
    space = space or images.default_space
    kept.check_free(workdir, kept.DIRECTIONS, name, replace)
    start = _start(workdir, images, space, kept_latents, seed, label)
    made = _find(run, images, method, space, count, data)
    grid = png_bytes(_grid(images, made, *start, truncation))
    with as_user_error(path):
        if out is not None:
            write_atomically(path, grid, sync=False)
        else:  # a workdir may come from elsewhere, so links in it are not followed
            Folder(workdir).write(f"{kept.DIRECTIONS}/{name}.png", grid, sync=False)
    print(f"each row is one direction, from the top: {list_names(made.names, most=32)}", file=sys.stderr)
    print(f"columns are moves of {', '.join(map(str, AMOUNTS))} standard deviations", file=sys.stderr)
    return [kept.keep_directions(workdir, name, made, replace), path]


def _find(
    run: OpenedRun, images: LatentImages, method: str, space: str, count: int, data: str | None
) -> Directions:
    if method == "sefa":
        return found.sefa(images, space, count)
    if method == "pca":
        return found.pca(images, space, count)
    if images.class_names is not None or run.spec.names() is None:
        return found.class_means(images, space)
    made = found.class_means(images, space, _classifier(run, data), run.spec.names() or ())
    if missing := [one for one in run.spec.names() or () if one not in made.names]:
        print(f"note: samples hardly show {list_names(missing)}, so there is no such direction", file=sys.stderr)
    return made


def _classifier(run: OpenedRun, data: str | None) -> Callable[[np.ndarray], np.ndarray]:
    """Returns a function from uint8 images to logits of the data's classes; it is trained once and cached."""
    with data_option(data):
        source, note = run.open_data(data)
    if note is not None:
        print(f"note: {note}", file=sys.stderr)
    extractor = make_extractor(Call("classifier"), source, run.allow)
    for line in extractor.notes:
        print(line, file=sys.stderr)

    def classify(images: np.ndarray) -> np.ndarray:
        logits = extract(extractor, [images])[1]
        assert logits is not None  # a classifier has them
        return logits

    return classify


def _start(
    workdir: Path, images: LatentImages, space: Space, name: str | None, seed: int, label: int | str | None
) -> tuple[np.ndarray, str, int | None]:
    """Returns the latent that is moved, its space ("z", "w" or "w+"), and its label."""
    if label is not None and images.class_names is None:
        raise UserError("a label is given, but this run is not conditional: leave it out")
    names = images.class_names
    number = find_classes([label], names)[0] if label is not None and names is not None else None
    if name is None:
        latent, number = images.latents(seed), (number or 0) if names is not None else None
        return (images.map(latent, number)[0] if space == "w" else latent[0]), space, number
    stored = kept.read_latents(workdir, name)
    if number is None and stored.labels is not None:
        number = int(stored.labels[0])
    latent, of = stored.latents[:1], stored.space
    if space == "z" and of != "z":
        raise UserError(f"{name} was found in {of}, and directions of z cannot move it: give --space w")
    if space == "w" and of == "z":
        return images.map(latent, number)[0], "w", number
    return latent[0], of, number


def _grid(
    images: LatentImages, made: Directions, latent: np.ndarray, space: str, label: int | None, truncation: float
) -> np.ndarray:
    moves = found.steps_along(latent, made, AMOUNTS)
    flat = moves.reshape(-1, *moves.shape[2:])
    shown = images(flat, space=space, labels=label, truncation=truncation)  # pyright: ignore[reportArgumentType]
    return report.grid(shown, columns=len(AMOUNTS))
