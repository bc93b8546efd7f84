"""The three bilinear functions of a convolution in the forms that XLA runs fast on the CPU.

Each is a convolution in the usual dimension order, or a matrix product where there are few channels. Measured in
docs/performance_notes.md.
"""

import itertools

import jax
import jax.numpy as jnp
from jax import lax

from . import native, patches
from .geometry import Geometry
from .native import DIMENSIONS, flipped


def forward(x: jax.Array, kernel: jax.Array, g: Geometry) -> jax.Array:
    """Maps x `[N, *S, I]` and the kernel `[*k, I, O]` to y `[N, *s, O]`."""
    if _to_few_channels(g, kernel.shape[-2], kernel.shape[-1]):
        return transpose(x, flipped(kernel), _reversed(g))
    return native.forward(x, kernel, g)


def transpose(y: jax.Array, kernel: jax.Array, g: Geometry) -> jax.Array:
    """Maps y and the kernel to x."""
    if _few(kernel.shape[-2]):
        return patches.transpose(y, kernel, g)
    return native.transpose(y, kernel, g) if _dense(g) else _phases(y, kernel, g)


def kernel(x: jax.Array, y: jax.Array, g: Geometry) -> jax.Array:
    """Maps x and y to the kernel, by a convolution in the usual order; its channels are the samples."""
    if _to_few_channels(g, x.shape[-1], y.shape[-1]):
        return flipped(_kernel(y, x, _reversed(g)))
    return _kernel(x, y, g)


def _kernel(x: jax.Array, y: jax.Array, g: Geometry) -> jax.Array:
    # Use jnp.transpose and not dimension numbers: inside a loop, XLA computes unusual orders with a naive routine.
    axes = tuple(range(1, g.rank + 1))
    images = jnp.transpose(x, (g.rank + 1, *axes, 0))  # [I, *S, N]
    windows = jnp.transpose(y, (*axes, 0, g.rank + 1))  # [*s, N, O]
    used = [(out - 1) * s + k for out, s, k in zip(g.output, g.stride, g.kernel)]
    # The end cuts rows that no window reaches.
    padding = [(low, span - n - low) for span, n, (low, _) in zip(used, g.size, g.padding)]
    out = lax.conv_general_dilated(
        images, windows, (1,) * g.rank, padding, rhs_dilation=g.stride, dimension_numbers=DIMENSIONS[g.rank]
    )
    return jnp.transpose(out, (*axes, 0, g.rank + 1))  # [I, *k, O] to [*k, I, O]


def _dense(g: Geometry) -> bool:
    """Returns whether the stride is 1."""
    return g.stride == (1,) * g.rank


def _few(channels: int) -> bool:
    """Returns whether a transposed convolution to this number of channels should use `patches`.

    Measured with 1 and 3 channels, it then takes a half to a fifth of the time. Patches for the convolution from
    so few channels, and for the kernel's derivative, made a whole step only 0 to 2 % faster.
    """
    return channels <= 4


def _to_few_channels(g: Geometry, i: int, o: int) -> bool:
    """Returns whether a convolution at stride 1 is better computed as the transpose of one from few channels."""
    return _dense(g) and _few(o) and not _few(i)


def _reversed(g: Geometry) -> Geometry:
    """Returns the geometry whose transpose, with the flipped kernel, is the convolution `g` at stride 1."""
    edges = tuple((k - 1 - low, k - 1 - high) for k, (low, high) in zip(g.kernel, g.padding))
    return Geometry(g.stride, edges, g.output, g.kernel)


def _phases(y: jax.Array, kernel: jax.Array, g: Geometry) -> jax.Array:
    """Computes each of the s phases of the output along each axis as a dense convolution, and interleaves them.

    Output row s q + r reads the kernel rows a = s t + (r + p) mod s and the rows q + (r + p) // s - t of y.
    """
    count = [-(-n // s) for n, s in zip(g.size, g.stride)]  # the size of one phase

    def window(axis: int, phase: int) -> tuple[slice, int, tuple[int, int]]:
        """Returns a phase's kernel rows, their number, and the padding of y that gives `count` output rows."""
        s = g.stride[axis]
        shift, first = divmod(phase + g.padding[axis][0], s)
        taps = len(range(first, g.kernel[axis], s))
        low = taps - 1 - shift
        return slice(first, None, s), taps, (low, count[axis] + taps - 1 - low - y.shape[1 + axis])

    def phase(*phases: int) -> jax.Array:
        rows, taps, padding = zip(*itertools.starmap(window, enumerate(phases)))
        if 0 in taps:  # a kernel smaller than its stride leaves gaps
            empty = y[(slice(None), *(slice(0, 0),) * (g.rank + 1))]
            return patches.padded(empty, (0, 0), *((0, n) for n in (*count, kernel.shape[-2])))
        return lax.conv_general_dilated(
            y, flipped(kernel[rows]), (1,) * g.rank, padding, dimension_numbers=DIMENSIONS[g.rank]
        )

    def stacked(*phases: int) -> jax.Array:
        axis = len(phases)
        if axis == g.rank:
            return phase(*phases)
        return jnp.stack([stacked(*phases, r) for r in range(g.stride[axis])], axis=axis + 2)

    size = (n * s for n, s in zip(count, g.stride))
    whole = stacked().reshape(y.shape[0], *size, kernel.shape[-2])  # of [N, q, s, q, s, I] in two dimensions
    return whole[(slice(None), *(slice(n) for n in g.size))]
