"""`gan-jax doctor`: prints what this machine offers."""

import argparse
import os
import platform
import sys
from importlib import metadata
from pathlib import Path

_PACKAGES = ("gan_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "tensorflow-datasets", "numpy")
_VARIABLES = (
    "XLA_FLAGS", "JAX_PLATFORMS", "JAX_ENABLE_X64", "JAX_DEFAULT_MATMUL_PRECISION", "TFDS_DATA_DIR",
    "GAN_JAX_CACHE", "JAX_COMPILATION_CACHE_DIR", "XDG_CACHE_HOME", "GAN_JAX_INCEPTION",
    "XLA_PYTHON_CLIENT_PREALLOCATE", "XLA_PYTHON_CLIENT_MEM_FRACTION", "GLIBC_TUNABLES",
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It takes none."""


def run(arguments: argparse.Namespace) -> None:
    print(examine())


def examine() -> str:
    """Returns the devices, threads, versions, and environment variables that matter to a run."""
    import jax

    from ..ops import compiler_options
    from ..runtime import compilation_cache, precision
    from ..runtime.machine import cpu_threads

    devices = jax.devices()
    stats = devices[0].memory_stats() or {}
    memory = f", {stats['bytes_limit'] / 2**30:.1f} GiB each" if "bytes_limit" in stats else ""
    lines = [
        f"devices   {len(devices)} x {devices[0].device_kind} ({devices[0].platform}{memory})",
        f"threads   {cpu_threads()} for this process, {os.cpu_count()} on the machine",
        f"python    {platform.python_version()} at {sys.executable}",
        *(f"{name:22}{_version(name)}" for name in _PACKAGES),
        f"float32   products in {precision.default()} precision",
        *(f"{name}={os.environ[name]}" for name in _VARIABLES if name in os.environ),
        f"compiler  {compiler_options() or 'no options set by gan_jax'}",
        f"cache     {compilation_cache.describe()}",
        *_data_caches(),
    ]
    if devices[0].platform == "cpu":
        lines.append(
            "note      JAX sees no accelerator; on a GPU machine install the extra: pip install 'gan_jax[cuda]' "
            "(in a clone: .venv/bin/pip install -e '.[cuda]')"
        )
        if len(devices) > 1:
            lines.append("note      these CPU devices are virtual: good for tests, not for speed")
    return "\n".join(lines)


def _data_caches() -> list[str]:
    """Returns a line for each kind of data in the user's cache folder: where it is, and how many MiB it takes."""
    from ..data import decoded, facts
    from ..files import user_cache
    from ..metrics.features import cache

    if not user_cache.wanted():
        return ["images    decoded and resized sets are not kept (GAN_JAX_CACHE)"]
    return [
        f"images    {decoded.folder()}, {_mebibytes(decoded.folder())} of {decoded.LIMIT_BYTES // 2**20:,}",
        f"facts     {facts.database()}, {_mebibytes(facts.database())}",
        f"features  {cache.folder()}, {_mebibytes(cache.folder())} of {cache.LIMIT_BYTES // 2**20:,}",
    ]


def _mebibytes(path: Path) -> str:
    files = path.iterdir() if path.is_dir() else [path] if path.is_file() else []
    return f"{sum(file.stat().st_size for file in files) / 2**20:,.1f} MiB"


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
