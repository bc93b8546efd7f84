"""The types of operands inside a `jax.shard_map` that checks what varies between devices."""

import jax
from jax import lax


def vary_alike(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Gives both the same type in a `jax.shard_map`, where the types say what varies between devices."""

    def varying(x: jax.Array) -> frozenset[str]:
        return getattr(getattr(jax.typeof(x), "mat", None), "varying", frozenset())

    both = varying(a) | varying(b)
    if not both:
        return a, b
    missing = [tuple(both - varying(x)) for x in (a, b)]
    a, b = (lax.pcast(x, axes, to="varying") if axes else x for x, axes in zip((a, b), missing))
    return a, b
