"""The three bilinear functions of a convolution as JAX primitives, each the derivative of the others.

Of an input `x [N, *S, I]`, an output `y [N, *s, O]` and a kernel `w [*k, I / groups, O]`, of one to three
spatial axes (here two, without groups; s is the stride, p the padding in front):

    forward    y[n, i, j, o] = sum_abi x[n, s i + a - p, s j + b - p, i] w[a, b, i, o]
    transpose  x             = the same sum, over y and w
    kernel     w             = the same sum, over x and y

So derivatives of any order, forward and reverse, are made of these three. Which formulation computes one is chosen
when it is lowered, for the platform that is compiled for (`backend.FORMULATIONS`).
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching

from . import blocks, explicit, frames, native
from .backend import Formulations, default_platform, formulations, lower_by_platform
from .geometry import Geometry
from .vary import vary_alike

Bilinear = Callable[[jax.Array, jax.Array, Geometry], jax.Array]


class _Forms(NamedTuple):
    """The formulations of one of the three functions."""

    native: Bilinear
    gpu: Bilinear
    explicit: Bilinear
    blocks: Callable[..., jax.Array]
    frames: Callable[..., jax.Array]


_FORMS = {
    "conv_forward": _Forms(
        native.forward, native.forward_on_gpu, explicit.forward, blocks.forward, frames.forward
    ),
    "conv_transpose": _Forms(
        native.transpose, native.transpose_on_gpu, explicit.transpose, blocks.transpose, frames.transpose
    ),
    "conv_kernel": _Forms(native.kernel, native.kernel_on_gpu, explicit.kernel, blocks.kernel, frames.kernel),
}


def compute(
    name: str, platform: str, a: jax.Array, b: jax.Array, *, geometry: Geometry, precision: str | None = None
) -> jax.Array:
    """Computes one of the three functions as `FORMULATIONS` says for `platform`.

    `precision` is what `jax.default_matmul_precision` was where the function was called, which is not where it is
    lowered.
    """
    with jax.default_matmul_precision(precision):
        return _compute(_FORMS[name], list(_FORMS).index(name), formulations(platform), a, b, geometry)


def _compute(
    forms: _Forms, index: int, row: Formulations, a: jax.Array, b: jax.Array, geometry: Geometry
) -> jax.Array:
    dense = getattr(forms, row.convolution)
    if geometry.rank == 3 and row.volumes == "frames":
        dense = functools.partial(forms.frames, dense)
    if geometry.groups > 1 and row.grouped == "blocks":
        return forms.blocks(dense, a, b, geometry)
    if geometry.groups > 1:
        grouped = forms.native if row.convolution == "explicit" else dense  # "explicit" has no groups
        return blocks.merged(list(_FORMS)[index], grouped, a, b, geometry, row.merge[index])
    return dense(a, b, geometry)


def _primitive(name: str, shape: Callable[..., tuple[int, ...]]) -> Primitive:
    primitive = Primitive(name)

    @primitive.def_abstract_eval
    def abstract(a, b, *, geometry: Geometry, precision: str | None):
        return a.update(shape=shape(a, b, geometry), weak_type=False)

    @primitive.def_impl
    def compute_now(a: jax.Array, b: jax.Array, *, geometry: Geometry, precision: str | None) -> jax.Array:
        return _jitted(name, default_platform(), geometry, precision, formulations())(a, b)

    lower_by_platform(primitive, functools.partial(compute, name))
    return primitive


@functools.lru_cache
def _jitted(
    name: str, platform: str, geometry: Geometry, precision: str | None, row: Formulations
) -> Callable[..., jax.Array]:
    """Compiles one of the three functions; `row` is here so that another row compiles anew."""
    return jax.jit(functools.partial(compute, name, platform, geometry=geometry, precision=precision))


_forward = _primitive("conv_forward", lambda x, w, g: (x.shape[0], *g.output, w.shape[-1]))
_transpose = _primitive("conv_transpose", lambda y, w, g: (y.shape[0], *g.size, w.shape[-2] * g.groups))
_kernel = _primitive("conv_kernel", lambda x, y, g: (*g.kernel, x.shape[-1] // g.groups, y.shape[-1]))


def _bind(primitive: Primitive, a: jax.Array, b: jax.Array, **static: Any) -> jax.Array:
    a, b = vary_alike(jnp.asarray(a), jnp.asarray(b))
    return primitive.bind(a, b, **static)


def forward(x: jax.Array, kernel: jax.Array, g: Geometry) -> jax.Array:
    return _bind(_forward, x, kernel, geometry=g, precision=_precision())


def transpose(y: jax.Array, kernel: jax.Array, g: Geometry) -> jax.Array:
    return _bind(_transpose, y, kernel, geometry=g, precision=_precision())


def _precision() -> str | None:
    return jax.config.jax_default_matmul_precision  # pyright: ignore[reportAttributeAccessIssue]


# In the argument order of `ad.defbilinear`: the cotangent, then both arguments, of which one is unknown.
ad.defbilinear(
    _forward,
    lambda ct, x, w, **static: _bind(_transpose, ct, w, **static),
    lambda ct, x, w, **static: _bind(_kernel, x, ct, **static),
)
ad.defbilinear(
    _transpose,
    lambda ct, y, w, **static: _bind(_forward, ct, w, **static),
    lambda ct, y, w, **static: _bind(_kernel, ct, y, **static),
)
ad.defbilinear(
    _kernel,
    lambda ct, x, y, **static: _bind(_transpose, y, ct, **static),
    lambda ct, x, y, **static: _bind(_forward, x, ct, **static),
)


# -- vmap


def _batch_map(primitive: Primitive, arguments, dims, *, geometry: Geometry, precision: str | None):
    """`vmap` of `forward` and `transpose`: a batch of maps is more samples, a batch of kernels is more groups."""
    (a, kernel), (of_map, of_kernel) = arguments, dims
    if of_kernel is None:
        a = jnp.moveaxis(a, of_map, 0)
        out = primitive.bind(a.reshape(-1, *a.shape[2:]), kernel, geometry=geometry, precision=precision)
        return out.reshape(*a.shape[:2], *out.shape[1:]), 0
    size = kernel.shape[of_kernel]
    if of_map is None and primitive is _forward and geometry.groups == 1:
        kernels = _into_channels(jnp.moveaxis(kernel, of_kernel, 0))  # more output channels
        return _out_of_channels(primitive.bind(a, kernels, geometry=geometry, precision=precision), size), 0
    wide = geometry._replace(groups=size * geometry.groups)
    kernels = _into_channels(jnp.moveaxis(kernel, of_kernel, 0))
    out = primitive.bind(_into_channels(_batched(a, of_map, size)), kernels, geometry=wide, precision=precision)
    return _out_of_channels(out, size), 0


def _batch_kernel(arguments, dims, *, geometry: Geometry, precision: str | None):
    """`vmap` of `kernel`: a batch of pairs of maps is one pair with more groups."""
    size = next(x.shape[d] for x, d in zip(arguments, dims) if d is not None)
    x, y = (_into_channels(_batched(x, d, size)) for x, d in zip(arguments, dims))
    wide = geometry._replace(groups=size * geometry.groups)
    out = _kernel.bind(x, y, geometry=wide, precision=precision)
    return _out_of_channels(out, size), 0


def _batched(x: jax.Array, dim: int | None, size: int) -> jax.Array:
    return jnp.broadcast_to(x, (size, *x.shape)) if dim is None else jnp.moveaxis(x, dim, 0)


def _into_channels(x: jax.Array) -> jax.Array:
    """Maps `[V, ..., C]` to `[..., V C]`."""
    return jnp.moveaxis(x, 0, -2).reshape(*x.shape[1:-1], -1)


def _out_of_channels(x: jax.Array, size: int) -> jax.Array:
    """Undoes `_into_channels`."""
    return jnp.moveaxis(x.reshape(*x.shape[:-1], size, -1), -2, 0)


batching.primitive_batchers[_forward] = functools.partial(_batch_map, _forward)
batching.primitive_batchers[_transpose] = functools.partial(_batch_map, _transpose)
batching.primitive_batchers[_kernel] = _batch_kernel
