"""The spellings of a layer: ways to write one operation that give equal numbers, and may differ in speed."""

import contextlib
from collections.abc import Callable, Iterator, Mapping

import jax
import jax.numpy as jnp
from jax import lax

from gan_jax.ops import FORMULATIONS

from .layers import RESAMPLINGS, Layer

Function = Callable[[jax.Array, jax.Array], jax.Array]
DIRECTIONS = ("forward", "input gradient", "kernel gradient")
WIDER = (2, 4, 8)
"""Numbers of groups that are computed together as one dense group with zeros."""

_ORDER = ("NHWC", "HWIO", "NHWC")
_SMALL_MAP = 8  # above it patches take many times the memory of the map


def spellings(layer: Layer, direction: str) -> dict[str, tuple[Function, tuple[tuple[int, ...], ...]]]:
    """Returns each spelling's function of two arrays, with the shapes of the two.

    The arrays are input and kernel (forward), the output's gradient and the kernel (input gradient), or the input
    and the output's gradient (kernel gradient). The second array of a resampling is not read.
    """
    if layer.kind in RESAMPLINGS:
        shapes = (layer.y if direction == "input gradient" else layer.x, (1,))
        return {
            name: (_direction(_resample(layer, name), layer, direction), shapes) for name in ("native", "shifts")
        }
    shapes = {
        "forward": (layer.x, layer.kernel),
        "input gradient": (layer.y, layer.kernel),
        "kernel gradient": (layer.x, layer.y),
    }[direction]
    forwards: dict[str, Function] = {"native": lambda x, w: _native(layer, x, w)}
    for wider in WIDER:
        if layer.groups > 1 and layer.groups % wider == 0:
            forwards[f"blocks of {wider}"] = _blocks(layer, wider)
    functions = {name: _direction(function, layer, direction) for name, function in forwards.items()}
    if direction == "kernel gradient" and layer.kind == "conv_transpose":
        functions["own"] = lambda x, g: _of_kernel(_plain(layer), layer.kernel)(g, x)
    if direction == "kernel gradient" and layer.groups == 1:
        transposed = layer.kind == "conv_transpose"
        if max((layer.y if transposed else layer.x)[1:3]) <= _SMALL_MAP:
            functions["patches"] = lambda x, g: _by_patches(layer, *((g, x) if transposed else (x, g)))
    return {name: (function, shapes) for name, function in functions.items()}


def directions(layer: Layer) -> tuple[str, ...]:
    return DIRECTIONS[:2] if layer.kind in RESAMPLINGS else DIRECTIONS


def _direction(function: Function, layer: Layer, direction: str) -> Function:
    if direction == "forward":
        return function
    if direction == "kernel gradient":
        return _of_kernel(function, layer.kernel)
    return lambda g, w: jax.vjp(lambda x: function(x, w), jnp.zeros(layer.x, g.dtype))[1](g)[0]


def _of_kernel(function: Function, kernel: tuple[int, ...]) -> Function:
    return lambda x, g: jax.vjp(lambda w: function(x, w), jnp.zeros(kernel, x.dtype))[1](g)[0]


def _native(layer: Layer, x: jax.Array, kernel: jax.Array) -> jax.Array:
    stride, padding = layer.arguments["stride"], layer.arguments["padding"]
    if layer.kind != "conv_transpose":
        return _convolve(x, kernel, stride, padding, layer.groups)
    kh, kw = kernel.shape[:2]
    edges = [(k - 1 - padding, k - 1 - padding) for k in (kh, kw)]
    flipped = jnp.swapaxes(kernel[::-1, ::-1], 2, 3)
    return lax.conv_general_dilated(
        x, flipped, (1, 1), edges, lhs_dilation=(stride, stride), dimension_numbers=_ORDER
    )


def _convolve(x: jax.Array, kernel: jax.Array, stride: int, padding: int, groups: int = 1) -> jax.Array:
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), [(padding, padding)] * 2, dimension_numbers=_ORDER, feature_group_count=groups
    )


def _plain(layer: Layer) -> Function:
    """Returns the plain convolution that `layer` is the transpose of."""
    stride, padding = layer.arguments["stride"], layer.arguments["padding"]
    return lambda g, w: _convolve(g, w, stride, padding)


def _by_patches(layer: Layer, big: jax.Array, small: jax.Array) -> jax.Array:
    """Computes the kernel's gradient as one matrix product of the patches of `big` with `small`."""
    kh, kw, i, o = layer.kernel
    stride, padding = layer.arguments["stride"], layer.arguments["padding"]
    patches = lax.conv_general_dilated_patches(
        big, (kh, kw), (stride, stride), [(padding, padding)] * 2, dimension_numbers=_ORDER
    )  # [N, h, w, i kh kw]
    product = patches.reshape(-1, i * kh * kw).T @ small.reshape(-1, o)
    return jnp.transpose(product.reshape(i, kh, kw, o), (1, 2, 0, 3))


def _blocks(layer: Layer, wider: int) -> Function:
    """Returns the convolution with `wider` times fewer groups, whose kernels are zero between the old groups."""
    kh, kw, i, features = layer.kernel
    blocks, o = layer.groups // wider, features // layer.groups

    def function(x: jax.Array, kernel: jax.Array) -> jax.Array:
        split = kernel.reshape(kh, kw, 1, i, blocks, wider, o)
        same = jnp.eye(wider, dtype=bool)[:, None, None, :, None]
        dense = jnp.where(same, split, 0).reshape(kh, kw, wider * i, features)
        return _convolve(x, dense, layer.arguments["stride"], layer.arguments["padding"], blocks)

    return function


def _resample(layer: Layer, name: str) -> Function:
    def function(x: jax.Array, unused: jax.Array) -> jax.Array:
        with _rows(resample=name):
            return layer.call(x, unused)

    return function


@contextlib.contextmanager
def _rows(**fields: str) -> Iterator[None]:
    """Replaces fields in every row of `gan_jax.ops.FORMULATIONS`."""
    before: Mapping = dict(FORMULATIONS)
    FORMULATIONS.update({platform: row._replace(**fields) for platform, row in before.items()})
    try:
        yield
    finally:
        FORMULATIONS.update(before)
