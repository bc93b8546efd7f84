"""Standard input, output and error: always open, able to print any text, and quiet once their reader is gone.

Imports no JAX.
"""

import contextlib
import io
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, TextIO

BROKEN = 141  # 128 + SIGPIPE: what a shell shows for a program whose reader is gone


class Guarded:
    """A text stream for `sys.stdout` or `sys.stderr`. What it can't write is dropped, and `on_gone` hears of it.

    Args:
        stream: where the text goes; everything but `write` and `flush` is its own.
        name: of the stream, for sentences.
        on_gone: called once, with a sentence, when the stream can't be written any more.
    """

    def __init__(self, stream: TextIO, name: str, on_gone: Callable[[str, OSError], None]):
        self._stream, self._name, self._on_gone = stream, name, on_gone
        self._gone = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        self._attempt(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        self._attempt(self._stream.flush)

    def _attempt(self, act: Callable[[], object]) -> None:
        if self._gone:
            return
        try:
            act()
        except OSError as error:
            self._gone = True
            # What is still in the buffer goes there: Python would try to write it again at its end, and complain.
            with contextlib.suppress(OSError), open(os.devnull, "w") as null:
                os.dup2(null.fileno(), self._stream.fileno())
            self._on_gone(f"{self._name} can't be written ({error.strerror})", error)


def end_quietly(sentence: str, error: OSError) -> None:
    """Ends a command whose output has no reader; says a sentence if the cause is another one, such as a full disk.

    Raises:
        SystemExit: always.
    """
    if isinstance(error, BrokenPipeError):
        raise SystemExit(BROKEN)
    print(f"gan-jax: {sentence}: mend that, then start the same command again", file=sys.stderr)
    raise SystemExit(2)


@contextlib.contextmanager
def guarded(on_gone: Callable[[str, OSError], None]) -> Iterator[None]:
    """Guards `sys.stdout` and `sys.stderr` inside the context, and writes what is in their buffers at its end."""
    _open_closed()
    before = sys.stdout, sys.stderr
    for stream in before:
        if isinstance(stream, io.TextIOWrapper):  # a path or a sentence may have letters that the encoding lacks
            stream.reconfigure(errors="backslashreplace")
            with contextlib.suppress(OSError):  # another program may have made it non-blocking: text would be lost
                os.set_blocking(stream.fileno(), True)
    sys.stdout = Guarded(before[0], "standard output", on_gone)  # type: ignore[assignment]
    sys.stderr = Guarded(before[1], "standard error", on_gone)  # type: ignore[assignment]
    try:
        yield
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            sys.stdout, sys.stderr = before


def _open_closed() -> None:
    """Opens the descriptors 0 to 2 that are closed. Otherwise a file of the run would get one, and a message."""
    for number, (name, mode) in enumerate([("stdin", "r"), ("stdout", "w"), ("stderr", "w")]):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free, which is this one
            os.set_inheritable(null, True)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115
