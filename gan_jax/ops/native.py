"""The three bilinear functions of a convolution as XLA's own convolutions.

This is what TPUs get. GPUs get it too, except on maps as small as the kernel: there XLA takes a derivative for
another convolution, and cuDNN computes it with a general kernel that is slow. A volume that is as small along one
axis may be large along the others, so it becomes images first.
"""

import jax
import jax.numpy as jnp
from jax import lax

from . import frames, patches
from .geometry import Geometry

_AXES = {1: "W", 2: "HW", 3: "DHW"}
# By the number of spatial axes: the usual order of x, kernel and y; and that of a kernel's derivative.
DIMENSIONS = {rank: (f"N{axes}C", f"{axes}IO", f"N{axes}C") for rank, axes in _AXES.items()}
_OF_KERNEL = {rank: (f"C{axes}N", f"I{axes}O", f"{axes}NC") for rank, axes in _AXES.items()}


def forward(x: jax.Array, kernel: jax.Array, g: Geometry) -> jax.Array:
    """Maps x `[N, *S, I]` and the kernel `[*k, I / groups, O]` to y `[N, *s, O]`."""
    return lax.conv_general_dilated(
        x, kernel, g.stride, g.padding, dimension_numbers=DIMENSIONS[g.rank], feature_group_count=g.groups
    )


def transpose(y: jax.Array, kernel: jax.Array, g: Geometry) -> jax.Array:
    """Maps y and the kernel to x."""
    # Pixels at the far edge that the strided convolution never reads get zeros.
    spans = zip(g.size, g.padding, g.kernel, g.output, g.stride)
    far = [n + sum(p) - k - (out - 1) * s for n, p, k, out, s in spans]
    padding = [(k - 1 - low, k - 1 - high + f) for k, (low, high), f in zip(g.kernel, g.padding, far)]
    return lax.conv_general_dilated(
        y, flipped(kernel, g.groups), (1,) * g.rank, padding, lhs_dilation=g.stride,
        dimension_numbers=DIMENSIONS[g.rank], feature_group_count=g.groups,
    )  # fmt: skip


def kernel(x: jax.Array, y: jax.Array, g: Geometry) -> jax.Array:
    """Maps x and y to the kernel, as JAX derives it: a convolution of channels over samples."""
    spans = zip(g.size, g.output, g.kernel, g.padding, g.stride)
    padding = [(low, (out - 1) * s + k - n - low) for n, out, k, (low, _), s in spans]
    return lax.conv_general_dilated(
        x, y, (1,) * g.rank, padding, rhs_dilation=g.stride,
        dimension_numbers=_OF_KERNEL[g.rank], batch_group_count=g.groups,
    )  # fmt: skip


def flipped(kernel: jax.Array, groups: int = 1) -> jax.Array:
    """Returns the kernel of the transposed convolution at stride 1: flipped, with input and output swapped."""
    *size, i, o = kernel.shape
    rank = len(size)
    turned = kernel[(slice(None, None, -1),) * rank]
    if groups == 1:
        return jnp.swapaxes(turned, rank, rank + 1)
    split = turned.reshape(*size, i, groups, o // groups)
    swapped = jnp.transpose(split, (*range(rank), rank + 2, rank + 1, rank))
    return swapped.reshape(*size, o // groups, groups * i)


def forward_on_gpu(x: jax.Array, kernel: jax.Array, g: Geometry) -> jax.Array:
    """As `forward`. Where the kernel is larger than x or y, XLA takes it for a map."""
    smallest = (min(n, out) if s == 1 else n for n, out, s in zip(g.size, g.output, g.stride))
    if any(k > n for k, n in zip(g.kernel, smallest)):
        return frames.forward(forward_on_gpu, x, kernel, g) if g.rank == 3 else patches.forward(x, kernel, g)
    return forward(x, _row_major(kernel), g)


def transpose_on_gpu(y: jax.Array, kernel: jax.Array, g: Geometry) -> jax.Array:
    """As `transpose`. Where the kernel is as large as y with its gaps, XLA takes it for a map."""
    if any(k >= (out - 1) * s + 1 for k, out, s in zip(g.kernel, g.output, g.stride)):
        return frames.transpose(transpose_on_gpu, y, kernel, g) if g.rank == 3 else patches.transpose(y, kernel, g)
    return transpose(y, _row_major(kernel), g)


def kernel_on_gpu(x: jax.Array, y: jax.Array, g: Geometry) -> jax.Array:
    """As `kernel`. cuDNN gets it as a backward filter only where y is larger than the kernel."""
    if any(k >= out for k, out in zip(g.kernel, g.output)):
        return frames.kernel(kernel_on_gpu, x, y, g) if g.rank == 3 else patches.kernel(x, y, g)
    return _row_major(kernel(x, y, g))


def _row_major(kernel: jax.Array) -> jax.Array:
    """Returns the kernel. Whatever is computed with it outside of the convolution keeps the order of its axes.

    cuDNN wants the axes of a kernel in another order in memory. Without the barrier, XLA takes that order for the
    parameter, the optimizer's state and the moving average too. Then it copies each of them at the start and at
    the end of the step, since a step gets and returns arrays in their usual order.
    """
    return lax.optimization_barrier(kernel.reshape(-1)).reshape(kernel.shape)
