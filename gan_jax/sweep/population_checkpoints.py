"""The checkpoints of all members of a population, and where the members come from."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import NonFiniteError, UserError
from ..step.meter import Carry, FirstBad
from .members import Member, Members
from .program import PopulationPrograms

MEMBERS = "members"  # in the record that `restore` returns: the record of each member, by its place


class PopulationCheckpoints(Members):
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
                listed = "; ".join(
                    f"{name}: {', '.join(map(str, found)) or 'none'}" for name, found in steps.items()
                )
                raise UserError(
                    f"the members have no checkpoint of the same step ({listed}): restore them from a backup, or "
                    "go on with --members processes, which trains each from its own"
                )
            for _, member in self.alive():  # the kill came during the first save
                member.checkpoints.forget_after(0)
            return None
        step, records = max(common), {}
        carries: list[Carry | None] = [None] * len(self.members)
        for place, member in self.alive():
            if steps[member.name][-1] > step:
                member.recorder.say(f"checkpoints after step {step} are removed: other members lack them")
            restored = member.checkpoints.restore(step=step)
            assert restored is not None
            _, carries[place], records[place] = restored
            member.checkpoints.forget_after(step)
        first = next(one for one in carries if one is not None)
        # A lost member gets the values of another one: its row is not read.
        carry = self.programs.stack([first if one is None else one for one in carries])
        return step, carry, {**next(iter(records.values())), MEMBERS: records}

    def save(self, step: int, carry: Carry, **record: Any) -> None:
        """Starts to save a checkpoint of each member. Raises NonFiniteError if none is left."""
        self.wait()  # so that all members have the step before, whenever a kill comes
        measured, provenance = record.pop("measured", {}), record.pop("provenance", {})
        for place, member in self.alive():
            more = {**record, **measured.get(place, {}), **provenance.get(place, {})}
            member.checkpoints.save(step, self.programs.take(carry, place), **more)

    def wait(self) -> None:
        """Waits until all are saved. A member whose state is not finite is lost: it has no such checkpoint."""
        for _, member in list(self.alive()):
            with self._lost_if_not_finite(member):
                member.checkpoints.wait()
        self._check_left()

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
            with self._lost_if_not_finite(member):
                member.checkpoints.check_finite(bad[place])
        self._check_left()

    @contextlib.contextmanager
    def _lost_if_not_finite(self, member: Member) -> Iterator[None]:
        try:
            yield
        except NonFiniteError as error:
            member.lost = str(error)
            member.recorder.say(str(error))
            self._on_lost(member)

    def _check_left(self) -> None:
        if all(member.lost for member in self.members):
            raise NonFiniteError(f"no member is left; of the first one: {self.members[0].lost}")


class PopulationProvenance(Members):
    """Where all members come from; see `Provenance`. No member changes on the way, so none has to save at once."""

    begins = False

    def resume(self, step: int, record: Mapping[str, Any]) -> list[str]:
        return [
            f"{member.name}: {line}"
            for place, member in self.alive()
            for line in member.provenance.resume(step, record[MEMBERS][place])
        ]

    def begin(self) -> None:
        for _, member in self.alive():
            member.provenance.begin()

    def record(self) -> dict[str, object]:
        return {"provenance": {place: member.provenance.record() for place, member in self.alive()}}

    def write(self, workdir: Path) -> None:
        for _, member in self.alive():
            member.provenance.write(member.workdir)
