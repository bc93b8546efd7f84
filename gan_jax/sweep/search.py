"""Lets Optuna choose the values of members, one after another, by the numbers of those before."""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from ..errors import UserError, one_line
from ..metrics.measures import NUMBERS
from .grid import Member, check_names, make_member
from .record import scores
from .run import Sweep

_FLOAT = r"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?"
_RANGE = re.compile(rf"({_FLOAT})\.\.({_FLOAT})")
_DIGITS = 3  # of a chosen number, so that a member's name can be read


class Space(NamedTuple):
    """The values that a field may take: a range, or some given ones.

    Attributes:
        low, high: of a range; floats, or two integers.
        log: whether the range is searched by its logarithm.
        values: the given values, as text; empty for a range.
    """

    path: str
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    values: tuple[str, ...] = ()

    def ask(self, trial: Any) -> str:
        """Returns the value that a trial of Optuna proposes, as text."""
        if self.values:
            return trial.suggest_categorical(self.path, self.values)
        if isinstance(self.low, int) and isinstance(self.high, int):
            return str(trial.suggest_int(self.path, self.low, self.high, log=self.log))
        return f"{trial.suggest_float(self.path, self.low, self.high, log=self.log):.{_DIGITS}g}"


def read_space(path: str, text: str) -> Space | None:
    """Reads `low..high`, such as `0.1..30` or `1..8`; None if the text is no range.

    A range from above 0 to at least ten times as much is searched by its logarithm.

    Raises:
        UserError: the second number is not above the first.
    """
    found = _RANGE.fullmatch(text)
    if found is None:
        return None
    whole = all(re.fullmatch(r"-?\d+", part) for part in found.groups())
    low, high = (int(part) if whole else float(part) for part in found.groups())
    if not low < high:
        raise UserError(f"{one_line(path)}={text} is no range: the second number must be larger, as in 0.1..30")
    return Space(path, low, high, low > 0 and high >= 10 * low)


def run_search(sweep: Sweep, make: "Maker", spaces: Sequence[Space], trials: int, seed: int = 0) -> bool:
    """Trains `trials` members whose values Optuna chooses, as many at a time as the sweep has places.

    Nothing of the study is stored: Optuna's sampler has a seed, so it makes the same proposals again when it is
    told the numbers of the members on disk. So the same call goes on after a kill, with as many places.

    Args:
        sweep: its members train in processes.
        make: makes the member with given values.
        spaces: of the fields that differ.
        trials: the number of members.
        seed: of the sampler.

    Returns:
        Whether all is done; see `run_sweep`.

    Raises:
        UserError: Optuna is not installed, or something that the user can correct.
    """
    try:
        import optuna
    except ImportError as error:
        raise UserError("--optuna needs Optuna: pip install 'gan_jax[sweep]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    direction = "maximize" if NUMBERS[sweep.by][1] else "minimize"
    study = optuna.create_study(direction=direction, sampler=optuna.samplers.TPESampler(seed=seed))
    members: dict[str, Member] = {}
    for first in range(0, trials, len(sweep.places)):
        asked = [study.ask() for _ in range(min(len(sweep.places), trials - first))]
        batch = [make([space.ask(trial) for space in spaces]) for trial in asked]
        new = {one.name: one for one in batch if one.name not in members}
        members |= new
        check_names(list({one.values: one for one in [*members.values(), *batch]}.values()))
        sweep.check(list(new.values()))
        for one in new.values():
            sweep.record.add(one.name, one.values)
        if new:
            steps = next(iter(new.values())).config.steps
            if set(new) - set(sweep.record.lost) and (reason := sweep.train(list(new.values()), steps)):
                sweep.say(f"{reason}: all is saved, the same command goes on")
                sweep.show(list(members.values()))
                return False
        for trial, one in zip(asked, batch):
            measured = scores(sweep.workdir, one.name, sweep.by)
            if one.name in sweep.record.lost or not measured:
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
            else:
                study.tell(trial, measured[max(measured)])
    sweep.show(list(members.values()))
    return True


class Maker(NamedTuple):
    """Makes the member with given values of the fields at `paths`."""

    config: Any
    paths: Sequence[str]
    shared: Sequence[str]

    def __call__(self, values: Sequence[str]) -> Member:
        return make_member(self.config, self.paths, self.shared, values)
