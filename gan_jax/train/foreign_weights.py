"""Reads the weights of another run's checkpoint that fit this run.

The other run's config is never read, so no code that it names is run. Its arrays are known by their paths. An
array that has the path, the shape and the kind of type of an array of this run is taken.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from ..checkpoint import Catalogue, read_arrays
from ..checkpoint.manifest import Damaged, Manifest, refuse_newer
from ..errors import UserError, one_line
from ..pytree import Leaf, is_key, named_leaves
from ..state import GANState, PlayerState
from .layout import check_layout

_MOST = 6  # names of arrays in a line
_PLAYERS = "generator", "discriminator"


class Transfer(NamedTuple):
    """What a run takes from another run.

    Attributes:
        record: the path, the step and the digest of the checkpoint, for the records of this run's checkpoints.
        lines: what is taken and what is not, to be said before training.
        names: the paths of the arrays that are taken, in the state of this run.
        arrays: by these names, in host memory; empty in all processes but the first.
    """

    record: dict[str, Any]
    lines: list[str]
    names: list[str]
    arrays: dict[str, np.ndarray]


def find_checkpoint(place: str) -> tuple[Catalogue, int | None]:
    """Returns the checkpoints that `init_from` names, and the step if it names one."""
    path = Path(os.path.abspath(place))
    if path.parent.name == "checkpoints" and path.name.isdecimal():
        return Catalogue(path.parent), int(path.name)
    return Catalogue(path / "checkpoints"), None


def find_weights(place: str, weights: str, shapes: GANState) -> Transfer:
    """Reads the weights of another run that fit this run.

    Args:
        place: the workdir of the other run, or one of its checkpoints.
        weights: of its generator: "ema" or "raw".
        shapes: of this run's state.

    Raises:
        UserError: there is no intact checkpoint, or no weights in it fit.
    """
    catalogue, step = find_checkpoint(place)
    if catalogue.directory.is_dir():
        check_layout(catalogue.directory.parent)
    manifest, leaves, lines = _newest(catalogue, step, place)
    there, kinds = _offered(leaves, weights), {}
    here = {
        f"{player}/{name}": leaf
        for player in _PLAYERS
        for name, leaf in named_leaves(_weights(getattr(shapes, player))).items()
    }
    for name, leaf in here.items():
        kinds[name] = _difference(there.get(name), leaf)
    names = [name for name, difference in kinds.items() if difference is None]
    if not any(len(here[name].shape) > 1 for name in names):  # a bias alone is no start
        first = next((f"{name}: {difference}" for name, difference in kinds.items() if name in there), "")
        raise UserError(
            f"no weights in the checkpoint of step {manifest['step']} of init_from={one_line(place)} fit the "
            f"networks of this run{f' ({one_line(first)})' if first else ''}: choose networks like those of that "
            "run, or leave init_from out"
        )
    average = ", its moving average for the generator" if weights == "ema" else ""
    source = f"step {manifest['step']} of {one_line(place)}{average}"
    lines.append(f"init_from: {source}: {len(names)} of {len(here)} arrays taken")
    new = [f"{name} ({difference})" for name, difference in kinds.items() if difference is not None]
    left = [name for name in there if name not in here]
    lines += [f"init_from: these are new: {_list(new)}"] if new else []
    lines += [f"init_from: these are not used: {_list(left)}"] if left else []
    path = os.path.abspath(place)
    record = {"path": path, "step": manifest["step"], "digest": manifest["digest"], "weights": weights}
    arrays = {name: np.array(there[name]).astype(here[name].dtype) for name in names}
    return Transfer(record, lines, names, arrays)


def _newest(catalogue: Catalogue, step: int | None, place: str) -> tuple[Manifest, dict[str, Leaf], list[str]]:
    """Reads the checkpoint of a step, or the newest intact one, and says which ones were passed over."""
    steps = catalogue.steps() if step is None else [step] if step in catalogue.steps() else []
    if not steps:
        what = "holds no checkpoint" if step is None else "is no checkpoint"
        raise UserError(
            f"init_from={one_line(place)} {what}: give the workdir of a run, or one of its checkpoints such as "
            "runs/digits/checkpoints/3000"
        )
    passed = []
    for one in reversed(steps):
        refuse_newer(catalogue.step_directory(one))
        try:
            manifest, leaves = read_arrays(catalogue, one)
            return manifest, leaves, [f"init_from: checkpoint {wrong} is passed over" for wrong in passed]
        except Damaged as error:
            passed.append(f"{one} ({error})")
    raise UserError(
        f"init_from={one_line(place)} has no intact checkpoint: {'; '.join(passed)}: restore it from a backup, or "
        "choose another run"
    )


def _weights(player: PlayerState) -> dict[str, Any]:
    return {"params": player.params, "model_state": player.model_state}


def _offered(leaves: Mapping[str, Leaf], weights: str) -> dict[str, Leaf]:
    """Returns the weights of the other run, by the paths that they have in the state of a run."""
    found = {}
    for path, leaf in leaves.items():
        name = path.removeprefix("state/")  # the carry of a run is its state and its meter
        player, _, rest = name.partition("/")
        if player == "ema" and weights == "ema":  # the variables of the generator, by collection
            kept = rest if rest.startswith("params/") else f"model_state/{rest}"
            found[f"generator/{kept}"] = leaf
        elif player == "discriminator" or (player == "generator" and weights == "raw"):
            found |= {name: leaf} if rest.startswith(("params/", "model_state/")) else {}
    return found


def _difference(there: Leaf | None, here: Leaf) -> str | None:
    """Returns why an array of the other run cannot be taken, or None if it can."""
    if there is None:
        return "not there"
    if is_key(there) or is_key(here):
        return "a key"
    if there.shape != here.shape:
        return f"{_shape(there)} there, {_shape(here)} here"
    floating = [jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in (there, here)]
    return None if floating[0] == floating[1] else f"{there.dtype} there, {here.dtype} here"


def _shape(leaf: Leaf) -> str:
    return "x".join(map(str, leaf.shape)) or "a number"


def _list(names: list[str]) -> str:
    more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    return one_line(", ".join(names[:_MOST])) + more
