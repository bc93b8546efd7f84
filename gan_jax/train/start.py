"""`train`: from a config and a workdir to a trained state. Read this first, then `loop.py`.

The workdir contains `config.json`, `metrics.jsonl`, `evaluations.jsonl`, `tensorboard/`, `samples/`,
`checkpoints/` and, at the end, `samples.gif` and `report.html`. With several processes all run this, and process 0
alone touches the workdir (`gan_jax.runtime.hosts`).
"""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Collection
from importlib import metadata
from pathlib import Path
from typing import Any, TextIO

from .. import config as configs
from ..config import Config
from ..config.build import Allow
from ..data.waiting import StopAskedError, stoppable
from ..runtime.hosts import Hosts
from ..runtime.startup_timings import Timings
from .loop import Run, StopRules
from .prepare import prepare
from .provenance import Provenance
from .recorder import Recorder
from .run_checkpoints import RunCheckpoints
from .workdir import check_config, known_data, locked


def train(
    config: Config,
    workdir: str | os.PathLike,
    *,
    allow: Allow = None,
    stream: TextIO | None = None,
    on_first_step: Callable[[dict[str, Any]], None] | None = None,
    max_seconds: float | None = None,
    allow_change: Collection[str] = (),
    stop: Callable[[], str | None] = lambda: None,
) -> str | None:
    """Trains `config` in `workdir` up to `config.steps`, from the newest good checkpoint there.

    Args:
        config: what to train.
        workdir: where the run lives.
        allow: top-level packages that names may come from besides gan_jax; None: any.
        stream: where progress goes; None: standard error.
        on_first_step: called once with the timings until the first step was done (`Timings.summary`), for which it
            waits. A run that makes no step does not call it.
        max_seconds: from this call. After them, the chunk in flight is the last. The run makes at least one chunk,
            so that a run that is started again and again gets somewhere.
        allow_change: fields, or groups of them, that the run may change on resume; see `--allow-change`.
        stop: returns why the run should save and stop, such as "SIGTERM came", or None. Asked before every chunk.

    Returns:
        The digest of the state; None if the run was stopped first: all is saved, and the same call goes on.

    Raises:
        UserError: something that the user can mend, in one sentence.
        NonFiniteError: a loss, a gradient or a parameter is not finite.
    """
    configs.validate(config)
    configs.check_changes(allow_change)
    workdir, hosts, timings = Path(workdir), Hosts(), Timings()
    stops = StopRules(stop, None if max_seconds is None else time.monotonic() + max_seconds)
    timings.phase("imports")
    with hosts.alive(), contextlib.ExitStack() as stack:

        def claim_workdir() -> None:
            stack.enter_context(locked(workdir))
            check_config(workdir, config, allow_change)

        hosts.from_first(claim_workdir)
        versions = {package: metadata.version(package) for package in ("gan_jax", "jax", "jaxlib")}
        hosts.agree("version", versions, ", ".join(f"{name} {version}" for name, version in versions.items()))
        hosts.agree("config", configs.to_json(config))
        hosts.agree("--allow-change", sorted(allow_change))
        known = hosts.from_first(lambda: known_data(workdir))
        try:
            # Several processes have to agree before they stop.
            with stoppable(stop) if hosts.count == 1 else contextlib.nullcontext():
                prepared = prepare(config, hosts, timings, allow, known)
        except StopAskedError as stopped:
            print(f"{stopped} before the first step: the same command goes on", file=stream or sys.stderr)
            return None
        recorder = Recorder(prepared, workdir, hosts, allow, stream)
        checkpoints = stack.enter_context(RunCheckpoints(prepared, workdir, hosts, recorder.say))
        if hosts.count == 1 and (reason := stop()):  # several processes have to agree first
            recorder.say(f"{reason} before the first step: the same command goes on")
            return None
        provenance = Provenance(prepared, hosts, allow_change)
        run = Run(prepared, recorder, checkpoints, provenance, hosts, timings, stops, on_first_step)
        return run.run(workdir)
