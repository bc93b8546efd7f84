"""Turns text into values: `parse` where the type is known, `literal` where it is not."""

import ast
import dataclasses
import math
import types
import typing
import warnings
from collections.abc import Callable
from typing import NoReturn

from .resolve import Call, freeze

UNIONS = (typing.Union, types.UnionType)
_TYPE_NAMES = {
    types.NoneType: "none", bool: "true or false", int: "an int", float: "a float", str: "text", None: "none",
}  # fmt: skip


def literal(text: str) -> object:
    """Returns none, true, false, a number or a tuple as such, and anything else as the text itself."""
    if text.lower() in ("none", "true", "false"):
        return {"none": None, "true": True, "false": False}[text.lower()]
    try:
        with warnings.catch_warnings():  # such as one about a backslash: the user may mean it as text
            warnings.simplefilter("ignore")
            value = ast.literal_eval(text)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return text
    return freeze(value) if isinstance(value, int | float | str | tuple | list) else text


def parse(text: str, hint: object) -> object:
    """Returns `text` as a value of the type `hint`.

    Raises:
        ValueError: it is not such a value.
    """
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return parse(text, args[0])
    if origin in UNIONS:
        return _parse_union(text, args)
    if origin is typing.Literal:
        return {str(choice): choice for choice in args}[text] if text in map(str, args) else _refuse(text)
    if origin in (tuple, list) or hint in (tuple, list):
        return _parse_list(text, origin is tuple, args)
    if hint in (None, types.NoneType):
        return None if text.lower() == "none" else _refuse(text)
    if hint is bool:
        return {"true": True, "false": False}[text.lower()] if text.lower() in ("true", "false") else _refuse(text)
    if hint is float:
        return float(text) if math.isfinite(float(text)) else _refuse(text)
    if hint is int:
        is_whole = not _is_plain_int(text) and float(text).is_integer()  # 1e3 is 1000
        return int(float(text)) if is_whole else int(text)
    if hint is str:
        return text
    if dataclasses.is_dataclass(origin or hint) or is_function(hint) or is_built(hint):
        raise ValueError(text)
    return literal(text)


def _parse_union(text: str, options: tuple[object, ...]) -> object:
    for option in sorted(options, key=lambda option: option is str):  # any text is a str: try that last
        if option is int and float in options and not _is_plain_int(text):
            continue
        if describe(option):
            try:
                return parse(text, option)
            except ValueError:
                pass
    raise ValueError(text)


def _parse_list(text: str, is_tuple: bool, args: tuple[object, ...]) -> tuple[object, ...]:
    parts = [part.strip() for part in text.strip("()[] ").split(",") if part.strip()]
    has_fixed_length = is_tuple and not (len(args) == 2 and args[-1] is Ellipsis)
    if has_fixed_length and len(parts) != len(args):
        raise ValueError(text)
    hints = (args if has_fixed_length else args[:1] * len(parts)) or (object,) * len(parts)
    return tuple(parse(part, hint) for part, hint in zip(parts, hints))


def _is_plain_int(text: str) -> bool:
    try:
        int(text)
    except ValueError:
        return False
    return True


def is_number(text: str) -> bool:
    """Whether `text` is meant as a number (also nan and inf), and so not as the name of a function."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def is_function(hint: object) -> bool:
    """Whether values of this type are functions: a `Callable`, or a Protocol such as `Schedule`."""
    kind = typing.get_origin(hint) or hint
    return kind is Callable or (is_built(kind) and "__call__" in vars(kind))


def is_built(hint: object) -> bool:
    """Whether values of this type are built by the function that a Call names, such as a `Source` or a `Loss`."""
    kind = typing.get_origin(hint) or hint
    is_named_tuple = isinstance(kind, type) and issubclass(kind, tuple) and hasattr(kind, "_fields")
    return is_named_tuple or getattr(kind, "_is_protocol", False)


def may_be_call(hint: object) -> bool:
    """Whether a value of this type may be given as the name of a function that builds it."""
    options = typing.get_args(hint) if typing.get_origin(hint) in UNIONS else ()
    return hint is Call or is_built(hint) or any(map(may_be_call, options)) or any(map(is_function, options))


def _refuse(text: str) -> NoReturn:
    raise ValueError(text)


def describe(hint: object) -> str:
    """Returns what a value of this type is called in an error; empty for a type that `parse` does not check."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return describe(args[0])
    if origin in UNIONS:
        values = [option for option in args if not is_function(option)]
        words = list(filter(None, map(describe, values)))
        if len(values) < len(args):  # a function beside other values is a schedule, which has a name
            words = ["a number" if word == "a float" else word for word in words] + ["a schedule"]
        return " or ".join(words)
    if origin is typing.Literal:
        return " or ".join(map(repr, args))
    if args and dataclasses.is_dataclass(typing.get_origin(args[0]) or args[0]):
        return "() for none, or one of its items' fields"
    if isinstance(hint, type) and issubclass(hint, Call):
        return "a Call"
    if is_built(hint):
        return "the name of a function"
    if is_function(hint):
        return "a function, which only a config file can give"
    if origin in (tuple, list) or hint in (tuple, list):
        return f"a list of {len(args)} values" if args and Ellipsis not in args else "a list"
    return _TYPE_NAMES.get(hint, "") if isinstance(hint, type | None) else ""
