"""What a run may change on the way, if `--allow-change` names it."""

from collections.abc import Iterable

from ..errors import UserError, near, one_line, quoted

_GROUPS = {
    "data": ("data.source",),
    "learning_rate": ("generator_optimizer.learning_rate", "discriminator_optimizer.learning_rate"),
}
# A change of these leaves the state as it is, or else the checkpoint does not fit and is refused. Not `batch` and
# `disc_steps`: the number of the next image, and every schedule over images, follow from them and the step.
_FIELDS = (
    "data.source", "loss", "augment", "ema", "generator_terms", "discriminator_terms", "generator_optimizer",
    "discriminator_optimizer",
)  # fmt: skip


def check_changes(names: Iterable[str]) -> None:
    """Raises UserError if a name is neither a group of fields nor a field that a run may change on the way."""
    for name in names:
        if name not in _GROUPS and not may_change(name):
            known = [*_GROUPS, *_FIELDS]
            raise UserError(
                f"--allow-change takes no {quoted(name)}, because a run can't change it on the way"
                f"{near(one_line(name), known)}"
            )


def may_change(path: str) -> bool:
    """Returns whether a run may change the field at `path` on the way."""
    return any(_is_below(path, field) for field in _FIELDS)


def is_allowed(path: str, names: Iterable[str]) -> bool:
    """Returns whether `--allow-change` with these names covers the field at `path`."""
    return any(_is_below(path, field) for name in names for field in _GROUPS.get(name, (name,)))


def option_for(paths: Iterable[str]) -> str:
    """Returns what `--allow-change` would have to name for these fields."""
    groups = {field: name for name, fields in _GROUPS.items() for field in fields}
    return ",".join(dict.fromkeys(groups.get(path, path) for path in paths))


def _is_below(path: str, field: str) -> bool:
    return path == field or path.startswith(f"{field}.")
