"""Trackio: a table below the workdir, unless the environment names a folder, a Space or a server."""

import contextlib
import io
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from .protocol import PROJECT, LoggedRun

if TYPE_CHECKING:
    from trackio.run import Run


class Logger:
    """Logs to Trackio, each step as one row. The table of the run tells the last step.

    The variables of Trackio hold: `TRACKIO_DIR`, `TRACKIO_PROJECT`, `TRACKIO_SPACE_ID`, `TRACKIO_SERVER_URL`.
    Without them the table lies in `trackio/` of the workdir. Trackio reads `TRACKIO_DIR` once in a process, so two
    runs in one process share the folder of the first.
    """

    package = "trackio"
    live = False
    _run: "Run | None" = None

    def start(self, run: LoggedRun, sent: int | None) -> int:
        os.environ.setdefault("TRACKIO_DIR", str(run.workdir / "trackio"))
        with _quiet():
            import trackio
            import trackio.run

            if not (os.environ.get("TRACKIO_SPACE_ID") or os.environ.get("TRACKIO_SERVER_URL")):
                # Else it asks huggingface.co whose token lies on this machine, also for a table on the disk.
                trackio.run._get_default_namespace = lambda: None  # type: ignore[assignment]
            self._run = trackio.init(
                project=os.environ.get("TRACKIO_PROJECT") or PROJECT, name=f"{run.name}-{run.id}", resume="allow",
                config=run.config, embed=False, auto_log_gpu=False, auto_log_cpu=False,
            )  # fmt: skip
        # After a resumption it is the step behind the last one, of the local table or of the server's.
        return self._run._next_step - 1

    def log(self, step: int, scalars: Mapping[str, float], images: Mapping[str, Path]) -> None:
        import trackio

        assert self._run is not None, "start comes first"
        grids = {name: trackio.Image(str(path)) for name, path in images.items()}
        self._run.log({**scalars, **grids}, step=step)

    def checkpoint(self, step: int, folder: Path) -> None:
        import trackio

        with _quiet():
            trackio.log_artifact(folder, name="checkpoint", type="model", aliases=[f"step-{step}"])

    def flush(self) -> None:
        """Does nothing: Trackio's own thread writes twice a second, and `start` reads what is there."""

    def close(self, finished: bool) -> None:
        if self._run is not None:
            with _quiet():
                self._run.finish()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps Trackio's advice away from standard output, where `gan-jax train` prints JSON."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield
