"""The members of a population: those that train on, and the carry of each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..step.meter import Carry
from ..train.prepare import Prepared
from ..train.provenance import Provenance
from ..train.recorder import Recorder
from ..train.run_checkpoints import RunCheckpoints
from .program import PopulationPrograms


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


class Members:
    """All members, and their carries."""

    def __init__(self, members: Sequence[Member], programs: PopulationPrograms):
        self.members, self.programs = list(members), programs

    def alive(self) -> Iterator[tuple[int, Member]]:
        """Yields the members that are not lost, with their places."""
        return ((i, member) for i, member in enumerate(self.members) if member.lost is None)

    def carries(self, carry: Carry) -> Iterator[tuple[Member, Carry]]:
        """Yields the members that are not lost, with their carries."""
        return ((member, self.programs.take(carry, i)) for i, member in self.alive())
