"""Compiling beside other work: programs go to one thread, in turn, while their caller traces the next."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from .startup_timings import Timings


class Ahead:
    """Compiles what it is called with, `(name, lowered)`, in a thread; what it returns waits when it is called.

    Args:
        platform: of the devices. There is a thread on a CPU alone: on a GPU the compiler tries kernels and
            measures them, and nothing else should run meanwhile.
        timings: gets the seconds of each program, by its name.
    """

    def __init__(self, platform: str, timings: Timings):
        self._timings = timings
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="compile") if platform == "cpu" else None

    def __call__(self, name: str, lowered: Any) -> Callable[..., Any]:
        def compiled() -> Any:
            with self._timings.beside(name):
                return lowered.compile()

        if self._pool is None:
            return compiled()
        program = self._pool.submit(compiled)
        return lambda *arguments: program.result()(*arguments)

    def close(self) -> None:
        """No program more; those under way are finished, by the end of the process at the latest.

        A process that ended inside the compiler would crash.
        """
        if self._pool is not None:
            self._pool.shutdown(wait=False)
