"""Weights & Biases: offline below the workdir, unless the environment says otherwise."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from .protocol import PROJECT, LoggedRun
from .wandb_files import last_step

if TYPE_CHECKING:
    from wandb import Run


class Logger:
    """Logs to wandb, each step as one row of its history.

    The variables of wandb hold: `WANDB_PROJECT`, `WANDB_ENTITY`, `WANDB_DIR` and so on. Without `WANDB_MODE` and
    `WANDB_API_KEY` it is offline: files in `wandb/` of the workdir, a folder for each process, all with the same
    run id. `wandb sync` sends them.

    Offline, the files of earlier processes tell the last step. Online, the server tells it.
    """

    package = "wandb"
    live = False
    _run: "Run | None" = None

    def start(self, run: LoggedRun, sent: int | None) -> int:
        mode = os.environ.get("WANDB_MODE") or ("online" if os.environ.get("WANDB_API_KEY") else "offline")
        if mode == "offline":
            os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # it would go to wandb's own tracker
        import wandb

        settings = wandb.Settings(console="off", silent=mode == "offline")
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or PROJECT, id=run.id, name=run.name, resume="allow",
            dir=os.environ.get("WANDB_DIR") or run.workdir, config=run.config, settings=settings,
            mode=mode,  # type: ignore[arg-type]
        )  # fmt: skip
        if mode != "offline":
            return self._run.step - 1
        own = Path(self._run.settings.sync_file)
        earlier = own.parent.parent.glob(f"*run-*-{run.id}/run-{run.id}.wandb")
        return max((last_step(path) for path in earlier if path != own), default=-1)

    def log(self, step: int, scalars: Mapping[str, float], images: Mapping[str, Path]) -> None:
        import wandb

        assert self._run is not None, "start comes first"
        grids = {name: wandb.Image(str(path)) for name, path in images.items()}
        self._run.log({**scalars, **grids}, step=step, commit=True)

    def checkpoint(self, step: int, folder: Path) -> None:
        import wandb

        assert self._run is not None, "start comes first"
        artifact = wandb.Artifact(f"checkpoint-{self._run.id}", type="model", metadata={"step": step})
        artifact.add_dir(str(folder))
        self._run.log_artifact(artifact, aliases=[f"step-{step}"])

    def flush(self) -> None:
        """Does nothing: wandb's own process writes blocks of 32 KiB, and `start` reads which are there."""

    def close(self, finished: bool) -> None:
        if self._run is not None:
            self._run.finish()
