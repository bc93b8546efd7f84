"""Projects images: searches their latents, keeps these by name, and writes what shows the result."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from ..config.build import Allow
from ..data.classes import find_classes
from ..errors import UserError
from ..files.folder import Folder
from ..latent_space import kept
from ..latent_space.features import choose_features
from ..latent_space.generator import Space
from ..latent_space.images import LatentImages
from ..latent_space.kept import KeptLatents
from ..latent_space.projection import Projection
from ..latent_space.projection import project as search
from ..latent_space.read_targets import Targets, read_targets
from ..latent_space.search import Settings
from ..train.open_run import open_run
from .project_files import result_files
from .sample_run import as_user_error

_FOLDER = "projections"


def project(
    workdir: str | os.PathLike,
    files: Sequence[str | os.PathLike],
    *,
    space: Space | None = None,
    labels: Sequence[int | str] | None = None,
    settings: Settings | None = None,
    seed: int = 0,
    name: str | None = None,
    replace: bool = False,
    out: str | os.PathLike | None = None,
    step: int | str | None = None,
    allow: Allow = (),
) -> list[Path]:
    """Finds the latents whose images are nearest to those in files, and returns the paths of what it wrote.

    `<workdir>/latents/NAME.npz` keeps the latents for `gan-jax sample --from NAME`. The folder `out` gets
    `found.png` (each image beside what was found), `way.gif`, `distance.svg` (the distance by step) and
    `projection.npz`. A line for each image on standard error says the class and the PSNR.

    Args:
        workdir: the folder of the run.
        files: image files, or .npz files with an array `image`.
        space: "z", "w" or "w+"; None: "w" where there is one, else "z".
        labels: the classes of the images in turn, by number or name; None: the best class is found.
        settings: of the search; None: the defaults.
        seed: of the candidates and of the noise.
        name: the workdir keeps all latents under it; None: those of each file under the name of the file.
        replace: whether latents that are kept under the name may be replaced.
        out: the folder of what shows the result; None: `<workdir>/projections/NAME`.
        step, allow: as for `gan-jax sample`.

    Raises:
        UserError: there is no run, its samples are no images, a file cannot be read, or a name is taken.
    """
    workdir, settings = Path(workdir), settings or Settings()
    settings.check()
    paths = [Path(file) for file in files]
    names = [kept.check_name(name)] if name is not None else _names(paths)
    run = open_run(workdir, step, allow)
    for one in names:
        kept.check_free(workdir, kept.LATENTS, one, replace)
    images = LatentImages(run)
    if labels is not None and images.class_names is None:
        raise UserError("labels are given, but this run is not conditional: leave them out")
    space = space or images.default_space
    images.generator.check(space)
    targets = read_targets(paths, images.shape, run.config)
    together = np.concatenate([one.images for one in targets])
    numbers = None
    if labels is not None and images.class_names is not None:
        classes = find_classes(labels, images.class_names)
        if len(classes) > len(together):
            raise UserError(f"--labels names {len(classes)} classes, more than the images ({len(together)})")
        numbers = np.resize(classes, len(together))
    _say_resized(targets, images.shape)
    network, line = choose_features(images.shape, settings.features)
    print(line, file=sys.stderr)
    found = search(images, together, space, labels=numbers, features=network, seed=seed, settings=settings)
    _say_found(found, targets, images.class_names)
    # The latents first: they took the time.
    written = _keep(workdir, names, targets, found, run.step, seed, replace)
    # A workdir may come from elsewhere, so links in it are not followed; --out is the user's.
    target, within = (Folder(out), Path()) if out is not None else (Folder(workdir), Path(_FOLDER, names[0]))
    with as_user_error(target.path / within):
        for file, content in result_files(together, found).items():
            target.write(str(within / file), content, sync=False)
            written.append(target.path / within / file)
    return written


def _names(files: Sequence[Path]) -> list[str]:
    """Returns the names of the files without their ending, as names to keep latents under."""
    names = [kept.name_like(file.stem) for file in files]
    if len(set(names)) < len(names):
        raise UserError("two files have the same name, and latents are kept by it: give --name")
    return names


def _say_resized(targets: Sequence[Targets], shape: tuple[int, ...]) -> None:
    others = [one for one in targets if one.before[:2] != shape[:2]]
    if others:
        count, first = len(others), others[0]
        which = f"'{first.file.name}' is" if count == 1 else f"the images of {count} files are"
        height, width = first.before[:2]
        print(
            f"note: {which} resized to {shape[0]}x{shape[1]} pixels, as the run's data were"
            + (f" (from {height}x{width})" if count == 1 else ""),
            file=sys.stderr,
        )


def _say_found(found: Projection, targets: Sequence[Targets], names: Sequence[str] | None) -> None:
    """Says the PSNR of each image and its class, and of a file of several the least and the median PSNR."""
    first = 0
    for file, images, _ in targets:
        ratios, several = found.psnr[first : first + len(images)], len(images) > 1
        for i, ratio in enumerate(ratios):
            label = found.labels[first + i] if found.labels is not None else None
            which = "" if label is None or names is None else f", class {names[label]}"
            print(f"{file.name}{f' {i}' if several else ''}: PSNR {ratio:.1f} dB{which}", file=sys.stderr)
        if several:
            middle = f"least {ratios.min():.1f} dB, median {np.median(ratios):.1f} dB"
            print(f"{file.name}: PSNR of {len(images)} images: {middle}", file=sys.stderr)
        first += len(images)


def _keep(
    workdir: Path, names: Sequence[str], targets: Sequence[Targets], found: Projection, step: int, seed: int,
    replace: bool,
) -> list[Path]:  # fmt: skip
    """Keeps the latents: all under one name, or those of each file under its own."""
    maps = [np.asarray(x) for x in jax.tree.leaves(found.noise)]
    counts = [len(one.images) for one in targets] if len(names) == len(targets) else [len(found.latents)]
    paths, first = [], 0
    for name, count in zip(names, counts, strict=True):
        rows = slice(first, first + count)
        labels = None if found.labels is None else found.labels[rows]
        noise = tuple(x[rows] for x in maps)
        one = KeptLatents(found.latents[rows], found.space, step, labels, seed, noise)
        paths.append(kept.keep_latents(workdir, name, one, replace))
        first += count
    return paths
