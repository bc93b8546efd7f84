"""Turns a config into JSON and back, and into text."""

import dataclasses
import math
import typing
from collections.abc import Mapping

from ..errors import UserError, near, one_line, quoted
from .overrides import leaves
from .resolve import Call, field_types
from .schema import Config, Term

_RENAMED = {  # fields of workdirs that an older version wrote
    (Config, "generator_penalties"): "generator_terms",
    (Config, "discriminator_penalties"): "discriminator_terms",
    (Term, "call"): "penalty",
}
LARGEST_INT = 2**63  # integers in arrays, and in most readers of JSON, are below it


def to_json(config: Config) -> dict[str, object]:
    """Returns what `json.dumps` takes; a Call is `{"call": name, "with": {...}}`.

    Raises:
        UserError: a value that JSON cannot hold.
    """
    plain = to_plain(config, "")
    assert isinstance(plain, dict)
    return plain


def to_plain(value: object, path: str) -> object:
    """Returns the value at `path` as dictionaries, lists, numbers, text and None.

    Raises:
        UserError: JSON cannot hold it.
    """
    if isinstance(value, Call):
        if not isinstance(value.name, str):
            raise UserError(f"{one_line(path)} wants the name of a function, got {quoted(value.name)}")
        return {"call": value.name, "with": {k: to_plain(v, f"{path}.{k}") for k, v in value.items}}
    if dataclasses.is_dataclass(value):
        names = [item.name for item in dataclasses.fields(value)]
        return {name: to_plain(getattr(value, name), f"{path}.{name}".lstrip(".")) for name in names}
    if isinstance(value, tuple):
        return [to_plain(item, f"{path}.{index}") for index, item in enumerate(value)]
    if isinstance(value, str) and not _is_utf8(value):
        raise UserError(f"{one_line(path)} is not UTF-8: choose another name, got {quoted(value)}")
    if value is None or type(value) in (bool, str) or (type(value) is float and math.isfinite(value)):
        return value
    if type(value) is int and abs(value) < LARGEST_INT:
        return value
    got = quoted(value)
    raise UserError(
        f"{one_line(path)} cannot be kept in a file: wants a finite number, text, None or a Call, got {got}"
    )


def _is_utf8(text: str) -> bool:
    """Whether all of the text are characters. A path may hold bytes that are none, and no page can show them."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def from_json(tree: Mapping[str, object]) -> Config:
    """Returns the Config that `to_json` wrote; fields that are missing get their defaults.

    Raises:
        UserError: an unknown field, or a required field is missing.
    """
    config = _from_plain(tree, Config, "")
    if not isinstance(config, Config):
        raise UserError(f"a config is a JSON object, got {type(tree).__name__}")
    return config


def _from_plain(value: object, hint: object, path: str) -> object:
    dot = f"{path}." if path else ""
    if isinstance(value, list):
        inner = typing.get_args(hint)[0] if typing.get_origin(hint) is tuple else object
        return tuple(_from_plain(item, inner, f"{dot}{index}") for index, item in enumerate(value))
    if not isinstance(value, Mapping):
        return value
    name, given = value.get("call"), value.get("with")
    if isinstance(name, str) and isinstance(given, Mapping):
        return Call(name, **{k: _from_plain(v, object, dot + k) for k, v in given.items()})
    kind = typing.get_origin(hint) or hint
    if not (isinstance(kind, type) and dataclasses.is_dataclass(kind)):
        return value
    hints = field_types(hint)
    for (owner, old), new in _RENAMED.items():
        if owner is kind and old in value and new in value:
            raise UserError(f"{dot}{old} and {dot}{new} are two names of one field: remove the first")
    fields = {_RENAMED.get((kind, key), str(key)): one for key, one in value.items()}
    for key in fields:
        if key not in hints:
            raise UserError(f"unknown field {dot + key!r}{near(dot + key, [dot + known for known in hints])}")
    for item in dataclasses.fields(kind):
        if item.default is dataclasses.MISSING and item.name not in fields:
            raise UserError(f"the field {dot + item.name!r} is missing")
    return kind(**{key: _from_plain(one, hints[key], dot + key) for key, one in fields.items()})


def to_text(config: Config) -> str:
    """Returns one line `a.b = v` for each field, in the form that overrides take."""
    return "".join(f"{path} = {value_text(value)}\n" for path, value, _ in leaves(config))


def value_text(value: object) -> str:
    """Returns a value in the form that overrides take."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return f"({', '.join(map(value_text, value))})" if isinstance(value, tuple) else str(value)
