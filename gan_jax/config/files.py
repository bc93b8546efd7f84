"""A run's config: read from a Python file, overridden by `a.b=v`, checked, kept as JSON. Fields: `settings`."""

import dataclasses
import difflib
import math
import runpy
import sys
import traceback
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from ..errors import UserError, near, one_line, told
from . import overrides
from .overrides import describe, leaves
from .recipes import recipes
from .resolve import Call as Call
from .resolve import Home as Home
from .resolve import choices as choices
from .resolve import resolve as resolve
from .schema import HOMES as HOMES
from .schema import Checkpoint as Checkpoint
from .schema import Config as Config
from .schema import Data as Data
from .schema import Ema as Ema
from .schema import Health as Health
from .schema import Log as Log
from .schema import Metrics as Metrics
from .schema import Parallel as Parallel
from .schema import Penalty as Penalty
from .schema import Sample as Sample

# ---- checks

_INT = 2**63  # what arrays, and most readers of JSON, take


def _fits(value: Any, hint: Any) -> bool:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, option) for option in args)
    if origin is Literal:
        return type(value) in map(type, args) and value in args
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(item, args[0]) for item in value)
    if hint is float:
        number = isinstance(value, float | int) and not isinstance(value, bool)
        return number and abs(value) <= sys.float_info.max
    return isinstance(value, hint) and (hint is bool or not isinstance(value, bool))


def _check(node: Any, path: str) -> None:
    hints = typing.get_type_hints(type(node))
    for item in dataclasses.fields(node):
        value, hint, below = getattr(node, item.name), hints[item.name], path + item.name
        least = item.metadata.get("least")
        if not _fits(value, hint):
            items = " ".join(getattr(one, "__name__", "") for one in typing.get_args(hint) if one is not ...)
            group = f"a {getattr(hint, '__name__', '')}"
            wanted = f"a tuple of {items}" if typing.get_origin(hint) is tuple else describe(hint) or group
            raise UserError(f"{below} wants {wanted}, got {told(value)}")
        if least is not None and isinstance(value, int | float) and value < least:
            raise UserError(f"{below} must be at least {least}, got {told(value)}")
        if type(value) is int and abs(value) >= _INT:
            raise UserError(f"{below} must be below 2**63, got {told(value)}")
        if isinstance(value, Call):
            _plain(value, below)
        elif dataclasses.is_dataclass(value):
            _check(value, below + ".")
        elif isinstance(value, tuple):
            for index, one in enumerate(value):
                if dataclasses.is_dataclass(one):
                    _check(one, f"{below}.{index}.")


def validate(config: Config) -> None:
    """Raises UserError at the first field of the wrong type or out of its range."""
    _check(config, "")
    if not config.name:
        raise UserError("name must not be empty")
    if config.name in (".", "..") or any(one in "/\\" or not one.isprintable() for one in config.name):
        raise UserError(
            f"name must be a plain file name, got {told(config.name)}: it is --workdir that takes a path"
        )
    for player in ("generator_optimizer", "discriminator_optimizer"):
        rate = getattr(config, player).kwargs.get("learning_rate")
        if isinstance(rate, int | float) and rate < 0:
            raise UserError(f"{player}.learning_rate must not be negative, got {rate!r}")
    if not isinstance(config.ema.half_life, Call) and not config.ema.half_life > 0:
        raise UserError(f"ema.half_life must be above 0 images, got {config.ema.half_life!r}")
    if config.seed >= 2**32:
        raise UserError(f"seed must be below 2**32, got {config.seed}")
    if config.batch % config.microbatches:
        raise UserError(f"microbatches must divide batch: {config.microbatches} does not divide {config.batch}")


# ---- files and text


def load(name_or_path: str | Path) -> Config:
    """Returns the Config of a recipe, by its name, or of a Python file with `get_config()`, by its path.

    Raises:
        UserError: there is no such recipe or file, or it gives no Config.
    """
    path = _find(name_or_path)
    try:
        get_config = runpy.run_path(str(path), run_name="gan_jax_config").get("get_config")
        config = get_config() if callable(get_config) else None
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # the file is the user's: any mistake in it is theirs to read
        raise UserError(_mistake(path, error)) from error
    if not callable(get_config):
        raise UserError(f"{one_line(path)} has no function get_config()")
    if not isinstance(config, Config):
        raise UserError(f"get_config() in {path} must return a gan_jax.config.Config, got {type(config).__name__}")
    return config


def _find(name_or_path: str | Path) -> Path:
    """Returns the file of a config. A file goes before a recipe of the same name, and a recipe before a folder."""
    try:
        path = Path(name_or_path).expanduser()
        is_folder, is_file = path.is_dir(), path.is_file()
    except (OSError, RuntimeError) as error:  # a name that is too long, or the home of an unknown user
        raise UserError(
            f"no config file {told(str(name_or_path))}: {getattr(error, 'strerror', None) or error}"
        ) from error
    if is_file:
        return path
    known = recipes()
    if recipe := known.get(str(name_or_path)):
        return recipe
    if is_folder:
        inside = [str(file) for file in sorted(path.glob("*.py"))]
        some = ", ".join(inside[:3]) + (f" and {len(inside) - 3} more" if len(inside) > 3 else "")
        raise UserError(f"{str(path)!r} is a folder: name a config file" + (f" in it: {some}" if inside else ""))
    folder = path.parent if path.parent.is_dir() else Path()
    names = [str(other) for other in sorted(folder.glob("*.py"))]
    names += [name for name in known if name not in {Path(other).stem for other in names}]
    close = difflib.get_close_matches(path.stem, [Path(name).stem for name in names], n=3, cutoff=0.5)
    found = [name for name in names if Path(name).stem in close]
    hint = f"did you mean {' or '.join(found)}?" if found else "gan-jax recipes lists those that come with gan_jax"
    raise UserError(f"no config file or recipe {told(str(name_or_path))}: {hint}")


def _mistake(path: Path, error: BaseException) -> str:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else None
    text = str(error.msg if isinstance(error, SyntaxError) else error)
    where = f"{one_line(path)} line {line}" if line else one_line(path)
    return f"{where}: {type(error).__name__}: {one_line(' '.join(text.split()))}"


def override(config: Config, items: Iterable[str], *, allow: Iterable[str] | None = None) -> Config:
    """`config` with each `"a.b=v"` applied in turn, typed by the field or by the named function's signature.

    `loss=hinge` names another function and drops the keywords of the old one; `generator.width=32` sets one.
    Raises UserError at the first that cannot be applied. `allow`: see `resolve`.
    """
    return overrides.override(config, items, HOMES, allow)


def _plain(value: Any, path: str) -> Any:
    if isinstance(value, Call):
        if not isinstance(value.name, str):
            raise UserError(f"{one_line(path)} wants the name of a function, got {told(value.name)}")
        return {"call": value.name, "with": {k: _plain(v, f"{path}.{k}") for k, v in value.items}}
    if dataclasses.is_dataclass(value):
        names = [item.name for item in dataclasses.fields(value)]
        return {name: _plain(getattr(value, name), f"{path}.{name}".lstrip(".")) for name in names}
    if isinstance(value, tuple):
        return [_plain(item, f"{path}.{index}") for index, item in enumerate(value)]
    if value is None or type(value) in (bool, str) or (type(value) is float and math.isfinite(value)):
        return value
    if type(value) is int and abs(value) < _INT:
        return value
    got = told(value)
    raise UserError(
        f"{one_line(path)} cannot be kept in a file: wants a finite number, text, None or a Call, got {got}"
    )


def to_json(config: Config) -> dict[str, Any]:
    """What `json.dumps` takes; a Call is `{"call": name, "with": {...}}`. Raises UserError on the rest."""
    return _plain(config, "")


def _built(value: Any, hint: Any, path: str) -> Any:
    dot = f"{path}." if path else ""
    if isinstance(value, list):
        inner = typing.get_args(hint)[0] if typing.get_origin(hint) is tuple else Any
        return tuple(_built(item, inner, f"{dot}{index}") for index, item in enumerate(value))
    if not isinstance(value, Mapping):
        return value
    if isinstance(value.get("call"), str) and isinstance(value.get("with"), Mapping):
        return Call(value["call"], **{k: _built(v, Any, dot + k) for k, v in value["with"].items()})
    if not (isinstance(hint, type) and dataclasses.is_dataclass(hint)):
        return value
    hints = typing.get_type_hints(hint)
    for name in value:
        if name not in hints:
            raise UserError(f"unknown field {dot + name!r}{near(dot + name, [dot + known for known in hints])}")
    for item in dataclasses.fields(hint):
        if item.default is dataclasses.MISSING and item.name not in value:
            raise UserError(f"the field {dot + item.name!r} is missing")
    return hint(**{name: _built(one, hints[name], dot + name) for name, one in value.items()})


def from_json(tree: Mapping[str, Any]) -> Config:
    """The Config that `to_json` wrote, defaults where it has none. Raises UserError on an unknown field."""
    config = _built(tree, Config, "")
    if not isinstance(config, Config):
        raise UserError(f"a config is a JSON object, got {type(tree).__name__}")
    return config


def _shown(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return f"({', '.join(map(_shown, value))})" if isinstance(value, tuple) else str(value)


def to_text(config: Config) -> str:
    """One line `a.b = v` a field, in the form that overrides take."""
    return "".join(f"{path} = {_shown(value)}\n" for path, value, _ in leaves(config))


# ---- resuming

NOT_SET = "not set"


def differences(a: Config, b: Config) -> list[tuple[str, Any, Any, bool]]:
    """`(field, value in a, value in b, free)` of every field that differs; `NOT_SET` where one has none."""
    old, new = ({path: value for path, value, _ in leaves(tree)} for tree in (a, b))
    free = {path: is_free for tree in (a, b) for path, _, is_free in leaves(tree)}
    pairs = [(path, old.get(path, NOT_SET), new.get(path, NOT_SET)) for path in free]
    return [(path, was, now, free[path]) for path, was, now in pairs if was != now]


_GRID = ("checkpoint.every", "metrics.every")  # where a run with health.returns goes back to


def check_resume(saved: Config, new: Config) -> None:
    """Raises UserError naming every field that makes `new` another run than `saved`, the workdir's own."""
    returns = max(saved.health.returns, new.health.returns) > 0
    bound = [
        (path, old, now)
        for path, old, now, free in differences(saved, new)
        if not free or (returns and path in _GRID)
    ]
    if bound:
        most = 5
        told = [(path, one_line(_shown(old)), one_line(_shown(now))) for path, old, now in bound[:most]]
        changed = ", ".join(f"{path} was {old} and is now {now}" for path, old, now in told)
        changed += f" and {len(bound) - most} fields more" if len(bound) > most else ""
        them = "it" if len(bound) == 1 else "them"
        raise UserError(f"this workdir holds another run: {changed}; use another --workdir, or set {them} back")
