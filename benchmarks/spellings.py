"""The spellings of a layer: formulations of one operation that give equal numbers, and may differ in speed.

They are those of `gan_jax.ops`, called directly, and what JAX derives.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from gan_jax.ops import blocks, native, patches
from gan_jax.ops.fir import FORMS, Filter
from gan_jax.ops.geometry import Geometry

from .layers import RESAMPLINGS, Layer

Function = Callable[[jax.Array, jax.Array], jax.Array]
DIRECTIONS = ("forward", "input gradient", "kernel gradient")
MERGED = (2, 4, 8)
"""Numbers of groups that become one wider group, with zeros between them."""

_SMALL_MAP = 8  # above it patches take many times the memory of the map


def spellings(layer: Layer, direction: str) -> dict[str, tuple[Function, tuple[tuple[int, ...], ...]]]:
    """Returns each spelling's function of two arrays, with the shapes of the two.

    The arrays are input and kernel (forward), the output's gradient and the kernel (input gradient), or the input
    and the output's gradient (kernel gradient). The second array of a resampling is not read.
    """
    assert layer.primitive is not None, f"{layer} is a matrix product"
    name, parameters = layer.primitive
    if isinstance(parameters, Filter):
        shapes = (layer.y if direction == "input gradient" else layer.x, (1,))
        return {form: (_resample(layer, form, parameters, direction), shapes) for form in FORMS}
    shapes = {
        "forward": (layer.x, layer.kernel),
        "input gradient": (layer.y, layer.kernel),
        "kernel gradient": (layer.x, layer.y),
    }[direction]
    return {key: (function, shapes) for key, function in _convolutions(layer, name, parameters, direction).items()}


def directions(layer: Layer) -> tuple[str, ...]:
    return DIRECTIONS[:2] if layer.kind in RESAMPLINGS else DIRECTIONS


def _convolutions(layer: Layer, name: str, g: Geometry, direction: str) -> dict[str, Function]:
    is_transpose = name == "conv_transpose"
    computed = {
        "forward": name,
        "input gradient": "conv_forward" if is_transpose else "conv_transpose",
        "kernel gradient": "conv_kernel",
    }[direction]
    function = computed.removeprefix("conv_")
    plain = getattr(native, function)
    found: dict[str, Function] = {"native": functools.partial(_of_geometry, plain, g)}
    for count in MERGED:
        if g.groups > 1 and g.groups % count == 0:
            found[f"{count} groups merged"] = functools.partial(_merged, computed, plain, g, count)
    if max(g.output) <= _SMALL_MAP:
        found["patches"] = functools.partial(_of_geometry, getattr(patches, function), g)
    if computed == "conv_kernel" and is_transpose:  # that of the convolution, whose input is the output's gradient
        found = {key: lambda x, ct, f=f: f(ct, x) for key, f in found.items()}
        found["derived"] = lambda x, ct: _derivative(lambda w: native.transpose(x, w, g), layer.kernel, ct)
    return found


def _of_geometry(function: Callable[..., jax.Array], g: Geometry, a: jax.Array, b: jax.Array) -> jax.Array:
    return function(a, b, g)


def _merged(
    name: str, function: Callable[..., jax.Array], g: Geometry, count: int, a: jax.Array, b: jax.Array
) -> jax.Array:
    return blocks.merged(name, function, a, b, g, count)


def _derivative(function: Callable, shape: tuple[int, ...], cotangent: jax.Array) -> jax.Array:
    return jax.vjp(function, jnp.zeros(shape, cotangent.dtype))[1](cotangent)[0]


def _resample(layer: Layer, form: str, filter: Filter, direction: str) -> Function:
    def forward(x: jax.Array) -> jax.Array:
        return FORMS[form](x.astype(jnp.float32), filter).astype(x.dtype)

    if direction == "forward":
        return lambda x, unused: forward(x)
    return lambda ct, unused: _derivative(forward, layer.x, ct)
