"""How the members of a sweep train, and what they cost: what is said before training."""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import jax

from ..config import Config
from ..config.build import Allow, batch_spec, make_gan
from ..config.declared import declared
from ..errors import UserError
from ..gan import init
from ..step import make_train_step
from ..targets.flops import UncountedError, traced_flops
from ..train.shapes import tracing_errors
from ..train.validate import check_run
from ..types import PyTree
from .places import gpus
from .varying import check_one_program, numbers_of

Mode = Literal["vmap", "devices", "processes"]
MODES: tuple[Mode, ...] = ("vmap", "devices", "processes")

# FLOPs of a step of one member, up to which one program for all was quicker than one after another. Measured on a
# CPU of 2 cores (benchmarks/results/populations.jsonl). For a GPU it is an estimate: a step of so many takes about
# as long as its kernels take to start.
SMALL_FLOPS = {"cpu": 1e8, "gpu": 1e10}


class Cost(NamedTuple):
    """What one member costs.

    Attributes:
        flops: of a step's matrix products and convolutions; None: they cannot be counted.
        state_bytes: of the state.
    """

    flops: float | None
    state_bytes: int


def check_members(members: Sequence[Config], allow: Allow = None) -> Cost:
    """Builds each member's GAN, without computing anything, and returns the cost of the first one.

    Raises:
        UserError: a member cannot be trained.
    """
    data = declared(members[0], allow)
    for member in members:
        spec = data.spec if member.data == members[0].data else declared(member, allow).spec
        make_gan(member, spec, allow)
        check_run(member, data.source if member.data == members[0].data else None)
    first = members[0]
    gan = make_gan(first, data.spec, allow)
    batch = batch_spec(first, gan, data.spec)
    with tracing_errors(first):
        state = jax.eval_shape(lambda: init(gan, jax.random.key(0), batch))
        try:
            flops = traced_flops(jax.make_jaxpr(make_train_step(gan))(state, batch))
        except UncountedError:
            flops = None
    return Cost(flops, _bytes(state))


def _bytes(tree: PyTree) -> int:
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def choose_mode(members: Sequence[Config], cost: Cost) -> tuple[Mode, str]:
    """Chooses how members train, and says why."""
    found = gpus()
    apart: Mode = "devices" if len(found) > 1 else "processes"
    how = f"a GPU for each of {len(found)} at a time" if len(found) > 1 else "one after another"
    try:
        numbers_of(members)
        check_one_program(members[0])
    except UserError as error:
        return apart, f"{how}, because {str(error).partition(':')[0]}"
    most = SMALL_FLOPS["gpu" if found else "cpu"]
    if cost.flops is None or cost.flops > most:
        size = "its FLOPs cannot be counted" if cost.flops is None else f"it has {flops_text(cost.flops)}"
        return apart, f"{how}, because a step is large ({size}; one program pays up to {flops_text(most)})"
    return "vmap", f"all in one program, because a step is small ({flops_text(cost.flops)})"


def flops_text(count: float) -> str:
    unit, scale = next(((u, s) for u, s in (("TFLOP", 1e12), ("GFLOP", 1e9)) if count >= s), ("MFLOP", 1e6))
    return f"{count / scale:.3g} {unit}"


def size_text(count: float) -> str:
    return f"{count / 2**20:,.1f} MiB" if count >= 2**20 else f"{count / 2**10:,.1f} KiB"


def cost_lines(members: Sequence[Config], cost: Cost, mode: Mode, steps: int | None) -> list[str]:
    """Says what a sweep costs: `steps` are those of all members together; None: as their configs say."""
    first, each = members[0], cost.state_bytes
    together = f", {size_text(each * len(members))} in all" if mode == "vmap" else ""
    images = sum(one.steps * one.batch for one in members) if steps is None else steps * first.batch
    steps = sum(one.steps for one in members) if steps is None else steps
    lines = [
        f"cost: {len(members)} members, {steps:,} steps in all, {images:,} images; state "
        f"{size_text(each)} a member{together}"
    ]
    alike = all((one.generator, one.discriminator) == (first.generator, first.discriminator) for one in members)
    if cost.flops is not None and alike:
        lines[0] += f"; {flops_text(cost.flops * images / first.batch)} in all"
    return lines
