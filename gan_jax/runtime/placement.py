"""Where a run takes place: its devices, the compiled step on them, and how host data gets there."""

import dataclasses
import functools
import os
from collections import Counter
from importlib import metadata
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, SingleDeviceSharding
from jax.sharding import PartitionSpec as P

from ..config import Config
from ..errors import UserError
from ..gan import GAN
from ..parallel import AXIS, fuse_steps, jit_step, make_mesh, place_batch, pmap_step, shard_step, state_shardings
from ..pytree import host_array, is_key
from ..step import Step, make_train_step
from ..step.meter import metered
from ..types import PyTree
from . import precision
from .machine import cpu_model, cpu_threads

_DETERMINISTIC = "--xla_gpu_deterministic_ops"


class Placement:
    """The devices of a run and its mode, "jit", "shard" or "pmap".

    Raises:
        UserError: there are not so many devices, or they don't divide the batch.
    """

    def __init__(self, config: Config):
        wanted, there = config.parallel.devices, list(make_mesh().devices.flat)
        self.processes, self.own = jax.process_count(), jax.local_devices()[0]
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
        if self.processes > 1:
            _check_processes(config, there)
        self.mode = config.parallel.mode
        self.devices = there[: wanted or (1 if self.mode == "jit" else len(there))]
        if self.mode == "auto":
            self.mode = "jit" if len(self.devices) == 1 else "shard"
        if self.mode == "jit" and len(self.devices) > 1:
            raise UserError(
                f"parallel.mode=jit runs on one device, not {len(self.devices)}: say shard or pmap, or "
                "parallel.devices=1"
            )
        self.sharded = config.parallel.params == "sharded"
        if self.sharded and self.mode == "pmap":
            raise UserError("parallel.params=sharded needs parallel.mode=shard: pmap keeps the state whole")
        self.sharded &= self.mode == "shard"  # on one device there is nothing to cut
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

    def compile(self, step: Step, carry: PyTree, *, gather: bool, fuse: int) -> Step:
        """`((state, meter), batch, *shared) -> ((state, meter), step number)` on these devices.

        `carry` has the shapes of `(state, meter)`.
        """
        step = metered(step, gather)
        step = fuse_steps(step, fuse) if fuse > 1 else step
        if self.mode == "jit":
            return jit_step(step)
        if self.mode == "pmap":
            return pmap_step(step, AXIS, self.devices)
        return shard_step(step, self.mesh, tuple(self.shardings(carry)) if self.sharded else None)

    def split(self, axis: int) -> Any:
        """The sharding of a batch, cut along `axis`."""
        return self.whole if self.mode == "jit" else NamedSharding(self.mesh, P(*[None] * axis, AXIS))

    def shardings(self, state: PyTree) -> PyTree:
        """Of each leaf of a state (or of a tree that has one)."""
        return state_shardings(state, self.mesh) if self.sharded else jax.tree.map(lambda _: self.whole, state)

    def shapes(self, state: PyTree) -> PyTree:
        """Shapes of a state with where each leaf lies."""
        return jax.tree.map(
            lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
            state, self.shardings(state),
        )  # fmt: skip

    def on_host(self, shapes: PyTree) -> PyTree:
        """Stand-ins for leaves of such shapes in this process's host memory, of typed keys on its first device."""
        own = SingleDeviceSharding(self.own)

        def stand_in(leaf: Any) -> Any:
            if is_key(leaf):
                return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=own)
            return np.broadcast_to(np.zeros((), leaf.dtype), leaf.shape)

        return jax.tree.map(stand_in, shapes)

    def put_batch(self, batch: PyTree, axis: int) -> PyTree:
        """A host batch, this process's share of it, where the step wants it."""
        if self.processes == 1:
            return jax.device_put(batch, self.whole) if self.mode == "jit" else place_batch(batch, self.mesh, axis)
        split = self.split(axis)
        return jax.tree.map(lambda rows: jax.make_array_from_process_local_data(split, rows), batch)

    def put(self, tree: PyTree) -> PyTree:
        """A host tree whole on every device."""
        return jax.tree.map(lambda leaf: self._put(leaf, self.whole), tree)

    def put_state(self, leaves: PyTree, shapes: PyTree) -> PyTree:
        """Host arrays, and typed keys or their data, where leaves of such `shapes` lie."""

        def put(leaf: Any, shape: Any) -> Any:
            if not is_key(shape):
                return self._put(leaf, shape.sharding)
            return jax.random.wrap_key_data(self._put(host_array(leaf), self.whole))  # of the kind all keys are

        return jax.tree.map(put, leaves, shapes)

    def _put(self, leaf: Any, sharding: Any) -> Any:
        if self.processes == 1:
            return jax.device_put(leaf, sharding)
        # device_put would have the processes compare all of it first.
        return jax.make_array_from_callback(np.shape(leaf), sharding, lambda index: np.asarray(leaf)[index])

    def alone(self, tree: PyTree) -> PyTree:
        """A tree that this process can read by itself; of several processes all call it.

        What is cut over the devices is gathered, one leaf at a time, into host memory.
        """
        return jax.tree.map(self._alone, tree)

    def _alone(self, leaf: Any) -> Any:
        if not leaf.is_fully_replicated:
            return host_array(leaf if self.processes == 1 else self._gather(leaf))
        return leaf if self.processes == 1 else leaf.addressable_data(0)

    @functools.cached_property
    def _gather(self) -> Any:
        return jax.jit(lambda leaf: leaf, out_shardings=self.whole)

    def memory_bytes(self) -> int | None:
        """Memory of one device, None where the platform doesn't say."""
        return (self.own.memory_stats() or {}).get("bytes_limit")

    def environment(self) -> dict[str, Any]:
        """What a run's bits depend on beside its config and seed."""
        return {
            "platform": self.devices[0].platform,
            "device": self.devices[0].device_kind,
            "devices": len(self.devices),
            "processes": self.processes,
            "mode": self.mode,
            "cpu_threads": cpu_threads(),
            "cpu": cpu_model(),
            "x64": jax.config.jax_enable_x64,  # pyright: ignore[reportAttributeAccessIssue]
            "matmul_precision": self.precision or precision.default(),
            "xla_flags": os.environ.get("XLA_FLAGS", ""),
            **{package: metadata.version(package) for package in ("jax", "jaxlib", "flax", "optax", "gan_jax")},
        }


def _check_processes(config: Config, there: list[Any]) -> None:
    """Raises UserError where several processes can't share a run as `config` says."""
    if config.parallel.mode == "jit":
        raise UserError(
            f"parallel.mode=jit runs on one device, and several processes have {len(there)}: say shard or pmap"
        )
    if config.parallel.devices not in (0, len(there)):
        raise UserError(
            f"parallel.devices={config.parallel.devices}, but several processes use all the {len(there)} devices "
            "they have: leave it at 0"
        )
    counts = sorted(Counter(device.process_index for device in there).values())
    if counts[0] != counts[-1]:
        raise UserError(
            f"some processes have {counts[0]} devices and some {counts[-1]}: start each with as many as the others"
        )
