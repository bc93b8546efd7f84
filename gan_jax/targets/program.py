"""Compiles a training step for an accelerator that need not be here, and describes the program."""

import functools
import math
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import jax
from jax.sharding import SingleDeviceSharding

from ..errors import UserError, first_line
from ..parallel import jit_step, make_mesh, shard_step
from ..parallel.mesh import split, whole
from ..step import Step, StepFunction
from ..types import PyTree
from . import hlo, names
from .bounds import Bounds, bounds
from .chips import EFFORT, EFFORTS, Options, Target
from .collectives import Collective, collectives
from .flops import traced_flops
from .kernels import Kernel, kernels
from .products import Product


class DoesNotFitError(UserError):
    """The compiler finds no way to fit a program into a device's memory.

    Attributes:
        needed: the bytes that it would take, as far as the compiler says.
    """

    def __init__(self, message: str, needed: int | None):
        super().__init__(message)
        self.needed = needed


@dataclass(frozen=True)
class Memory:
    """Bytes of one device's memory while a program runs.

    Attributes:
        state: parameters, optimizer states, moving average: what is passed from step to step.
        batch: the batch, and a data set that is kept on the device.
        temporaries: what lives inside the step, activations above all.
        needed: all together, with results that do not take the place of the state.
    """

    state: int
    batch: int
    temporaries: int
    needed: int


@dataclass(frozen=True)
class Program:
    """A compiled step. Kernels, FLOPs, bytes and bounds are those of one call on one device.

    Attributes:
        target: what it is compiled for.
        text: its HLO, as the compiler prints it.
        memory: of one device.
        model_flops: of one call, counted in the traced step, over all devices.
        compiler_flops: the compiler's count, with element-wise operations and the body of each loop once; None: it
            says nothing.
        compile_seconds: it took, on this computer.
        options: of the compiler.
    """

    target: Target
    text: str = field(repr=False)
    memory: Memory
    model_flops: float
    compiler_flops: float | None
    compile_seconds: float
    options: Options

    @functools.cached_property
    def module(self) -> hlo.Module:
        return hlo.parse(self.text)

    @functools.cached_property
    def kernels(self) -> list[Kernel]:
        return kernels(self.module)

    @property
    def products(self) -> list[tuple[int, Product]]:
        """The matrix products and convolutions, each with how often it runs."""
        return [(kernel.count, product) for kernel in self.kernels for product in kernel.products]

    @property
    def flops(self) -> float:
        """FLOPs of the matrix products and convolutions in the compiled program."""
        return sum(count * product.flops for count, product in self.products)

    @property
    def bytes(self) -> int:
        """Bytes that the kernels read and write."""
        return sum(kernel.count * kernel.bytes for kernel in self.kernels)

    @property
    def collectives(self) -> dict[str, Collective]:
        return collectives(self.kernels)

    @property
    def bounds(self) -> Bounds:
        return bounds(self.kernels, self.target.chip)

    @property
    def slow(self) -> list[Product]:
        """Convolutions for which the library has no fast kernel."""
        return [product for _, product in self.products if product.slow]

    def moves(self, least: int = 2**20) -> list[Kernel]:
        """Returns the kernels that transpose an array of at least so many bytes, or copy it to another layout."""
        return [kernel for kernel in self.kernels if kernel.moved is not None and kernel.moved.bytes >= least]

    @property
    def fits(self) -> bool:
        return self.memory.needed <= self.target.chip.memory


def compile_step(
    step: Step | StepFunction,
    state: PyTree,
    batch: PyTree,
    target: Target | str,
    *shared: PyTree,
    options: Options | None = None,
    model_flops: float | None = None,
) -> Program:
    """Compiles a step for a target, and returns the program.

    Args:
        step: from `make_train_step`, or placed on the target's devices by a wrapper. A plain step runs on the one
            device, or with the batch split over all of them (`shard_step`).
        state, batch, shared: what it is called with: arrays, or `jax.ShapeDtypeStruct`s, with the shardings that a
            placed step expects.
        target: a name such as "h200", "h200:8" or "v5e:2x4", or what `find` returned for it.
        options: further options of the compiler.
        model_flops: the FLOPs of one call. None: counted in the traced step.

    Raises:
        UserError: there is no such target, its compiler is not installed, or it refuses the program. Or the step
            was placed on other devices.
        DoesNotFitError: a TPU's compiler finds that the program does not fit.
    """
    target = names.find(target) if isinstance(target, str) else target
    step = step if isinstance(step, Step) else Step(step)
    if step.trace_function is None:
        step, state, batch, shared = _placed(step, state, batch, shared, target)
    begin = time.monotonic()
    traced = step.trace(state, batch, *shared)
    if model_flops is None:
        model_flops = traced_flops(traced.jaxpr)
    compiled, used = _compile(traced.lower(), target, {**_effort(), **(options or {})})
    used_devices = {device for place in jax.tree.leaves(compiled.input_shardings) for device in place.device_set}
    if not used_devices <= set(target.devices):
        raise UserError(
            f"target {target.name}: this step was placed on other devices ({next(iter(used_devices))}): give the "
            "plain step of make_train_step, or place it on targets.find(...).devices"
        )
    stats = compiled.memory_analysis()
    assert stats is not None  # these compilers always have it
    needed = (
        stats.argument_size_in_bytes + stats.output_size_in_bytes + stats.temp_size_in_bytes
        - stats.alias_size_in_bytes
    )  # fmt: skip
    memory = Memory(_device_bytes(state), _device_bytes((batch, shared)), stats.temp_size_in_bytes, needed)
    return Program(
        target=target,
        text=compiled.as_text() or "",
        memory=memory,
        model_flops=model_flops,
        compiler_flops=(compiled.cost_analysis() or {}).get("flops"),
        compile_seconds=time.monotonic() - begin,
        options=used,
    )


def _placed(step: Step, state: PyTree, batch: PyTree, shared: tuple, target: Target) -> tuple:
    """Places a plain step, and says where its arguments lie."""
    mesh = make_mesh(target.devices)
    if mesh.size == 1:
        placed, everywhere = jit_step(step), SingleDeviceSharding(target.devices[0])
        across = everywhere
    else:
        placed, everywhere, across = shard_step(step, mesh), whole(mesh), split(mesh, step.batch_axis)

    def put(tree: PyTree, place: jax.sharding.Sharding) -> PyTree:
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), tree)

    return placed, put(state, everywhere), put(batch, across), put(shared, everywhere)


def _effort() -> Options:
    """Returns JAX's own setting of the compiler's effort, if it is not the default."""
    level = jax.config.jax_optimization_level  # pyright: ignore[reportAttributeAccessIssue]
    return {EFFORT: EFFORTS[level]} if level in EFFORTS else {}


def _compile(lowered: jax.stages.Lowered, target: Target, options: Options) -> tuple[jax.stages.Compiled, Options]:
    attempts = [target.options, *([target.fallback] if target.fallback is not None else [])]
    for attempt in attempts:
        used = {**attempt, **options}
        try:
            # Numbers too are options, though JAX's type names none.
            return lowered.compile(compiler_options={**used}), used  # pyright: ignore[reportArgumentType]
        except Exception as error:  # the compiler's: the types differ between platforms and versions
            text = str(error)
            if (found := out_of_memory(text)) is not None:
                needed, available = found
                raise DoesNotFitError(
                    f"target {target.name}: the program needs {needed / 2**30:.2f} GiB of a device's "
                    f"{available / 2**30:.2f} GiB of memory: set microbatches, a smaller batch, or more devices",
                    needed,
                ) from error
            if attempt is attempts[-1]:
                raise UserError(
                    f"target {target.name}: its compiler refuses the step: {first_line(error)[:500]}"
                ) from error
    raise AssertionError("unreachable")


_OUT_OF_MEMORY = (  # of the compiler for TPUs: the bytes that are needed, and that there are
    r"Used ([\d.]+)([KMGT]?) of ([\d.]+)([KMGT]?)",
    r"temporaries \(([\d.]+)([KMGT]?)\) exceeds available HBM \(([\d.]+)([KMGT]?)\)",
)


def out_of_memory(message: str) -> tuple[int, int] | None:
    """Returns how many bytes a program needs and a device has, as the compiler says when it gives up; or None."""
    for pattern in _OUT_OF_MEMORY:
        if found := re.search(pattern, message):
            needed, available = (int(float(found[i]) * 1024 ** " KMGT".index(found[i + 1] or " ")) for i in (1, 3))
            return needed, available
    return None


def _device_bytes(tree: PyTree) -> int:
    return sum(_leaf_bytes(tree))


def _leaf_bytes(tree: PyTree) -> Iterator[int]:
    for leaf in jax.tree.leaves(tree):
        sharding = getattr(leaf, "sharding", None)
        shape = leaf.shape if sharding is None else sharding.shard_shape(leaf.shape)
        yield math.prod(shape) * leaf.dtype.itemsize
