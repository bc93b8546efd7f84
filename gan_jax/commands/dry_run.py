"""Describes what a config would train and what it costs, without training it."""

import dataclasses
import math
from collections.abc import Iterator

import jax
from jax.stages import Compiled

from .. import config as configs
from ..config import Config
from ..config.build import batch_spec, make_gan
from ..config.declared import declared
from ..config.overrides import without_indices
from ..gan import GAN
from ..ops import compiler_options
from ..runtime import precision
from ..runtime.placement import Placement
from ..step import make_train_step
from ..train.shapes import carry_shapes
from ..train.validate import check_run, notes
from ..types import PyTree


def describe(config: Config) -> str:
    """Returns the resolved config, a table of each network, and the FLOPs and memory of a step, as text.

    FLOPs and memory are the compiler's, for the step on one device with the whole batch. A data set that is kept
    on the device needs its memory in addition.

    The data need not be here, if the config says enough of them.

    Raises:
        UserError: the config cannot be trained.
    """
    data = declared(config)
    spec = data.spec
    gan, placement = make_gan(config, spec), Placement(config)
    check_run(config, data.source)
    state = carry_shapes(config, gan, spec).state

    def compiled(gan: GAN) -> Compiled:
        traced = precision.traced_with(placement.precision, make_train_step(gan))
        step = jax.jit(traced, donate_argnums=0, compiler_options=compiler_options())
        return step.lower(state, batch_spec(config, gan, spec)).compile()

    program = compiled(gan)
    # The compiler counts the body of a loop once, so FLOPs come from the step without microbatches.
    whole = program if gan.microbatches == 1 else compiled(dataclasses.replace(gan, microbatches=1))
    where = f"{len(placement.devices)} x {placement.devices[0].device_kind} ({placement.mode})"
    return "\n".join([
        *_fields(config),
        "",
        *notes(config, data),
        *placement.notes,
        "",
        *_table("generator", state.generator.params),
        "",
        *_table("discriminator", state.discriminator.params),
        "",
        f"state: {_bytes(state)}",
        *_cost(program, whole, config.batch),
        f"devices: {where}",
    ])  # fmt: skip


def _fields(config: Config) -> Iterator[str]:
    """Yields a line for each field of the config, as an override takes it, with what the field means."""
    docs = configs.field_docs()
    for line in configs.to_text(config).splitlines():
        path = line.partition(" = ")[0]
        doc = docs.get(without_indices(path))
        yield f"{line:40}  # {doc.splitlines()[0]}" if doc else line


def _leaves(params: PyTree) -> Iterator[tuple[str, jax.ShapeDtypeStruct]]:
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        yield "/".join(str(getattr(k, "key", getattr(k, "name", getattr(k, "idx", k)))) for k in path), leaf


def _table(title: str, params: PyTree) -> list[str]:
    rows = [(name, "x".join(map(str, leaf.shape)) or "scalar", leaf.size) for name, leaf in _leaves(params)]
    total = sum(size for *_, size in rows)
    left = max([len(title), *(len(name) for name, *_ in rows)])
    middle = max([5, *(len(shape) for _, shape, _ in rows)])
    return [
        f"{title:{left}}  {'shape':>{middle}}  {'parameters':>12}",
        *(f"{name:{left}}  {shape:>{middle}}  {size:>12,}" for name, shape, size in rows),
        f"{'total':{left}}  {'':>{middle}}  {total:>12,}",
    ]


def _size(count: float) -> str:
    return f"{count / 2**20:,.1f} MiB"


def _flops(count: float) -> str:
    unit, scale = next(((u, s) for u, s in (("T", 1e12), ("G", 1e9), ("M", 1e6)) if count >= s), ("k", 1e3))
    return f"{count / scale:,.2f} {unit}FLOP"


def _bytes(tree: PyTree) -> str:
    return _size(sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree)))


def _cost(program: Compiled, whole: Compiled, batch: int) -> list[str]:
    """Describes a step: FLOPs by `whole`, the step without microbatches, and memory by `program`."""
    flops = (whole.cost_analysis() or {}).get("flops")
    memory = program.memory_analysis()
    lines = []
    if flops:
        each = _flops(flops / batch)
        lines.append(f"a step: {_flops(flops)}, {each} an image (counted by XLA, with element-wise operations)")
    if memory is not None:
        needed = (
            memory.argument_size_in_bytes
            + memory.output_size_in_bytes
            + memory.temp_size_in_bytes
            - memory.alias_size_in_bytes
        )
        lines.append(f"memory of a step: {_size(needed)}, {_size(memory.temp_size_in_bytes)} of it temporary")
    return lines
