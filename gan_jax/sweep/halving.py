"""Successive halving: all members train a little, the better ones go on, and so on until one is left.

Jamieson and Talwalkar, "Non-stochastic best arm identification and hyperparameter optimization", 2016.
"""

import itertools
import math
from typing import NamedTuple

from ..config import Config
from ..errors import UserError
from ..metrics.measures import NUMBERS


class Rung(NamedTuple):
    """A stage of a sweep.

    Attributes:
        steps: up to which its members train.
        members: how many train.
    """

    steps: int
    members: int


def check_metric(metric: str, option: str) -> None:
    """Raises UserError if `metric` is not the name of a number that metrics give."""
    if metric not in NUMBERS:
        raise UserError(f"{option} {metric}: there is no such number, there are {', '.join(NUMBERS)}")


def interval(config: Config, members: int, factor: int) -> int:
    """Returns the steps from one measurement to the next that halving needs: the config's own, if it has some."""
    if config.metrics.every:
        return config.metrics.every
    fuse = config.parallel.fuse
    return max(fuse, config.steps // factor ** _rounds(members, factor) // fuse * fuse)


def rungs(config: Config, members: int, factor: int, every: int) -> list[Rung]:
    """Returns the stages: 1 / `factor` of the members go on from each to the next, for `factor` times the steps.

    The last one trains to `config.steps`. The others end where metrics are measured, at multiples of `every`.

    Raises:
        UserError: there are too few steps to choose so often.
    """
    if factor < 2:
        raise UserError(f"--factor must be at least 2, got {factor}")
    rounds = _rounds(members, factor)
    found = []
    for index in range(rounds):
        steps = max(every, round(config.steps / factor ** (rounds - index) / every) * every)
        found.append(Rung(steps, math.ceil(members / factor**index)))
    found.append(Rung(config.steps, math.ceil(members / factor**rounds)))
    if any(now.steps >= after.steps for now, after in itertools.pairwise(found)):
        ends = ", ".join(str(rung.steps) for rung in found)
        raise UserError(
            f"halving would choose after {ends} steps, because metrics are measured every {every} steps: raise "
            "steps, lower metrics.every, or raise --factor"
        )
    return found


def _rounds(members: int, factor: int) -> int:
    """Returns how often members are chosen, until one is left."""
    rounds = 0
    while members > 1:
        members, rounds = math.ceil(members / factor), rounds + 1
    return rounds


def better_first(scores: dict[str, float], metric: str, count: int) -> list[str]:
    """Returns the names of the `count` best members by a number; of equal ones, the first. NaN is the worst."""
    sign = -1.0 if NUMBERS[metric][1] else 1.0
    return sorted(scores, key=lambda name: (math.isnan(scores[name]), sign * scores[name]))[:count]
