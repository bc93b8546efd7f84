"""JAX primitives that are linear in their first operand, and that each platform computes in its own way."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching

from .backend import Formulations, default_platform, formulations, lower_by_platform

Shape = tuple[Any, ...]  # Integers. In a program for any batch size (`jax.export`), N is a symbol.


def linear_primitive(name: str, compute: Callable[..., jax.Array], shape: Callable[..., Shape]) -> Primitive:
    """Returns a primitive whose derivatives of any order, forward or reverse, are the primitive or its transpose.

    The primitive has one array x `[N, ...]`, with samples in front, and may have further arrays `[N, ...]`, which
    belong to the samples and are constants for differentiation. Its parameter `transposed` asks for the transpose.

    Args:
        name: of the primitive.
        compute: `compute(platform, x, *constants, transposed=..., **parameters)`; each parameter must be hashable.
        shape: takes x's type and the parameters; returns the shape of the result.
    """
    primitive = Primitive(name)

    @primitive.def_abstract_eval
    def abstract(x: Any, *constants: Any, **parameters: Any) -> Any:
        return x.update(shape=shape(x, **parameters), weak_type=False)

    def jvp(primals: tuple, tangents: tuple, **parameters: Any) -> tuple:
        (x, *constants), tangent = primals, tangents[0]
        out = primitive.bind(x, *constants, **parameters)
        if type(tangent) is ad.Zero:
            return out, ad.Zero(jax.typeof(out).to_tangent_aval())
        return out, primitive.bind(tangent, *constants, **parameters)

    def transpose(cotangent: Any, x: Any, *constants: Any, transposed: bool, **parameters: Any) -> list:
        if type(cotangent) is ad.Zero:
            return [ad.Zero(x.aval), *[None] * len(constants)]
        back = primitive.bind(cotangent, *constants, transposed=not transposed, **parameters)
        return [back, *[None] * len(constants)]

    def batched(arguments: tuple, dims: tuple, **parameters: Any) -> tuple[jax.Array, int]:
        size = next(a.shape[dim] for a, dim in zip(arguments, dims) if dim is not None)
        each = [
            jnp.broadcast_to(a, (size, *a.shape)) if dim is None else jnp.moveaxis(a, dim, 0)
            for a, dim in zip(arguments, dims)
        ]
        samples = each[0].shape[1]
        merged = (a.reshape(size * samples, *a.shape[2:]) for a in each)
        out = primitive.bind(*merged, **parameters)
        return out.reshape(size, samples, *out.shape[1:]), 0

    @functools.lru_cache
    def jitted(platform: str, row: Formulations, **parameters: Any) -> Callable[..., jax.Array]:
        """Returns the compiled primitive for calls outside of jit; another `row` is compiled anew."""
        return jax.jit(functools.partial(compute, platform, **parameters))

    @primitive.def_impl
    def compute_now(*arguments: jax.Array, **parameters: Any) -> jax.Array:
        return jitted(default_platform(), formulations(), **parameters)(*arguments)

    ad.primitive_jvps[primitive] = jvp
    ad.primitive_transposes[primitive] = transpose
    batching.primitive_batchers[primitive] = batched
    lower_by_platform(primitive, compute)
    return primitive
