"""`run_sweep`: from the members of a sweep to their trained runs, a table and a page. Read this first.

The workdir contains `sweep.json` (what the sweep is), `members/NAME/` (an ordinary run each), `logs/NAME.txt`
(what each printed) and `report.html`.
"""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TextIO

from ..config import Config
from ..errors import NonFiniteError, UserError, printable
from ..train.workdir import check_config
from .apart import train_apart
from .choose import Mode
from .grid import Member
from .halving import better_first
from .page import best_of, table_text, write_page
from .places import Place, anywhere
from .record import Standing, SweepRecord, is_finished, scores, standing
from .together import train_together


@dataclass
class Sweep:
    """A sweep that is ready to start.

    Attributes:
        config: the recipe, or the path of the config file, as `gan-jax train` takes it.
        title: of the page.
        paths: of the fields that differ.
        record: the file `sweep.json`.
        by: the number that members are compared by.
        mode: how they train.
        places: of their processes.
        data: where the data lie; None: where the config says.
        stop: returns why to save and stop, or None.
        deadline: in seconds of `time.monotonic`; None: never.
    """

    config: str
    title: str
    paths: Sequence[str]
    workdir: Path
    record: SweepRecord
    by: str
    mode: Mode = "processes"
    places: Sequence[Place] = field(default_factory=lambda: anywhere(None))
    data: str | None = None
    located: Callable[[Config], Config] = lambda config: config
    stream: TextIO | None = None
    stop: Callable[[], str | None] = lambda: None
    deadline: float | None = None

    def say(self, text: str) -> None:
        """Prints a line."""
        print("\n".join(map(printable, text.split("\n"))), file=self.stream or sys.stderr, flush=True)

    # -- training

    def check(self, members: Sequence[Member]) -> None:
        """Raises UserError if the workdir of a member, also of a finished one, has another run."""
        for one in members:
            try:
                check_config(self.workdir / "members" / one.name, one.config, None)
            except UserError as error:
                raise UserError(f"member {one.name}: {error}") from error

    def train(self, members: Sequence[Member], steps: int) -> str | None:
        """Trains members to `steps`, but those that are lost or done. Returns why it was stopped, or None.

        Raises:
            UserError: something that the user can correct.
            NonFiniteError: all members are lost.
        """
        left = [one for one in members if one.name not in self.record.lost]
        todo = [one for one in left if not is_finished(self.workdir, one.name, steps)]
        if not left:
            raise NonFiniteError(
                f"all members are lost; of the first one: {next(iter(self.record.lost.values()))}"
            )
        if not todo:
            return None
        seconds = None if self.deadline is None else max(0.0, self.deadline - time.monotonic())
        shared = {"stream": self.stream, "max_seconds": seconds, "stop": self.stop}
        if self.mode == "vmap":
            configs = {one.name: self.located(replace(one.config, steps=steps)) for one in members}
            lost = {one.name: self.record.lost[one.name] for one in members if one not in left}
            done = train_together(configs, self.workdir, lost=lost, on_lost=self.lose, **shared)
            return None if done is not None else self.stop() or "the time is up"
        commands = {one.name: self.command(one, steps) for one in todo}
        return train_apart(commands, self.workdir, self.places, on_lost=self.lose, **shared)

    def command(self, member: Member, steps: int) -> list[str]:
        """Returns the words behind `gan-jax train` that train a member."""
        longer = [] if steps == member.config.steps else [f"steps={steps}"]
        data = [] if self.data is None else ["--data", self.data]
        place = str(self.workdir / "members" / member.name)
        return [self.config, *member.overrides, *longer, "--workdir", place, *data]

    def lose(self, name: str, reason: str) -> None:
        """Writes down that a member is lost, and says so."""
        self.record.lose(name, reason)
        self.say(f"member {name} is lost: {reason}")

    # -- choosing

    def halve(self, members: Sequence[Member], steps: int, count: int) -> list[Member]:
        """Returns the `count` best of these members at `steps`; writes down which do not go on.

        Raises:
            UserError: none of them was measured there.
        """
        found = {one.name: scores(self.workdir, one.name, self.by).get(steps) for one in members}
        # One that was lost later counts all the same, so that a sweep that is resumed chooses the same members.
        measured = {name: value for name, value in found.items() if value is not None}
        if not measured:
            raise UserError(
                f"no member was measured at step {steps}, so none can be chosen by {self.by}: look into "
                f"{self.workdir / 'logs'}"
            )
        chosen = better_first(measured, self.by, count)
        self.record.drop([one.name for one in members if one.name not in chosen], steps)
        listed = ", ".join(f"{name} ({measured[name]:.4g})" for name in chosen)
        self.say(f"step {steps}: {len(chosen)} of {len(members)} members go on by {self.by}: {listed}")
        return [one for one in members if one.name in chosen]

    def standings(self, members: Sequence[Member]) -> list[Standing]:
        """Returns where each member is."""
        states = {**dict.fromkeys(self.record.dropped, "dropped"), **dict.fromkeys(self.record.lost, "lost")}
        return [standing(self.workdir, one.name, one.values, self.by, states.get(one.name, "")) for one in members]

    def show(self, members: Sequence[Member]) -> Standing | None:
        """Prints the table, writes the page, and returns the best member; None: none was measured."""
        standings = self.standings(members)
        self.say(table_text(standings, self.paths, self.by))
        page = write_page(self.workdir, self.title, standings, self.paths, self.by)
        best = best_of(standings, self.by)
        if best is not None and best.score is not None:
            place = self.workdir / "members" / best.name
            self.say(f"best: {best.name} ({self.by} {best.score:.4g} at step {best.scored}), in {place}")
        else:
            self.say("no member was measured, so none is the best: metrics.every=N measures every N steps")
        self.say(f"look at:\n  {page}")
        return best


def run_sweep(sweep: Sweep, members: Sequence[Member], stages: Sequence[tuple[int, int]]) -> bool:
    """Trains members through stages, each `(steps, members)`: the best of one stage train in the next.

    Returns:
        Whether all is done; False if the sweep was stopped first: all is saved, and the same call goes on.

    Raises:
        UserError: something that the user can correct.
        NonFiniteError: all members are lost.
    """
    sweep.check(members)
    sweep.record.dropped = {}  # it is decided anew, from the numbers on disk
    sweep.record.write()
    alive = list(members)
    for index, (steps, count) in enumerate(stages):
        if index:
            alive = sweep.halve(alive, stages[index - 1][0], count)
        if reason := sweep.train(alive, steps):
            sweep.say(f"{reason}: all is saved, the same command goes on")
            sweep.show(members)
            return False
        if index + 1 < len(stages):
            write_page(sweep.workdir, sweep.title, sweep.standings(members), sweep.paths, sweep.by)
    sweep.show(members)
    return True
