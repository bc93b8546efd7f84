"""Trains all members of a sweep in one program; see `train.start.train`, which trains one run."""

import contextlib
import copy
import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TextIO

from .. import config as configs
from ..config import Config
from ..config.build import Allow, SampleSpec, make_gan
from ..data.waiting import StopAskedError, stoppable
from ..runtime.hosts import Hosts
from ..runtime.sampler import Sampler
from ..runtime.startup_timings import Timings
from ..train.loop import StopRules
from ..train.periodic_evaluation import make_evaluator
from ..train.prepare import Prepared, prepare
from ..train.programs import Programs
from ..train.provenance import Provenance
from ..train.recorder import Recorder
from ..train.run_checkpoints import RunCheckpoints
from ..train.validate import check_run
from ..train.workdir import check_config, known_data, locked
from .members import Member
from .population import PopulationPlacement, PopulationRun
from .population_checkpoints import PopulationCheckpoints, PopulationProvenance
from .population_recorder import PopulationRecorder
from .program import PopulationPrograms
from .varying import check_one_program


def train_together(
    configs_by_name: Mapping[str, Config],
    workdir: Path,
    *,
    lost: Mapping[str, str] | None = None,
    on_lost: Callable[[str, str], None] = lambda name, reason: None,
    allow: Allow = None,
    stream: TextIO | None = None,
    max_seconds: float | None = None,
    stop: Callable[[], str | None] = lambda: None,
) -> str | None:
    """Trains members in one program, each in `workdir/members/NAME`, from the newest step that all have.

    Each member gets the files of an ordinary run, and its progress goes to `workdir/logs/NAME.txt`. The results
    are those of `gan-jax train` to rounding. The same call goes on after a kill, with the same bits.

    Args:
        configs_by_name: the members. They differ in the seed and in numbers of the training step alone.
        workdir: of the sweep.
        lost: why some of them are lost already; the program keeps their place.
        on_lost: called with the name of a member that is lost, and the reason, before others save.
        allow: top-level packages that names may come from besides gan_jax; None: any.
        stream: where the progress of all goes; None: standard error.
        max_seconds: from this call; see `train`.
        stop: returns why to save and stop, or None.

    Returns:
        The digests of the members; None if they were stopped first: all is saved, and the same call goes on.

    Raises:
        UserError: something that the user can mend.
        NonFiniteError: no member is left.
    """
    lost, workdir = lost or {}, Path(workdir)
    timings, hosts = Timings(), Hosts()
    deadline = None if max_seconds is None else time.monotonic() + max_seconds
    members = {name: for_one_device(config) for name, config in configs_by_name.items()}
    for config in members.values():
        configs.validate(config)
        check_one_program(config)
    with contextlib.ExitStack() as stack:
        places = {name: workdir / "members" / name for name in members}
        for name, place in places.items():
            if name not in lost:
                stack.enter_context(locked(place))
                check_config(place, members[name])
        known = known_data(next(place for name, place in places.items() if name not in lost))
        try:
            with stoppable(stop):
                one = prepare(next(iter(members.values())), hosts, timings, allow, known)
                everything = prepare_all(list(members.values()), one, allow)
        except StopAskedError:
            return None
        programs = everything.programs
        assert isinstance(programs, PopulationPrograms)
        logs = {name: stack.enter_context(_open_log(workdir, name)) for name in members}
        evaluator = make_evaluator(one.config, one.source, allow)
        samplers: dict[object, tuple[Sampler, Sampler]] = {}
        population = []
        for name, config in members.items():
            prepared = _member(config, everything, one.programs, allow, samplers)
            recorder = Recorder(prepared, places[name], hosts, allow, logs[name], evaluator)
            checkpoints = stack.enter_context(RunCheckpoints(prepared, places[name], hosts, recorder.say))
            provenance = Provenance(prepared, hosts, ())
            population.append(
                Member(name, places[name], prepared, recorder, checkpoints, provenance, lost.get(name))
            )
        run = PopulationRun(
            everything,
            PopulationRecorder(population, programs, stream),  # type: ignore[arg-type]
            PopulationCheckpoints(  # type: ignore[arg-type]
                population, programs, lambda member: on_lost(member.name, member.lost or "")
            ),
            PopulationProvenance(population, programs),  # type: ignore[arg-type]
            hosts, timings, StopRules(stop, deadline),
        )  # fmt: skip
        return run.run(workdir)


def for_one_device(config: Config) -> Config:
    """Returns the config for one device, which keeps two checkpoints: a kill may come between members' saves."""
    parallel = dataclasses.replace(config.parallel, mode="jit", devices=1)
    checkpoint = dataclasses.replace(config.checkpoint, keep=max(2, config.checkpoint.keep))
    return dataclasses.replace(config, parallel=parallel, checkpoint=checkpoint)


def prepare_all(members: Sequence[Config], one: Prepared, allow: Allow = None) -> Prepared:
    """Returns what is prepared for one member, with the programs and the placement of all."""
    placement = PopulationPlacement(one.config)
    placement.count = len(members)
    spec = SampleSpec.of(one.source)
    programs = PopulationPrograms(members, one.programs, spec, placement, one.resident, allow)
    return one._replace(
        placement=placement, programs=programs,  # type: ignore[arg-type]
        record={**one.record, "environment": placement.environment()},
    )  # fmt: skip


def _member(
    config: Config,
    everything: Prepared,
    one: Programs,
    allow: Allow,
    samplers: dict[object, tuple[Sampler, Sampler]],
) -> Prepared:
    """Returns what is prepared for one member. Members whose samples are drawn alike share a sampler."""
    spec = SampleSpec.of(everything.source)
    gan = make_gan(config, spec, allow)
    check_run(config, everything.source)
    programs, key = copy.copy(one), (config.seed, config.generator, config.latent, config.inputs)
    if key not in samplers:
        samplers[key] = one.make_samplers(config, gan, spec, everything.source)
    programs.sampler, programs.metrics_sampler = samplers[key]
    record = {**everything.record, "config": configs.to_json(config)}
    return everything._replace(config=config, gan=gan, programs=programs, record=record, notes=[])


@contextlib.contextmanager
def _open_log(workdir: Path, name: str):
    folder = workdir / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / f"{name}.txt", "a", encoding="utf-8", errors="backslashreplace") as file:
        yield file
