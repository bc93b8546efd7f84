"""Compiles programs in a background thread, one at a time, while the caller traces the next one."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax

from .startup_timings import Timings


class BackgroundCompiler:
    """Compiles lowered programs. Call it with a name and a program; the result waits for the compiler when called.

    Args:
        platform: of the devices. Only a CPU gets a thread: on a GPU the compiler measures kernels, and other work
            would disturb it.
        timings: receives the seconds that each program takes, under its name.
    """

    def __init__(self, platform: str, timings: Timings):
        self._timings = timings
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="compile") if platform == "cpu" else None

    def __call__(self, name: str, lowered: jax.stages.Lowered) -> Callable[..., Any]:
        def compile_program() -> Callable[..., Any]:
            with self._timings.beside(name):
                return lowered.compile()

        if self._pool is None:
            return compile_program()
        program = self._pool.submit(compile_program)
        return lambda *arguments: program.result()(*arguments)

    def close(self) -> None:
        """Accepts no more programs. Those under way are completed, at the latest when the process exits.

        A process that exits inside the compiler would crash.
        """
        if self._pool is not None:
            self._pool.shutdown(wait=False)
