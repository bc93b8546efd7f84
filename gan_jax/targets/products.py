"""Finds the matrix products and convolutions of a compiled program, and counts their operations."""

import json
import math
import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

from .arithmetic import Window, convolution_flops, matmul_flops
from .hlo import Array, HLOError, Instruction, Module

CUDNN = "__cudnn$conv"
CUBLAS = "__cublas$"
_DIRECTIONS: dict[str, Literal["input", "kernel"]] = {"BackwardInput": "input", "BackwardFilter": "kernel"}


class Product(NamedTuple):
    """A matrix product or a convolution.

    Attributes:
        kind: which of the two.
        call: what computes it: a library's function, such as "convBackwardFilter", or "dot" or "convolution".
        dtype: of its operands, the one with fewer bits.
        precise: whether full precision of float32 is asked for.
        flops: of one execution.
        shapes: of the operands and the result, as text.
        groups: of a convolution.
        slow: why a library has no fast kernel for it, or "".
        op_name: what it was traced from.
    """

    kind: Literal["matrix product", "convolution"]
    call: str
    dtype: str
    precise: bool
    flops: float
    shapes: str
    groups: int
    slow: str
    op_name: str


def products(module: Module, computation: str, name: str) -> Iterator[Product]:
    """Yields the products in one instruction, and in the computations of a fusion."""
    instruction = module[computation].instructions[name]
    if (product := _product(module, computation, instruction)) is not None:
        yield product
    elif instruction.opcode in ("fusion", "call") or instruction.opcode.startswith("async-"):
        for called in instruction.called:
            for inner in module[called].instructions:
                yield from products(module, called, inner)


def _product(module: Module, computation: str, instruction: Instruction) -> Product | None:
    target = instruction.attribute("custom_call_target")
    if instruction.opcode not in ("dot", "convolution") and not target.startswith((CUDNN, CUBLAS)):
        return None
    operands = [one.arrays[0] for one in module[computation].operands(instruction)[:2]]
    if instruction.opcode == "convolution" or target.startswith(CUDNN):
        return _convolution(instruction, target, operands)
    return _matrix_product(instruction, target, operands)


def _precise(instruction: Instruction) -> bool:
    found = re.search(r'operand_precision"?[=:][{\[]"?(\w+)', instruction.attributes)
    return found is not None and found[1].lower() == "highest"


def _narrow(operands: list[Array]) -> str:
    return min((one.dtype for one in operands), key=lambda dtype: int(re.sub(r"^\D+|\D.*$", "", dtype) or 8))


def _matrix_product(instruction: Instruction, target: str, operands: list[Array]) -> Product:
    """A dot, or a call of cuBLAS, whose dimension numbers are in its backend config."""
    lhs, result = operands[0], instruction.arrays[0]
    if target:
        found = re.search(r'"lhs_contracting_dimensions":(\[[^\]]*\])', instruction.attributes)
        axes = [int(axis) for axis in json.loads(found[1])] if found else []
    else:
        axes = [int(a) for a in instruction.attribute("lhs_contracting_dims").strip("{}").split(",") if a]
    return Product(
        "matrix product", target.removeprefix("__") or "dot", _narrow(operands), _precise(instruction),
        matmul_flops(result.size, math.prod(lhs.dims[axis] for axis in axes)),
        _shapes(operands, result), 1, "", instruction.op_name,
    )  # fmt: skip


def _convolution(instruction: Instruction, target: str, operands: list[Array]) -> Product:
    """A convolution, or a call of cuDNN, whose window is always that of the forward convolution."""
    result, call = instruction.arrays[0], target.removeprefix("__cudnn$") or "convolution"
    direction = next((way for word, way in _DIRECTIONS.items() if word in call), "forward")
    image, kernel, output = {
        "forward": (operands[0], operands[1], result),
        "input": (result, operands[1], operands[0]),
        "kernel": (operands[0], result, operands[1]),
    }[direction]
    labels = re.match(r"(\w+)_(\w+)->(\w+)", instruction.attribute("dim_labels"))
    if labels is None:
        raise HLOError(f"the convolution {instruction.name} has no dim_labels")
    axes = sorted(label for label in labels[1] if label.isdigit())
    windows = _windows(instruction.attribute("window"), len(axes))

    def size(array: Array, labelled: str, label: str) -> int:
        return array.dims[labelled.index(label)]

    sizes = tuple(
        (size(image, labels[1], axis), size(output, labels[3], axis), window)
        for axis, window in zip(axes, windows)
    )
    batch_groups = int(instruction.attribute("batch_group_count") or 1)
    flops = convolution_flops(
        size(image, labels[1], "b") // batch_groups, size(kernel, labels[2], "i"), size(kernel, labels[2], "o"),
        sizes,
    )  # fmt: skip
    return Product(
        "convolution", call, _narrow(operands), _precise(instruction), flops, _shapes(operands, result),
        int(instruction.attribute("feature_group_count") or batch_groups),
        _slow(sizes) if target and direction == "forward" else "", instruction.op_name,
    )  # fmt: skip


def _windows(text: str, axes: int) -> list[Window]:
    """Reads `{size=4x4 stride=2x2 pad=1_1x1_1 lhs_dilate=.. rhs_dilate=.. rhs_reversal=..}`."""
    fields = dict(field.split("=") for field in text.strip("{}").split())

    def numbers(name: str, default: str) -> list[str]:
        return fields[name].split("x") if name in fields else [default] * axes

    pads = [[int(side) for side in pad.split("_")] for pad in numbers("pad", "0_0")]
    columns = [map(int, numbers(name, "1")) for name in ("size", "stride", "lhs_dilate", "rhs_dilate")]
    return [Window(size, stride, low, high, lhs, rhs)
            for size, stride, lhs, rhs, (low, high) in zip(*columns, pads)]  # fmt: skip


def _slow(sizes: tuple[tuple[int, int, Window], ...]) -> str:
    """Says why cuDNN has no fast kernel for a forward convolution.

    XLA writes some kernel gradients so: the "kernel" is a gradient as large as the map, dilated where the forward
    convolution has a stride, and the output is as small as a kernel.
    """

    def covers(size: int, out: int, window: Window) -> bool:
        extent = (window.size - 1) * window.rhs_dilation + 1
        whole = window.rhs_dilation > 1 or window.size >= size
        # The gradient of a kernel has no stride: that of the forward convolution became the dilation.
        return window.stride == 1 and window.size > 1 and out > 1 and whole and 2 * extent >= size

    return "a kernel gradient as a forward convolution" if sizes and all(covers(*one) for one in sizes) else ""


def _shapes(operands: list[Array], result: Array) -> str:
    return f"{' x '.join(map(str, operands))} -> {result}"
