"""Reads the documentation of each field of a config from the source code."""

import ast
import dataclasses
import functools
import inspect
import itertools
import typing
from collections.abc import Iterator

from .. import terms
from . import groups, schema
from .resolve import Call, field_types
from .serialize import value_text


@functools.cache
def field_docs() -> dict[str, str]:
    """Returns the text of each field by its path without indices, such as `ema.half_life`.

    The first line is a summary; the last line is the default, where the field has one that is a plain value.
    """
    nodes = [node for module in (terms, groups, schema) for node in ast.parse(inspect.getsource(module)).body]
    texts = {node.name: dict(_texts(node)) for node in nodes if isinstance(node, ast.ClassDef)}
    return dict(_fields(schema.Config, "", texts))


def _texts(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    """Yields each field of a class with the string that follows it."""
    for statement, following in itertools.pairwise(node.body):
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
            continue
        if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            yield statement.target.id, inspect.cleandoc(str(following.value.value))


def _fields(hint: object, prefix: str, texts: dict[str, dict[str, str]]) -> Iterator[tuple[str, str]]:
    group = typing.get_origin(hint) or hint
    if group is tuple:
        yield from _fields(typing.get_args(hint)[0], prefix, texts)
    elif isinstance(group, type) and dataclasses.is_dataclass(group) and group is not Call:
        hints = field_types(hint)
        for field in dataclasses.fields(group):
            path = prefix + field.name
            yield path, texts[group.__name__].get(field.name, "") + _default(field.default)
            yield from _fields(hints[field.name], f"{path}.", texts)


def _default(value: object) -> str:
    if isinstance(value, Call):
        keywords = ", ".join(f"{name}={value_text(one)}" for name, one in value.items)
        return f"\nDefault: {value.name}" + (f" with {keywords}" if keywords else "") + "."
    if value is dataclasses.MISSING or dataclasses.is_dataclass(value):
        return ""
    return f"\nDefault: {value_text(value) or 'empty'}."
