"""Names become functions, and text becomes typed values: `Call`, `resolve`, and overrides `a.b=v`.

Works on any tree of frozen dataclasses. Users meet all of it through `gan_jax.config`.
"""

import ast
import dataclasses
import difflib
import importlib
import inspect
import math
import pkgutil
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from .errors import UserError


class Home(NamedTuple):
    """Where a short name lives: a module, or a package whose modules each hold one `attribute`."""

    module: str
    attribute: str | None = None  # None: in a package, the attribute is named as its module


@dataclasses.dataclass(frozen=True, init=False, repr=False)
class Call:
    """A function by name with keyword arguments: `Call("adam", learning_rate=2e-4)`.

    Equal and hashable by value. Arguments are numbers, text, None, tuples (lists become tuples) or Calls.
    """

    name: str
    items: tuple[tuple[str, Any], ...]

    def __init__(self, name: str, /, **kwargs: Any):
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "items", tuple(sorted((k, _freeze(v)) for k, v in kwargs.items())))

    @property
    def kwargs(self) -> dict[str, Any]:
        """The keyword arguments, in a dictionary of their own."""
        return dict(self.items)

    def __repr__(self) -> str:
        return f"Call({', '.join([repr(self.name), *(f'{k}={v!r}' for k, v in self.items)])})"


def _freeze(value: Any) -> Any:
    return tuple(_freeze(item) for item in value) if isinstance(value, list | tuple) else value


def near(word: str, words: Iterable[str]) -> str:
    """`": did you mean 'a' or 'b'?"`, `": there are a, b, c"` where nothing is near, or nothing."""
    words = sorted(set(words))
    tails = {w: w.rpartition(".")[2] for w in words}
    siblings = len({w.rpartition(".")[0] for w in [word, *words]}) == 1
    close = [] if siblings else difflib.get_close_matches(word, words, n=2, cutoff=0.65)
    if not close:  # the head of a path must not drown its tail; `learning_rate` alone should be found too
        ends = difflib.get_close_matches(word.rpartition(".")[2], set(tails.values()), n=2, cutoff=0.6)
        close = [w for end in ends for w in words if tails[w] == end][:3]
    if close:
        return ": did you mean " + " or ".join(repr(w) for w in close) + "?"
    return ": there are " + ", ".join(words) if 0 < len(words) <= 20 else ""


# ---- names


def choices(home: str, attribute: str | None = None) -> list[str]:
    """The names that `resolve(name, home, attribute)` knows.

    In a module: its `__all__`, or else the public functions it defines. In a package: the modules that define
    `attribute` (by default, something named as the module); these are read, not imported.
    """
    module = _import(home, home)
    if not hasattr(module, "__path__"):  # a module, not a package
        if hasattr(module, "__all__"):
            return sorted(module.__all__)
        return sorted(name for name, value in vars(module).items() if _is_public(name, value, home))
    found = []
    for info in pkgutil.iter_modules(module.__path__):
        spec = info.module_finder.find_spec(info.name, None)
        source = Path(spec.origin) if spec and spec.origin else None
        if source and source.suffix == ".py" and (attribute or info.name) in _top_level(source):
            found.append(info.name)
    return sorted(found)


def _is_public(name: str, value: Any, home: str) -> bool:
    function = callable(value) and not inspect.isclass(value)
    return function and not name.startswith("_") and getattr(value, "__module__", None) == home


def _top_level(source: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.parse(source.read_bytes()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.ImportFrom):
            names.update(alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.Assign):
            names.update(target.id for target in node.targets if isinstance(target, ast.Name))
    return names


def resolve(
    name: str, home: str, attribute: str | None = None, *, allow: Iterable[str] | None = None
) -> Callable[..., Any]:
    """The function that `name` means in `home`: `resolve("hinge", "gan_jax.losses")`.

    `home` is a module, or a package such as `gan_jax.models`: then `"dcgan"` with attribute `"Generator"` is
    `gan_jax.models.dcgan.Generator`. `"my_package.module:name"` is imported as it says. With `allow`, for
    names read back from a workdir, that is so in `home` and the top-level packages in `allow` only.
    Raises UserError if there is no such name, or it isn't allowed.
    """
    module_name, colon, function = name.partition(":")
    if colon:
        top = module_name.partition(".")[0]
        at_home = module_name == home or module_name.startswith(home + ".")
        if allow is not None and not at_home and top not in set(allow):
            raise UserError(f"{name!r} was read from a workdir and is not part of {home}: add `--allow {top}`")
        owner = _import(module_name, name)
    else:
        package = hasattr(_import(home, name), "__path__")
        if name not in (known := choices(home, attribute)):
            raise UserError(f"no {name!r} in {home}{near(name, known)}")
        owner = _import(f"{home}.{name}" if package else home, name)
        function = (attribute or name) if package else name
    value = getattr(owner, function, None)
    if not callable(value):
        public = [n for n, v in vars(owner).items() if callable(v) and not n.startswith("_")]
        raise UserError(f"no function {function!r} in {owner.__name__}{near(function, public)}")
    return value


def _import(module: str, wanted: str) -> types.ModuleType:
    try:
        return importlib.import_module(module)
    except Exception as error:  # whatever a user's own module does wrong is for the user to read
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise UserError(f"cannot import {module!r}, needed for {wanted!r} ({reason})") from error


# ---- text to values


_UNIONS = (typing.Union, types.UnionType)


def literal(text: str) -> Any:
    """A value where no type is known: none, true, false, a number, a tuple, or else the text itself."""
    if text.lower() in ("none", "true", "false"):
        return {"none": None, "true": True, "false": False}[text.lower()]
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
    return _freeze(value) if isinstance(value, int | float | str | tuple | list) else text


def parse(text: str, hint: Any) -> Any:
    """`text` as a value of type `hint`. Raises ValueError where it isn't one."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return parse(text, args[0])
    if origin in _UNIONS:
        for option in sorted(args, key=lambda option: option is str):  # anything is a str: try it last
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
    if hint in (int, str):
        return hint(text)
    if dataclasses.is_dataclass(hint) or (origin or hint) is Callable:
        raise ValueError(text)
    return literal(text)


def _no(text: str) -> Any:
    raise ValueError(text)


def describe(hint: Any) -> str:
    """What a value of this type is called in an error; empty for one that text isn't checked against."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return describe(args[0])
    if origin in _UNIONS:
        return " or ".join(filter(None, map(describe, args)))
    if origin is typing.Literal:
        return " or ".join(map(repr, args))
    if args and dataclasses.is_dataclass(args[0]):
        return "() for none, or one of its items' fields"
    if isinstance(hint, type) and issubclass(hint, Call):
        return "a Call"
    if (origin or hint) is Callable:
        return "a function, which only a config file can give"
    if origin in (tuple, list) or hint in (tuple, list):
        return f"a list of {len(args)} values" if args and Ellipsis not in args else "a list"
    names = {bool: "true or false", int: "an int", float: "a float", str: "text", None: "none"}
    return {types.NoneType: "none", **names}.get(hint, "")


def keywords(function: Callable[..., Any]) -> tuple[dict[str, Any], bool]:
    """The keywords a function or class takes with their types, and whether it takes others as well."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return {}, True
    try:
        is_plain = inspect.isclass(function) and not dataclasses.is_dataclass(function)
        hints = typing.get_type_hints(function.__init__ if is_plain else function)
    except Exception:  # annotations may name things that exist for type checkers only
        hints = {}
    found = {}
    for name, parameter in parameters.items():
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            found[name] = hints.get(name, _hint(parameter))
    if "parent" in found and "name" in found:  # Flax's own fields of a module
        del found["parent"], found["name"]
    return found, any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def _hint(parameter: inspect.Parameter) -> Any:
    if parameter.annotation is not parameter.empty and not isinstance(parameter.annotation, str):
        return parameter.annotation
    kind = type(parameter.default)
    return {bool: bool, int: int | float, float: float, str: str}.get(kind, Any)


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

    def unknown(self, extra: Iterable[str] = ()) -> UserError:
        known = {path for path, _, _ in leaves(self.root)}.union(extra)
        known |= {path.partition(".")[0] for path in known}
        head = self.path.rpartition(".")[0]
        siblings = [path for path in known if path.rpartition(".")[0] == head and head]
        return UserError(f"unknown field {self.path!r}{near(self.path, siblings) or near(self.path, known)}")

    def wrong(self, wanted: str) -> UserError:
        return UserError(f"{self.path} wants {wanted}, got {self.text!r}")

    def home(self, path: str) -> Home:
        """By the path without its indices; a Call among the keywords of another one is a schedule."""
        key = ".".join(part for part in path.split(".") if not part.isdigit())
        return self.homes.get(key, self.homes["schedule"])

    def resolve(self, name: str, path: str) -> Callable[..., Any]:
        home = self.home(path)
        try:
            return resolve(name, home.module, home.attribute, allow=self.allow)
        except UserError as error:
            raise UserError(f"{self.path}={self.text}: {error}") from error

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
                raise self.unknown(f"{done}.{key}" for key in known)
            value = self.set(node.kwargs.get(part), known.get(part, Any), path, below)
            return Call(node.name, **{**node.kwargs, part: value})
        if isinstance(node, tuple) and part.isdigit() and int(part) < len(node):
            index = int(part)
            value = self.set(node[index], Any, path, below)
            return (*node[:index], value, *node[index + 1 :])
        if dataclasses.is_dataclass(node) and part in {item.name for item in dataclasses.fields(node)}:
            hints = typing.get_type_hints(type(node))
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
            if not named:
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
            raise UserError(f"the override {item!r} is not of the form field=value")
        setter = _Setter(config, path, text, homes, None if allow is None else tuple(allow))
        config = setter.set(config, type(config), "", path.split("."))
    return config
