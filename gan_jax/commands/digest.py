"""`gan-jax digest`: prints the digest of a run's state."""

import argparse
import os
from collections.abc import Iterable
from pathlib import Path

from .arguments import add_run

add_arguments = add_run


def run(arguments: argparse.Namespace) -> None:
    print(digest(arguments.workdir, step=arguments.step, allow=arguments.allow))


def digest(workdir: str | os.PathLike, *, step: int | str | None = None, allow: Iterable[str] | None = ()) -> str:
    """Returns the digest of a run's state, recomputed from the files; training prints the same at its end.

    Raises:
        UserError: there is no run, no such checkpoint, or none that verifies.
    """
    from ..checkpoint.digest import leaf_digests, state_digest
    from ..train.open_run import open_run

    return state_digest(leaf_digests(open_run(Path(workdir), step, allow).state))
