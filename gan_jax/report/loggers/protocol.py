"""What a logger is: a class with five methods, which `log.to=my_package:MyLogger` may name as well."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

PROJECT = "gan_jax"  # of runs in stores that group them, unless the user's environment names another


class LoggedRun(NamedTuple):
    """What a logger is told of a run.

    Attributes:
        id: 8 hexadecimal digits, made once for a workdir and kept there.
        name: of the workdir, when it was first logged.
        workdir: absolute.
        config: as JSON values; a function is `{"call": name, "with": {...}}`.
        step: the step of the checkpoint that this process goes on from; 0 for a new run.
        steps: the last step of the run.
    """

    id: str
    name: str
    workdir: Path
    config: dict[str, Any]
    step: int
    steps: int


class RunLogger(Protocol):
    """Sends what a run logs to one store. All methods are called in one thread, which is not the main thread.

    Whatever a method raises ends this object and not the run, which makes another one a minute later.

    Attributes:
        live: whether lines are sent at once. Then `start` must take back steps, and a step may come in parts.
        package: optional; the package that it imports, if that is large. The logger then lives in a process of its
            own, because importing would stop the training. It is not live.
    """

    live: bool

    def start(self, run: LoggedRun, sent: int | None) -> int:
        """Opens the run in the store, or makes it, and gives it the config. Packages are imported here.

        Args:
            run: what to log.
            sent: the last step that was sent, by the workdir's own notes; -1 for none, and None if this logger
                was never used in this workdir.

        Returns:
            The last step that the store has, -1 for none; `sent` (or -1) if it cannot tell. What comes after that
            step is sent. A live logger has taken back everything after it.
        """
        ...

    def log(self, step: int, scalars: Mapping[str, float], images: Mapping[str, Path]) -> None:
        """Sends all that the run logged at one step. Steps grow from call to call.

        Args:
            step: of the run.
            scalars: finite numbers by name, such as "loss/generator" and "metrics/frechet"; may be empty.
            images: PNG files by name: "samples" is the sample grid. May be empty.
        """
        ...

    def checkpoint(self, step: int, folder: Path) -> None:
        """Sends the folder of a checkpoint as an artifact. It may have been sent before."""
        ...

    def flush(self) -> None:
        """Returns when all that was sent is in the store, as far as the store can promise that."""
        ...

    def close(self, finished: bool) -> None:
        """Closes the run in the store; called after errors too. `finished`: the run is at its last step."""
        ...
