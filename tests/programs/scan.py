"""Reads a compiled program's text: slow convolutions, copies of feature maps, collectives."""

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

_ARRAY = re.compile(r"(\w+)\[([\d,]*)\]")
_COLLECTIVE = re.compile(
    r"= (.*?) (all-gather|all-reduce|reduce-scatter|all-to-all|collective-permute)(?:-start)?\("
)


class Collective(NamedTuple):
    """One collective: its kind, and the element counts of what it gives."""

    kind: str
    sizes: tuple[int, ...]


def _dimensions(shape: str) -> tuple[int, ...]:
    return tuple(int(n) for n in shape.split(",") if n)


def slow_convolutions(text: str, batch: int) -> list[str]:
    """Returns the kernel gradients that cuDNN gets as forward convolutions: their result counts no samples."""
    slow = []
    for line in text.splitlines():
        if 'custom_call_target="__cudnn$conv' not in line or "convBackwardFilter" in line:
            continue
        result = _dimensions(_ARRAY.findall(line)[0][1])
        if all(n % batch for n in result):
            window = re.search(r"window=\{[^}]*\}", line)
            slow.append(f"{list(result)} {window.group() if window else ''} {_source(line)}")
    return slow


def copied_maps(text: str, batch: int, elements: int) -> list[str]:
    """Returns the copies and transposes of maps with at least so many elements and more than 4 channels."""
    found = []
    for line in text.splitlines():
        match = re.match(r"\s*(?:ROOT )?\S+ = (\w+)\[([\d,]+)\]\S* (copy|copy-start|transpose)\(", line)
        if match is None:
            continue
        shape = _dimensions(match[2])
        of_samples = any(n % batch == 0 for n in shape)
        if of_samples and min(shape) > 3 and len(shape) > 2 and math.prod(shape) >= elements:
            found.append(f"{match[3]} {match[1]}{list(shape)} {_source(line)}")
    return found


def collectives(text: str) -> Iterator[Collective]:
    """Yields the collectives of a program."""
    for line in text.splitlines():
        if match := _COLLECTIVE.search(line):
            # An asynchronous one lists its operands first: their arrays come first, and as many results follow.
            sizes = [math.prod(_dimensions(shape)) for _, shape in _ARRAY.findall(match[1])]
            if match[1].startswith("((") and "-start(" in line:
                sizes = sizes[len(sizes) // 2 :]
            yield Collective(match[2], tuple(sizes))


def _source(line: str) -> str:
    match = re.search(r'op_name="([^"]*)"', line)
    return match[1] if match else ""
