"""Reads the text of a compiled program: XLA's HLO, as `jax.stages.Compiled.as_text()` prints it."""

import functools
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

from ..errors import UserError

_BITS = {"pred": 8, "token": 0, "opaque": 0, "c64": 64, "c128": 128}
_ARRAY = re.compile(r"([a-z]\w*)\[([^\]]*)\](\{[^}]*\})?")
_HEADER = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{\s*$")
_INSTRUCTION = re.compile(r"^\s+(ROOT )?%?([\w.\-]+) = (.*)$")
_NAME = re.compile(r"%([\w.\-]+)")
_CALLED = re.compile(
    r"\b(?:calls|to_apply|body|condition|true_computation|false_computation|branch_computations|called_computations)"
    r"=(\{[^}]*\}|%?[\w.\-]+)"
)


class HLOError(UserError, ValueError):
    """The text is not the HLO of a compiled program, or is written in a way that is not known."""


@dataclass(frozen=True)
class Array:
    """The type of one array.

    Attributes:
        dtype: as XLA names it, such as "bf16".
        dims: the shape.
        layout: what stands in braces: the order of the axes from the one that varies fastest, then tiles, and the
            memory space as `S(n)`.
    """

    dtype: str
    dims: tuple[int, ...]
    layout: str = ""

    @property
    def size(self) -> int:
        return math.prod(self.dims)

    @property
    def bytes(self) -> int:
        return (self.size * bits(self.dtype) + 7) // 8

    @property
    def space(self) -> int:
        """The memory space: 0 is the device's main memory; on a TPU 1 is the memory on the chip."""
        found = re.search(r"S\((\d+)\)", self.layout)
        return int(found[1]) if found else 0

    @property
    def order(self) -> tuple[int, ...]:
        """The axes, from the one that varies fastest. Empty where the text does not say."""
        head = self.layout.split(":")[0]
        return tuple(int(axis) for axis in head.split(",") if axis.strip().isdigit())

    def __str__(self) -> str:
        return f"{self.dtype}[{','.join(map(str, self.dims))}]"


Type = Array | tuple  # a tuple holds types


@dataclass(frozen=True)
class Instruction:
    """One line of a computation.

    Attributes:
        name: unique in its computation.
        type: of the result.
        opcode: such as "fusion" or "custom-call".
        operands: names of instructions of the same computation.
        literal: what stands between the parentheses after the opcode.
        attributes: the rest of the line.
        is_root: whether its result is that of the computation.
    """

    name: str
    type: Type
    opcode: str
    operands: tuple[str, ...]
    literal: str
    attributes: str
    is_root: bool

    @property
    def arrays(self) -> list[Array]:
        """The arrays of the result, in order."""
        return list(leaves(self.type))

    @property
    def called(self) -> list[str]:
        """Names of the computations that it calls."""
        return [name.strip().lstrip("%") for group in _CALLED.findall(self.attributes)
                for name in group.strip("{}").split(",")]  # fmt: skip

    def attribute(self, name: str) -> str:
        """Returns an attribute up to the next comma or space, with its braces or without its quotes, or ""."""
        found = re.search(rf'\b{name}=("([^"]*)"|\{{[^}}]*\}}|[^,\s]+)', self.attributes)
        return "" if found is None else found[2] if found[2] is not None else found[1]

    def called_by(self, name: str) -> str:
        """Returns the name of the computation in an attribute such as "body"."""
        return self.attribute(name).lstrip("%")

    @property
    def op_name(self) -> str:
        """The path of what it was traced from, such as "jit(step)/Generator/conv", or ""."""
        return self.attribute("op_name").replace("\\'", "'")


@dataclass(frozen=True)
class Computation:
    """A list of instructions, in the order in which they run."""

    name: str
    instructions: dict[str, Instruction]

    @property
    def root(self) -> Instruction:
        return next((i for i in self.instructions.values() if i.is_root), list(self.instructions.values())[-1])

    @functools.cached_property
    def parameters(self) -> list[Instruction]:
        """The parameters, by their number."""
        found = [i for i in self.instructions.values() if i.opcode == "parameter"]
        return sorted(found, key=lambda i: int(i.literal))

    @functools.cached_property
    def users(self) -> dict[str, list[Instruction]]:
        """The instructions that read each instruction."""
        users: dict[str, list[Instruction]] = {name: [] for name in self.instructions}
        for instruction in self.instructions.values():
            for operand in dict.fromkeys(instruction.operands):
                users[operand].append(instruction)
        return users

    def operands(self, instruction: Instruction) -> list[Instruction]:
        return [self.instructions[name] for name in instruction.operands]


@dataclass(frozen=True)
class Module:
    """A compiled program.

    Attributes:
        computations: by name.
        entry: the name of the one that runs.
    """

    computations: dict[str, Computation]
    entry: str

    def __getitem__(self, name: str) -> Computation:
        return self.computations[name]


def bits(dtype: str) -> int:
    """Returns the bits of one number of a type, such as 16 for "bf16"."""
    if dtype in _BITS:
        return _BITS[dtype]
    found = re.match(r"[a-z]+?(\d+)", dtype)
    if found is None:
        raise HLOError(f"the type {dtype!r} is not known")
    return int(found[1])


def leaves(kind: Type) -> Iterator[Array]:
    if isinstance(kind, Array):
        yield kind
    else:
        for part in kind:
            yield from leaves(part)


def parse(text: str) -> Module:
    """Reads a whole program.

    Raises:
        HLOError: the text is not that of a compiled program.
    """
    computations: dict[str, Computation] = {}
    entry, name, instructions = "", "", {}
    for line in text.splitlines():
        if header := _HEADER.match(line):
            name, instructions = header[2], {}
            entry = name if header[1] else entry
        elif line.startswith("}") and name:
            computations[name] = Computation(name, instructions)
            name = ""
        elif name and (found := _INSTRUCTION.match(line)):
            instructions[found[2]] = _instruction(found[2], found[3], bool(found[1]))
    if not entry or entry not in computations:
        raise HLOError("the text has no entry computation: it is not that of a compiled program")
    return Module(computations, entry)


def _instruction(name: str, text: str, is_root: bool) -> Instruction:
    kind, end = _type(text, 0)
    start = text.index("(", end)
    close = _closing(text, start)
    literal = text[start + 1 : close]
    opcode = text[end:start].strip()
    operands = () if opcode in ("constant", "parameter") else tuple(_NAME.findall(literal))
    return Instruction(name, kind, opcode, operands, literal, text[close + 1 :], is_root)


def _type(text: str, start: int) -> tuple[Type, int]:
    """Reads a type that begins at `start`, and returns it and where it ends."""
    if text[start] != "(":
        found = _ARRAY.match(text, start)
        if found is None:
            raise HLOError(f"this is not a type: {text[start : start + 60]!r}")
        dims = tuple(int(d.strip().lstrip("<=")) for d in found[2].split(",") if d.strip())
        return Array(found[1], dims, (found[3] or "").strip("{}")), found.end()
    parts, at = [], start + 1
    while True:
        at = re.compile(r"(?:/\*.*?\*/|[\s,])*").match(text, at).end()  # type: ignore[union-attr]
        if text[at] == ")":
            return tuple(parts), at + 1
        part, at = _type(text, at)
        parts.append(part)


def _closing(text: str, start: int) -> int:
    """Returns where the parenthesis that opens at `start` closes; text in quotes is skipped."""
    depth, quoted = 0, False
    for at in range(start, len(text)):
        char = text[at]
        if char == '"' and text[at - 1] != "\\":
            quoted = not quoted
        elif not quoted and char in "()":
            depth += 1 if char == "(" else -1
            if depth == 0:
                return at
    raise HLOError(f"a parenthesis is not closed: {text[:60]!r}")
