"""What a config would train, and what it costs, without training it."""

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import jax

from .. import config as configs
from ..config import Config
from ..config.build import SampleSpec, batch_spec, make_gan, make_source
from ..gan import GAN
from ..ops import compiler_options
from ..runtime import precision
from ..runtime.placement import Placement
from ..step import make_train_step
from ..train.shapes import carry_shapes
from ..train.validate import check_run, notes
from ..types import PyTree


def describe(config: Config) -> str:
    """The resolved config, both networks as tables, the FLOPs of a step and the memory it needs.

    FLOPs and memory are the compiler's figures for the step on one device with the whole batch; a resident data
    set comes on top.

    Raises:
        UserError: as training it would.
    """
    source = make_source(config)
    spec = SampleSpec.of(source)
    gan, placement = make_gan(config, spec), Placement(config)
    check_run(config, source)
    state = carry_shapes(config, gan, spec).state

    def compiled(gan: GAN) -> Any:
        traced = precision.traced_with(placement.precision, make_train_step(gan))
        step = jax.jit(traced, donate_argnums=0, compiler_options=compiler_options())
        return step.lower(state, batch_spec(config, gan, spec)).compile()

    program = compiled(gan)
    # The compiler counts a loop's body once, so FLOPs are read off the step without microbatches.
    whole = program if gan.microbatches == 1 else compiled(dataclasses.replace(gan, microbatches=1))
    where = f"{len(placement.devices)} x {placement.devices[0].device_kind} ({placement.mode})"
    return "\n".join([
        configs.to_text(config),
        f"data: {len(source):,} samples of shape {spec.shape}, {spec.classes or 'no'} classes",
        *notes(config, len(source)),
        "",
        *_table("generator", state.generator.params),
        "",
        *_table("discriminator", state.discriminator.params),
        "",
        f"state: {_bytes(state)}",
        *_cost(program, whole, config.batch),
        f"devices: {where}",
    ])  # fmt: skip


def _leaves(params: PyTree) -> Iterator[tuple[str, Any]]:
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        yield "/".join(str(getattr(k, "key", getattr(k, "name", getattr(k, "idx", k)))) for k in path), leaf


def _table(title: str, params: PyTree) -> list[str]:
    rows = [(name, "x".join(map(str, leaf.shape)) or "scalar", leaf.size) for name, leaf in _leaves(params)]
    total = sum(size for *_, size in rows)
    wide = max([len(title), *(len(name) for name, *_ in rows)])
    shape = max([5, *(len(text) for _, text, _ in rows)])
    return [
        f"{title:{wide}}  {'shape':>{shape}}  {'parameters':>12}",
        *(f"{name:{wide}}  {text:>{shape}}  {size:>12,}" for name, text, size in rows),
        f"{'total':{wide}}  {'':>{shape}}  {total:>12,}",
    ]


def _size(count: float) -> str:
    return f"{count / 2**20:,.1f} MiB"


def _flops(count: float) -> str:
    unit, scale = next(((u, s) for u, s in (("T", 1e12), ("G", 1e9), ("M", 1e6)) if count >= s), ("k", 1e3))
    return f"{count / scale:,.2f} {unit}FLOP"


def _bytes(tree: PyTree) -> str:
    def one(leaf: Any) -> int:
        return math.prod(leaf.shape) * leaf.dtype.itemsize

    return _size(sum(one(leaf) for leaf in jax.tree.leaves(tree)))


def _cost(compiled: Any, whole: Any, batch: int) -> list[str]:
    flops = (whole.cost_analysis() or {}).get("flops")
    memory = compiled.memory_analysis()
    lines = []
    if flops:
        lines.append(f"a step: {_flops(flops)}, {_flops(flops / batch)} an image")
    if memory is not None:
        needed = (
            memory.argument_size_in_bytes
            + memory.output_size_in_bytes
            + memory.temp_size_in_bytes
            - memory.alias_size_in_bytes
        )
        lines.append(f"memory of a step: {_size(needed)}, of them {_size(memory.temp_size_in_bytes)} temporary")
    return lines
