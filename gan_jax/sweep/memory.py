"""The memory of a step of several members in one program, as the compiler counts it."""

import dataclasses
from collections.abc import Sequence

from ..config import Config
from ..runtime.hosts import Hosts
from ..runtime.startup_timings import Timings
from ..train.prepare import prepare
from .program import PopulationPrograms
from .together import for_one_device, prepare_all


def step_memory(members: Sequence[Config]) -> int | None:
    """Returns the bytes of a step of these members together; None where the compiler does not say.

    The data set that a device keeps is counted too.

    Raises:
        UserError: one program cannot compute all members.
    """
    members = [for_one_device(dataclasses.replace(member, init_from="")) for member in members]
    one = prepare(members[0], Hosts(), Timings())
    everything = prepare_all(members, one)
    assert isinstance(everything.programs, PopulationPrograms)
    memory = everything.programs.lower_for(everything.source).compile().memory_analysis()
    if memory is None:
        return None
    return (
        memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes
        - memory.alias_size_in_bytes
    )  # fmt: skip
