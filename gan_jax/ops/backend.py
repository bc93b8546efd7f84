"""Chooses the formulation of each operation, and the compiler options, for the default backend."""

import functools
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp


class Formulations(NamedTuple):
    """How each kind of operation is computed; the results are equal up to rounding.

    Attributes:
        convolution: "native" lets JAX differentiate the native convolution; "explicit" writes each derivative as
            convolutions in the usual dimension order, or as a matrix product where there are few channels.
        grouped: "native" is a grouped convolution; "blocks" computes several groups together as a dense one.
        resample: "native" is a depthwise convolution; "shifts" is a weighted sum of shifted images.
    """

    convolution: Literal["native", "explicit"]
    grouped: Literal["native", "blocks"]
    resample: Literal["native", "shifts"]


# Measured on the CPU (docs/performance.md), and not yet on a GPU, whose libraries recognise the native patterns.
# To override, set `FORMULATIONS["gpu"] = FORMULATIONS["cpu"]` before tracing.
FORMULATIONS: dict[str, Formulations] = {
    "cpu": Formulations(convolution="explicit", grouped="blocks", resample="shifts"),
    "gpu": Formulations(convolution="native", grouped="native", resample="shifts"),
    "tpu": Formulations(convolution="native", grouped="native", resample="shifts"),
}


def formulations() -> Formulations:
    """Returns the entry of `FORMULATIONS` for the default backend, or that of the GPU if there is none."""
    return FORMULATIONS.get(jax.default_backend(), FORMULATIONS["gpu"])


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


@functools.cache
def compiler_options(once: bool = False) -> dict[str, str | bool] | None:
    """Returns the compiler options for a jitted step on the default backend, or for a program that runs `once`.

    A new compiler version may refuse an option; it is left out. Returns None if no option remains.
    """
    if jax.default_backend() != "cpu":
        return None
    options = _CPU_ONCE if once else _CPU
    return {name: value for name, value in options.items() if _accepts({name: value})} or None


def _accepts(options: dict[str, str | bool]) -> bool:
    """Returns whether the compiler accepts `options`, which it compiles a tiny program with."""
    try:
        jax.jit(lambda x: x + 1, compiler_options=options).lower(jnp.zeros(())).compile()
    except Exception:  # the type of the error for an unknown option differs between versions
        return False
    return True
