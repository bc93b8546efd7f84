"""Whether the classes of a run are still those that it was trained with: each label must keep its meaning."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..data.source import before as known_before
from ..data.source import class_names
from ..errors import UserError, one_line
from .prepare import Prepared

_MOST = 5  # names in a message


class Renamed(NamedTuple):
    """The names of the classes that have other names now: before, and now, in the order of the labels."""

    before: list[str]
    after: list[str]

    def words(self) -> tuple[str, str]:
        """Returns both as texts of one line."""
        return _listed(self.before), _listed(self.after)


def renamed(sample: Mapping[str, Any], prepared: Prepared) -> Renamed | None:
    """Returns which classes have another name than in `sample`, of a checkpoint; None: none that is known.

    gan_jax 0.1 did not write names: it would have given those that the source has by its rules.
    """
    before, after = sample.get("class_names"), class_names(prepared.source)
    if before is None and (earlier := known_before(prepared.source)) is not None:
        before = class_names(earlier[0])
    if before is None or after is None or len(before) != len(after):
        return None
    pairs = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    return Renamed([old for old, _ in pairs], [new for _, new in pairs]) if pairs else None


def check_names(sample: Mapping[str, Any], prepared: Prepared, new_data: bool) -> list[str]:
    """Returns a note if the names of the classes are not those of `sample`, of a checkpoint.

    Raises:
        UserError: the run is conditional, and a name has another label now, or new data have other classes. Names
            that are only numbers say nothing of new data.
    """
    found = renamed(sample, prepared)
    if found is None:
        return []
    before, after = found.words()
    was = f"class names were {before}, are now {after}"
    if prepared.config.conditional:
        if set(found.before) & set(found.after):
            raise UserError(
                f"{was}: names would change their labels, and the networks know the labels; restore the order of "
                "the names, or use another --workdir"
            )
        if new_data and not (_only_numbers(found.before) or _only_numbers(found.after)):
            raise UserError(
                f"{was}: other classes are another run; restore them, or start in another --workdir with init_from"
            )
    return [f"note: {was}"]


def _only_numbers(names: Sequence[str]) -> bool:
    return all(name.removeprefix("-").isdecimal() for name in names)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST:,} more" if len(names) > _MOST else ""
    return ", ".join(one_line(name, 40) for name in names[:_MOST]) + more
