"""The command line: `gan-jax train | sample | evaluate | digest | checkpoints | prepare | benchmark | doctor`."""

import argparse
import contextlib
import gc
import json
import math
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import UserError
from .runtime.preemption import Preemption

if TYPE_CHECKING:
    from .config.resolve import Call

SAVED = 75  # EX_TEMPFAIL, which schedulers take as "again": all is saved, and steps are left


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code.

    0; 2 for what the user can mend; 3 for a run that left finite numbers; 4 where another process of it is gone;
    75 for one that was stopped and saved.
    """
    words = sys.argv[1:] if arguments is None else arguments
    # Before JAX is imported, which takes seconds: a run can be asked to stop from its first moment on.
    trains = words[:1] == ["train"] and "--dry-run" not in words
    with Preemption() if trains else contextlib.nullcontext() as preemption:
        return _main(words, preemption)


def _main(words: Sequence[str], preemption: Preemption | None) -> int:
    from .runtime import compilation_cache

    parsed = _parse(words)
    parsed.preemption = preemption
    try:
        if note := compilation_cache.enable():
            print(note, file=sys.stderr)
        return parsed.command(parsed) or 0
    except UserError as error:
        print(f"gan-jax: {' '.join(str(error).splitlines())}", file=sys.stderr)
        return _leave(parsed, error.exit_code)
    except Exception:
        if _joined(parsed):
            traceback.print_exc()
            return _leave(parsed, 1)
        raise
    except KeyboardInterrupt:
        print(
            "\ngan-jax: stopped; the same command goes on from the last checkpoint, if there is one",
            file=sys.stderr,
        )
        return _leave(parsed, 130)


def _joined(parsed: argparse.Namespace) -> bool:
    """Whether this process belongs to a run of several processes."""
    return getattr(parsed, "distributed", False)


def _leave(parsed: argparse.Namespace, code: int) -> int:
    """Returns the exit code of a command that failed; a process of several ends here and does not return."""
    if _joined(parsed):
        from .runtime.hosts import leave

        leave(code)
    return code


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = _parser()
    parsed, rest = parser.parse_known_args(arguments)
    # argparse hands out positionals in one go, so overrides that stand after an option are left over.
    if rest and (not hasattr(parsed, "overrides") or any(word.startswith("-") for word in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        parsed.overrides = [*parsed.overrides, *rest]
    return parsed


def _parser() -> argparse.ArgumentParser:
    from .runtime import compilation_cache

    parser = argparse.ArgumentParser(
        prog="gan-jax",
        description="Train generative adversarial networks in JAX.",
        epilog=f"Compiled programs are kept in {compilation_cache.folder()}; GAN_JAX_CACHE=off keeps none, and "
        "GAN_JAX_CACHE=/a/folder keeps them there.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    train = commands.add_parser("train", help="train a config; the same command resumes it")
    train.add_argument("config", help="a Python file with get_config(), such as configs/digits.py")
    train.add_argument(
        "overrides", nargs="*", metavar="key=value", help="such as steps=600 or data.resident=false"
    )
    train.add_argument("--workdir", type=Path, help="where the run lives; runs/<config name> if not given")
    train.add_argument("--dry-run", action="store_true", help="say what would be trained, and what it costs")
    train.add_argument(
        "--timings", action="store_true", help="print, as JSON, where the time until the first step went"
    )
    train.add_argument(
        "--max-time", type=_seconds, metavar="55m",
        help="save and stop once the process is this old (90s, 55m, 8h); exit code as below if steps are left",
    )  # fmt: skip
    train.add_argument(
        "--preempt-exit-code", type=int, default=SAVED, metavar="N",
        help=f"when it was stopped, by SIGTERM, Ctrl-C or --max-time, and all is saved ({SAVED}); a second signal "
        "ends it at once",
    )  # fmt: skip
    several = train.add_argument_group("several hosts", "one process on each, all with the same command")
    several.add_argument(
        "--distributed", action="store_true",
        help="join the others; under SLURM, JobSet, Open MPI or on a TPU pod nothing more need be said",
    )  # fmt: skip
    several.add_argument("--coordinator", metavar="HOST:PORT", help="of process 0")
    several.add_argument("--processes", type=int, metavar="N", help="how many there are")
    several.add_argument("--process", type=int, metavar="I", help="which one this is, from 0")
    train.set_defaults(command=_train)

    _add_sample(commands.add_parser("sample", help="draw samples from a run"))
    _add_evaluate(commands.add_parser("evaluate", help="measure how good a run's samples are"))

    digest = commands.add_parser("digest", help="print the digest of a run's state, read back from disk")
    _add_workdir(digest)
    digest.set_defaults(command=_digest)

    checkpoints = commands.add_parser("checkpoints", help="list a run's checkpoints, each verified")
    checkpoints.add_argument("workdir", type=Path)
    checkpoints.set_defaults(command=_checkpoints)

    prepare = commands.add_parser("prepare", help="make a TFDS data set as array_record")
    prepare.add_argument("name", help="as TFDS calls it, such as fashion_mnist")
    prepare.add_argument("--data-dir", help="TFDS's folder; TFDS_DATA_DIR or ~/tensorflow_datasets if not given")
    prepare.add_argument("--manual-dir", help="a folder with the files that TFDS would download")
    prepare.set_defaults(command=_prepare)

    benchmark = commands.add_parser("benchmark", help="steps per second on this machine, beside its peers'")
    benchmark.add_argument("--suite", choices=("quick", "full"), default="quick", help="how much (quick)")
    benchmark.add_argument("--only", action="append", default=[], metavar="SUITE", help="such as peers or modes")
    benchmark.add_argument("--case", action="append", default=[], metavar="CASE", help="such as dcgan32")
    benchmark.add_argument("--batch", type=int, default=0, help="of every case; its own if not given")
    benchmark.add_argument("--precision", choices=("float32", "bfloat16"), default="", help="both if not given")
    benchmark.add_argument("--rounds", type=int, default=0, help="samples of each, at least 5")
    benchmark.add_argument("--json", type=Path, help="a file to add a line for each figure to")
    benchmark.add_argument("--plots", type=Path, help="a folder for a picture of each suite")
    benchmark.set_defaults(command=_benchmark)

    doctor = commands.add_parser("doctor", help="say what this machine offers")
    doctor.set_defaults(command=_doctor)
    return parser


def _add_sample(sample: argparse.ArgumentParser) -> None:
    _add_workdir(sample)
    sample.add_argument("--count", type=int, help="how many (64; 8 to interpolate, 16 with neighbours)")
    sample.add_argument("--seed", type=int, default=0, help="of the latents (0)")
    sample.add_argument("--truncation", type=float, default=1.0, help="1.0 for none")
    sample.add_argument("--labels", type=_numbers, metavar="N,N,...", help="of a conditional run, in turn; all")
    kinds = sample.add_mutually_exclusive_group()
    kinds.add_argument("--interpolate", type=int, metavar="STEPS", help="a walk from sample to sample")
    kinds.add_argument("--neighbours", type=int, metavar="K", help="each sample beside its K nearest reals")
    sample.add_argument("--features", type=_call, metavar="NAME", help="that neighbours are found by")
    sample.add_argument("--out", type=Path, help="a .png, .npz for arrays, .gif of a walk, or a folder's name")
    sample.set_defaults(command=_sample)


def _add_evaluate(evaluate: argparse.ArgumentParser) -> None:
    _add_workdir(evaluate)
    evaluate.add_argument(
        "--metrics", type=lambda text: tuple(text.split(",")), default=("frechet",), metavar="NAME,...",
        help="frechet, kernel, kernel_full, inception_score, prdc, modes (frechet)",
    )  # fmt: skip
    evaluate.add_argument(
        "--features", type=_call, metavar="NAME[:key=value,...]",
        help="inception, efficientnet_lite0 or classifier; the config's if not given",
    )  # fmt: skip
    evaluate.add_argument("--count", type=int, default=10_000, help="generated samples (10000)")
    evaluate.add_argument("--reference", type=int, default=0, help="reals; all of them if not given")
    evaluate.add_argument("--split", help="of the data; the config's if not given")
    evaluate.add_argument("--seed", type=int, default=0, help="of the latents (0)")
    evaluate.add_argument("--truncation", type=float, default=1.0, help="1.0 for none")
    evaluate.add_argument(
        "--standing", type=int, default=0, metavar="BATCHES", help="measure batch norm's statistics anew"
    )
    evaluate.set_defaults(command=_evaluate)


def _seconds(text: str) -> float:
    """`90`, `90s`, `55m` or `8h`."""
    unit = {"s": 1, "m": 60, "h": 3600}.get(text[-1:], 0)
    try:
        seconds = float(text[:-1] if unit else text) * (unit or 1)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise argparse.ArgumentTypeError(f"wants a time such as 90s, 55m or 8h, got {text!r}")
    return seconds


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"wants numbers such as 3,7, got {text!r}") from None


def _call(text: str) -> "Call":
    """`name` or `name:key=value,key=value`, where the name may be `module:function`."""
    from .config.overrides import literal
    from .config.resolve import Call

    name, _, rest = text.rpartition(":") if "=" in text.rpartition(":")[2] else (text, "", "")
    pairs = [part.partition("=") for part in rest.split(",") if part]
    if not all(key and equals for key, equals, _ in pairs):
        raise argparse.ArgumentTypeError(f"wants NAME or NAME:key=value,key=value, got {text!r}")
    return Call(name, **{key.strip(): literal(value) for key, _, value in pairs})


def _add_workdir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("workdir", type=Path)
    parser.add_argument("--step", help="which checkpoint, or best; the newest good one if not given")
    parser.add_argument(
        "--allow",
        action="append",
        default=[],
        metavar="PACKAGE",
        help="let the run's names come from here too",
    )


def _train(arguments: argparse.Namespace) -> int:
    from . import config as configs

    config = configs.override(configs.load(arguments.config), arguments.overrides)
    configs.validate(config)
    if config.deterministic:  # read when the backend starts, so before anything touches a device
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()
    if arguments.dry_run:  # of several processes one is enough
        from .commands.dry_run import describe

        print(describe(config))
        return 0
    from .runtime.startup_timings import process_age
    from .train import train

    _join(arguments)
    preemption: Preemption = arguments.preemption
    gc.freeze()  # what was imported stays; looking through it again and again took a tenth of the start
    finished = train(
        config,
        arguments.workdir or Path("runs") / config.name,
        on_first_step=(lambda summary: print(json.dumps(summary), flush=True)) if arguments.timings else None,
        max_seconds=None if arguments.max_time is None else max(0.0, arguments.max_time - process_age()),
        stop=lambda: f"{preemption.signal_name} came" if preemption.signal_name else None,
    )
    if arguments.distributed:
        from .runtime.hosts import disconnect

        disconnect()
    return arguments.preempt_exit_code if finished is None else 0


def _join(arguments: argparse.Namespace) -> None:
    """Connects this process to the others of the run, where `--distributed` asks for it."""
    given = [name for name in ("coordinator", "processes", "process") if getattr(arguments, name) is not None]
    if arguments.distributed:
        from .runtime.hosts import connect

        connect(arguments.coordinator, arguments.processes, arguments.process)
    elif given:
        raise UserError(f"--{given[0]} needs --distributed: add --distributed, or leave --{given[0]} out")


def _sample(arguments: argparse.Namespace) -> None:
    from .commands import sample as sample_run

    common = {
        "seed": arguments.seed, "step": arguments.step, "truncation": arguments.truncation,
        "labels": arguments.labels, "out": arguments.out, "allow": arguments.allow,
        **({} if arguments.count is None else {"count": arguments.count}),
    }  # fmt: skip
    if arguments.features is not None and arguments.neighbours is None:
        raise UserError("--features are what --neighbours are found by: give both, or neither")
    if arguments.interpolate is not None:
        paths = sample_run.interpolate(arguments.workdir, steps=arguments.interpolate, **common)
    elif arguments.neighbours is not None:
        paths = sample_run.neighbours(
            arguments.workdir, nearest_reals=arguments.neighbours, features=arguments.features, **common
        )
    else:
        paths = sample_run.sample(arguments.workdir, **common)
    for path in paths:
        print(path)


def _evaluate(arguments: argparse.Namespace) -> None:
    from .commands.evaluate import evaluate

    for record in evaluate(
        arguments.workdir, metrics=arguments.metrics, features=arguments.features, count=arguments.count,
        reference=arguments.reference, split=arguments.split, seed=arguments.seed, step=arguments.step,
        truncation=arguments.truncation, standing=arguments.standing, allow=arguments.allow,
    ):  # fmt: skip
        print(record.text())


def _digest(arguments: argparse.Namespace) -> None:
    from .commands.checkpoints import digest

    print(digest(arguments.workdir, step=arguments.step, allow=arguments.allow))


def _checkpoints(arguments: argparse.Namespace) -> None:
    from .commands.checkpoints import list_checkpoints

    lines = list_checkpoints(arguments.workdir)
    print("\n".join(lines) if lines else "no checkpoint yet")


def _prepare(arguments: argparse.Namespace) -> None:
    from .data.prepare import prepare_set

    prepare_set(arguments.name, data_dir=arguments.data_dir, manual_dir=arguments.manual_dir)


def _benchmark(arguments: argparse.Namespace) -> None:
    from .benchmark import run

    run(
        arguments.suite, json=arguments.json, plots=arguments.plots, only=arguments.only, cases=arguments.case,
        rounds=arguments.rounds, batch=arguments.batch, precision=arguments.precision,
    )  # fmt: skip


def _doctor(arguments: argparse.Namespace) -> None:
    from .commands.doctor import examine

    print(examine())
