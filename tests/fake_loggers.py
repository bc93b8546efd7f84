"""Loggers without a store, for tests of what is around them."""

import json
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from gan_jax.report.loggers.protocol import LoggedRun


class Store:
    """Keeps what it gets in this process, by the run's id, as a store that tells its last step.

    Attributes:
        runs: the rows of each run, `(step, scalars, names of images)`.
        calls: the methods in the order in which they were called, and their threads.
    """

    live = False
    runs: ClassVar[dict[str, list[tuple[int, dict[str, float], list[str]]]]] = {}
    calls: ClassVar[list[tuple[str, str]]] = []
    checkpoints: ClassVar[list[tuple[int, Path]]] = []
    told: ClassVar[list[tuple[LoggedRun, int | None]]] = []

    def start(self, run: LoggedRun, sent: int | None) -> int:
        self._note("start")
        self.told.append((run, sent))
        self._rows = self.runs.setdefault(run.id, [])
        return max((step for step, *_ in self._rows), default=-1)

    def log(self, step: int, scalars: Mapping[str, float], images: Mapping[str, Path]) -> None:
        self._note("log")
        assert all(path.read_bytes()[:4] == b"\x89PNG" for path in images.values())
        self._rows.append((step, dict(scalars), sorted(images)))

    def checkpoint(self, step: int, folder: Path) -> None:
        self._note("checkpoint")
        self.checkpoints.append((step, folder))

    def flush(self) -> None:
        self._note("flush")

    def close(self, finished: bool) -> None:
        self._note("finish" if finished else "close")

    def _note(self, what: str) -> None:
        self.calls.append((what, threading.current_thread().name))

    @classmethod
    def forget(cls) -> None:
        for kept in (cls.runs, cls.calls, cls.checkpoints, cls.told):
            kept.clear()


class Forgetful(Store):
    """Cannot tell its last step."""

    def start(self, run: LoggedRun, sent: int | None) -> int:
        super().start(run, sent)
        return -1 if sent is None else sent


class Live(Forgetful):
    """Takes back later steps, as TensorBoard does."""

    live = True

    def start(self, run: LoggedRun, sent: int | None) -> int:
        last = min(run.step, super().start(run, sent))
        self._rows[:] = [row for row in self._rows if row[0] <= last]
        return last


class Broken(Store):
    """Raises `error` in the method `at`."""

    at: ClassVar[str] = ""
    error: ClassVar[Any] = RuntimeError("the store is\nnot there.")

    def __init__(self) -> None:
        self._fail("init")

    def _fail(self, what: str) -> None:
        if what == type(self).at:
            raise self.error

    def _note(self, what: str) -> None:
        super()._note(what)
        self._fail("close" if what == "finish" else what)


class Stuck(Store):
    """Waits in `log` until `free` is set."""

    free: ClassVar[threading.Event] = threading.Event()

    def log(self, step: int, scalars: Mapping[str, float], images: Mapping[str, Path]) -> None:
        self.free.wait(30)
        super().log(step, scalars, images)


class OnDisk:
    """Keeps its rows in `store.jsonl` of the workdir. It counts as one with a large package."""

    package, live = "json", False

    def start(self, run: LoggedRun, sent: int | None) -> int:
        print("advice that nobody asked for")
        self._path = run.workdir / "store.jsonl"
        rows = read_store(run.workdir)
        return rows[-1]["step"] if rows else -1

    def log(self, step: int, scalars: Mapping[str, float], images: Mapping[str, Path]) -> None:
        if step == 1_000:
            os._exit(7)
        if step == 2_000:
            time.sleep(60)
        row = {"step": step, **scalars, "images": list(images), "process": os.getpid()}
        with open(self._path, "a") as file:
            file.write(json.dumps(row) + "\n")

    def checkpoint(self, step: int, folder: Path) -> None:
        pass

    def flush(self) -> None:
        pass

    def close(self, finished: bool) -> None:
        pass


def read_store(workdir: Path) -> list[dict[str, Any]]:
    """Returns the rows of an `OnDisk` logger."""
    path = workdir / "store.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def sent(kind=Store):
    """Returns the rows of the one run that there is."""
    [rows] = kind.runs.values()
    return rows


def steps():
    """Returns the steps of those rows."""
    return [step for step, *_ in sent()]
