"""The three bilinear functions of a convolution in three dimensions by those of one in two.

The first axis of the kernel becomes channels: a frame of y is a two-dimensional convolution of the frames of x
that it reads, side by side as channels. So each sum over the kernel stays inside one convolution. `flat` is the
function of two dimensions that computes it.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from .geometry import Geometry
from .patches import padded

Flat = Callable[[jax.Array, jax.Array, Geometry], jax.Array]


def forward(flat: Flat, x: jax.Array, kernel: jax.Array, g: Geometry) -> jax.Array:
    """Maps x `[N, D, H, W, I]` and the kernel `[kd, kh, kw, I / groups, O]` to y `[N, d, h, w, O]`."""
    images = _images(_read_frames(x, g), g)
    kernels = jnp.moveaxis(kernel, 0, 2)  # [kh, kw, kd, i, O]
    y = flat(images, kernels.reshape(*kernels.shape[:2], -1, kernel.shape[-1]), _flat_geometry(g))
    return y.reshape(x.shape[0], *g.output, -1)


def kernel(flat: Flat, x: jax.Array, y: jax.Array, g: Geometry) -> jax.Array:
    """Maps x and y to the kernel."""
    w = flat(_images(_read_frames(x, g), g), y.reshape(-1, *y.shape[2:]), _flat_geometry(g))
    return jnp.moveaxis(w.reshape(*g.kernel[1:], g.kernel[0], -1, y.shape[-1]), 2, 0)


def transpose(flat: Flat, y: jax.Array, kernel: jax.Array, g: Geometry) -> jax.Array:
    """Maps y and the kernel to x. Frame s q + r of x reads every s-th frame of the kernel, for each phase r."""
    s, low, count = g.stride[0], g.padding[0][0], -(-g.size[0] // g.stride[0])

    def phase(r: int) -> jax.Array:
        """Frame q reads the kernel's frames first + s t, and the frames q + shift - t of y."""
        shift, first = divmod(r + low, s)
        part = kernel[first::s]
        taps = part.shape[0]
        if not taps:  # a kernel shorter than its stride leaves gaps
            ends = ((0, n) for n in (count, *g.size[1:], kernel.shape[-2] * g.groups))
            return padded(y[:, :0, :0, :0, :0], (0, 0), *ends)
        before, after = taps - 1 - shift, count + shift - y.shape[1]
        frames = _pad_frames(y, before, after)
        read = [lax.slice_in_dim(frames, taps - 1 - t, taps - 1 - t + count, axis=1) for t in range(taps)]
        kernels = part.reshape(*part.shape[:-1], g.groups, -1)  # [taps, kh, kw, i, groups, o]
        kernels = jnp.transpose(kernels, (1, 2, 3, 4, 0, 5)).reshape(*part.shape[1:-1], -1)
        x = flat(_images(read, g), kernels, _flat_geometry(g))
        return x.reshape(y.shape[0], count, *g.size[1:], -1)

    phases = [phase(r) for r in range(s)]
    if s == 1:
        return phases[0]
    whole = jnp.stack(phases, axis=2).reshape(y.shape[0], count * s, *g.size[1:], -1)
    return lax.slice_in_dim(whole, 0, g.size[0], axis=1)


def _read_frames(x: jax.Array, g: Geometry) -> list[jax.Array]:
    """Returns for each frame of the kernel the frames of x that it meets, `[N, d, H, W, I]`."""
    s, (low, high), frames = g.stride[0], g.padding[0], g.output[0]
    x = _pad_frames(x, low, high)
    return [lax.slice_in_dim(x, a, a + (frames - 1) * s + 1, s, axis=1) for a in range(g.kernel[0])]


def _pad_frames(x: jax.Array, low: int, high: int) -> jax.Array:
    return padded(x, (0, 0), (low, high), (0, 0), (0, 0), (0, 0))


def _images(read: list[jax.Array], g: Geometry) -> jax.Array:
    """Joins frames to images `[N d, H, W, groups taps i]`."""
    parts = [x.reshape(-1, *x.shape[2:-1], g.groups, x.shape[-1] // g.groups) for x in read]
    return jnp.concatenate(parts, axis=-1).reshape(*parts[0].shape[:3], -1)


def _flat_geometry(g: Geometry) -> Geometry:
    return Geometry(g.stride[1:], g.padding[1:], g.size[1:], g.kernel[1:], g.groups)
