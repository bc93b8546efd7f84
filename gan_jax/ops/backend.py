"""What the backend at hand wants: which formulation of a convolution, and which compiler option."""

import functools

import jax
import jax.numpy as jnp

# XLA's default library for convolutions on the CPU is 1.4 to 4 times slower at weight gradients than its older
# one; this keeps the new one for matrix products and reductions only. The list replaces the default list.
_CPU = {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT,LIBRARY_FUSION_TYPE_REDUCE"}


# A program that runs once is done sooner unoptimised: initial weights compile four times faster so.
_CPU_ONCE = {"xla_backend_optimization_level": "0"}


@functools.cache
def compiler_options(once: bool = False) -> dict[str, str] | None:
    """Compiler options for a jitted step on the default backend, or for a program that runs `once`; or None.

    Options are the compiler's to change, so they are tried on a tiny program and done without where refused.
    """
    if jax.default_backend() != "cpu":
        return None
    options = _CPU_ONCE if once else _CPU
    try:
        jax.jit(lambda x: x + 1, compiler_options=options).lower(jnp.zeros(())).compile()
    except Exception:  # whatever the compiler calls an option it does not know
        return None
    return dict(options)


def explicit_derivatives() -> bool:
    """Whether derivatives are spelled out (CPU), or left to the native convolution's own (GPU, TPU).

    XLA on the CPU runs the derivative of a transposed convolution, and any convolution of unusual dimension
    order inside a loop, 5 to 40 times slower than the same sums written in plain order. GPU libraries know
    these patterns by name.
    """
    return jax.default_backend() == "cpu"
