"""Whole runs for tests: small configs, the command line in this process or a new one, and the files of a run.

Compilation takes most of the time of such a small run, so `programs_kept` keeps compiled programs.
"""

import contextlib
import fcntl
import io
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax.experimental.compilation_cache import compilation_cache

from gan_jax import cli
from gan_jax.checkpoint.manifest import MANIFEST
from gan_jax.report import writer

ROOT = Path(__file__).resolve().parent.parent

TINY = '''"""The digits at their own 8 pixels, and the smallest networks."""

from gan_jax.config import Call, Checkpoint, Config, Data, Log, Sample


def get_config():
    return Config(
        name="tiny",
        steps=60,
        batch=16,
        data=Data(source=Call("digits")),
        generator=Call("dcgan", width=8),
        discriminator=Call("dcgan", width=8),
        latent=Call("normal", size=8),
        log=Log(every=1, tensorboard=False),
        sample=Sample(every=10, count=9, gif=False),
        checkpoint=Checkpoint(every=10, keep=10),
    )
'''

MLP = TINY.replace('"dcgan", width=8', '"mlp", width=8')  # compiles in half the time

_CACHE = {
    "jax_compilation_cache_dir": None,
    "jax_persistent_cache_min_compile_time_secs": 0,
    "jax_persistent_cache_min_entry_size_bytes": -1,
    "jax_disable_most_optimizations": True,
}
_VOLATILE = ("time", "images_per_second")


class Stopped(NamedTuple):
    """How a process ended after a signal: its exit code, the last step in its log, and its standard error."""

    code: int
    step: int
    err: str


class Outcome(NamedTuple):
    """How a command ended: its exit code, standard output and standard error."""

    code: int
    out: str
    err: str

    @property
    def digest(self) -> str:
        """The state digest that training prints last."""
        found = re.findall(r"state digest ([0-9a-f]{32})$", self.err, re.MULTILINE)
        assert len(found) == 1, self.err
        return found[0]


def sentence(outcome: Outcome, *words: str, code: int = 2) -> None:
    """Asserts that the command ended with `code` and printed one line of error, which contains all `words`."""
    assert outcome.code == code, outcome.err
    assert outcome.out == ""
    assert re.fullmatch(r"gan-jax: \S[^\n]*\n", outcome.err), outcome.err
    for word in words:
        assert word in outcome.err


def write_config(folder: Path, text: str = TINY, name: str = "tiny.py") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def call(*arguments: object) -> Outcome:
    """Runs `gan-jax ARGUMENTS` in this process."""
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        code = cli.main([str(word) for word in arguments])
    return Outcome(code, out.getvalue(), err.getvalue())


def spawn(
    *arguments: object,
    timeout: float = 120.0,
    wrapped: Sequence[str] = (),
    python: Sequence[object] = ("-m", "gan_jax"),
    **environment: str,
) -> Outcome:
    """Runs `python -m gan_jax ARGUMENTS` in a new process, killed with its children after `timeout` seconds.

    `wrapped`: words of a command that runs it, such as setpriv. `python`: another program with the same arguments.
    """
    process = start(arguments, environment, stderr=subprocess.PIPE, words=[*wrapped, sys.executable, *python])
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        raise AssertionError(f"killed after {timeout} s\n{out[-2000:]}\n{err[-4000:]}") from None
    return Outcome(process.returncode, out, err)


def start(
    arguments: Sequence[object],
    environment: dict[str, str] | None = None,
    stderr: int = subprocess.PIPE,
    words: Sequence[object] = (sys.executable, "-m", "gan_jax"),
) -> subprocess.Popen[str]:
    """Starts `gan-jax ARGUMENTS` in a process group of its own."""
    command = [*map(str, words), *map(str, arguments)]
    variables = {**os.environ, "JAX_PLATFORMS": "cpu", **(environment or {})}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=stderr, text=True, env=variables, cwd=ROOT, start_new_session=True
    )


def stop(
    workdir: Path,
    *arguments: object,
    lines: int,
    least: int,
    how: signal.Signals = signal.SIGKILL,
    timeout: float = 120.0,
    after: float = 0.0,
    **environment: str,
) -> Stopped:
    """Trains in `workdir`, and sends the process a signal after about `lines` progress lines.

    A tiny run would end before the test could send it. So standard error is a pipe with room for `lines` lines,
    which nobody reads: at the next line the process blocks in the middle of its work. It gets the signal there,
    once `least` steps are in its log, and `after` more seconds, in which its other threads go on.
    """
    reading, writing = os.pipe()
    try:
        room = fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)  # at least a page
        os.write(writing, b"\n" * (room - 56 * lines))
        process = start(["train", *arguments, "--workdir", workdir], environment, stderr=writing)
    finally:
        os.close(writing)
    with process, open(reading, errors="replace") as err:
        try:
            give_up = time.monotonic() + timeout
            while (logged := last_step(workdir)) < least:
                said = "" if process.poll() is None else err.read().strip()
                assert process.poll() is None, f"ended before it could be stopped: {said[-4000:]}"
                assert time.monotonic() < give_up, f"at step {logged} after {timeout} s"
                time.sleep(0.02)
            time.sleep(after)
            process.send_signal(how)
            said = err.read().lstrip()
            code = process.wait(timeout)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    return Stopped(code, last_step(workdir), said)


def last_step(workdir: Path) -> int:
    rows = writer.read(workdir).rows
    return rows[-1]["step"] if rows else -1


def checkpoints(workdir: Path) -> list[int]:
    """Returns the steps that have a complete checkpoint."""
    return sorted(int(path.parent.name) for path in (workdir / "checkpoints").glob(f"*/{MANIFEST}"))


def rows(workdir: Path) -> list[dict[str, Any]]:
    """Returns the rows of the log without their times, which differ between runs."""
    return [{k: v for k, v in row.items() if k not in _VOLATILE} for row in writer.read(workdir).rows]


def files(folder: Path) -> dict[str, bytes]:
    """Returns the content of every file below `folder` by its path, without the lock file."""
    found = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


@contextlib.contextmanager
def programs_kept(folder: Path) -> Iterator[None]:
    """Makes this process and those that it starts compile fast, and compile each program only once."""
    before = {name: jax.config.values[name] for name in _CACHE}
    variables = {name.upper(): os.environ.get(name.upper()) for name in _CACHE}
    for name, value in {**_CACHE, "jax_compilation_cache_dir": str(folder)}.items():
        jax.config.update(name, value)
        os.environ[name.upper()] = str(value)
    compilation_cache.reset_cache()
    try:
        yield
    finally:
        for name, value in before.items():
            jax.config.update(name, value)
        for name, value in variables.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
        compilation_cache.reset_cache()
