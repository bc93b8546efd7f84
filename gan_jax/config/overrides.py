"""Text becomes typed values: overrides `a.b=v` on any tree of frozen dataclasses.

Users meet all of it through `gan_jax.config`.
"""

import ast
import dataclasses
import math
import types
import typing
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from ..errors import UserError, near, one_line, told
from .resolve import Call, Home, field_types, freeze, keywords, resolve

# ---- text to values


_UNIONS = (typing.Union, types.UnionType)


def literal(text: str) -> Any:
    """A value where no type is known: none, true, false, a number, a tuple, or else the text itself."""
    if text.lower() in ("none", "true", "false"):
        return {"none": None, "true": True, "false": False}[text.lower()]
    try:
        with warnings.catch_warnings():  # such as of a backslash: it may be meant as text
            warnings.simplefilter("ignore")
            value = ast.literal_eval(text)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return text
    return freeze(value) if isinstance(value, int | float | str | tuple | list) else text


def parse(text: str, hint: Any) -> Any:
    """`text` as a value of type `hint`. Raises ValueError where it isn't one."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return parse(text, args[0])
    if origin in _UNIONS:
        for option in sorted(args, key=lambda option: option is str):  # anything is a str: try it last
            if option is int and float in args and not _is_plain_int(text):
                continue
            if describe(option):
                try:
                    return parse(text, option)
                except ValueError:
                    pass
        raise ValueError(text)
    if origin is typing.Literal:
        return {str(choice): choice for choice in args}[text] if text in map(str, args) else _no(text)
    if origin in (tuple, list) or hint in (tuple, list):
        parts = [part.strip() for part in text.strip("()[] ").split(",") if part.strip()]
        rest = len(args) != 2 or args[-1] is not Ellipsis
        if origin is tuple and rest and len(parts) != len(args):
            raise ValueError(text)
        kinds = (args if origin is tuple and rest else args[:1] * len(parts)) or (Any,) * len(parts)
        return tuple(parse(part, kind) for part, kind in zip(parts, kinds))
    if hint in (None, types.NoneType):
        return None if text.lower() == "none" else _no(text)
    if hint is bool:
        return {"true": True, "false": False}[text.lower()] if text.lower() in ("true", "false") else _no(text)
    if hint is float:
        return float(text) if math.isfinite(float(text)) else _no(text)
    if hint is int:
        whole = not _is_plain_int(text) and float(text).is_integer()  # 1e3 is 1000
        return int(float(text)) if whole else int(text)
    if hint is str:
        return text
    if dataclasses.is_dataclass(origin or hint) or (origin or hint) is Callable:
        raise ValueError(text)
    return literal(text)


def _is_plain_int(text: str) -> bool:
    try:
        int(text)
    except ValueError:
        return False
    return True


def _is_number(text: str) -> bool:
    """Whether it is meant as a number, nan and inf too: then it isn't the name of a function."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def _no(text: str) -> Any:
    raise ValueError(text)


def describe(hint: Any) -> str:
    """What a value of this type is called in an error; empty for one that text isn't checked against."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return describe(args[0])
    if origin in _UNIONS:
        plain = [option for option in args if (typing.get_origin(option) or option) is not Callable]
        words = list(filter(None, map(describe, plain)))
        if len(plain) < len(args):  # beside other values, a function is a schedule, which has a name
            words = ["a number" if word == "a float" else word for word in words] + ["a schedule"]
        return " or ".join(words)
    if origin is typing.Literal:
        return " or ".join(map(repr, args))
    if args and dataclasses.is_dataclass(typing.get_origin(args[0]) or args[0]):
        return "() for none, or one of its items' fields"
    if isinstance(hint, type) and issubclass(hint, Call):
        return "a Call"
    if (origin or hint) is Callable:
        return "a function, which only a config file can give"
    if origin in (tuple, list) or hint in (tuple, list):
        return f"a list of {len(args)} values" if args and Ellipsis not in args else "a list"
    names = {bool: "true or false", int: "an int", float: "a float", str: "text", None: "none"}
    return {types.NoneType: "none", **names}.get(hint, "")


# ---- overrides


def leaves(node: Any, path: str = "", free: bool = False) -> Iterator[tuple[str, Any, bool]]:
    """Every `(path, value, free)` of a tree of dataclasses, tuples of them, and Calls, in order.

    A Call is its name at its own path, and each keyword below. `free`: may change on resume.
    """
    if isinstance(node, Call):
        yield path, node.name, free
        for key, value in node.items:
            yield from leaves(value, f"{path}.{key}", free)
    elif dataclasses.is_dataclass(node):
        for item in dataclasses.fields(node):
            below = f"{path}.{item.name}" if path else item.name
            yield from leaves(getattr(node, item.name), below, item.metadata.get("free", free))
    elif isinstance(node, tuple) and any(dataclasses.is_dataclass(item) for item in node):
        for index, item in enumerate(node):
            yield from leaves(item, f"{path}.{index}", free)
    else:
        yield path, node, free


@dataclasses.dataclass(frozen=True)
class _Setter:
    """One override on its way down the tree."""

    root: Any
    path: str
    text: str
    homes: Mapping[str, Home]
    allow: tuple[str, ...] | None

    def unknown(self) -> UserError:
        known = {path for path, _, _ in leaves(self.root)}
        known |= {path.partition(".")[0] for path in known}
        head = self.path.rpartition(".")[0]
        siblings = [path for path in known if path.rpartition(".")[0] == head and head]
        return UserError(f"unknown field {told(self.path)}{near(self.path, siblings) or near(self.path, known)}")

    def wrong(self, wanted: str) -> UserError:
        return UserError(f"{one_line(self.path)} wants {wanted}, got {told(self.text)}")

    def home(self, path: str) -> Home:
        """By the path without its indices; a Call among the keywords of another one is a schedule."""
        key = ".".join(part for part in path.split(".") if not part.isdigit())
        return self.homes.get(key, self.homes["schedule"])

    def resolve(self, name: str, path: str) -> Callable[..., Any]:
        home = self.home(path)
        try:
            return resolve(name, home.module, home.attribute, allow=self.allow)
        except UserError as error:
            raise UserError(f"{one_line(f'{self.path}={self.text}')}: {error}") from error

    def set(self, node: Any, hint: Any, done: str, rest: list[str]) -> Any:
        """`node`, at the path `done`, with the value at `rest` below it replaced."""
        if not rest:
            return self.value(node, hint)
        part, *below = rest
        path = f"{done}.{part}" if done else part
        if isinstance(node, Call):
            function = self.resolve(node.name, done)
            known, open_ended = keywords(function)
            if part not in known and not open_ended:
                takes = ", ".join(sorted(known)) or "no keywords"
                hint = near(path, [f"{done}.{key}" for key in known]) or f": {node.name} takes {takes}"
                raise UserError(f"unknown field {told(path)}{hint}")
            value = self.set(node.kwargs.get(part), known.get(part, Any), path, below)
            return Call(node.name, **{**node.kwargs, part: value})
        if isinstance(node, tuple) and part in map(str, range(len(node))):
            index = int(part)
            item = typing.get_args(hint)[0] if typing.get_origin(hint) is tuple else Any
            value = self.set(node[index], item, path, below)
            return (*node[:index], value, *node[index + 1 :])
        if dataclasses.is_dataclass(node) and part in {item.name for item in dataclasses.fields(node)}:
            hints = field_types(type(node) if hint is Any else hint)
            value = self.set(getattr(node, part), hints[part], path, below)
            return dataclasses.replace(node, **{part: value})  # type: ignore[type-var]
        raise self.unknown()

    def value(self, node: Any, hint: Any) -> Any:
        if dataclasses.is_dataclass(node) and not isinstance(node, Call):
            fields = ", ".join(f"{self.path}.{item.name}" for item in dataclasses.fields(node))
            raise UserError(f"{self.path} is a group, set one of its fields: {fields}")
        options = typing.get_args(hint) if typing.get_origin(hint) in _UNIONS else ()
        kinds = [Call if isinstance(node, Call) else hint, *(typing.get_origin(o) or o for o in options)]
        named = Call in kinds or Callable in kinds[1:]
        try:
            return parse(self.text, hint)
        except ValueError:
            if not named or _is_number(self.text):
                raise self.wrong(describe(hint)) from None
        self.resolve(self.text, self.path)
        same = isinstance(node, Call) and node.name == self.text
        return node if same else Call(self.text)


def override(
    config: Any, items: Iterable[str], homes: Mapping[str, Home], allow: Iterable[str] | None = None
) -> Any:
    """`config` with each `"a.b=v"` applied in turn. Raises UserError at the first that cannot be."""
    for item in items:
        path, equals, text = (part.strip() for part in item.partition("="))
        if not equals or not path:
            raise UserError(f"the override {told(item)} is not of the form field=value")
        setter = _Setter(config, path, text, homes, None if allow is None else tuple(allow))
        config = setter.set(config, type(config), "", path.split("."))
    return config
