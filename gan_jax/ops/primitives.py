"""The three bilinear functions of a convolution as JAX primitives, each the derivative of the others.

Of an input `x [N, H, W, I]`, an output `y [N, h, w, O]` and a kernel `w [kh, kw, I / groups, O]` (without groups;
s is the stride, p the padding in front):

    forward    y[n, i, j, o] = sum_abi x[n, s i + a - p, s j + b - p, i] w[a, b, i, o]
    transpose  x             = the same sum, over y and w
    kernel     w             = the same sum, over x and y

So derivatives of any order, forward and reverse, are made of these three. Which formulation computes one is chosen
when it is lowered, for the platform that is compiled for (`backend.FORMULATIONS`).
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from . import blocks, explicit, native
from .backend import PLATFORMS, formulations
from .geometry import Geometry

Bilinear = Callable[[jax.Array, jax.Array, Geometry], jax.Array]


class _Forms(NamedTuple):
    """The formulations of one of the three functions."""

    native: Bilinear
    gpu: Bilinear
    explicit: Bilinear
    blocks: Callable[..., jax.Array]


_FORMS = {
    "conv_forward": _Forms(native.forward, native.forward_on_gpu, explicit.forward, blocks.forward),
    "conv_transpose": _Forms(native.transpose, native.transpose_on_gpu, explicit.transpose, blocks.transpose),
    "conv_kernel": _Forms(native.kernel, native.kernel_on_gpu, explicit.kernel, blocks.kernel),
}


def compute(name: str, platform: str, a: jax.Array, b: jax.Array, *, geometry: Geometry) -> jax.Array:
    """Computes one of the three functions as `FORMULATIONS` says for `platform`."""
    forms, row = _FORMS[name], formulations(platform)
    dense = getattr(forms, row.convolution)
    if geometry.groups > 1 and row.grouped == "blocks":
        return forms.blocks(dense, a, b, geometry)
    if geometry.groups > 1:
        grouped = forms.native if row.convolution == "explicit" else dense  # "explicit" has no groups
        count = row.merge[list(_FORMS).index(name)]
        return blocks.merged(name, grouped, a, b, geometry, count)
    return dense(a, b, geometry)


def _primitive(name: str, shape: Callable[..., tuple[int, ...]]) -> Primitive:
    primitive = Primitive(name)

    @primitive.def_abstract_eval
    def abstract(a, b, *, geometry: Geometry):
        return a.update(shape=shape(a, b, geometry), weak_type=False)

    @primitive.def_impl
    def compute_now(a: jax.Array, b: jax.Array, *, geometry: Geometry) -> jax.Array:
        return _jitted(primitive, geometry, formulations())(a, b)

    for platform in PLATFORMS:
        rule = mlir.lower_fun(functools.partial(compute, name, platform), multiple_results=False)
        mlir.register_lowering(primitive, rule, platform=platform)
    mlir.register_lowering(
        primitive, mlir.lower_fun(functools.partial(compute, name, "default"), multiple_results=False)
    )
    return primitive


@functools.lru_cache
def _jitted(primitive: Primitive, geometry: Geometry, row: object) -> Callable[..., jax.Array]:
    """Compiles one primitive; `row`, the formulations, is here so that another row compiles anew."""
    return jax.jit(lambda a, b: primitive.bind(a, b, geometry=geometry))


_forward = _primitive("conv_forward", lambda x, w, g: (x.shape[0], *g.output, w.shape[3]))
_transpose = _primitive("conv_transpose", lambda y, w, g: (y.shape[0], *g.size, w.shape[2] * g.groups))
_kernel = _primitive("conv_kernel", lambda x, y, g: (*g.kernel, x.shape[3] // g.groups, y.shape[3]))


def _bind(primitive: Primitive, a: jax.Array, b: jax.Array, g: Geometry) -> jax.Array:
    a, b = _vary_alike(jnp.asarray(a), jnp.asarray(b))
    return primitive.bind(a, b, geometry=g)


def forward(x: jax.Array, kernel: jax.Array, g: Geometry) -> jax.Array:
    return _bind(_forward, x, kernel, g)


def transpose(y: jax.Array, kernel: jax.Array, g: Geometry) -> jax.Array:
    return _bind(_transpose, y, kernel, g)


def kernel(x: jax.Array, y: jax.Array, g: Geometry) -> jax.Array:
    return _bind(_kernel, x, y, g)


def _vary_alike(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Gives both the same type in a `jax.shard_map`, where the types say what varies between devices."""

    def varying(x: jax.Array) -> frozenset[str]:
        return getattr(getattr(jax.typeof(x), "mat", None), "varying", frozenset())

    both = varying(a) | varying(b)
    if not both:
        return a, b
    missing = [tuple(both - varying(x)) for x in (a, b)]
    a, b = (lax.pcast(x, axes, to="varying") if axes else x for x, axes in zip((a, b), missing))
    return a, b


# In the argument order of `ad.defbilinear`: the cotangent, then both arguments, of which one is unknown.
ad.defbilinear(
    _forward,
    lambda ct, x, w, *, geometry: transpose(ct, w, geometry),
    lambda ct, x, w, *, geometry: kernel(x, ct, geometry),
)
ad.defbilinear(
    _transpose,
    lambda ct, y, w, *, geometry: forward(ct, w, geometry),
    lambda ct, y, w, *, geometry: kernel(ct, y, geometry),
)
ad.defbilinear(
    _kernel,
    lambda ct, x, y, *, geometry: transpose(y, ct, geometry),
    lambda ct, x, y, *, geometry: forward(x, ct, geometry),
)


# -- vmap


def _batch_map(primitive: Primitive, arguments, dims, *, geometry: Geometry):
    """`vmap` of `forward` and `transpose`: a batch of maps is more samples, a batch of kernels is more groups."""
    (a, kernel), (of_map, of_kernel) = arguments, dims
    if of_kernel is None:
        a = jnp.moveaxis(a, of_map, 0)
        out = primitive.bind(a.reshape(-1, *a.shape[2:]), kernel, geometry=geometry)
        return out.reshape(*a.shape[:2], *out.shape[1:]), 0
    size = kernel.shape[of_kernel]
    if of_map is None and primitive is _forward and geometry.groups == 1:
        kernels = _into_channels(jnp.moveaxis(kernel, of_kernel, 0))  # more output channels
        return _out_of_channels(primitive.bind(a, kernels, geometry=geometry), size), 0
    wide = geometry._replace(groups=size * geometry.groups)
    kernels = _into_channels(jnp.moveaxis(kernel, of_kernel, 0))
    out = primitive.bind(_into_channels(_batched(a, of_map, size)), kernels, geometry=wide)
    return _out_of_channels(out, size), 0


def _batch_kernel(arguments, dims, *, geometry: Geometry):
    """`vmap` of `kernel`: a batch of pairs of maps is one pair with more groups."""
    size = next(x.shape[d] for x, d in zip(arguments, dims) if d is not None)
    x, y = (_into_channels(_batched(x, d, size)) for x, d in zip(arguments, dims))
    out = _kernel.bind(x, y, geometry=geometry._replace(groups=size * geometry.groups))
    return _out_of_channels(out, size), 0


def _batched(x: jax.Array, dim: int | None, size: int) -> jax.Array:
    return jnp.broadcast_to(x, (size, *x.shape)) if dim is None else jnp.moveaxis(x, dim, 0)


def _into_channels(x: jax.Array) -> jax.Array:
    """Maps `[V, a, b, c, C]` to `[a, b, c, V C]`."""
    return jnp.moveaxis(x, 0, 3).reshape(*x.shape[1:4], -1)


def _out_of_channels(x: jax.Array, size: int) -> jax.Array:
    """Undoes `_into_channels`."""
    return jnp.moveaxis(x.reshape(*x.shape[:3], size, -1), 3, 0)


batching.primitive_batchers[_forward] = functools.partial(_batch_map, _forward)
batching.primitive_batchers[_transpose] = functools.partial(_batch_map, _transpose)
batching.primitive_batchers[_kernel] = _batch_kernel


# -- cost


def convolution_flops(name: str, a_shape: tuple[int, ...], b_shape: tuple[int, ...], g: Geometry) -> int:
    """Returns the FLOPs of one of the three functions, two for each product of a window's value and a weight.

    Args:
        name: the primitive: conv_forward, conv_transpose or conv_kernel.
        a_shape, b_shape: the shapes of its arguments.
        g: its parameter `geometry`.
    """
    samples = a_shape[0]
    if name == "conv_kernel":
        weights = g.kernel[0] * g.kernel[1] * a_shape[3] // g.groups * b_shape[3]
    else:
        weights = b_shape[0] * b_shape[1] * b_shape[2] * b_shape[3]
    return 2 * samples * g.output[0] * g.output[1] * weights
