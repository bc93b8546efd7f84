"""Finds the network of a published layout in a file of weights, and changes its arrays to ours.

The tables in `gan_jax.models.published` say which array is which.
"""

import importlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from ..errors import UserError, one_line
from .layout_changes import CHANGES

KINDS = {
    "r3gan": "ffhq64_r3gan", "sngan": "cifar10_sngan", "biggan": "cifar10_biggan",
    "stylegan2": "cifar10_stylegan2_ada",
}  # fmt: skip
"""The architectures, and the recipe whose settings of training the imported run gets."""

_MOST_NAMES = 4  # in a line
_OPTIONAL = "w_avg/mean"  # a variable that a file may lack

Arrays = dict[str, np.ndarray]


class Found(NamedTuple):
    """A network in a file: its arrays by the names that the layout gives them, and what they describe.

    `everything` has all arrays of the file, by the names that they have there.
    """

    layout: Any  # a `Layout` and a `Network` of `gan_jax.models.published.tables`
    network: Any
    prefix: str
    arrays: Arrays
    file: str
    everything: Arrays


def _layouts(kind: str, player: str) -> tuple[Any, ...]:
    # By its name, as a config finds an architecture: nothing outside of `models` imports one.
    return getattr(importlib.import_module(f"gan_jax.models.published.{kind}"), player)


def find(arrays: Arrays, kind: str, file: Path) -> Found:
    """Returns the generator of an architecture in a file.

    Raises:
        UserError: there is none; the sentence says what is there.
    """
    found = search(arrays, kind, "GENERATORS", file)
    if found is None:
        raise UserError(_no_generator(arrays, kind, file))
    return found


def search(arrays: Arrays, kind: str, player: str, file: Path, source: str | None = None) -> Found | None:
    """Returns a network of an architecture in a file; None if no layout's names are there.

    Args:
        arrays: of the file, by name.
        kind: a name in `KINDS`.
        player: "GENERATORS" or "DISCRIMINATORS".
        file: its name, for messages.
        source: the layout must be of this code base; None: any.

    Raises:
        UserError: arrays are missing, or our network can't compute what this one computes.
    """
    for layout in _layouts(kind, player):
        prefixes = _prefixes(arrays, layout.marks)
        if not prefixes or source not in (None, layout.source):
            continue
        prefix = min(prefixes, key=lambda text: ("ema" not in text.lower(), prefixes.index(text)))
        members = {name: arrays[name] for name in layout.beside if name in arrays}
        members |= {name[len(prefix) :]: array for name, array in arrays.items() if name.startswith(prefix)}
        try:
            tables = importlib.import_module("gan_jax.models.published.tables")
            network = layout.read(tables.Reading({name: array.shape for name, array in members.items()}))
        except (ValueError, IndexError, ArithmeticError) as error:
            text = (
                str(error) if isinstance(error, ValueError) else "has arrays of another rank, or without numbers"
            )
            raise UserError(f"{one_line(file)} {one_line(text)} (layout of {layout.source})") from None
        return Found(layout, network, prefix, members, one_line(file), arrays)
    return None


def _prefixes(arrays: Iterable[str], marks: tuple[str, ...]) -> list[str]:
    """Returns the prefixes, such as `g_ema.module.`, with which all marks of a layout are there."""
    names = set(arrays)
    starts = [name.removesuffix(marks[0]) for name in arrays if name.endswith(marks[0])]
    return [
        start for start in starts if (not start or start[-1] == ".") and all(start + m in names for m in marks)
    ]


def _no_generator(arrays: Arrays, kind: str, file: Path) -> str:
    """Returns a sentence on what a file has in place of a generator of this kind."""
    for other in KINDS:
        for player, word in (("GENERATORS", "a generator"), ("DISCRIMINATORS", "a discriminator alone")):
            for layout in _layouts(other, player):
                if _prefixes(arrays, layout.marks):
                    advice = f"say --as {other}" if other != kind else "give the file of its generator"
                    return f"{one_line(file)} has {word} of {other} in the layout of {layout.source}: {advice}"
    known = " and ".join(dict.fromkeys(layout.source for layout in _layouts(kind, "GENERATORS")))
    some = ", ".join(list(arrays)[:_MOST_NAMES]) or "no arrays"
    return f"{one_line(file)} has no generator of {kind} in a known layout ({known}): it has {one_line(some)}"


def take(found: Found, variables: Mapping[str, Any], lines: list[str]) -> Arrays:
    """Returns the arrays of our network's variables, and says what is used and what is not.

    Raises:
        UserError: an array is missing, or has another shape.
    """
    taken: Arrays = {}
    used = set()
    for path, leaf in variables.items():
        if (origin := found.network.table.get(path)) is None:
            continue
        if origin.name in found.arrays:
            taken[path] = _changed(found, origin.name, origin.changes, leaf.shape)
            used.add(origin.name)
        elif path != _OPTIONAL:
            raise UserError(
                f"{found.file} has no array {found.prefix}{origin.name}, which {found.layout.source} writes"
            )
    silent = [re.compile(pattern) for pattern in found.layout.unused]
    left = [name for name in found.arrays if name not in used and not any(p.fullmatch(name) for p in silent)]
    lines.append(f"{len(used)} arrays of {found.prefix or 'the file'} are taken (layout of {found.layout.source})")
    if left:
        more = f" and {len(left) - _MOST_NAMES} more" if len(left) > _MOST_NAMES else ""
        lines.append(f"not used: {one_line(', '.join(found.prefix + name for name in left[:_MOST_NAMES]))}{more}")
    return taken


def _changed(found: Found, name: str, changes: Iterable[str], shape: tuple[int, ...]) -> np.ndarray:
    """Returns an array of the file in our order, float32.

    Raises:
        UserError: it has another type or shape, or numbers that are not finite.
    """
    array = given = found.arrays[name]
    try:
        for change in changes:
            array = CHANGES[change](array, name, found.arrays)
    except (ValueError, KeyError, IndexError):
        array = None
    if not jnp.issubdtype(given.dtype, jnp.floating):
        raise UserError(f"{found.file} has {found.prefix}{name} as {given.dtype}, but weights are floats")
    if array is None or array.shape != shape:
        raise UserError(
            f"{found.file} has {found.prefix}{name} of shape {given.shape}, which does not fit its other arrays"
        )
    if not np.isfinite(array).all():
        raise UserError(f"{found.file} has numbers in {found.prefix}{name} that are not finite")
    return np.array(array, np.float32)
