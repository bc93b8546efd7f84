"""The sets of directions that the page offers: those of SeFa, and those that the workdir keeps."""

from pathlib import Path

from ..errors import UserError
from ..latent_space.directions import Directions, class_means, pca, sefa
from ..latent_space.images import LatentImages
from ..latent_space.kept import direction_names, read_directions

_METHODS = {"sefa": sefa, "pca": pca, "classes": class_means}
_WORDS = {"sefa": "SeFa", "pca": "principal components", "classes": "class means"}


def direction_sets(
    images: LatentImages, workdir: Path, first: str | None
) -> tuple[dict[str, Directions], list[str]]:
    """Returns sets of directions by the names that the page shows, and lines on those that are left out.

    Args:
        images: of the run.
        workdir: the folder of the run.
        first: a name under which the workdir keeps directions, or a method: the first of the sets. None: SeFa, or
            principal components where the generator has no matrix for SeFa.

    Raises:
        UserError: there are no directions `first`.
    """
    sets, notes = {}, []
    kept = direction_names(workdir)
    # `gan-jax directions` keeps them under the name of the method. Those of classes may have taken a classifier.
    is_kept = first is not None and (first in kept or first not in _METHODS)
    if first is not None and is_kept:
        sets[_WORDS.get(first, first)] = _fitting(images, first, read_directions(workdir, first))
    for name in ["sefa", "pca"] if first is None or is_kept else [first]:
        if _WORDS[name] in sets:
            break
        try:
            sets[_WORDS[name]] = _METHODS[name](images, "w" if "w" in images.spaces else "z")
            break
        except UserError as error:
            if first is not None and first == name:
                raise
            notes.append(f"note: no directions by {_WORDS[name]}: {error}")
    for name in kept:
        try:
            sets.setdefault(_WORDS.get(name, name), _fitting(images, name, read_directions(workdir, name)))
        except UserError as error:
            notes.append(f"note: the directions {name} are left out: {error}")
    return sets, notes


def _fitting(images: LatentImages, name: str, directions: Directions) -> Directions:
    """Returns directions if they are of a latent space of the run."""
    images.generator.check(directions.space)
    size = images.generator.shape("w" if directions.space == "w" else "z")[-1]
    if directions.vectors.shape[1] != size:
        raise UserError(
            f"directions {name} have {directions.vectors.shape[1]} numbers, and {directions.space} of this run "
            f"has {size}: they are of another run"
        )
    return directions
