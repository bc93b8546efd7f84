"""What all members of a population show: the files of each, and one progress line for all."""

import contextlib
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TextIO

from ..errors import printable
from ..step.meter import Carry, Means
from .members import Member, Members
from .population_checkpoints import MEMBERS
from .program import PopulationPrograms


class PopulationRecorder(Members):
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
