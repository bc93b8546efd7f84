"""Compares two configs: which fields differ, and whether a run may be resumed with the new one."""

from ..errors import UserError, one_line
from .overrides import leaves
from .schema import Config
from .serialize import value_text

NOT_SET = "not set"
_GRID = ("checkpoint.every", "metrics.every")  # a run with health.returns goes back to one of these steps
_MOST = 5  # differences that a message names


def differences(a: Config, b: Config) -> list[tuple[str, object, object, bool]]:
    """Returns `(field, value in a, value in b, free)` of every field that differs; a missing one is `NOT_SET`."""
    old, new = ({path: value for path, value, _ in leaves(tree)} for tree in (a, b))
    free = {path: is_free for tree in (a, b) for path, _, is_free in leaves(tree)}
    pairs = [(path, old.get(path, NOT_SET), new.get(path, NOT_SET)) for path in free]
    return [(path, before, now, free[path]) for path, before, now in pairs if before != now]


def check_resume(saved: Config, new: Config) -> None:
    """Raises UserError if `new` is another run than `saved`, the config in the workdir; it names the fields."""
    returns = max(saved.health.returns, new.health.returns) > 0
    changed = [
        f"{path} was {one_line(value_text(old))} and is now {one_line(value_text(now))}"
        for path, old, now, free in differences(saved, new)
        if not free or (returns and path in _GRID)
    ]
    if changed:
        fields = ", ".join(changed[:_MOST])
        fields += f" and {len(changed) - _MOST} fields more" if len(changed) > _MOST else ""
        them = "it" if len(changed) == 1 else "them"
        raise UserError(f"this workdir holds another run: {fields}; use another --workdir, or set {them} back")
