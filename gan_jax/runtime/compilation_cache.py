"""Compiled programs, kept in the user's cache folder, so that the next run starts in seconds.

The folder is the one that `GAN_JAX_CACHE` names, else `$XDG_CACHE_HOME/gan_jax`, else `~/.cache/gan_jax`. Programs
are machine code: whoever can write to the folder can run code as the user. So the folder is the user's own (mode
0700), and one that another user owns, can write to or can put another in the place of is not used.

JAX finds a program by its text, its options and the flags. What a processor can do is in none of them, so programs
for other processors, or numbers of threads, lie in folders of their own.
"""

import hashlib
import os
import platform
import stat
import warnings
import zlib
from pathlib import Path

from ..errors import UserError
from .machine import cpu_threads

SWITCH = "GAN_JAX_CACHE"
LIMIT_BYTES = 2**30
_OFF, _ON = ("off", "0", "false", "no"), ("", "on", "1", "true", "yes")
_STAMP = "checked"
_ZSTANDARD = b"\x28\xb5\x2f\xfd"  # JAX compresses with it where it is installed
_LEAST_SECONDS = "jax_persistent_cache_min_compile_time_secs"


def base() -> Path:
    """Where the user's programs keep what they can make again: `$XDG_CACHE_HOME`, by default `~/.cache`."""
    named = os.environ.get("XDG_CACHE_HOME", "")
    return Path(named if os.path.isabs(named) else os.path.expanduser("~/.cache"))


def home() -> Path:
    """The folder of all that gan_jax keeps for the user: compiled programs, features of data, weights."""
    named = os.path.expanduser(os.environ.get(SWITCH, ""))
    return Path(named) if os.path.isabs(named) else base() / "gan_jax"


def folder() -> Path:
    """Where programs are kept."""
    return home() / "xla"


def wanted() -> bool:
    """Whether anything is to be kept, by `GAN_JAX_CACHE`.

    Raises:
        UserError: it is neither a switch nor the path of a folder.
    """
    text = os.environ.get(SWITCH, "")
    if text.lower() in _OFF:
        return False
    if text.lower() in _ON or os.path.isabs(os.path.expanduser(text)):
        return True
    raise UserError(
        f"{SWITCH}={text} is no absolute path, and a relative one would be another folder in each place: give an "
        "absolute path, or off to keep nothing"
    )


def enable() -> str | None:
    """Keep this process's programs, unless the user has it otherwise; a note if the folder can't be used.

    `GAN_JAX_CACHE=off` keeps none. Where JAX was given a folder (`JAX_COMPILATION_CACHE_DIR`), that one stays.

    Raises:
        UserError: as `wanted`.
    """
    if not wanted() or not _jax_keeps() or _in_use():
        return None
    machine = folder() / _machine()
    try:
        for path in (home(), folder(), machine):
            own(path)
        _tidy(machine)
    except OSError as error:
        return f"note: compiled programs are not kept: {error.filename or machine}: {error.strerror or error}"
    # A program that can't be read is compiled, and one that can't be written isn't kept: no more to say.
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache entry")
    import jax  # here, so that `gan-jax --help` can name the folder without it

    if _LEAST_SECONDS.upper() not in os.environ:
        jax.config.update(_LEAST_SECONDS, 0.1)  # shorter ones are many, and together take no time
    jax.config.update("jax_compilation_cache_dir", str(machine))
    return None


def describe() -> str:
    """Where programs are kept, and how much there is, in words."""
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


def own(path: Path) -> None:
    """Makes `path`, for the user alone. Raises OSError where that fails, or anyone else could write to it."""
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
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:  # whoever can rename it can put another in its place
            raise PermissionError(0, f"anyone can write to {above}: set {SWITCH} to a folder elsewhere", str(path))


def _machine() -> str:
    """A short name for what machine code depends on."""
    words = [platform.machine(), str(cpu_threads())]
    try:
        with open("/proc/cpuinfo") as file:
            first = file.read().partition("\n\n")[0].splitlines()
    except OSError:
        first = [platform.processor()]
    words += [line for line in first if line.startswith(("model name", "flags", "Features"))] or first
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:12]


def _entries(home: Path) -> list[tuple[os.stat_result, Path]]:
    """Programs, the newest first. Other processes may remove some meanwhile."""
    found = []
    for path in home.glob("*-cache"):
        try:
            found.append((path.stat(), path))
        except FileNotFoundError:
            continue
    return sorted(found, key=lambda entry: entry[0].st_mtime, reverse=True)


def _tidy(home: Path) -> None:
    """Removes the oldest programs, and what a killed process left half written: JAX would never replace it."""
    stamp = home / _STAMP
    since = stamp.stat().st_mtime if stamp.exists() else 0.0
    entries = _entries(home)
    stamp.touch()
    total = 0
    for found, path in entries:
        total += found.st_size
        if total > LIMIT_BYTES or (found.st_mtime >= since and _is_torn(path)):
            path.unlink(missing_ok=True)


def _is_torn(path: Path) -> bool:
    """Whether it is not as JAX writes it, by the checksum at its end. (Zstandard's form has none.)"""
    try:
        data = path.read_bytes()
        if not data.startswith(_ZSTANDARD):
            zlib.decompress(data)
        return False
    except FileNotFoundError:
        return False
    except zlib.error:
        return True
