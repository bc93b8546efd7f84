"""`gan-jax checkpoints`: lists a run's checkpoints and verifies each."""

import argparse
import os
from pathlib import Path

from ..errors import UserError, one_line
from .arguments import path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("workdir", type=path, help="the folder of the run")


def run(arguments: argparse.Namespace) -> None:
    print("\n".join(list_checkpoints(arguments.workdir)) or "no checkpoint yet")


def list_checkpoints(workdir: str | os.PathLike) -> list[str]:
    """Returns one line for each checkpoint: step, time, size, metrics, and whether it verifies.

    Raises:
        UserError: there is no run.
    """
    from ..checkpoint.catalogue import ARCHIVED, Catalogue, record_metrics
    from ..metrics.measures import best_by
    from ..metrics.record import readable
    from ..train.workdir import read_config

    workdir = Path(workdir)
    config = read_config(workdir)
    lines = []
    checkpoints = Catalogue(workdir / "checkpoints", best=best_by(config.checkpoint.best))
    best = checkpoints.best()
    for step in checkpoints.all_steps():
        try:
            wrong: object = checkpoints.verify(step)
        except UserError as error:
            wrong = error
        try:
            manifest = checkpoints.manifest(step)
        except UserError:
            lines.append(f"step {step}  NOT VERIFIED: {wrong}")
            continue
        size = sum(f.stat().st_size for f in (workdir / "checkpoints" / str(step)).rglob("*") if f.is_file())
        words = [f"step {step}", manifest["written"], f"{size / 1e6:.1f} MB"]
        words += [
            f"{one_line(name)} {readable(value)}" for name, value in record_metrics(manifest["record"]).items()
        ]
        words += ["verified" if wrong is None else f"NOT VERIFIED: {wrong}"]
        words += ["best"] if step == best else []
        words += ["archived"] if manifest["record"].get(ARCHIVED) else []
        lines.append("  ".join(words))
    return lines
