"""Lists what a compiled program runs: each kernel, how often, and what it computes, sends or moves."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from .fused_collectives import fused_collective
from .fused_collectives import kind as collective_kind
from .hlo import Array, Computation, HLOError, Instruction, Module
from .products import Product, products
from .traffic import results, traffic

# What the compiler resolves without a kernel.
_NO_KERNEL = {
    "parameter", "constant", "get-tuple-element", "tuple", "bitcast", "after-all", "opt-barrier", "partition-id",
    "replica-id", "add-dependency", "domain", "get-dimension-size",
}  # fmt: skip
_NO_WORK = {"AllocateBuffer", "AssumeGatherIndicesInBound", "Sharding", "SPMDFullToShardShape"}


class Kernel(NamedTuple):
    """A kernel of a compiled program.

    Attributes:
        name: of its instruction.
        kind: "fusion", "matrix product", "convolution", "copy", "transpose", "sort", "collective", "scalar", or an
            opcode.
        call: a library's function, the kind of a collective, or nothing.
        count: how often one call of the program runs it: the product of the lengths of the loops around it. Of the
            branches of a conditional the one with the most traffic runs; the kernels of the others have 0.
        read, written: bytes of main memory, of one execution.
        products: the matrix products and convolutions in it.
        result: its largest result.
        payload: of a collective, the bytes that a device gives to the others or gets from them, whichever is more.
        moved: the largest array that it transposes, or copies to another layout; None: none.
        op_name: what it was traced from.
    """

    name: str
    kind: str
    call: str
    count: int
    read: int
    written: int
    products: tuple[Product, ...]
    result: Array | None
    payload: int
    moved: Array | None
    op_name: str

    @property
    def bytes(self) -> int:
        return self.read + self.written

    @property
    def flops(self) -> float:
        return sum(product.flops for product in self.products)


def kernels(module: Module) -> list[Kernel]:
    """Returns the kernels of a program, with those of its loops and branches."""
    return list(_kernels(module, module.entry, 1, set[str]()))


def _kernels(module: Module, name: str, count: int, chains: set[str]) -> Iterator[Kernel]:
    """Yields the kernels of a computation.

    Args:
        module: the program.
        name: of the computation.
        count: how often it runs.
        chains: those of the collectives that the callers started: one that starts before a loop may have a piece
            in its body, and runs once. (Seen in a program for TPUs whose loop is ADA's sampling.)
    """
    computation, chains = module[name], set(chains)
    for instruction in computation.instructions.values():
        opcode = instruction.opcode
        if opcode in _NO_KERNEL or opcode.endswith(("-done", "-update")):
            continue
        if opcode == "while":
            times = count * trip_count(module, instruction)
            yield from _kernels(module, instruction.called_by("body"), times, chains)
        elif opcode == "conditional":
            yield from _branches(module, instruction, count, chains)
        elif opcode == "call" or opcode == "async-start":
            for called in instruction.called:
                yield from _kernels(module, called, count, chains)
        elif instruction.attribute("custom_call_target") not in _NO_WORK:
            yield from _with_collective(module, computation, instruction, count, chains)


def _with_collective(
    module: Module, computation: Computation, instruction: Instruction, count: int, chains: set[str]
) -> Iterator[Kernel]:
    """Yields a kernel. The pieces of a collective that runs beside several fusions are one more kernel."""
    fused = fused_collective(module, instruction)
    if fused is None or not fused.chain:
        call = collective_kind(fused.instruction if fused else instruction)
        yield _kernel(module, computation, instruction, count, call)
        return
    if fused.chain not in chains:
        chains.add(fused.chain)
        whole = _kernel(module, fused.computation, fused.instruction, count, collective_kind(fused.instruction))
        yield whole._replace(read=0, written=0)  # the fusions have its traffic
    yield _kernel(module, computation, instruction, count, "")


def _branches(module: Module, instruction: Instruction, count: int, chains: set[str]) -> Iterator[Kernel]:
    branches = [list(_kernels(module, called, count, chains)) for called in instruction.called]
    most = max(range(len(branches)), key=lambda i: sum(k.count * k.bytes for k in branches[i]), default=0)
    for index, branch in enumerate(branches):
        for kernel in branch:
            yield kernel if index == most else kernel._replace(count=0)


def trip_count(module: Module, instruction: Instruction) -> int:
    """Returns how often the body of a `while` runs.

    The GPU's compiler says it. In a TPU's program it is the constant that the condition compares its counter with;
    the counter of a `lax.scan` starts at 0 and grows by 1.

    Raises:
        HLOError: the number of rounds is not known when the program is compiled.
    """
    if found := re.search(r'"known_trip_count":\{"n":"(\d+)"', instruction.attributes):
        return int(found[1])
    condition = module[instruction.called_by("condition")]
    root = condition.root
    while root.opcode == "fusion" and len(root.called) == 1:
        condition, root = module[root.called[0]], module[root.called[0]].root
    both = [*module[instruction.called_by("condition")].instructions.values(), *condition.instructions.values()]
    limits = [int(one.literal) for one in both if one.opcode == "constant" and one.literal.isdigit()]
    if root.opcode == "compare" and "direction=LT" in root.attributes and len(set(limits)) == 1:
        return limits[0]
    raise HLOError(f"how often the loop {instruction.name} runs depends on data, so it can't be counted")


def _kernel(
    module: Module, computation: Computation, instruction: Instruction, count: int, collective: str
) -> Kernel:
    found = tuple(products(module, computation.name, instruction.name))
    kind, call = ("collective", collective) if collective else _kind(instruction, found)
    read, written = traffic(module, computation, instruction)
    largest = max(instruction.arrays, key=lambda array: array.bytes, default=None)
    payload = 0
    if kind == "collective":
        given = sum(array.bytes for one in computation.operands(instruction) for array in one.arrays)
        payload = max(given, sum(array.bytes for array in results(instruction)))
    return Kernel(
        instruction.name, kind, call, count, read, written, found, largest, payload,
        moved(module, computation, instruction), instruction.op_name,
    )  # fmt: skip


def _kind(instruction: Instruction, found: tuple[Product, ...]) -> tuple[str, str]:
    opcode, target = instruction.opcode, instruction.attribute("custom_call_target")
    if found:
        triton = '"kind":"__triton' in instruction.attributes
        return found[0].kind, "triton" if triton else "" if not target else found[0].call
    if target:
        return ("sort" if "sort" in target.lower() else "custom call"), target
    if opcode == "fusion":
        kind = re.match(
            r"(?:wrapped|copy|input|loop)?_?(sort|copy|transpose)(?:_fusion)?(?:\.|$)", instruction.name
        )
        return (kind[1] if kind else "fusion"), ""
    if instruction.arrays and all(array.size == 1 for array in instruction.arrays):
        return "scalar", ""
    return opcode.removesuffix("-start"), ""


def moved(module: Module, computation: Computation, instruction: Instruction) -> Array | None:
    """Returns the largest array that an instruction transposes, or copies into another layout."""
    found = []
    if instruction.opcode == "fusion":
        for name in instruction.called:
            found += [moved(module, module[name], inner) for inner in module[name].instructions.values()]
    elif instruction.opcode in ("transpose", "copy", "copy-start"):
        before, after = computation.operands(instruction)[0].arrays[0], instruction.arrays[0]
        axes = instruction.attribute("dimensions").strip("{}").split(",")
        order = [int(axis) for axis in axes] if axes != [""] else list(range(len(after.dims)))
        if _physical(after, list(range(len(after.dims)))) != _physical(before, order, back=True):
            found.append(after)
    return max((array for array in found if array), key=lambda array: array.bytes, default=None)


def _physical(array: Array, order: list[int], back: bool = False) -> list[int]:
    """Returns the axes from slowest to fastest, without those of size 1, as axes of a transpose's result."""
    layout = array.order or tuple(reversed(range(len(array.dims))))
    axes = [axis for axis in reversed(layout) if array.dims[axis] > 1]
    return [order.index(axis) for axis in axes] if back else axes
