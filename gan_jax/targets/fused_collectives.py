"""Collectives that a TPU's compiler put into fusions.

A fusion may contain a collective with what makes or cuts its operand. Or a collective runs while several fusions
compute: then each of them contains a piece of it, and all pieces have the same `chain_id`.
"""

from typing import NamedTuple

from .hlo import Computation, Instruction, Module

COLLECTIVES = (
    "all-reduce", "all-gather", "reduce-scatter", "all-to-all", "ragged-all-to-all", "collective-permute",
    "collective-broadcast",
)  # fmt: skip


class FusedCollective(NamedTuple):
    """A collective in a fusion.

    Attributes:
        computation: the fused computation.
        instruction: the collective in it.
        chain: the `chain_id`, or "" where the whole collective is in this fusion.
    """

    computation: Computation
    instruction: Instruction
    chain: str


def kind(instruction: Instruction) -> str:
    """Returns the kind of a collective, such as "all-reduce"; "" for another instruction."""
    opcode = instruction.opcode.removesuffix("-start")
    return opcode if opcode in COLLECTIVES else ""


def fused_collective(module: Module, fusion: Instruction) -> FusedCollective | None:
    """Returns the collective in a fusion; None if there is none, or if it is no fusion."""
    if fusion.opcode == "fusion":
        for computation in map(module.__getitem__, fusion.called):
            for inner in computation.instructions.values():
                if kind(inner):
                    return FusedCollective(computation, inner, inner.attribute("chain_id"))
    return None
