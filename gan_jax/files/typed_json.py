"""Reads JSON that may come from elsewhere: an object whose values have the expected types, or one error."""

import json
import sys
import types
import typing
from typing import Any

from ..errors import is_plain

LARGEST_INT = 2**63  # integers in arrays, and in most readers of JSON, are below it
_NAMES = {
    bool: "true or false", int: "an integer", float: "a number", str: "text", dict: "an object", list: "a list",
    types.NoneType: "null",
}  # fmt: skip


def parse_object(data: bytes | str) -> dict[str, Any]:
    """Returns the JSON object that the bytes are.

    Raises:
        ValueError: they are something else.
    """
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        raise ValueError("it is not JSON") from None
    if not isinstance(value, dict):
        raise ValueError(f"it is {describe(value)}, not an object")
    return value


def check(value: object, hint: Any, name: str) -> None:
    """Checks that a JSON value has a type.

    Args:
        hint: `bool`, `int`, `float`, `str`, `None`, `dict[str, T]`, `list[T]`, `tuple[T, ...]`, a union of them,
            or `Any` for any value. Text must be one line without control characters, in a value of `Any` too: it
            is printed. An integer must be below 2**63, or as a number below the largest float.
        name: of the value, for the message.

    Raises:
        ValueError: it has another type; the message names the value that is wrong.
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        hint = next((option for option in arguments if _matches(value, option)), hint)
        origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if not _matches(value, hint):
        raise ValueError(f"{name} is {describe(value)}, not {_describe_hint(hint)}")
    if isinstance(value, str) and not is_plain(value):
        raise ValueError(f"{name} has control characters")
    if isinstance(value, int) and abs(value) > sys.float_info.max:
        raise ValueError(f"{name} is beyond any number")
    if hint is int and abs(typing.cast(int, value)) >= LARGEST_INT:
        raise ValueError(f"{name} is not below 2**63")
    if isinstance(value, dict):
        for key, item in value.items():
            check(key, str, f"a name in {name}")
            check(item, arguments[1] if origin is dict else Any, f"{name}.{key}")
    if isinstance(value, list):
        for index, item in enumerate(value):
            check(item, arguments[0] if origin in (list, tuple) else Any, f"{name}.{index}")


def describe(value: object) -> str:
    """Returns the JSON type of a value in words."""
    return _NAMES.get(type(value), "no JSON value")


def _matches(value: object, hint: Any) -> bool:
    kind = _json_type(hint)
    if kind is Any:
        return True
    return type(value) in (int, float) if kind is float else type(value) is kind


def _describe_hint(hint: Any) -> str:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return " or ".join(_describe_hint(option) for option in typing.get_args(hint))
    return _NAMES[_json_type(hint)]


def _json_type(hint: Any) -> Any:
    kind = typing.get_origin(hint) or hint
    return {None: types.NoneType, tuple: list}.get(kind, kind)
