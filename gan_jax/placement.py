"""Where a run takes place: its devices, the compiled step on them, and how host data gets there."""

import dataclasses
import os
import platform
from importlib import metadata
from typing import Any

import jax
from jax.sharding import NamedSharding, SingleDeviceSharding
from jax.sharding import PartitionSpec as P

from . import precision
from .config import Config
from .errors import UserError
from .gan import GAN
from .meter import metered
from .parallel import AXIS, fuse_steps, jit_step, make_mesh, place_batch, pmap_step, shard_step
from .step import Step, make_train_step
from .types import PyTree

_DETERMINISTIC = "--xla_gpu_deterministic_ops"


class Placement:
    """The devices of a run and its mode, "jit", "shard" or "pmap".

    Raises:
        UserError: there are not so many devices, or they don't divide the batch.
    """

    def __init__(self, config: Config):
        wanted, there = config.parallel.devices, jax.devices()
        if jax.process_count() > 1:
            raise UserError(
                f"gan-jax train runs on one host, and this is one of {jax.process_count()} processes: start it "
                "without jax.distributed, or import the step into a loop of your own"
            )
        if (
            config.deterministic
            and there[0].platform == "gpu"
            and _DETERMINISTIC not in os.environ.get("XLA_FLAGS", "")
        ):
            raise UserError(
                f"deterministic=true needs {_DETERMINISTIC}=true in XLA_FLAGS before JAX starts: set it, or use "
                "gan-jax train, which does"
            )
        if wanted > len(there):
            raise UserError(
                f"parallel.devices={wanted}, but there are {len(there)} ({there[0].platform}): lower it, or "
                "leave it at 0 for all of them"
            )
        self.mode = config.parallel.mode
        self.devices = there[: wanted or (1 if self.mode == "jit" else len(there))]
        if self.mode == "auto":
            self.mode = "jit" if len(self.devices) == 1 else "shard"
        if self.mode == "jit" and len(self.devices) > 1:
            raise UserError(
                f"parallel.mode=jit runs on one device, not {len(self.devices)}: say shard or pmap, or "
                "parallel.devices=1"
            )
        if config.batch % (len(self.devices) * config.microbatches):
            parts = f" in {config.microbatches} microbatches" if config.microbatches > 1 else ""
            raise UserError(
                f"batch={config.batch} can't be divided over {len(self.devices)} devices{parts}: make it a "
                f"multiple of {len(self.devices) * config.microbatches}, or set parallel.devices"
            )
        self.precision = precision.asked(config, self.devices[0].platform)
        self.mesh = make_mesh(self.devices)
        one = SingleDeviceSharding(self.devices[0])
        self.whole: Any = one if self.mode == "jit" else NamedSharding(self.mesh, P())

    def step(self, gan: GAN) -> Step:
        """One training step as these devices take it; traced once, however many programs it becomes a part of."""
        step = make_train_step(gan, axis_name=AXIS if self.mode == "pmap" else None)
        traced = precision.traced_with(self.precision, step.function)
        return dataclasses.replace(step, function=jax.jit(traced, inline=True))

    def compile(self, step: Step, *, gather: bool, fuse: int) -> Step:
        """`((state, meter), batch, *shared) -> ((state, meter), step number)` on these devices."""
        step = metered(step, gather)
        step = fuse_steps(step, fuse) if fuse > 1 else step
        if self.mode == "jit":
            return jit_step(step)
        return shard_step(step, self.mesh) if self.mode == "shard" else pmap_step(step, AXIS, self.devices)

    def lower(self, step: Step, carry: PyTree, batch: PyTree, *shared: PyTree) -> Any:
        """`step` of `compile` traced for such arguments and ready to compile; None where that needs a call."""
        made = getattr(step.function, "made", None)
        jitted: Any = made(len(shared)) if made else step.function
        return jitted.lower(carry, batch, *shared) if hasattr(jitted, "lower") else None

    def split(self, axis: int) -> Any:
        """The sharding of a batch, cut along `axis`."""
        return self.whole if self.mode == "jit" else NamedSharding(self.mesh, P(*[None] * axis, AXIS))

    def put_batch(self, batch: PyTree, axis: int) -> PyTree:
        """A host batch where the step wants it."""
        return jax.device_put(batch, self.whole) if self.mode == "jit" else place_batch(batch, self.mesh, axis)

    def put(self, tree: PyTree) -> PyTree:
        """A tree whole on every device."""
        return jax.device_put(tree, self.whole)

    def memory_bytes(self) -> int | None:
        """Memory of one device, None where the platform doesn't say."""
        return (self.devices[0].memory_stats() or {}).get("bytes_limit")

    def environment(self) -> dict[str, Any]:
        """What a run's bits depend on beside its config and seed."""
        return {
            "platform": self.devices[0].platform,
            "device": self.devices[0].device_kind,
            "devices": len(self.devices),
            "mode": self.mode,
            "cpu_threads": cpu_threads(),
            "cpu": cpu_model(),
            "x64": jax.config.jax_enable_x64,  # pyright: ignore[reportAttributeAccessIssue]
            "matmul_precision": self.precision or precision.default(),
            "xla_flags": os.environ.get("XLA_FLAGS", ""),
            "jax": jax.__version__,
            "jaxlib": metadata.version("jaxlib"),
        }


def cpu_model() -> str:
    """The processor's name, where the system tells: other instructions are other sums."""
    try:
        with open("/proc/cpuinfo") as file:
            return next((line.partition(":")[2].strip() for line in file if line.startswith("model name")), "")
    except OSError:
        return platform.processor()


def cpu_threads() -> int:
    """Processors this process may use: XLA splits its sums by their number."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
