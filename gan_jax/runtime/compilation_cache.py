"""Keeps compiled programs in the user's cache folder, so that the next run starts in seconds.

The folder is `GAN_JAX_CACHE`, else `$XDG_CACHE_HOME/gan_jax`, else `~/.cache/gan_jax`. Programs are machine code:
whoever can write to the folder can run code as the user. So the folder is private (mode 0700), and a folder that
another user owns, can write to or can replace is not used.

JAX looks a program up by its text, its options and the flags. None of them says what the processor can do, so each
kind of processor and each number of threads has a folder of its own.
"""

import hashlib
import os
import platform
import stat
import warnings
import zlib
from pathlib import Path

from ..errors import UserError
from .machine import cpu_lines, cpu_threads

SWITCH = "GAN_JAX_CACHE"
LIMIT_BYTES = 2**30
_OFF, _ON = ("off", "0", "false", "no"), ("", "on", "1", "true", "yes")
_STAMP = "checked"  # a file whose time says when the programs were last checked
_ZSTANDARD = b"\x28\xb5\x2f\xfd"  # JAX uses this compression where it is installed
_MIN_SECONDS = "jax_persistent_cache_min_compile_time_secs"


def base() -> Path:
    """Returns the cache folder of all the user's programs: `$XDG_CACHE_HOME`, by default `~/.cache`."""
    path = os.environ.get("XDG_CACHE_HOME", "")
    return Path(path if os.path.isabs(path) else os.path.expanduser("~/.cache"))


def home() -> Path:
    """Returns gan_jax's cache folder: compiled programs, features of data, weights."""
    path = os.path.expanduser(os.environ.get(SWITCH, ""))
    return Path(path) if os.path.isabs(path) else base() / "gan_jax"


def folder() -> Path:
    """Returns the folder of the compiled programs."""
    return home() / "xla"


def wanted() -> bool:
    """Returns whether `GAN_JAX_CACHE` allows a cache.

    Raises:
        UserError: its value is neither a switch nor an absolute path.
    """
    text = os.environ.get(SWITCH, "")
    if text.lower() in _OFF:
        return False
    if text.lower() in _ON or os.path.isabs(os.path.expanduser(text)):
        return True
    raise UserError(
        f"{SWITCH}={text} is no absolute path, and a relative path would be another folder in each working "
        "directory: give an absolute path, or off to keep nothing"
    )


def enable() -> str | None:
    """Makes JAX keep this process's programs. Returns a note when the folder cannot be used, else None.

    It does nothing with `GAN_JAX_CACHE=off`, or where JAX has a folder already (`JAX_COMPILATION_CACHE_DIR`).

    Raises:
        UserError: see `wanted`.
    """
    if not wanted() or not _jax_keeps() or _in_use():
        return None
    programs = folder() / _processor_id()
    try:
        for path in (home(), folder(), programs):
            make_private(path)
        _remove_old_and_torn(programs)
    except OSError as error:
        return f"note: compiled programs are not kept: {error.filename or programs}: {error.strerror or error}"
    # JAX compiles a program that it cannot read, and goes on without one that it cannot write: no need to warn.
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache entry")
    import jax  # here, so that `gan-jax --help` can name the folder without importing JAX

    if _MIN_SECONDS.upper() not in os.environ:
        jax.config.update(_MIN_SECONDS, 0.1)  # shorter programs are many, and take little time together
    jax.config.update("jax_compilation_cache_dir", str(programs))
    return None


def describe() -> str:
    """Returns a line that says where programs are kept, and how many MiB they take."""
    used = _in_use()
    if used and _jax_keeps():
        return f"{used}, {sum(found.st_size for found, _ in _entries(Path(used))) / 2**20:.1f} MiB"
    return f"{folder()} can't be used" if wanted() and _jax_keeps() else "off: every run compiles its programs"


def _jax_keeps() -> bool:
    import jax

    return jax.config.jax_enable_compilation_cache  # pyright: ignore[reportAttributeAccessIssue]


def _in_use() -> str | None:
    import jax

    return jax.config.jax_compilation_cache_dir  # pyright: ignore[reportAttributeAccessIssue]


def make_private(path: Path) -> None:
    """Makes a folder that only this user can write to.

    Raises:
        OSError: it cannot be made, or another user can write to it or replace it.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = path.stat()
    if hasattr(os, "geteuid") and found.st_uid != os.geteuid():
        raise PermissionError(0, f"it is another user's: set {SWITCH} to a folder of yours", str(path))
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PermissionError(0, f"others can write to it: chmod go-w {path}", str(path))
    if not os.access(path, os.W_OK | os.X_OK):
        raise PermissionError(0, "it can't be written to", str(path))
    for above in path.resolve().parents:
        mode = above.stat().st_mode
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:  # anyone could replace the folder below
            raise PermissionError(0, f"anyone can write to {above}: set {SWITCH} to a folder elsewhere", str(path))


def _processor_id() -> str:
    """Returns a short name for what machine code depends on: the processor and the number of threads."""
    lines = cpu_lines("model name", "flags", "Features") or [platform.processor()]
    words = [platform.machine(), str(cpu_threads()), *lines]
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:12]


def _entries(home: Path) -> list[tuple[os.stat_result, Path]]:
    """Returns the programs, the newest first. Other processes may remove some meanwhile."""
    found = []
    for path in home.glob("*-cache"):
        try:
            found.append((path.stat(), path))
        except FileNotFoundError:
            continue
    return sorted(found, key=lambda entry: entry[0].st_mtime, reverse=True)


def _remove_old_and_torn(home: Path) -> None:
    """Removes the oldest programs over the limit, and those that a killed process left half written.

    JAX would never replace a half-written one. Each program is checked once.
    """
    stamp = home / _STAMP
    last_check = stamp.stat().st_mtime if stamp.exists() else 0.0
    entries = _entries(home)
    stamp.touch()
    total = 0
    for found, path in entries:
        total += found.st_size
        if total > LIMIT_BYTES or (found.st_mtime >= last_check and _is_torn(path)):
            path.unlink(missing_ok=True)


def _is_torn(path: Path) -> bool:
    """Returns whether the checksum at the end of a program is wrong. (Zstandard's format has none.)"""
    try:
        data = path.read_bytes()
        if not data.startswith(_ZSTANDARD):
            zlib.decompress(data)
        return False
    except FileNotFoundError:
        return False
    except zlib.error:
        return True
