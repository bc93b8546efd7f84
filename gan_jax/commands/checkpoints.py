"""`gan-jax checkpoints` and `gan-jax digest`: what a run has saved."""

import os
from pathlib import Path

from ..checkpoint.catalogue import Catalogue, record_metrics
from ..checkpoint.digest import leaf_digests, state_digest
from ..config.build import Allow
from ..errors import UserError
from ..metrics.measures import best_by
from ..train.open_run import open_run
from ..train.workdir import read_config


def digest(workdir: str | os.PathLike, *, step: int | str | None = None, allow: Allow = ()) -> str:
    """The digest of a run's state, recomputed from what is on disk; training prints the same at its end.

    Raises:
        UserError: there is no run, no such checkpoint, or none that verifies.
    """
    return state_digest(leaf_digests(open_run(Path(workdir), step, allow).state))


def list_checkpoints(workdir: str | os.PathLike) -> list[str]:
    """A line a checkpoint of a run: its step, when it was written, its size, its metrics, and whether it verifies.

    Raises:
        UserError: there is no run.
    """
    workdir = Path(workdir)
    config = read_config(workdir)
    lines = []
    checkpoints = Catalogue(workdir / "checkpoints", best=best_by(config.checkpoint.best))
    best = checkpoints.best()
    for step in checkpoints.steps():
        wrong = checkpoints.verify(step)
        try:
            manifest = checkpoints.manifest(step)
        except UserError as error:
            lines.append(f"step {step}  NOT VERIFIED: {error}")
            continue
        size = sum(f.stat().st_size for f in (workdir / "checkpoints" / str(step)).rglob("*") if f.is_file())
        words = [f"step {step}", manifest["written"], f"{size / 1e6:.1f} MB"]
        words += [f"{name} {value:.4g}" for name, value in record_metrics(manifest["record"]).items()]
        words += ["verified" if wrong is None else f"NOT VERIFIED: {wrong}"]
        lines.append("  ".join([*words, *(["best"] if step == best else [])]))
    return lines
