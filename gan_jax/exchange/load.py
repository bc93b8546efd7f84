"""Opens an exported file as a run, without a workdir that stays."""

import os
import tempfile
from pathlib import Path

from ..config.build import Allow
from ..train.open_run import OpenedRun, open_run
from .safetensors_file import import_exported


def load(path: str | os.PathLike, allow: Allow = ()) -> OpenedRun:
    """Returns the run in a file that `gan-jax export --format safetensors` or `gan-jax card` wrote.

    `run.sampler(seed=0)(run.state.ema, 16)` are 16 of its samples, from -1 to 1.

    Args:
        path: the file.
        allow: packages, besides gan_jax, that functions named by the config may come from.

    Raises:
        UserError: it is no such file, or it is damaged.
    """
    with tempfile.TemporaryDirectory() as folder:
        workdir = Path(folder) / "run"
        import_exported(Path(path), workdir, allow)
        return open_run(workdir, None, allow)
