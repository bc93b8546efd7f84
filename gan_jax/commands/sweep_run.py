"""Makes the members of a sweep from the command line, says what they cost, and trains them."""

import argparse
import shlex
import sys
import time
from collections.abc import Sequence
from typing import NamedTuple

import jax

from .. import config as configs
from ..config import Config
from ..config.location import located
from ..errors import UserError, one_line
from ..metrics.measures import MEASURES, NUMBERS
from ..runtime.preemption import Preemption
from ..runtime.startup_timings import process_age
from ..sweep import places
from ..sweep.choose import Cost, Mode, check_members, choose_mode, cost_lines
from ..sweep.grid import Member, check_names, make_members, read_axes, short_names
from ..sweep.halving import Rung, check_metric, interval, rungs
from ..sweep.record import SweepRecord
from ..sweep.run import Sweep, run_sweep
from ..sweep.search import Maker, Space, read_space, run_search
from ..sweep.varying import check_one_program, numbers_of
from ..train.workdir import locked
from .arguments import data_option, path
from .train import SAVED, make_deterministic


class _Plan(NamedTuple):
    """What the command line asks for: members, or spaces that Optuna chooses them from; and the stages."""

    paths: list[str]
    members: list[Member]
    by: str
    stages: list[Rung]
    spaces: list[Space]
    make: Maker
    trials: int


def run(arguments: argparse.Namespace) -> int:
    """Runs `gan-jax sweep` and returns its exit code."""
    _check_options(arguments)
    config = configs.load(arguments.config)
    plan = _plan_search(config, arguments) if arguments.optuna else _plan(config, arguments)

    def where(config: Config) -> Config:
        return config if arguments.data is None else located(config, arguments.data)

    members = [where(one.config) for one in plan.members]
    if arguments.members in (None, "vmap") and members[0].deterministic:
        make_deterministic()
    with data_option(arguments.data):
        cost = check_members(members)
    mode, reason = _mode(arguments, members, cost)
    if mode != "vmap" and places.gpus():  # this process must leave the GPUs to the members
        jax.config.update("jax_platforms", "cpu")
    counted = [members[0]] * plan.trials if plan.spaces else members
    steps = _all_steps(plan.stages) if len(plan.stages) > 1 else None
    for line in (f"members: {mode}, {reason}", *cost_lines(counted, cost, mode, steps)):
        print(line, file=sys.stderr, flush=True)
    for line in _stage_lines(plan):
        print(line, file=sys.stderr, flush=True)
    if arguments.dry_run:
        _describe(arguments, plan, members, mode)
        return 0
    workdir = arguments.workdir or path(f"runs/{config.name}_sweep")
    preemption: Preemption = arguments.preemption
    content = {
        "config": arguments.config, "shared": list(plan.make.shared), "paths": plan.paths, "by": plan.by,
        "members": {one.name: list(one.values) for one in ([] if plan.spaces else plan.members)},
        "halving": {"metric": plan.by, "factor": arguments.factor} if arguments.halving else None,
    }  # fmt: skip
    with locked(workdir), data_option(arguments.data):
        record = SweepRecord(workdir, content, grows=bool(plan.spaces))
        title = f"{config.name}: {', '.join(short_names(plan.paths))}"
        sweep = Sweep(
            arguments.config, title, plan.paths, workdir, record, plan.by, mode,
            places.devices(arguments.jobs) if mode == "devices" else places.anywhere(arguments.jobs),
            arguments.data, where, None, lambda: preemption.reason, _deadline(arguments),
        )  # fmt: skip
        if plan.spaces:
            done = run_search(sweep, plan.make, plan.spaces, plan.trials)
        else:
            done = run_sweep(sweep, plan.members, plan.stages)
    return 0 if done else SAVED


def _check_options(arguments: argparse.Namespace) -> None:
    if arguments.optuna is not None and arguments.optuna < 1:
        raise UserError(f"--optuna wants a number of members, got {arguments.optuna}")
    if arguments.jobs is not None and arguments.jobs < 1:
        raise UserError(f"--jobs must be at least 1, got {arguments.jobs}")
    if arguments.jobs is not None and arguments.members == "vmap":
        raise UserError("--jobs is for members in processes, and --members vmap has one: leave one of them out")
    for option in ("halving", "zip"):
        if arguments.optuna and getattr(arguments, option):
            raise UserError(f"--optuna chooses the members itself: leave --{option} out")
    if arguments.optuna and arguments.members == "vmap":
        raise UserError(
            "--optuna chooses a member by those before, so they train in processes: leave --members out"
        )
    if arguments.halving and arguments.by not in (None, arguments.halving):
        raise UserError(f"--halving {arguments.halving} compares members by that number: leave --by out")


def _deadline(arguments: argparse.Namespace) -> float | None:
    if arguments.max_time is None:
        return None
    return time.monotonic() + max(0.0, arguments.max_time - process_age())


# -- the members


def _plan(config: Config, arguments: argparse.Namespace) -> _Plan:
    axes, shared = read_axes(config, arguments.overrides)
    paths = [axis.path for axis in axes]
    members = make_members(config, axes, shared, arguments.zip)
    check_names(members)
    by = _by(arguments, members[0].config)
    stages = [Rung(members[0].config.steps, len(members))]
    if arguments.halving:
        _check_halving(members, paths)
        every = interval(members[0].config, len(members), arguments.factor)
        more = [f"metrics.every={every}"] if members[0].config.metrics.every != every else []
        shared, members = [*shared, *more], [one.set(*more) for one in members]
        _check_measured(members[0].config, by, "--halving")
        stages = rungs(members[0].config, len(members), arguments.factor, every)
    return _Plan(paths, members, by, stages, [], Maker(config, paths, shared), 0)


def _plan_search(config: Config, arguments: argparse.Namespace) -> _Plan:
    """Reads ranges and lists for Optuna; the one member that it returns stands for all."""
    spaces, rest = [], []
    for word in arguments.overrides:
        field, _, text = (part.strip() for part in word.partition("="))
        space = read_space(field, text)
        if space is None:
            rest.append(word)
        else:
            spaces.append(space)
    axes, shared = read_axes(config, rest)
    spaces += [Space(axis.path, values=axis.values) for axis in axes]
    if not spaces:
        raise UserError(
            "--optuna needs a range such as discriminator_terms.0.weight=0.1..30, or values such as a,b,c"
        )
    paths = [space.path for space in spaces]
    if len(set(paths)) < len(paths):
        raise UserError("a field has a range or values twice: leave one out")
    make = Maker(config, paths, shared)
    ends = [(space.values[0], space.values[-1]) if space.values else (space.low, space.high) for space in spaces]
    first, last = (make([str(end[i]) for end in ends]) for i in range(2))
    by = _by(arguments, first.config)
    _check_measured(first.config, by, "--optuna")
    return _Plan(paths, [first, last], by, [], spaces, make, arguments.optuna)


def _by(arguments: argparse.Namespace, config: Config) -> str:
    """Returns the number that members are compared by."""
    if chosen := arguments.halving or arguments.by:
        check_metric(chosen, "--halving" if arguments.halving else "--by")
        return chosen
    named = next((name for name in config.metrics.names if name in MEASURES), "frechet")
    return next(number for number, (metric, _) in NUMBERS.items() if metric == named)


def _check_halving(members: Sequence[Member], paths: Sequence[str]) -> None:
    if len(members) < 2:
        raise UserError("--halving chooses among members, and there is one: give a field several values")
    for field in paths:
        if field == "steps" or field.startswith(("metrics.", "parallel.fuse", "batch")):
            raise UserError(
                f"--halving compares members after as many steps and images: give {one_line(field)} one value"
            )


def _check_measured(config: Config, by: str, option: str) -> None:
    metric = NUMBERS[by][0]
    if metric not in config.metrics.names or not config.metrics.every:
        raise UserError(
            f"{option} compares members by {by}, which is never measured: set metrics.every, and put {metric} "
            "among metrics.names"
        )


# -- what is said before training


def _mode(arguments: argparse.Namespace, members: Sequence[Config], cost: Cost) -> tuple[Mode, str]:
    if arguments.members == "vmap":  # before anything is written
        numbers_of(members)
        check_one_program(members[0])
    if arguments.members:
        return arguments.members, "as --members says"
    if arguments.optuna:
        return "processes", "because Optuna chooses a member by those before"
    if arguments.jobs:
        return "processes", f"because --jobs asks for {arguments.jobs} at a time"
    return choose_mode(members, cost)


def _all_steps(stages: Sequence[Rung]) -> int:
    """Returns the steps that all members together make."""
    before = [0, *(stage.steps for stage in stages)]
    return sum((stage.steps - first) * stage.members for stage, first in zip(stages, before))


def _stage_lines(plan: _Plan) -> list[str]:
    if len(plan.stages) < 2:
        return []
    listed = ", ".join(f"{stage.members} to step {stage.steps}" for stage in plan.stages)
    return [f"halving: members train in stages, by {plan.by}: {listed}"]


def _describe(arguments: argparse.Namespace, plan: _Plan, members: Sequence[Config], mode: Mode) -> None:
    """Prints the command of each member, and the memory of a step."""
    for one in plan.members:
        words = ["gan-jax", "train", arguments.config, *one.overrides]
        print(f"{'such as ' if plan.spaces else ''}{one.name}: {shlex.join(words)}")
    from ..sweep.memory import step_memory

    what = f"a step of all {len(members)} members" if mode == "vmap" else "a step of one member"
    needed = step_memory(members if mode == "vmap" else members[:1])
    print(
        f"memory of {what}: {needed / 2**20:,.1f} MiB"
        if needed
        else f"memory of {what}: the compiler does not say"
    )
