"""Work on many files in threads, with a progress bar, which a request to stop ends within a second or two."""

import contextlib
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")

_ASK_EVERY = 0.2  # seconds
_SAY_EVERY = 30.0  # seconds
_AHEAD = 4  # tasks of each thread that wait, so that the results do not fill the memory


class StopAskedError(Exception):
    """The process was asked to stop while it reads data, which loses nothing. Its text is the reason."""


def _never() -> str | None:
    return None


_askers: list[Callable[[], str | None]] = [_never]  # of the whole process: threads ask too


@contextlib.contextmanager
def stoppable(asked: Callable[[], str | None]) -> Iterator[None]:
    """Within it, reading data ends with StopAskedError as soon as `asked` returns a reason."""
    _askers.append(asked)
    try:
        yield
    finally:
        _askers.pop()


def check_stop() -> None:
    """Raises StopAskedError if this process was asked to stop."""
    if reason := _askers[-1]():
        raise StopAskedError(reason)


def each(work: Callable[[A], B], items: Iterable[A], total: int, doing: str) -> Iterator[B]:
    """Yields `work(item)` of each item in order, computed on all cores.

    A bar on a terminal shows the progress, and a line every half minute elsewhere. `doing` says what is done, such
    as "reading photos".

    Raises:
        StopAskedError: the process was asked to stop.
    """
    from tqdm import tqdm

    is_terminal = sys.stderr.isatty()
    said = time.monotonic()

    def done(count: int) -> None:
        nonlocal said
        bar.update()
        if not is_terminal and time.monotonic() - said > _SAY_EVERY:
            said = time.monotonic()
            print(f"{doing}: {count:,} of {total:,} files", file=sys.stderr, flush=True)

    threads = len(os.sched_getaffinity(0))
    pool = ThreadPoolExecutor(threads)
    pending: deque[Future[B]] = deque()
    try:
        with tqdm(total=total, desc=doing, unit="file", disable=not is_terminal, delay=1, leave=False) as bar:
            count = 0
            for count, item in enumerate(items, 1):
                pending.append(pool.submit(work, item))
                if len(pending) >= _AHEAD * threads:
                    yield _result(pending.popleft())
                    done(count - len(pending))
            while pending:
                yield _result(pending.popleft())
                done(count - len(pending))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _result(future: Future[B]) -> B:
    while True:
        check_stop()
        try:
            return future.result(timeout=_ASK_EVERY)
        except NotYet:
            if future.done():  # the work itself raised it
                raise
