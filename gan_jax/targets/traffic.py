"""Counts the bytes of main memory that an instruction of a compiled program reads and writes."""

from .hlo import Array, Computation, Instruction, Module
from .products import CUBLAS, CUDNN

_PASSING = ("bitcast", "reshape", "copy", "convert")  # an operand goes through them unchanged
_SLICES = ("dynamic-slice", "slice", "gather")


def results(instruction: Instruction) -> list[Array]:
    """Returns the results of an instruction; that of an `all-gather-start` names its operands first."""
    arrays, operands = instruction.arrays, len(instruction.operands)
    return arrays[operands:] if instruction.opcode.endswith("-start") and len(arrays) > operands else arrays


def traffic(module: Module, computation: Computation, instruction: Instruction) -> tuple[int, int]:
    """Returns the bytes of main memory that an instruction reads and writes.

    An operand that is only cut (a slice of the data set, one step of a scan) counts as what is cut out of it; a
    result that is written into an operand counts as what is new. An array in the memory on a TPU's chip does not
    count, nor does a library's workspace.
    """
    opcode = instruction.opcode
    operands = [computation.instructions[name] for name in dict.fromkeys(instruction.operands)]
    if opcode in _SLICES:
        return _bytes(instruction) + sum(map(_bytes, operands[1:])), _bytes(instruction)
    if opcode == "dynamic-update-slice":
        return _bytes(operands[1]), _bytes(operands[1])
    if opcode == "copy-start":
        arrays = instruction.arrays  # what is made, what it is made of, and a token
        return _array_bytes(arrays[1]), _array_bytes(arrays[0])
    if opcode.endswith("-start"):
        return sum(map(_bytes, operands)), sum(map(_array_bytes, results(instruction)))
    if opcode == "custom-call" and instruction.attribute("custom_call_target").startswith((CUDNN, CUBLAS)):
        return sum(map(_bytes, operands)), _array_bytes(instruction.arrays[0])
    if opcode != "fusion":
        return sum(map(_bytes, operands)), _bytes(instruction)
    fused = module[instruction.called[0]]
    read = 0
    for operand in operands:
        places = [index for index, name in enumerate(instruction.operands) if name == operand.name]
        parts = [_read(module, fused, fused.parameters[index], _bytes(operand)) for index in places]
        read += min(_bytes(operand), sum(parts))
    return read, _written(fused, fused.root, instruction.arrays)


def _read(module: Module, computation: Computation, parameter: Instruction, whole: int) -> int:
    """Returns the bytes that a fused computation reads of one of its parameters, which has `whole` bytes."""
    total = 0
    for user in computation.users[parameter.name]:
        first = user.operands[0] == parameter.name
        if user.opcode in _SLICES and first and parameter.name not in user.operands[1:]:
            total += min(whole, _bytes(user)) if whole else 0
        elif user.opcode == "dynamic-update-slice" and first and parameter.name not in user.operands[1:]:
            continue  # what is written into
        elif user.opcode == "fusion":
            inner = module[user.called[0]]
            places = [inner.parameters[i] for i, name in enumerate(user.operands) if name == parameter.name]
            total += sum(_read(module, inner, place, whole) for place in places)
        elif user.opcode in _PASSING and not user.is_root:
            total += _read(module, computation, user, whole)
        else:
            return whole
    return min(total, whole)


def _written(computation: Computation, root: Instruction, results: list[Array]) -> int:
    """Returns the bytes that a fused computation writes; its results are `results`."""
    if root.opcode == "tuple":
        parts = computation.operands(root)
        return sum(_written(computation, part, [array]) for part, array in zip(parts, results))
    seen = root
    while seen.opcode in _PASSING:
        seen = computation.instructions[seen.operands[0]]
    if seen.opcode == "dynamic-update-slice":
        return min(_bytes(computation.instructions[seen.operands[1]]), sum(map(_array_bytes, results)))
    return sum(map(_array_bytes, results))


def _array_bytes(array: Array) -> int:
    return 0 if array.space == 1 else array.bytes


def _bytes(instruction: Instruction) -> int:
    return sum(map(_array_bytes, instruction.arrays))
