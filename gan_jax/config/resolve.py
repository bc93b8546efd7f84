"""Turns names into functions: `Call`, a name with keywords, and `resolve`, which finds the function.

`gan_jax.config` exports the public names.
"""

import ast
import dataclasses
import functools
import importlib
import inspect
import pkgutil
import types
import typing
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import UserError, near, one_line, quoted


class Home(NamedTuple):
    """Where short names are looked up: a module, or a package whose modules each define one `attribute`.

    A package that has `__all__` counts as a module.
    """

    module: str
    attribute: str | None = None  # None: in a package, the attribute has the name of its module


@dataclasses.dataclass(frozen=True, init=False, repr=False)
class Call:
    """A function by name with keyword arguments: `Call("adam", learning_rate=2e-4)`.

    Equal and hashable by value. Arguments are numbers, text, None, tuples (lists become tuples) or Calls.
    """

    name: str
    items: tuple[tuple[str, Any], ...]

    def __init__(self, name: str, /, **kwargs: object):
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "items", tuple(sorted((k, freeze(v)) for k, v in kwargs.items())))

    @property
    def kwargs(self) -> dict[str, Any]:
        """A new dictionary of the keyword arguments."""
        return dict(self.items)

    def __repr__(self) -> str:
        return f"Call({', '.join([repr(self.name), *(f'{k}={v!r}' for k, v in self.items)])})"


def freeze(value: object) -> object:
    """Turns lists, at any depth, into tuples."""
    return tuple(freeze(item) for item in value) if isinstance(value, list | tuple) else value


def choices(home: str, attribute: str | None = None) -> list[str]:
    """Returns the names that `resolve(name, home, attribute)` knows, sorted.

    A module, or a package with `__all__`, offers the names in `__all__`, or else its public functions. Any other
    package offers the modules that define `attribute` (None: something with the name of the module); these are
    read, not imported.
    """
    module = _import(home, home)
    if not _is_package(module):
        if hasattr(module, "__all__"):
            return sorted(module.__all__)
        return sorted(name for name, value in vars(module).items() if _is_public(name, value, home))
    names = []
    for info in pkgutil.iter_modules(module.__path__):
        spec = info.module_finder.find_spec(info.name, None)
        source = Path(spec.origin) if spec and spec.origin else None
        if source is None or source.suffix != ".py":
            continue
        if (attribute or info.name) in _top_level(source, source.stat().st_mtime_ns):
            names.append(info.name)
    return sorted(names)


def _is_package(module: types.ModuleType) -> bool:
    """Whether the module is a package that offers the names of its modules."""
    return hasattr(module, "__path__") and not hasattr(module, "__all__")


def _is_choice(module: str, function: str, home: str, attribute: str | None) -> bool:
    """Whether `module:function` is the long form of a name that `choices` returns."""
    names = choices(home, attribute)
    if not _is_package(_import(home, module)):
        return module == home and function in names
    name = module.removeprefix(f"{home}.")
    return name != module and name in names and function == (attribute or name)


def _is_public(name: str, value: object, home: str) -> bool:
    is_function = callable(value) and not inspect.isclass(value)
    return is_function and not name.startswith("_") and getattr(value, "__module__", None) == home


@functools.cache
def _top_level(source: Path, changed: int) -> set[str]:
    """Returns the names that a file defines. It takes milliseconds, so it is cached until the file is changed."""
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
    """Returns the function that `name` means in `home`, as in `resolve("hinge", "gan_jax.losses")`.

    `home` is a module, or a package such as `gan_jax.models`: there `"dcgan"` with the attribute `"Generator"`
    means `gan_jax.models.dcgan.Generator`. A name of the form `"my_package.module:name"` is imported from there.

    `allow` is for names that were read from a workdir: it restricts the form `"module:name"` to the top-level
    packages in `allow` and to the functions that `choices` returns. None: no restriction.

    Raises:
        UserError: there is no such name, or it is not allowed.
    """
    module_name, colon, function = name.partition(":")
    if colon:
        top = module_name.partition(".")[0]
        if allow is not None and top not in set(allow) and not _is_choice(module_name, function, home, attribute):
            name, top = quoted(name), one_line(top)
            raise UserError(f"{name} was read from a workdir and is not part of {home}: add `--allow {top}`")
        owner = _import(module_name, name)
    else:
        package = _is_package(_import(home, name))
        if name not in (known := choices(home, attribute)):
            raise UserError(f"no {quoted(name)} in {home}{near(name, known)}")
        owner = _import(f"{home}.{name}" if package else home, name)
        function = (attribute or name) if package else name
    value = getattr(owner, function, None)
    if not callable(value):
        public = [n for n, v in vars(owner).items() if callable(v) and not n.startswith("_")]
        raise UserError(f"no function {quoted(function)} in {owner.__name__}{near(function, public)}")
    return value


def _import(module: str, wanted: str) -> types.ModuleType:
    try:
        return importlib.import_module(module)
    except Exception as error:  # the module may be the user's, with any mistake in it
        reason = one_line(f"{type(error).__name__}: {error}".splitlines()[0])
        raise UserError(f"cannot import {quoted(module)}, needed for {quoted(wanted)} ({reason})") from error


def keywords(function: Callable[..., object]) -> tuple[dict[str, object], bool]:
    """Returns the keywords of a function or class with their types, and whether it takes any other keyword."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return {}, True
    try:
        is_plain = inspect.isclass(function) and not dataclasses.is_dataclass(function)
        hints = typing.get_type_hints(function.__init__ if is_plain else function)
    except Exception:  # an annotation may name something that exists for type checkers only
        hints = {}
    found = {}
    for name, parameter in parameters.items():
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            found[name] = hints.get(name, _hint(parameter))
    if "parent" in found and "name" in found:  # fields that Flax adds to every module
        del found["parent"], found["name"]
    return found, any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def default(function: Callable[..., object], keyword: str) -> object:
    """Returns the default of a keyword, lists as tuples; None where there is none."""
    try:
        value = inspect.signature(function).parameters[keyword].default
    except (TypeError, ValueError, KeyError):
        return None
    return None if value is inspect.Parameter.empty else freeze(value)


def field_types(hint: Any) -> dict[str, Any]:
    """Returns the type of each field of a dataclass. In `Term[float, Call]` the type variables are filled in."""
    origin = typing.get_origin(hint) or hint
    filled = dict(zip(getattr(origin, "__parameters__", ()), typing.get_args(hint)))
    return {name: filled.get(one, one) for name, one in typing.get_type_hints(origin).items()}


def _hint(parameter: inspect.Parameter) -> object:
    """Returns the type of a keyword, by its annotation or else by its default."""
    if parameter.annotation is not parameter.empty and not isinstance(parameter.annotation, str):
        return parameter.annotation
    kind = type(parameter.default)
    return {bool: bool, int: int | float, float: float, str: str}.get(kind, object)
