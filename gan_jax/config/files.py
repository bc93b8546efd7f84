"""Reads a config from a Python file, or from a recipe."""

import difflib
import runpy
import traceback
from collections.abc import Iterable
from pathlib import Path

from ..errors import UserError, one_line, quoted
from .recipes import recipes
from .schema import Config


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
            f"no config file {quoted(str(name_or_path))}: {getattr(error, 'strerror', None) or error}"
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
    files = [str(other) for other in sorted(folder.glob("*.py"))]
    near = _near(path, files) or _near(path, known) if path.suffix else _near(path, known) or _near(path, files)
    hint = f"did you mean {' or '.join(near)}?" if near else "gan-jax recipes lists those that come with gan_jax"
    raise UserError(f"no config file or recipe {quoted(str(name_or_path))}: {hint}")


def _near(path: Path, names: Iterable[str]) -> list[str]:
    """Returns the names and paths whose stem is like that of `path`."""
    stems = {name: Path(name).stem for name in names}
    close = difflib.get_close_matches(path.stem, stems.values(), n=3, cutoff=0.5)
    return [name for name, stem in stems.items() if stem in close]


def _mistake(path: Path, error: BaseException) -> str:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else None
    text = str(error.msg if isinstance(error, SyntaxError) else error)
    where = f"{one_line(path)} line {line}" if line else one_line(path)
    return f"{where}: {type(error).__name__}: {one_line(' '.join(text.split()))}"
