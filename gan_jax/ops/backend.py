"""What the backend at hand wants: which formulation of each operation, and which compiler options."""

import functools
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp


class Formulations(NamedTuple):
    """How each kind of operation is written down; the numbers are the same but for rounding.

    Attributes:
        convolution: "native" leaves derivatives to the native convolution, "explicit" spells each one out as
            convolutions in plain order, or as a matrix product where there are few channels.
        grouped: "native" grouped convolution, or "blocks": several groups at a time as a dense one.
        resample: "native" depthwise convolution, or "shifts": a weighted sum of shifted images.
    """

    convolution: Literal["native", "explicit"]
    grouped: Literal["native", "blocks"]
    resample: Literal["native", "shifts"]


# Measured on the CPU (docs/performance.md); not yet on a GPU, whose libraries know the native patterns by
# name. To override: `FORMULATIONS["gpu"] = FORMULATIONS["cpu"]`, before tracing.
FORMULATIONS: dict[str, Formulations] = {
    "cpu": Formulations(convolution="explicit", grouped="blocks", resample="shifts"),
    "gpu": Formulations(convolution="native", grouped="native", resample="shifts"),
    "tpu": Formulations(convolution="native", grouped="native", resample="shifts"),
}


def formulations() -> Formulations:
    """The row of `FORMULATIONS` for the default backend; a platform without a row is treated as a GPU."""
    return FORMULATIONS.get(jax.default_backend(), FORMULATIONS["gpu"])


# XLA's default library for convolutions on the CPU is 1.4 to 4 times slower at weight gradients than its older
# one; this keeps the new one for matrix products and reductions only. The list replaces the default list.
_CPU: dict[str, str | bool] = {
    "xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT,LIBRARY_FUSION_TYPE_REDUCE"
}

# A program that runs once is done sooner unoptimised, by the older emitters and in one piece: initial weights
# compile four times faster so.
_CPU_ONCE: dict[str, str | bool] = {
    "xla_backend_optimization_level": "0",
    "xla_cpu_use_fusion_emitters": False,
    "xla_cpu_parallel_codegen_split_count": "1",
}


@functools.cache
def compiler_options(once: bool = False) -> dict[str, str | bool] | None:
    """Returns compiler options for a jitted step on the default backend, or for a program that runs `once`.

    XLA's options change between versions. Each one that this version refuses is left out. None where none is left.
    """
    if jax.default_backend() != "cpu":
        return None
    options = _CPU_ONCE if once else _CPU
    return {name: value for name, value in options.items() if _accepted({name: value})} or None


def _accepted(options: dict[str, str | bool]) -> bool:
    """Whether the compiler accepts `options`, tried on a tiny program."""
    try:
        jax.jit(lambda x: x + 1, compiler_options=options).lower(jnp.zeros(())).compile()
    except Exception:  # the error's type depends on the version of XLA
        return False
    return True
