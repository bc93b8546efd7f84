"""The TPUs that a program can be compiled for, and what is published about them."""

import contextlib
import math
import os
import re
from collections.abc import Iterator

from ..errors import UserError, first_line
from .chips import EFFORT, EFFORTS, Chip, Target, installed, missing, topology


def _chip(name: str, memory_gb: float, bandwidth_gb: float, teraflops: float, page: str) -> Chip:
    # A product of float32 is one pass in bfloat16 by default, and six where full precision is asked for.
    peak = teraflops * 1e12
    rates = {"bf16": peak, "tf32": peak, "float32": peak / 6}
    source = f"https://cloud.google.com/tpu/docs/{page} (float32: from the number of passes)"
    return Chip(f"Google TPU {name}, {memory_gb:g} GB", memory_gb * 1e9, bandwidth_gb * 1e9, rates, source)


CHIPS = {
    "v4": _chip("v4", 32, 1228, 275, "v4"),
    "v5e": _chip("v5e", 16, 819, 197, "v5e"),
    "v5p": _chip("v5p", 95, 2765, 459, "v5p"),
    "v6e": _chip("v6e", 32, 1640, 918, "v6e"),
}
"""The chips, by the first part of a topology's name."""

_LESS_EFFORT = {EFFORT: EFFORTS["O1"]}  # docs/accelerators.md says what it changes

_NAME = re.compile(r"(v\d+[a-z]?|tpu\w+):(\d+(?:x\d+)+)$")


def find(name: str) -> Target | None:
    """Returns the target of a topology's name, such as "v5e:2x4", or None if `name` is none.

    Raises:
        UserError: the compiler for TPUs is not installed or knows no such topology, or the chip is not known here.
    """
    found = _NAME.match(name)
    if found is None:
        return None
    if found[1] not in CHIPS:
        raise UserError(
            f"target {name}: no rates of the chip {found[1]} are known here: there are {', '.join(CHIPS)}"
        )
    if not installed("libtpu"):
        raise missing("tpu", name)
    # Nothing is asked of a cloud's metadata server, and a second process does not wait for the first.
    for variable in ("TPU_SKIP_MDS_QUERY", "ALLOW_MULTIPLE_LIBTPU_LOAD"):
        os.environ.setdefault(variable, "1")
    try:
        with _quiet():
            devices = topology("tpu", name)
    except Exception as error:  # of the plugin: the types differ between versions
        raise UserError(
            f"target {name}: the TPU's compiler knows no such topology; try {found[1]}:2x2 or another "
            f"({first_line(error)[:200]})"
        ) from error
    chips = math.prod(int(side) for side in found[2].split("x"))
    chip = CHIPS[found[1]]
    if len(devices) > chips:  # a device is one of several cores of a chip
        share = chips / len(devices)
        rates = {kind: rate * share for kind, rate in chip.rates.items()}
        chip = Chip(chip.name, chip.memory * share, chip.bandwidth * share, rates, chip.source)
    return Target(name, "tpu", chip, devices, {}, less_effort=_LESS_EFFORT)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hides what libtpu writes to standard error as it starts: that this computer has no TPU."""
    saved = os.dup(2)
    with open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
