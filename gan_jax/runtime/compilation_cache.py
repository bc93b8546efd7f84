"""Keeps compiled programs in the user's cache folder, so that the next run starts in seconds.

They are in the folder `xla` of the user's cache folder (`gan_jax.files.user_cache`). Programs are machine code:
whoever can write to the folder can run code as the user. So the folder is private.

JAX looks a program up by its text, its options and the flags. None of them says what the processor can do, so each
kind of processor and each number of threads has a folder of its own.
"""

import hashlib
import os
import platform
import warnings
import zlib
from pathlib import Path

from ..files.user_cache import home, make_private, wanted
from .machine import cpu_lines, cpu_threads

LIMIT_BYTES = 2**30
_STAMP = "checked"  # a file whose time says when the programs were last checked
_ZSTANDARD = b"\x28\xb5\x2f\xfd"  # JAX uses this compression where it is installed
_MIN_SECONDS = "jax_persistent_cache_min_compile_time_secs"


def folder() -> Path:
    """Returns the folder of the compiled programs."""
    return home() / "xla"


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
