"""The three bilinear functions of a convolution as XLA's own convolutions.

This is what TPUs get. GPUs get it too, except on maps as small as the kernel: there XLA takes a derivative for
another convolution, and cuDNN computes it with a general kernel that is slow.
"""

import jax
import jax.numpy as jnp
from jax import lax

from . import patches
from .geometry import Geometry

DIMENSIONS = ("NHWC", "HWIO", "NHWC")


def forward(x: jax.Array, kernel: jax.Array, g: Geometry) -> jax.Array:
    """Maps x `[N, H, W, I]` and the kernel `[kh, kw, I / groups, O]` to y `[N, h, w, O]`."""
    return lax.conv_general_dilated(
        x, kernel, (g.stride, g.stride), g.padding, dimension_numbers=DIMENSIONS, feature_group_count=g.groups
    )


def transpose(y: jax.Array, kernel: jax.Array, g: Geometry) -> jax.Array:
    """Maps y and the kernel to x."""
    # Pixels at the far edge that the strided convolution never reads get zeros.
    far = [n + sum(p) - k - (out - 1) * g.stride for n, p, k, out in zip(g.size, g.padding, g.kernel, g.output)]
    padding = [(k - 1 - low, k - 1 - high + f) for k, (low, high), f in zip(g.kernel, g.padding, far)]
    return lax.conv_general_dilated(
        y, flipped(kernel, g.groups), (1, 1), padding, lhs_dilation=(g.stride, g.stride),
        dimension_numbers=DIMENSIONS, feature_group_count=g.groups,
    )  # fmt: skip


def kernel(x: jax.Array, y: jax.Array, g: Geometry) -> jax.Array:
    """Maps x and y to the kernel, as JAX derives it: a convolution of channels over samples."""
    spans = zip(g.size, g.output, g.kernel, g.padding)
    padding = [(low, (out - 1) * g.stride + k - n - low) for n, out, k, (low, _) in spans]
    return lax.conv_general_dilated(
        x, y, (1, 1), padding, rhs_dilation=(g.stride, g.stride),
        dimension_numbers=("CHWN", "IHWO", "HWNC"), batch_group_count=g.groups,
    )  # fmt: skip


def flipped(kernel: jax.Array, groups: int = 1) -> jax.Array:
    """Returns the kernel of the transposed convolution at stride 1: flipped, with input and output swapped."""
    kh, kw, i, o = kernel.shape
    turned = kernel[::-1, ::-1]
    if groups == 1:
        return jnp.swapaxes(turned, 2, 3)
    split = turned.reshape(kh, kw, i, groups, o // groups)
    return jnp.transpose(split, (0, 1, 4, 3, 2)).reshape(kh, kw, o // groups, groups * i)


def forward_on_gpu(x: jax.Array, kernel: jax.Array, g: Geometry) -> jax.Array:
    """As `forward`. Where the kernel is larger than x or y, XLA takes it for a map."""
    smallest = (min(n, out) if g.stride == 1 else n for n, out in zip(g.size, g.output))
    if any(k > n for k, n in zip(g.kernel, smallest)):
        return patches.forward(x, kernel, g)
    return forward(x, kernel, g)


def transpose_on_gpu(y: jax.Array, kernel: jax.Array, g: Geometry) -> jax.Array:
    """As `transpose`. Where the kernel is as large as y with its gaps, XLA takes it for a map."""
    if any(k >= (out - 1) * g.stride + 1 for k, out in zip(g.kernel, g.output)):
        return patches.transpose(y, kernel, g)
    return transpose(y, kernel, g)


def kernel_on_gpu(x: jax.Array, y: jax.Array, g: Geometry) -> jax.Array:
    """As `kernel`. cuDNN gets it as a backward filter only where y is larger than the kernel."""
    if any(k >= out for k, out in zip(g.kernel, g.output)):
        return patches.kernel(x, y, g)
    return kernel(x, y, g)
