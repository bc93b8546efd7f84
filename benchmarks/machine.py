"""Describes this computer and measures its peaks, in the run of the figures: a matrix product and a copy."""

import os
import platform
import resource
import statistics
import subprocess
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gan_jax.runtime.machine import cpu_model, cpu_threads

_PACKAGES = ("gan_jax", "jax", "jaxlib", "flax", "optax", "numpy", "torch", "keras")
_FLAGS = ("XLA_FLAGS", "GLIBC_TUNABLES", "OMP_NUM_THREADS", "JAX_DEFAULT_MATMUL_PRECISION")


class Machine(NamedTuple):
    """The computer that the figures were measured on.

    Attributes:
        platform: JAX's name of it, such as "cpu" or "gpu".
        device: the accelerator, or the processor and its threads.
        versions, flags: versions of packages, and environment variables that change speed.
        commit: the commit of these files; see `commit`.
        gflops: GFLOP/s of a square matrix product, by precision.
        copy_gbs: GB read and written per second.
    """

    platform: str
    device: str
    versions: dict[str, str]
    flags: dict[str, str]
    commit: str
    gflops: dict[str, float]
    copy_gbs: float

    @staticmethod
    def host_memory_bytes() -> int:
        """Returns the peak memory of this process so far."""
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _milliseconds(function: Callable[..., jax.Array], *arguments: jax.Array, samples: int = 9) -> float:
    """Returns the median time of a call of the jitted function; the first call does not count."""
    compiled = jax.jit(function).lower(*arguments).compile()
    times = []
    for _ in range(samples + 1):
        start = time.perf_counter()
        jax.block_until_ready(compiled(*arguments))
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times[1:])


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str:
    """Returns the commit of the checkout that holds this file, with "+" if files changed since; "" without git."""
    here = Path(__file__).parent
    try:
        name = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=here, capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run(["git", "diff", "--quiet", "HEAD", "--", ":/*.py"], cwd=here).returncode
    except (OSError, subprocess.CalledProcessError):
        return ""
    return name + ("+" if changed else "")


def described() -> dict[str, Any]:
    """Describes this computer and what runs on it, without measuring anything: the fields of `Machine`."""
    device = jax.devices()[0]
    return {
        "device": f"{cpu_model()}, {cpu_threads()} threads" if device.platform == "cpu" else device.device_kind,
        "versions": _versions(),
        "flags": {
            name: value
            for name, value in sorted(os.environ.items())
            if value and (name in _FLAGS or (name.startswith("JAX_") and not name.endswith("_DIR")))
        },
        "commit": commit(),
    }


def measure() -> Machine:
    """Describes this computer and measures its peaks."""
    device = jax.devices()[0]
    on_cpu = device.platform == "cpu"
    size = 2048 if on_cpu else 8192
    gflops = {}
    for dtype in ("float32", "bfloat16"):
        # Random numbers: a GPU multiplies zeros or ones faster, because they take less power.
        square = jax.random.normal(jax.random.key(0), (size, size), dtype)
        gflops[dtype] = 2 * size**3 / 1e6 / _milliseconds(jnp.matmul, square, square)
    vector = jax.random.normal(jax.random.key(1), (2**24 if on_cpu else 2**28,), jnp.float32)
    copy = 2 * vector.nbytes / 1e6 / _milliseconds(lambda x: x + 1, vector)
    return Machine(platform=device.platform, **described(), gflops=gflops, copy_gbs=copy)
