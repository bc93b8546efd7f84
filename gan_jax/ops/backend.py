"""What the backend at hand wants: which formulation of a convolution, and which compiler option."""

import functools

import jax
import jax.numpy as jnp

# XLA's default library for convolutions on the CPU is 1.4 to 4 times slower at weight gradients than its older
# one; this keeps the new one for matrix products and reductions only. The list replaces the default list.
_CPU = {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT,LIBRARY_FUSION_TYPE_REDUCE"}


@functools.cache
def compiler_options() -> dict[str, str] | None:
    """Compiler options for a jitted step on the default backend, or None.

    The option is experimental, so it is tried once on a tiny program and done without where it is refused.
    """
    if jax.default_backend() != "cpu":
        return None
    try:
        jax.jit(lambda x: x + 1, compiler_options=_CPU).lower(jnp.zeros(())).compile()
    except Exception:
        return None
    return dict(_CPU)


def explicit_derivatives() -> bool:
    """Whether derivatives are spelled out (CPU), or left to the native convolution's own (GPU, TPU).

    XLA on the CPU runs the derivative of a transposed convolution, and any convolution of unusual dimension
    order inside a loop, 5 to 40 times slower than the same sums written in plain order. GPU libraries know
    these patterns by name.
    """
    return jax.default_backend() == "cpu"
