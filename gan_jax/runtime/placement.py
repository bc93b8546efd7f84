"""The devices of a run: the compiled step on them, and where its state and batches lie."""

import dataclasses
import functools
import os
from collections import Counter
from collections.abc import Callable, Sequence
from importlib import metadata

import jax
import numpy as np
from jax.sharding import NamedSharding, Sharding, SingleDeviceSharding
from jax.sharding import PartitionSpec as P

from ..config import Config
from ..errors import UserError
from ..gan import GAN
from ..parallel import AXIS, fuse_steps, jit_step, make_mesh, place_batch, pmap_step, shard_step, state_shardings
from ..pytree import host_array, is_key
from ..step import Step, make_train_step
from ..step.meter import metered
from ..types import Device, PyTree
from . import precision
from .machine import cpu_model, cpu_threads

_PACKAGES = "jax", "jaxlib", "flax", "optax", "numpy", "pillow", "gan_jax"  # which the bits of a run depend on
UNSPLIT = "note: parallel.params=sharded splits nothing on one device"
_DETERMINISTIC = "--xla_gpu_deterministic_ops"


class Placement:
    """The devices of a run and the mode in which they run its step.

    Args:
        config: of the run.
        devices: to choose from; None: those that JAX has here.

    Attributes:
        devices: of all processes.
        local_device: the first device of this process.
        processes: the number of processes.
        mode: "jit", "shard" or "pmap".
        sharded: whether the state is split over the devices.
        replicated: the sharding of a value that lies whole on every device.
        notes: lines that are said before training.
        precision: of float32 products, see `precision.matmul_precision`.

    Raises:
        UserError: the config asks for devices or a mode that are missing, or the batch cannot be divided.
    """

    def __init__(self, config: Config, devices: Sequence[Device] | None = None):
        wanted, available = config.parallel.devices, make_mesh(devices).devices.ravel()
        self.processes, self.local_device = jax.process_count(), jax.local_devices()[0]
        _check_devices(config, available)
        if self.processes > 1:
            _check_processes(config, available)
        self.mode = config.parallel.mode
        self.devices = list(available[: wanted or (1 if self.mode == "jit" else len(available))])
        if self.mode == "auto":
            self.mode = "jit" if len(self.devices) == 1 else "shard"
        if self.mode == "jit" and len(self.devices) > 1:
            raise UserError(
                f"parallel.mode=jit runs on one device, not {len(self.devices)}: use shard or pmap, or set "
                "parallel.devices=1"
            )
        self.sharded = config.parallel.params == "sharded"
        if self.sharded and self.mode == "pmap":
            raise UserError(
                "parallel.params=sharded needs parallel.mode=shard: pmap has the whole state on each device"
            )
        self.notes = [UNSPLIT] if self.sharded and len(self.devices) == 1 else []
        self.sharded &= self.mode == "shard"  # one device has nothing to split
        if config.batch % (len(self.devices) * config.microbatches):
            parts = f" in {config.microbatches} microbatches" if config.microbatches > 1 else ""
            raise UserError(
                f"batch={config.batch} can't be divided over {len(self.devices)} devices{parts}: make it a "
                f"multiple of {len(self.devices) * config.microbatches}, or use another number of "
                "devices (parallel.devices)"
            )
        self.precision = precision.matmul_precision(config, self.devices[0].platform)
        self.mesh = make_mesh(self.devices)
        one_device = SingleDeviceSharding(self.devices[0])
        self.replicated: Sharding = one_device if self.mode == "jit" else NamedSharding(self.mesh, P())

    def step(self, gan: GAN) -> Step:
        """Returns one training step for these devices. It is traced once, however many programs contain it."""
        return self._wrapped(make_train_step(gan, axis_name=AXIS if self.mode == "pmap" else None))

    def _wrapped(self, step: Step) -> Step:
        """Returns the step with this run's precision, traced once; so is the step that is built from it."""
        traced, over = precision.traced_with(self.precision, step.function), step.over
        wrapped = dataclasses.replace(step, function=jax.jit(traced, inline=True))
        return wrapped.with_over(over and (lambda axis_name, axes: self._wrapped(over(axis_name, axes))))

    def compile(self, step: Step, carry: PyTree, *, gather: tuple[int, ...] | None, fuse: int) -> Step:
        """Returns `(carry, batch, *shared) -> (carry, step number)` for these devices.

        Args:
            step: from `step`.
            carry: the shapes of the carry.
            gather: the shape of a sample, if a batch holds rows of the resident data set instead of images.
            fuse: the number of steps in one call.
        """
        step = metered(step, gather)
        step = fuse_steps(step, fuse) if fuse > 1 else step
        if self.mode == "jit":
            return jit_step(step)
        if self.mode == "pmap":
            return pmap_step(step, AXIS, self.devices)
        return shard_step(step, self.mesh, self.shardings(carry) if self.sharded else None)

    def batch_sharding(self, axis: int) -> Sharding:
        """Returns the sharding of a batch that is split over the devices along `axis`."""
        return self.replicated if self.mode == "jit" else NamedSharding(self.mesh, P(*[None] * axis, AXIS))

    def shardings(self, state: PyTree) -> PyTree:
        """Returns the sharding of each leaf of a state, or of a tree that contains one."""
        if self.sharded:
            return state_shardings(state, self.mesh)
        return jax.tree.map(lambda _: self.replicated, state)

    def shapes(self, state: PyTree) -> PyTree:
        """Returns the shape, dtype and sharding of each leaf of a state."""
        return jax.tree.map(
            lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
            state, self.shardings(state),
        )  # fmt: skip

    def on_host(self, shapes: PyTree) -> PyTree:
        """Returns targets to restore leaves of these shapes in host memory, typed keys on the local device."""
        local = SingleDeviceSharding(self.local_device)

        def target(leaf: jax.ShapeDtypeStruct) -> np.ndarray | jax.ShapeDtypeStruct:
            if is_key(leaf):
                return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=local)
            return np.broadcast_to(np.zeros((), leaf.dtype), leaf.shape)  # takes no memory

        return jax.tree.map(target, shapes)

    def put_batch(self, batch: PyTree, axis: int) -> PyTree:
        """Puts a batch from host memory on the devices; each of several processes gives its share of it."""
        if self.processes == 1:
            if self.mode == "jit":
                return jax.device_put(batch, self.replicated)
            return place_batch(batch, self.mesh, axis)
        sharding = self.batch_sharding(axis)
        return jax.tree.map(lambda rows: jax.make_array_from_process_local_data(sharding, rows), batch)

    def put(self, tree: PyTree) -> PyTree:
        """Puts a whole tree from host memory on every device."""
        return jax.tree.map(lambda leaf: self._put(leaf, self.replicated), tree)

    def put_state(self, leaves: PyTree, shapes: PyTree) -> PyTree:
        """Puts leaves of a state from host memory where `shapes` says; typed keys may be given as their data."""

        def put(leaf: PyTree, shape: PyTree) -> jax.Array:
            if not is_key(shape):
                return self._put(leaf, shape.sharding)
            return jax.random.wrap_key_data(self._put(host_array(leaf), self.replicated))  # of the default kind

        return jax.tree.map(put, leaves, shapes)

    def _put(self, leaf: PyTree, sharding: Sharding) -> jax.Array:
        if self.processes == 1:
            return jax.device_put(leaf, sharding)
        # device_put would first let the processes compare the whole value.
        return jax.make_array_from_callback(np.shape(leaf), sharding, lambda index: np.asarray(leaf)[index])

    def fetch(self, tree: PyTree) -> PyTree:
        """Returns a tree that this process can read without the others; all processes must call it.

        A leaf that is split over the devices is gathered in host memory, one leaf at a time.
        """
        return jax.tree.map(self._fetch, tree)

    def _fetch(self, leaf: jax.Array) -> jax.Array | np.ndarray:
        if not leaf.is_fully_replicated:
            return host_array(leaf if self.processes == 1 else self._gather(leaf))
        return leaf if self.processes == 1 else leaf.addressable_data(0)

    @functools.cached_property
    def _gather(self) -> Callable[[jax.Array], jax.Array]:
        return jax.jit(lambda leaf: leaf, out_shardings=self.replicated)

    def memory_bytes(self) -> int | None:
        """Returns the memory of one device, or None where the platform does not tell."""
        return (self.local_device.memory_stats() or {}).get("bytes_limit")

    def environment(self) -> dict[str, object]:
        """Returns what the bits of a run depend on besides its config and seed."""
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
            "backend": " ".join(
                self.devices[0].client.platform_version.split()
            ),  # the versions of CUDA or of libtpu
            **{package: metadata.version(package) for package in _PACKAGES},
        }


def _check_devices(config: Config, available: np.ndarray) -> None:
    """Raises UserError when the config wants deterministic kernels or devices that are not available."""
    platform, wanted = available[0].platform, config.parallel.devices
    if config.deterministic and platform == "gpu" and _DETERMINISTIC not in os.environ.get("XLA_FLAGS", ""):
        raise UserError(
            f"deterministic=true needs {_DETERMINISTIC}=true in XLA_FLAGS before JAX starts: set it, or use "
            "gan-jax train, which sets it"
        )
    if wanted > len(available):
        raise UserError(
            f"parallel.devices={wanted}, but there are {len(available)} ({platform}): lower it, or leave it at 0 "
            "to use all of them"
        )


def _check_processes(config: Config, available: np.ndarray) -> None:
    """Raises UserError when several processes cannot share a run with this config."""
    if config.parallel.mode == "jit":
        raise UserError(
            f"parallel.mode=jit runs on one device, and several processes have {len(available)}: use shard or pmap"
        )
    if config.parallel.devices not in (0, len(available)):
        raise UserError(
            f"parallel.devices={config.parallel.devices}, but several processes always use all their "
            f"{len(available)} devices: leave it at 0"
        )
    counts = sorted(Counter(device.process_index for device in available).values())
    if counts[0] != counts[-1]:
        raise UserError(
            f"one process has {counts[0]} devices and another has {counts[-1]}: give every process the same number"
        )
