"""What the figures were measured on, and what it can do at best: a matrix product and a copy, in the same run."""

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
    """Attributes:
    device: the accelerator, or the processor and its threads.
    gflops: of a square matrix product, by precision. copy_gbs: GB read and written a second.
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
        """The most this process has held so far."""
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _milliseconds(function: Callable[..., Any], *arguments: Any, samples: int = 9) -> float:
    compiled = jax.jit(function).lower(*arguments).compile()
    taken = []
    for _ in range(samples + 1):
        begun = time.perf_counter()
        jax.block_until_ready(compiled(*arguments))
        taken.append(1e3 * (time.perf_counter() - begun))
    return statistics.median(taken[1:])


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _commit() -> str:
    """Of the checkout this file lies in, with a + where its files are changed; "" outside of one."""
    here = Path(__file__).parent
    try:
        name = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=here, capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run(["git", "diff", "--quiet", "HEAD", "--", ":/*.py"], cwd=here).returncode
    except (OSError, subprocess.CalledProcessError):
        return ""
    return name + ("+" if changed else "")


def measure() -> Machine:
    """This machine, with its peaks."""
    device = jax.devices()[0]
    on_cpu = device.platform == "cpu"
    size = 2048 if on_cpu else 8192
    gflops = {}
    for dtype in ("float32", "bfloat16"):
        square = jnp.ones((size, size), dtype)
        gflops[dtype] = 2 * size**3 / 1e6 / _milliseconds(jnp.matmul, square, square)
    many = jnp.ones((2**24 if on_cpu else 2**28,), jnp.float32)
    copy = 2 * many.nbytes / 1e6 / _milliseconds(lambda x: x + 1, many)
    return Machine(
        platform=device.platform,
        device=f"{cpu_model()}, {cpu_threads()} threads" if on_cpu else device.device_kind,
        versions=_versions(),
        flags={
            name: value
            for name, value in sorted(os.environ.items())
            if value and (name in _FLAGS or (name.startswith("JAX_") and not name.endswith("_DIR")))
        },
        commit=_commit(),
        gflops=gflops,
        copy_gbs=copy,
    )
