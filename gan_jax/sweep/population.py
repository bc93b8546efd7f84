"""Members that train together in one program: what `train.loop.Run` calls, for all members at once.

Each class does what the class of its name in `gan_jax.train` does, with that of each member. So every member has
the files of an ordinary run. A member whose numbers are not finite is lost: its row of every array is computed on,
because the program stays the same, and nothing of it is written any more.
"""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import jax
import numpy as np

from ..data.loader import Loader
from ..errors import NonFiniteError, UserError, printable
from ..runtime.placement import Placement
from ..step.meter import Carry, FirstBad, Means
from ..train.loop import Run
from ..train.prepare import Prepared
from ..train.provenance import Provenance
from ..train.recorder import Recorder
from ..train.run_checkpoints import RunCheckpoints
from ..types import PyTree
from .program import PopulationPrograms

MEMBERS = "members"  # in the record that `restore` returns: the record of each member, by its place


@dataclass
class Member:
    """One member of a population, and what writes its files.

    Attributes:
        lost: why it is lost; None: it trains.
    """

    name: str
    workdir: Path
    prepared: Prepared
    recorder: Recorder
    checkpoints: RunCheckpoints
    provenance: Provenance
    lost: str | None = None


class PopulationPlacement(Placement):
    """One device, on which `count` members train in one program."""

    count = 1

    def environment(self) -> dict[str, object]:
        """Returns what the bits of a member depend on besides its config and seed."""
        return {**super().environment(), "mode": f"vmap of {self.count}"}


class _All:
    """All members, and their carries."""

    def __init__(self, members: Sequence[Member], programs: PopulationPrograms):
        self.members, self.programs = list(members), programs

    def alive(self) -> Iterator[tuple[int, Member]]:
        """Yields the members that are not lost, with their places."""
        return ((i, member) for i, member in enumerate(self.members) if member.lost is None)

    def carries(self, carry: Carry) -> Iterator[tuple[Member, Carry]]:
        """Yields the members that are not lost, with their carries."""
        return ((member, self.programs.take(carry, i)) for i, member in self.alive())


class PopulationCheckpoints(_All):
    """The checkpoints of all members; see `RunCheckpoints`. `on_lost` hears of a member that is lost."""

    def __init__(self, members: Sequence[Member], programs: PopulationPrograms, on_lost: Callable[[Member], None]):
        super().__init__(members, programs)
        self._on_lost = on_lost

    def restore(self, grid: bool = False) -> tuple[int, Carry, dict[str, Any]] | None:
        """Restores the newest step that all members have. Later checkpoints of single members are deleted.

        A kill may come while some members have saved a step and others have not.

        Raises:
            UserError: members have checkpoints, but none of the same step.
        """
        steps = {member.name: member.checkpoints.good_steps() for _, member in self.alive()}
        common = set.intersection(*map(set, steps.values()))
        if not common:
            if all(steps.values()) or any(len(found) > 1 for found in steps.values()):
                told = "; ".join(
                    f"{name}: {', '.join(map(str, found)) or 'none'}" for name, found in steps.items()
                )
                raise UserError(
                    f"the members have no checkpoint of the same step ({told}): restore them from a backup, or go "
                    "on with --members processes, which trains each from its own"
                )
            for _, member in self.alive():  # the kill came during the first save
                member.checkpoints.forget_after(0)
            return None
        step, records = max(common), {}
        carries: list[Carry | None] = [None] * len(self.members)
        for place, member in self.alive():
            restored = member.checkpoints.restore(step=step)
            assert restored is not None
            _, carries[place], records[place] = restored
            member.checkpoints.forget_after(step)
        first = next(one for one in carries if one is not None)
        # A lost member gets the values of another one: its row is not read.
        carry = self.programs.stack([first if one is None else one for one in carries])
        return step, carry, {**next(iter(records.values())), MEMBERS: records}

    def save(self, step: int, carry: Carry, **record: Any) -> None:
        """Starts to save a checkpoint of each member."""
        self.wait()  # so that all members have the step before, whenever a kill comes
        measured, provenance = record.pop("measured", {}), record.pop("provenance", {})
        for place, member in self.alive():
            more = {**record, **measured.get(place, {}), **provenance.get(place, {})}
            member.checkpoints.save(step, self.programs.take(carry, place), **more)

    def wait(self) -> None:
        for _, member in self.alive():
            member.checkpoints.wait()

    @property
    def settled(self) -> int:
        """The newest step that all members will never go back behind; -1: none."""
        return min((member.checkpoints.settled for _, member in self.alive()), default=-1)

    def forget_after(self, step: int) -> None:
        for _, member in self.alive():
            member.checkpoints.forget_after(step)

    def check_finite(self, bad: Sequence[FirstBad | None]) -> None:  # type: ignore[override]
        """Marks members whose metrics are not finite as lost. Raises NonFiniteError if none is left."""
        for place, member in list(self.alive()):
            try:
                member.checkpoints.check_finite(bad[place])
            except NonFiniteError as error:
                member.lost = str(error)
                member.recorder.say(str(error))
                self._on_lost(member)
        if all(member.lost for member in self.members):
            raise NonFiniteError(f"no member is left; of the first one: {self.members[0].lost}")


class PopulationProvenance(_All):
    """Where all members come from; see `Provenance`. No member changes on the way, so none has to save at once."""

    begins = False

    def resume(self, step: int, record: Mapping[str, Any]) -> list[str]:
        lines = [
            f"{member.name}: {line}"
            for place, member in self.alive()
            for line in member.provenance.resume(step, record[MEMBERS][place])
        ]
        return lines

    def begin(self) -> None:
        for _, member in self.alive():
            member.provenance.begin()

    def record(self) -> dict[str, object]:
        return {"provenance": {place: member.provenance.record() for place, member in self.alive()}}

    def write(self, workdir: Path) -> None:
        for _, member in self.alive():
            member.provenance.write(member.workdir)


class PopulationRecorder(_All):
    """What all members show; see `Recorder`. It prints one progress line for all."""

    def __init__(self, members: Sequence[Member], programs: PopulationPrograms, stream: TextIO | None):
        super().__init__(members, programs)
        self._stream = stream or sys.stderr
        self._first: tuple[int, float] | None = None

    def say(self, text: str) -> None:
        """Prints a line."""
        print("\n".join(map(printable, text.split("\n"))), file=self._stream, flush=True)

    @contextlib.contextmanager
    def writing(self, step: int, record: Mapping[str, Any]) -> Iterator[None]:
        self._first = None
        with contextlib.ExitStack() as stack:
            for place, member in self.alive():
                stack.enter_context(member.recorder.writing(step, record[MEMBERS][place] if record else {}))
            yield

    def log(self, step: int, means: Sequence[Means]) -> None:
        for place, member in self.alive():
            member.recorder.log(step, means[place])
        now, left = time.perf_counter(), sum(1 for _ in self.alive())
        text = f"step {step}/{self.members[0].prepared.config.steps}  members {left}"
        if self._first is None:
            self._first = step, now
        else:
            speed = (step - self._first[0]) / (now - self._first[1])
            text += f"  steps/s {speed:.3g}"
        self.say(text)

    def say_rest(self, step: int, carry: Carry) -> None:
        for member, one in self.carries(carry):
            member.recorder.say_rest(step, one)

    def draw_reals(self) -> None:
        for _, member in self.alive():
            member.recorder.draw_reals()

    def draw(self, step: int, carry: Carry, new: bool = True) -> None:
        for member, one in self.carries(carry):
            member.recorder.draw(step, one, new)

    def settle(self, step: int) -> None:
        for _, member in self.alive():
            member.recorder.settle(step)

    def lacks_metrics(self, step: int) -> bool:
        return any(member.recorder.lacks_metrics(step) for _, member in self.alive())

    def measure(self, step: int, carry: Carry) -> None:
        for member, one in self.carries(carry):
            member.recorder.measure(step, one)

    def measured(self, step: int) -> dict[str, object]:
        return {"measured": {place: member.recorder.measured(step) for place, member in self.alive()}}

    def finish(self, step: int, carry: Carry) -> str:
        """Writes the pages of all members, and returns their digests."""
        digests = [member.recorder.finish(step, one) for member, one in self.carries(carry)]
        return " ".join(digests)


class PopulationLoader:
    """Loads a batch for each member, `[N, ...]`; see `data.loader.Loader`."""

    def __init__(self, loaders: Sequence[Loader]):
        self._loaders, self._stack = loaders, contextlib.ExitStack()

    @property
    def spec(self) -> dict[str, jax.ShapeDtypeStruct]:
        count = len(self._loaders)
        return {
            name: jax.ShapeDtypeStruct((count, *one.shape), one.dtype)
            for name, one in self._loaders[0].spec.items()
        }

    def __next__(self) -> dict[str, np.ndarray]:
        return jax.tree.map(lambda *rows: np.stack(rows), *(next(loader) for loader in self._loaders))

    def __enter__(self) -> "PopulationLoader":
        for loader in self._loaders:
            self._stack.enter_context(loader)
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)


class PopulationRun(Run):
    """The loop of `Run`, for all members. Members with the same seed see the same batches."""

    def _loader(self, step: int) -> PyTree:
        programs = self.programs
        assert isinstance(programs, PopulationPrograms)
        if len(programs.seeds) == 1:
            return self._load(step, programs.seeds[0])
        return PopulationLoader([self._load(step, seed) for seed in programs.seeds])
