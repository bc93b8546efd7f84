"""Finds a target by its name."""

from ..errors import UserError, one_line
from . import gpus, tpus
from .chips import Target

TOPOLOGIES = ("v5e:2x4", "v5p:2x2x1", "v6e:4x4")  # examples: libtpu knows many


def find(name: str) -> Target:
    """Returns the target "h200", "h200:8" (eight in one host) or "v5e:2x4" (a topology of libtpu).

    It starts no device and needs none: JAX can use the CPU (`JAX_PLATFORMS=cpu`).

    Raises:
        UserError: there is no such target, or its compiler is not installed.
    """
    target = gpus.find(name) or tpus.find(name)
    if target is None:
        raise UserError(
            f"there is no target '{one_line(name)}': there are {', '.join(gpus.CHIPS)} (h200:8 is eight in one "
            f"host), and the topologies of TPUs, such as {', '.join(TOPOLOGIES)}"
        )
    return target
