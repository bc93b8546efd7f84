"""The three bilinear functions of a convolution in the forms that XLA runs fast on the CPU.

Each is a convolution in the usual dimension order, or a matrix product where there are few channels. Measured in
docs/performance_notes.md.
"""

import jax
import jax.numpy as jnp
from jax import lax

from . import native, patches
from .geometry import Geometry
from .native import DIMENSIONS, flipped


def forward(x: jax.Array, kernel: jax.Array, g: Geometry) -> jax.Array:
    """Maps x `[N, H, W, I]` and the kernel `[kh, kw, I, O]` to y `[N, h, w, O]`."""
    if _to_few_channels(g, kernel.shape[2], kernel.shape[3]):
        return transpose(x, flipped(kernel), _reversed(g))
    return native.forward(x, kernel, g)


def transpose(y: jax.Array, kernel: jax.Array, g: Geometry) -> jax.Array:
    """Maps y and the kernel to x."""
    if _few(kernel.shape[2]):
        return patches.transpose(y, kernel, g)
    return native.transpose(y, kernel, g) if g.stride == 1 else _phases(y, kernel, g)


def kernel(x: jax.Array, y: jax.Array, g: Geometry) -> jax.Array:
    """Maps x and y to the kernel, by a convolution in the usual order; its channels are the samples."""
    if _to_few_channels(g, x.shape[3], y.shape[3]):
        return flipped(_kernel(y, x, _reversed(g)))
    return _kernel(x, y, g)


def _kernel(x: jax.Array, y: jax.Array, g: Geometry) -> jax.Array:
    # Use jnp.transpose and not dimension numbers: inside a loop, XLA computes unusual orders with a naive routine.
    images = jnp.transpose(x, (3, 1, 2, 0))  # [I, H, W, N]
    windows = jnp.transpose(y, (1, 2, 0, 3))  # [h, w, N, O]
    (top, bottom), (left, right) = g.padding
    used = [(out - 1) * g.stride + k for out, k in zip(g.output, g.kernel)]
    bottom, right = used[0] - g.size[0] - top, used[1] - g.size[1] - left  # cuts rows that no window reaches
    out = lax.conv_general_dilated(
        images, windows, (1, 1), ((top, bottom), (left, right)),
        rhs_dilation=(g.stride, g.stride), dimension_numbers=DIMENSIONS,
    )  # fmt: skip
    return jnp.transpose(out, (1, 2, 0, 3))  # [I, kh, kw, O] to [kh, kw, I, O]


def _few(channels: int) -> bool:
    """Returns whether a transposed convolution to this number of channels should use `patches`.

    Measured with 1 and 3 channels, it then takes a half to a fifth of the time. Patches for the convolution from
    so few channels, and for the kernel's derivative, made a whole step only 0 to 2 % faster.
    """
    return channels <= 4


def _to_few_channels(g: Geometry, i: int, o: int) -> bool:
    """Returns whether a convolution at stride 1 is better computed as the transpose of one from few channels."""
    return g.stride == 1 and _few(o) and not _few(i)


def _reversed(g: Geometry) -> Geometry:
    """Returns the geometry whose transpose, with the flipped kernel, is the convolution `g` at stride 1."""
    edges = tuple((k - 1 - low, k - 1 - high) for k, (low, high) in zip(g.kernel, g.padding))
    return Geometry(1, (edges[0], edges[1]), g.output, g.kernel)


def _phases(y: jax.Array, kernel: jax.Array, g: Geometry) -> jax.Array:
    """Computes each of the s x s phases of the output as a dense convolution, and interleaves them.

    Output row s q + r reads the kernel rows a = s t + (r + p) mod s and the rows q + (r + p) // s - t of y.
    """
    s = g.stride
    count = [-(-n // s) for n in g.size]  # the size of one phase

    def window(axis: int, phase: int) -> tuple[slice, int, tuple[int, int]]:
        """Returns a phase's kernel rows, their number, and the padding of y that gives `count` output rows."""
        shift, first = divmod(phase + g.padding[axis][0], s)
        taps = len(range(first, g.kernel[axis], s))
        low = taps - 1 - shift
        return slice(first, None, s), taps, (low, count[axis] + taps - 1 - low - y.shape[1 + axis])

    def phase(row: int, column: int) -> jax.Array:
        (rows, height, vertical), (columns, width, horizontal) = window(0, row), window(1, column)
        if not height * width:  # a kernel smaller than its stride leaves gaps
            return patches.padded(y[:, :0, :0, :0], (0, 0), *((0, n) for n in (*count, kernel.shape[2])))
        part = flipped(kernel[rows, columns])
        return lax.conv_general_dilated(y, part, (1, 1), (vertical, horizontal), dimension_numbers=DIMENSIONS)

    whole = jnp.stack([jnp.stack([phase(r, c) for c in range(s)], axis=3) for r in range(s)], axis=2)
    whole = whole.reshape(y.shape[0], count[0] * s, count[1] * s, kernel.shape[2])  # of [N, q, s, q, s, I]
    return whole[:, : g.size[0], : g.size[1]]
