"""`gan-jax train`: trains a config, or says what it would train."""

import argparse
import gc
import json
import os

from ..errors import UserError
from ..runtime.preemption import Preemption
from .arguments import add_data, data_option, path, seconds, words

SAVED = 75  # EX_TEMPFAIL: to a scheduler it means "run it again"; everything is saved, and steps are left


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", help="a recipe (see gan-jax recipes), or a Python file with get_config()")
    parser.add_argument(
        "overrides", nargs="*", default=[], metavar="key=value",
        help="sets a field of the config, such as steps=600 or data.resident=false",
    )  # fmt: skip
    parser.add_argument("--workdir", type=path, help="the folder of the run; runs/<config name> if not given")
    add_data(parser)
    parser.add_argument("--dry-run", action="store_true", help="print what would be trained, and what it costs")
    parser.add_argument(
        "--target", type=words, default=(), metavar="NAME[,NAME...]",
        help="with --dry-run: compile the step for h200, h100, a100, l40s, rtx4090 (h200:8: eight in one host) or "
        "a TPU such as v5e:2x4, none of which need be here, and print what the program is",
    )  # fmt: skip
    parser.add_argument("--json", type=path, metavar="FILE", help="with --target: write all that is known as JSON")
    parser.add_argument(
        "--quick", action="store_true",
        help="with --target, for TPUs: the compiler makes less effort and is several times faster; its program "
        "reads and writes more than that of training",
    )  # fmt: skip
    parser.add_argument(
        "--timings", action="store_true", help="print, as JSON, where the time until the first step went"
    )
    parser.add_argument(
        "--max-time", type=seconds, metavar="55m",
        help="save and stop when the process has run for this long (90s, 55m, 8h)",
    )  # fmt: skip
    parser.add_argument(
        "--allow-change", type=words, default=(), metavar="NAME[,NAME...]",
        help="let a resumed run change these on the way: data, learning_rate, or fields such as augment.target or "
        "ema.half_life; what changes is written to history.jsonl",
    )  # fmt: skip
    parser.add_argument(
        "--preempt-exit-code", type=int, default=SAVED, metavar="N",
        help="the exit code of a run that SIGTERM, SIGHUP, Ctrl-C or --max-time stopped before its last step, "
        f"after all was saved ({SAVED}); another SIGTERM changes nothing, a second Ctrl-C ends it at once",
    )  # fmt: skip
    several = parser.add_argument_group("several hosts", "start one process on each host, with the same command")
    several.add_argument(
        "--distributed", action="store_true",
        help="join the other processes; under SLURM, JobSet, Open MPI or on a TPU pod this option is enough",
    )  # fmt: skip
    several.add_argument("--coordinator", metavar="HOST:PORT", help="the address of process 0")
    several.add_argument("--processes", type=int, metavar="N", help="the number of processes")
    several.add_argument("--process", type=int, metavar="I", help="the index of this process, from 0")
    several.add_argument(
        "--connect-timeout", type=seconds, metavar="10m",
        help="how long to wait at the start for the other processes (25s with --coordinator, else 5m)",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    from .. import config as configs
    from ..config.location import located

    config = configs.override(configs.load(arguments.config), arguments.overrides)
    configs.validate(config)
    if arguments.data is not None:
        config = located(config, arguments.data)
    if config.deterministic:
        make_deterministic()
    if arguments.target and not arguments.dry_run:
        raise UserError("--target needs --dry-run: it compiles for a device that is not here, and trains nothing")
    if arguments.json is not None and not arguments.target:
        raise UserError("--json needs --target: add --target, or leave --json out")
    if arguments.quick and not arguments.target:
        raise UserError("--quick needs --target: add --target, or leave --quick out")
    if arguments.target:
        from . import target_run

        for line in target_run.describe(config, arguments.target, arguments.json, arguments.quick):
            print(line, flush=True)
        return 0
    if arguments.dry_run:  # one process is enough, also where several would train
        from .dry_run import describe

        print(describe(config))
        return 0
    from ..runtime.startup_timings import process_age
    from ..train import train

    _join(arguments)
    preemption: Preemption = arguments.preemption
    gc.freeze()  # imported modules stay: without this, collecting garbage took a tenth of the start
    with data_option(arguments.data):
        finished = train(
            config,
            arguments.workdir or path(f"runs/{config.name}"),
            on_first_step=(lambda summary: print(json.dumps(summary), flush=True)) if arguments.timings else None,
            max_seconds=None if arguments.max_time is None else max(0.0, arguments.max_time - process_age()),
            allow_change=arguments.allow_change,
            stop=lambda: preemption.reason,
        )
    if arguments.distributed:
        from ..runtime.connection import disconnect

        disconnect()
    return arguments.preempt_exit_code if finished is None else 0


def make_deterministic() -> None:
    """Sets the flag for kernels that give the same bits. The backend of a GPU reads it when it starts."""
    flags = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()


def _join(arguments: argparse.Namespace) -> None:
    """Connects this process to the others of the run, where `--distributed` asks for it."""
    names = ("coordinator", "processes", "process", "connect_timeout")
    given = ["--" + name.replace("_", "-") for name in names if getattr(arguments, name) is not None]
    if arguments.distributed:
        from ..runtime.connection import connect

        connect(arguments.coordinator, arguments.processes, arguments.process, arguments.connect_timeout)
    elif given:
        raise UserError(f"{given[0]} needs --distributed: add --distributed, or leave {given[0]} out")
