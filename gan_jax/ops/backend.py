"""Chooses the formulation of each operation, and the compiler options, by the platform that is compiled for."""

import functools
from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import mlir
from jax.sharding import SingleDeviceSharding

from ..types import Device


class Formulations(NamedTuple):
    """How each kind of operation is computed; the results are equal up to rounding.

    Attributes:
        convolution: "native" are XLA's own convolutions; "gpu" are those, or matrix products where a map is as
            small as the kernel; "explicit" are convolutions in the usual dimension order, or matrix products where
            there are few channels.
        grouped: "native" is a grouped convolution; "blocks" computes several groups together as a dense one.
        merge: how many groups of a "native" grouped convolution become one wider group: for the convolution, for
            its transpose, and for the kernel's derivative.
        resample: "native" is a depthwise convolution; "shifts" is a weighted sum of shifted images; "strides" is
            the same, of images with zeros between the pixels, and of every other pixel.
        sampling: ADA's geometric transformations read pixels by "gather", or by matrix products ("matmul") where
            images are small.
        volumes: a convolution in three dimensions is what `convolution` says ("native"), or one in two dimensions
            whose channels are the frames that a kernel covers ("frames").
    """

    convolution: Literal["native", "gpu", "explicit"]
    grouped: Literal["native", "blocks"]
    resample: Literal["native", "shifts", "strides"]
    merge: tuple[int, int, int] = (1, 1, 1)
    volumes: Literal["native", "frames"] = "native"
    sampling: Literal["gather", "matmul"] = "gather"


Platform = str  # as JAX names it where a program is lowered for it: "cpu", "cuda", "rocm", "tpu"

# The CPU's row was measured (docs/performance.md). Those of the others follow from the compiled programs
# (docs/accelerators.md), and were not measured. A row may be replaced before a step is lowered.
# On a B200, the authors of R3GAN saw cuDNN's kernel gradient of groups of 16 channels gain 6.5 and 10.3 times by
# `merge=(1, 1, 4)`, on maps of 8 and 16 pixels. It stays 1 until `benchmarks/run_gpu.sh` has timed it.
# One dimension has no choice of its own: on the CPU, images of height 1 took as long (docs/performance_notes.md),
# and cuDNN gets them from XLA anyway. In three dimensions "frames" was the faster one on the CPU (same page); an
# H200's compiler finds cuDNN's calls for every derivative of "native" (tests/programs/test_programs_of_ranks.py).
FORMULATIONS: dict[Platform, Formulations] = {
    "cpu": Formulations(convolution="explicit", grouped="blocks", resample="shifts", volumes="frames"),
    "cuda": Formulations(convolution="gpu", grouped="native", resample="strides"),
    "rocm": Formulations(convolution="gpu", grouped="native", resample="strides"),
    "tpu": Formulations(convolution="native", grouped="native", resample="shifts", sampling="matmul"),
}

PLATFORMS = tuple(FORMULATIONS)


def formulations(platform: Platform | None = None) -> Formulations:
    """Returns the row of `FORMULATIONS` for a platform; that of the TPU, which is plain XLA, for an unknown one.

    Args:
        platform: the platform that is compiled for; None: the default backend's.
    """
    return FORMULATIONS.get(default_platform() if platform is None else platform, FORMULATIONS["tpu"])


def default_platform() -> Platform:
    """Returns the platform of the default backend."""
    return platform_of(jax.devices()[0])


def platform_of(device: Device) -> Platform:
    """Returns the platform that a program for `device` is lowered for."""
    if device.platform != "gpu":
        return device.platform
    return "rocm" if "rocm" in device.client.platform_version.lower() else "cuda"


def lower_by_platform(primitive: Primitive, compute: Callable[..., jax.Array]) -> None:
    """Says how a primitive is lowered: by `compute(platform, *arguments, **parameters)`."""
    for platform in (*PLATFORMS, None):  # None: any other one
        rule = mlir.lower_fun(functools.partial(compute, platform or "other"), multiple_results=False)
        mlir.register_lowering(primitive, rule, platform=platform)


# XLA's default library for convolutions on the CPU is 1.4 to 4 times slower at weight gradients than the older
# one. This option limits the new library to matrix products and reductions; it replaces the default list.
_CPU: dict[str, str | bool] = {
    "xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT,LIBRARY_FUSION_TYPE_REDUCE"
}

# A program that runs once finishes sooner unoptimised, with the older emitters and in one part: the program for
# initial weights then compiles four times faster.
_CPU_ONCE: dict[str, str | bool] = {
    "xla_backend_optimization_level": "0",
    "xla_cpu_use_fusion_emitters": False,
    "xla_cpu_parallel_codegen_split_count": "1",
}


def compiler_options(platform: Platform | None = None, once: bool = False) -> dict[str, str | bool] | None:
    """Returns the compiler options for a jitted step, or for a program that runs `once`.

    A new compiler version may refuse an option of the CPU; it is left out. Returns None if no option remains.

    Args:
        platform: the platform that is compiled for; None: the default backend's.
        once: the program runs once, so it should compile fast.
    """
    if (default_platform() if platform is None else platform) != "cpu":
        return None
    return _accepted(once)


@functools.cache
def _accepted(once: bool) -> dict[str, str | bool] | None:
    options = _CPU_ONCE if once else _CPU
    return {name: value for name, value in options.items() if _accepts({name: value})} or None


def _accepts(options: dict[str, str | bool]) -> bool:
    """Returns whether the compiler accepts `options`, which it compiles a tiny program with."""
    try:
        x = jax.ShapeDtypeStruct(
            (), jnp.float32, sharding=SingleDeviceSharding(jax.local_devices(backend="cpu")[0])
        )
        jax.jit(lambda x: x + 1, compiler_options=options).lower(x).compile()
    except Exception:  # the type of the error for an unknown option differs between versions
        return False
    return True
