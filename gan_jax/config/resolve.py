"""Names become functions: `Call`, and `resolve` for the function it names.

Users meet all of it through `gan_jax.config`.
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

from ..errors import UserError, near, one_line, told


class Home(NamedTuple):
    """Where a short name lives: a module, or a package whose modules each hold one `attribute`.

    A package that has `__all__` counts as a module.
    """

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
        object.__setattr__(self, "items", tuple(sorted((k, freeze(v)) for k, v in kwargs.items())))

    @property
    def kwargs(self) -> dict[str, Any]:
        """The keyword arguments, in a dictionary of their own."""
        return dict(self.items)

    def __repr__(self) -> str:
        return f"Call({', '.join([repr(self.name), *(f'{k}={v!r}' for k, v in self.items)])})"


def freeze(value: Any) -> Any:
    return tuple(freeze(item) for item in value) if isinstance(value, list | tuple) else value


# ---- names


def choices(home: str, attribute: str | None = None) -> list[str]:
    """The names that `resolve(name, home, attribute)` knows.

    In a module, or a package that has `__all__`: that, or else the public functions it defines. In another
    package: the modules that define `attribute` (by default, something named as the module); these are read, not
    imported.
    """
    module = _import(home, home)
    if not _is_package(module):
        if hasattr(module, "__all__"):
            return sorted(module.__all__)
        return sorted(name for name, value in vars(module).items() if _is_public(name, value, home))
    found = []
    for info in pkgutil.iter_modules(module.__path__):
        spec = info.module_finder.find_spec(info.name, None)
        source = Path(spec.origin) if spec and spec.origin else None
        if (
            source
            and source.suffix == ".py"
            and (attribute or info.name) in _top_level(source, source.stat().st_mtime_ns)
        ):
            found.append(info.name)
    return sorted(found)


def _is_package(module: types.ModuleType) -> bool:
    """Whether its names are those of its modules."""
    return hasattr(module, "__path__") and not hasattr(module, "__all__")


def _listed(module: str, function: str, home: str, attribute: str | None) -> bool:
    """Whether `module:function` is a name that `choices` knows, spelt out: no other part of `home` will do."""
    package = _is_package(_import(home, module))
    within = module.removeprefix(home).removeprefix(".") if module.startswith(home) else ""
    known = choices(home, attribute)
    return (
        (within in known and function == (attribute or within))
        if package
        else (module == home and function in known)
    )


def _is_public(name: str, value: Any, home: str) -> bool:
    function = callable(value) and not inspect.isclass(value)
    return function and not name.startswith("_") and getattr(value, "__module__", None) == home


@functools.cache
def _top_level(source: Path, changed: int) -> set[str]:
    """The names that a file defines; `changed`: when, since to read one takes milliseconds."""
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
    `gan_jax.models.dcgan.Generator`. `"my_package.module:name"` is imported as it says. With `allow`, for names
    read back from a workdir, that is so of the top-level packages in `allow` only, and of what `choices` knows.
    Raises UserError if there is no such name, or it isn't allowed.
    """
    module_name, colon, function = name.partition(":")
    if colon:
        top = module_name.partition(".")[0]
        if allow is not None and top not in set(allow) and not _listed(module_name, function, home, attribute):
            name, top = told(name), one_line(top)
            raise UserError(f"{name} was read from a workdir and is not part of {home}: add `--allow {top}`")
        owner = _import(module_name, name)
    else:
        package = _is_package(_import(home, name))
        if name not in (known := choices(home, attribute)):
            raise UserError(f"no {told(name)} in {home}{near(name, known)}")
        owner = _import(f"{home}.{name}" if package else home, name)
        function = (attribute or name) if package else name
    value = getattr(owner, function, None)
    if not callable(value):
        public = [n for n, v in vars(owner).items() if callable(v) and not n.startswith("_")]
        raise UserError(f"no function {told(function)} in {owner.__name__}{near(function, public)}")
    return value


def _import(module: str, wanted: str) -> types.ModuleType:
    try:
        return importlib.import_module(module)
    except Exception as error:  # whatever a user's own module does wrong is for the user to read
        reason = one_line(f"{type(error).__name__}: {error}".splitlines()[0])
        raise UserError(f"cannot import {told(module)}, needed for {told(wanted)} ({reason})") from error


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


def field_types(hint: Any) -> dict[str, Any]:
    """Returns the type of each field of a dataclass. In `Term[float, Call]` the type variables are filled in."""
    origin = typing.get_origin(hint) or hint
    filled = dict(zip(getattr(origin, "__parameters__", ()), typing.get_args(hint)))
    return {name: filled.get(one, one) for name, one in typing.get_type_hints(origin).items()}


def _hint(parameter: inspect.Parameter) -> Any:
    if parameter.annotation is not parameter.empty and not isinstance(parameter.annotation, str):
        return parameter.annotation
    kind = type(parameter.default)
    return {bool: bool, int: int | float, float: float, str: str}.get(kind, Any)
