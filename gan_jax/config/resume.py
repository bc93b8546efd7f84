"""Compares two configs: which fields differ, and whether a run may be resumed with the new one."""

from collections.abc import Collection

from ..errors import UserError, one_line
from .changes import is_allowed, may_change, option_for
from .overrides import leaves
from .schema import Config
from .serialize import value_text

NOT_SET = "not set"
_GRID = ("checkpoint.every", "metrics.every")  # a run with health.returns goes back to one of these steps
_DATA = "data.source"  # the fingerprint of the data tells whether they are the same, wherever they lie
_MOST = 5  # differences that a message names


def differences(a: Config, b: Config) -> list[tuple[str, object, object, bool]]:
    """Returns `(field, value in a, value in b, free)` of every field that differs; a missing one is `NOT_SET`."""
    old, new = ({path: value for path, value, _ in leaves(tree)} for tree in (a, b))
    free = {path: is_free for tree in (a, b) for path, _, is_free in leaves(tree)}
    pairs = [(path, old.get(path, NOT_SET), new.get(path, NOT_SET)) for path in free]
    return [(path, before, now, free[path]) for path, before, now in pairs if before != now]


def check_resume(saved: Config, new: Config, allowed: Collection[str] | None = ()) -> None:
    """Raises UserError if `new` is another run than `saved`, the config in the workdir; it names the fields.

    The data are not compared here: their fingerprint is. `allowed`: what `--allow-change` names; None: the command
    has no such option.
    """
    returns = max(saved.health.returns, new.health.returns) > 0
    changed = [
        (path, old, now)
        for path, old, now, free in differences(saved, new)
        if not (free or is_data(path) or is_allowed(path, allowed or ())) or (returns and path in _GRID)
    ]
    if changed:
        them = "it" if len(changed) == 1 else "them"
        paths = [path for path, _, _ in changed]
        way = (
            f", or add --allow-change {option_for(paths)}"
            if allowed is not None and all(map(may_change, paths))
            else ""
        )
        raise UserError(
            f"this workdir holds another run: {_describe(changed)}; use another --workdir, or set {them} back{way}"
        )


def data_differences(saved: Config, new: Config) -> str:
    """Returns the fields of the data source that differ, as words; empty if there are none."""
    changed = [(path, old, now) for path, old, now, _ in differences(saved, new) if is_data(path)]
    return _describe(changed) if changed else ""


def is_data(path: str) -> bool:
    """Returns whether the field at `path` says where the data are, and how they are read."""
    return path == _DATA or path.startswith(f"{_DATA}.")


def _describe(changed: list[tuple[str, object, object]]) -> str:
    words = [
        f"{path} was {one_line(value_text(old))} and is now {one_line(value_text(now))}"
        for path, old, now in changed[:_MOST]
    ]
    more = f" and {len(changed) - _MOST} fields more" if len(changed) > _MOST else ""
    return ", ".join(words) + more
