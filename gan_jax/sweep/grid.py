"""The members of a sweep: reads `key=a,b,c`, and names each combination."""

import itertools
import re
from collections.abc import Sequence
from typing import NamedTuple

from .. import config as configs
from ..config import Config
from ..config.overrides import leaves
from ..errors import UserError, one_line, quoted

_MOST = 1000  # members of a sweep; more are rather a mistake
_LONGEST = 120  # characters of a name, which is a folder's; most file systems take 255 bytes
_RANGE = re.compile(r"(-?\d+)\.\.(-?\d+)")


class Axis(NamedTuple):
    """A field that differs between members, and the values that it takes, as text."""

    path: str
    values: tuple[str, ...]


class Member(NamedTuple):
    """One run of a sweep.

    Attributes:
        name: of its folder, such as "weight=0.3,seed=1".
        overrides: what its command line has behind the config.
        config: the config with these overrides.
        values: of the fields that differ, in the order of the axes.
    """

    name: str
    overrides: tuple[str, ...]
    config: Config
    values: tuple[str, ...]

    def set(self, *overrides: str) -> "Member":
        """Returns the member with further overrides."""
        config = configs.override(self.config, overrides)
        return self._replace(overrides=(*self.overrides, *overrides), config=config)


def read_axes(config: Config, words: Sequence[str]) -> tuple[list[Axis], list[str]]:
    """Separates `key=a,b,c` from overrides with one value, which all members share.

    Commas in brackets or quotes separate nothing. `seed=0..3` is `seed=0,1,2,3`. Where the field itself is a list,
    `key=a,b` is one list, and `key=(a,b),(c)` are two.

    Raises:
        UserError: a word is no override, or a field is there twice.
    """
    axes, shared = [], []
    for word in words:
        path, equals, text = (part.strip() for part in word.partition("="))
        if not equals or not path:
            raise UserError(f"{quoted(word)} is not of the form field=value or field=value,value,...")
        values = _values(path, text)
        if len(values) == 1 or (values[0][:1] not in ("(", "[") and _is_list(config, path, text)):
            shared.append(f"{path}={text}")
            continue
        if path in (axis.path for axis in axes):
            raise UserError(f"{one_line(path)} has several values twice: write all of them behind one {path}=")
        if len(set(values)) < len(values):
            twice = next(value for value in values if values.count(value) > 1)
            raise UserError(f"{one_line(path)} has the value {quoted(twice)} twice: leave one out")
        axes.append(Axis(path, values))
    return axes, shared


def _values(path: str, text: str) -> tuple[str, ...]:
    """Splits the values of a field at commas outside of brackets and quotes."""
    if found := _RANGE.fullmatch(text):
        first, last = int(found[1]), int(found[2])
        if not first < last < first + _MOST:
            raise UserError(f"{one_line(path)}={text} is no range: the second number must be larger, as in 0..7")
        return tuple(str(number) for number in range(first, last + 1))
    parts, depth, quote = [""], 0, ""
    for character in text:
        if quote or character in "\"'":
            quote = "" if character == quote else quote or character
        else:
            depth += (character in "([") - (character in ")]")
        if character == "," and depth == 0 and not quote:
            parts.append("")
        else:
            parts[-1] += character
    values = tuple(part.strip() for part in parts)
    if len(values) > 1 and not all(values):
        raise UserError(f"{one_line(path)}={one_line(text)} has an empty value: separate values by single commas")
    return values


def _is_list(config: Config, path: str, text: str) -> bool:
    """Returns whether the whole text is one value of the field, because the field is a list."""
    try:
        changed = configs.override(config, [f"{path}={text}"])
    except UserError:
        return False
    return any(at == path and isinstance(value, tuple) for at, value, _ in leaves(changed))


def make_members(
    config: Config, axes: Sequence[Axis], shared: Sequence[str], zipped: bool = False
) -> list[Member]:
    """Returns a member for each combination of values; if `zipped`, for the first values, the second, and so on.

    Raises:
        UserError: no field differs, a value is wrong, or lists to be zipped have different lengths.
    """
    if not axes:
        raise UserError(
            "a sweep needs a field with several values, such as seed=1,2,3 or "
            "discriminator_terms.0.weight=0.3,1,3: with one value each it is gan-jax train"
        )
    counts = {axis.path: len(axis.values) for axis in axes}
    if zipped and len(set(counts.values())) > 1:
        listed = ", ".join(f"{one_line(path)} has {count}" for path, count in counts.items())
        raise UserError(f"--zip wants as many values of each field: {listed}")
    combinations = list(
        zip(*(axis.values for axis in axes)) if zipped else itertools.product(*(axis.values for axis in axes))
    )
    if len(combinations) > _MOST:
        raise UserError(
            f"these are {len(combinations)} members, and a sweep has at most {_MOST}: leave values out"
        )
    return [make_member(config, [axis.path for axis in axes], shared, values) for values in combinations]


def make_member(config: Config, paths: Sequence[str], shared: Sequence[str], values: Sequence[str]) -> Member:
    """Returns the member with these values of the fields at `paths`.

    Raises:
        UserError: a value is wrong.
    """
    overrides = (*shared, *(f"{path}={value}" for path, value in zip(paths, values)))
    changed = configs.override(config, overrides)
    configs.validate(changed)
    parts = [f"{short}={value}" for short, value in zip(short_names(paths), values)]
    return Member(_folder_name(",".join(parts)), overrides, changed, tuple(values))


def short_names(paths: Sequence[str]) -> list[str]:
    """Returns the last part of each path, with as many parts before it as tell it from the others."""

    def tail(path: str, count: int) -> str:
        return ".".join(path.split(".")[-count:])

    names = []
    for path in paths:
        others = [other for other in paths if other != path]
        sizes = range(1, len(path.split(".")) + 1)
        names.append(
            next((tail(path, n) for n in sizes if tail(path, n) not in [tail(o, n) for o in others]), path)
        )
    return names


def _folder_name(text: str) -> str:
    """Makes a name of a folder: letters, digits and some signs stay, all others become "_"."""
    return re.sub(r"[^\w.,=+-]", "_", text)[:_LONGEST].strip(".") or "_"


def check_names(members: Sequence[Member]) -> None:
    """Raises UserError if two members would have the same folder."""
    names = [member.name.casefold() for member in members]  # some file systems do not see capitals
    for member in members:
        if names.count(member.name.casefold()) > 1:
            raise UserError(
                f"two members would have the folder {member.name}: their values differ only behind its first "
                f"{_LONGEST} characters, or in signs and capitals that a folder's name may not have: leave one out"
            )
