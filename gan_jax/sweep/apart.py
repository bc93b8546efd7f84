"""Trains members apart: each is `gan-jax train` in a process of its own, one after another or some at a time."""

import contextlib
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import TextIO

from ..errors import UserError, one_line, printable
from .places import Place

NOT_FINITE, MISTAKE, STOPPED = 3, 2, 75  # exit codes of gan-jax train
_QUIET_SECONDS = 5.0  # from one progress line of a member to its next, in the progress of the sweep
_SHOWN = ("step ", "resum", "warning:", "checkpoint ", "gan-jax: ")  # the log has all lines
_POLL_SECONDS = 0.2


def train_apart(
    commands: Mapping[str, Sequence[str]],
    workdir: Path,
    places: Sequence[Place],
    *,
    on_lost: Callable[[str, str], None] = lambda name, reason: None,
    stream: TextIO | None = None,
    max_seconds: float | None = None,
    stop: Callable[[], str | None] = lambda: None,
) -> str | None:
    """Trains members in processes of their own, as many at a time as there are places.

    What a process prints goes to `workdir/logs/NAME.txt`, and some of it to `stream`. If this process dies, its
    processes lose the reader of their progress, so they save and stop.

    Args:
        commands: the words behind `gan-jax train` of each member, by its name.
        workdir: of the sweep.
        places: where processes run.
        on_lost: called with the name of a member whose numbers are not finite, and its last sentence.
        stream: where progress goes; None: standard error.
        max_seconds: after them the processes are asked to save and stop.
        stop: returns why to save and stop, or None.

    Returns:
        None if all are done; else why they were stopped, after all have saved.

    Raises:
        UserError: a process ended by a mistake that the user can correct, or by an error of its own.
    """
    out, say_lock = stream or sys.stderr, threading.Lock()

    def say(text: str) -> None:
        with say_lock:
            print(printable(text), file=out, flush=True)

    deadline = None if max_seconds is None else time.monotonic() + max_seconds
    free: queue.SimpleQueue[Place] = queue.SimpleQueue()
    for place in places:
        free.put(place)
    asked, waiting = threading.Event(), list(commands)
    reason = None
    with ThreadPoolExecutor(len(places)) as pool:
        running: dict[Future[tuple[int, str]], str] = {}
        try:
            while waiting or running:
                reason = (
                    reason or stop() or ("the time is up" if deadline and time.monotonic() > deadline else None)
                )
                if reason:
                    asked.set()
                    waiting.clear()
                while waiting and len(running) < len(places):
                    name = waiting.pop(0)
                    running[pool.submit(_member, name, commands[name], workdir, free, say, asked)] = name
                done, _ = wait(running, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED)
                for future in done:
                    name = running.pop(future)
                    code, last = future.result()
                    if code == NOT_FINITE:
                        on_lost(name, last)
                    elif code == STOPPED:
                        reason = reason or f"member {name} was stopped"
                    elif code:
                        raise _failure(name, code, last, workdir)
        except BaseException:
            asked.set()
            raise
    return reason


def _failure(name: str, code: int, last: str, workdir: Path) -> UserError:
    if code == MISTAKE:
        return UserError(f"member {name}: {last}")
    how = f"was killed by signal {-code} (out of memory?)" if code < 0 else f"ended with exit code {code}"
    return UserError(
        f"member {name} {how}: see {workdir / 'logs' / f'{name}.txt'}, then start the same command again"
    )


def _member(
    name: str,
    command: Sequence[str],
    workdir: Path,
    free: queue.SimpleQueue[Place],
    say: Callable[[str], None],
    asked: threading.Event,
) -> tuple[int, str]:
    """Runs the process of one member; returns its exit code, and the last sentence that it printed."""
    place = free.get()
    try:
        with _log(workdir, name) as log, _process(command, place) as process:
            threading.Thread(target=_end_when_asked, args=(process, asked), daemon=True).start()
            assert process.stdout is not None
            last, next_line = "", 0.0
            for line in process.stdout:
                log.write(line)
                log.flush()
                text = line.rstrip("\n")
                last = text.removeprefix("gan-jax: ") if text else last
                quiet = text.startswith("step ") and time.monotonic() < next_line
                if text.startswith(_SHOWN) and not quiet:
                    say(f"{name}: {text}")
                    next_line = time.monotonic() + _QUIET_SECONDS
            return process.wait(), one_line(last)
    finally:
        free.put(place)


def _end_when_asked(process: subprocess.Popen, asked: threading.Event) -> None:
    while process.poll() is None:
        if asked.wait(_POLL_SECONDS):
            process.terminate()
            return


@contextlib.contextmanager
def _log(workdir: Path, name: str) -> Iterator[TextIO]:
    folder = workdir / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / f"{name}.txt", "a", encoding="utf-8", errors="backslashreplace") as file:
        yield file


def _process(command: Sequence[str], place: Place) -> subprocess.Popen[str]:
    words = [*place.before, sys.executable, "-m", "gan_jax", "train", *command]
    # In a session of its own: Ctrl-C comes to the sweep alone, which then asks its members to stop.
    return subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8",
        errors="backslashreplace", env={**os.environ, **place.environment}, start_new_session=True,
    )  # fmt: skip
