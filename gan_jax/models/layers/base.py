"""Layers and checks that several architectures use. Parameters are float32; layers compute in `dtype`."""

import math
from collections.abc import Callable
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax
from jax.core import Tracer
from jax.nn.initializers import Initializer
from jax.typing import DTypeLike

from ...ops import add, conv, conv_transpose, grouped_conv
from ...types import Labels
from .spectral import Spectral, SpectralVectors, singular_value

Norm = Literal["batch", "spectral", "none"]
RunningVariance = Literal["biased", "unbiased"]

PerAxis = int | tuple[int, ...]  # one number for all spatial axes, or one for each

_MOMENTUM = 0.9  # of running statistics: PyTorch's momentum of 0.1


class _Layer(nn.Module):
    """A layer with a kernel, and a bias if `use_bias`. With `spectral`, the kernel has spectral normalisation.

    `spectral` names the singular vectors that are kept, see `spectral.SpectralVectors`; True means "u".
    """

    features: int
    use_bias: bool = True
    spectral: Spectral = False
    kernel_init: Initializer = nn.initializers.lecun_normal()
    dtype: DTypeLike = jnp.float32

    def _kernel(self, shape: tuple[int, ...], dtype: DTypeLike | None = None) -> jax.Array:
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
        if self.spectral:
            vectors = "u" if self.spectral is True else self.spectral
            check_choice("spectral_vectors", vectors, SpectralVectors)
            kernel = kernel / singular_value(self, kernel, vectors)
        return kernel.astype(self.dtype if dtype is None else dtype)

    def _add_bias(self, x: jax.Array, features: int) -> jax.Array:
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (features,), jnp.float32)
            x = add(x, jnp.expand_dims(bias, tuple(range(x.ndim - 1))))
        return x


class Dense(_Layer):
    """Fully connected layer: maps `[..., I]` to `[..., features]`."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self._kernel((x.shape[-1], self.features))
        return self._add_bias(x.astype(self.dtype) @ kernel, self.features)


class Conv(_Layer):
    """Convolution: maps `[N, *S, I]` to `[N, *S', features]`, with one to three spatial axes S; see `ops.conv`.

    `size` and `stride` are one number for all axes, or one for each axis.
    """

    size: PerAxis = 3
    stride: PerAxis = 1
    padding: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self._kernel((*_window(self.size, x), x.shape[-1], self.features))
        x = conv(x.astype(self.dtype), kernel, stride=self.stride, padding=self.padding)
        return self._add_bias(x, self.features)


class GroupedConv(_Layer):
    """Convolution in groups, which keeps the size: maps `[N, *S, I]` to `[N, *S, features]`."""

    groups: int = 1
    size: int = 3

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self._kernel((*_window(self.size, x), x.shape[-1] // self.groups, self.features))
        x = grouped_conv(x.astype(self.dtype), kernel, groups=self.groups, padding=self.size // 2)
        return self._add_bias(x, self.features)


class ConvTranspose(_Layer):
    """Transposed convolution: maps `[N, *s, I]` to `[N, *S, features]`; see `ops.conv_transpose`.

    The kernel is `[*size, I, features]`. `size` and `stride` are as in `Conv`.
    """

    size: PerAxis = 4
    stride: PerAxis = 2
    padding: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = jnp.swapaxes(self._kernel((*_window(self.size, x), x.shape[-1], self.features)), -2, -1)
        x = conv_transpose(x.astype(self.dtype), kernel, stride=self.stride, padding=self.padding)
        return self._add_bias(x, self.features)


def _window(size: PerAxis, x: jax.Array) -> tuple[int, ...]:
    """Returns the size of a kernel for each spatial axis of x `[N, *S, C]`."""
    return (size,) * (x.ndim - 2) if isinstance(size, int) else tuple(size)


class Embed(_Layer):
    """Maps labels `[B]` to rows of the kernel `[classes, features]`; `spectral` normalises the whole kernel."""

    use_bias: bool = False
    classes: int = 1

    @nn.compact
    def __call__(self, label: Labels) -> jax.Array:
        # A label's row gets the sum of the gradients of its samples, so the table itself is float32.
        kernel = self._kernel((self.classes, self.features), jnp.promote_types(self.dtype, jnp.float32))
        return self._add_bias(jnp.take(kernel, label, axis=0).astype(self.dtype), self.features)


class BatchNorm(nn.Module):
    """Batch normalisation over the global batch; under `pmap` the statistics are reduced over `axis_name`.

    Statistics are float32. `affine` adds a learned gain and bias. Ioffe and Szegedy, 2015.

    The running variance is the mean of the batches' variances: the "biased" ones, which divide by the number n of
    values of a channel in the global batch, or, as in PyTorch, the "unbiased" ones, which divide by n - 1. In
    training mode, both normalise by the biased variance.
    """

    dtype: DTypeLike = jnp.float32
    scale_init: Callable[..., jax.Array] = nn.initializers.ones
    epsilon: float = 1e-5
    affine: bool = True
    running_variance: RunningVariance = "biased"

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, axis_name: str | None) -> jax.Array:
        check_choice("running_variance", self.running_variance, RunningVariance)
        norm = nn.BatchNorm(
            use_running_average=not train,
            momentum=_MOMENTUM,
            epsilon=self.epsilon,
            use_scale=self.affine,
            use_bias=self.affine,
            axis_name=axis_name,
            dtype=self.dtype,
            scale_init=self.scale_init,
            name="norm",
        )
        if self.running_variance == "biased" or not train or self.is_initializing():
            return norm(x)
        count = math.prod(x.shape[:-1]) * (1 if axis_name is None else lax.axis_size(axis_name))
        if count == 1:
            raise ValueError(
                "an unbiased running variance needs two values per channel or more, got 1: add samples"
            )
        before = norm.get_variable("batch_stats", "var")
        y = norm(x)
        after = norm.get_variable("batch_stats", "var")  # of the biased variance
        norm.put_variable("batch_stats", "var", after + (after - _MOMENTUM * before) / (count - 1))
        return y


def check_choice(name: str, value: object, choices: Any) -> None:
    """Raises ValueError if `value` is not one of the literals of the type `choices`."""
    if value not in get_args(choices):
        raise ValueError(f"{name} must be one of {', '.join(get_args(choices))}, got {value!r}")


def check_counts(**counts: int) -> None:
    """Raises ValueError for the first count that is below 1."""
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name} must be at least 1, got {count}")


def check_truncation(truncation: object) -> None:
    """Raises ValueError if `truncation` is traced: the compiled program depends on its value."""
    if isinstance(truncation, Tracer):
        raise ValueError("truncation must be a Python number, but it is traced: add it to jit's static_argnames")


def need_label(label: Labels | None, classes: int | None) -> Labels:
    """Returns the labels of a network with classes.

    Raises:
        ValueError: there are none, they are no integers `[B]`, or (if they are not traced) they are out of range.
    """
    if label is None:
        raise ValueError(f"a network with {classes} classes needs labels: pass `label`, integers [B]")
    if label.ndim != 1 or not jnp.issubdtype(label.dtype, jnp.integer):
        raise ValueError(
            f"a network with {classes} classes needs integers [B] as labels, not {label.dtype} {label.shape}"
        )
    if classes is None or isinstance(label, Tracer):
        return label
    values = np.asarray(label)  # no computation of JAX: this may be inside a trace
    if ((values < 0) | (values >= classes)).any():
        raise ValueError(f"a network with {classes} classes needs labels from 0 to {classes - 1}, not {label}")
    return label


def check_label(label: Labels | None, classes: int | None) -> Labels | None:
    """Returns the labels of a conditional network, or None for an unconditional one.

    Raises:
        ValueError: the network has classes, but no labels were given.
    """
    return None if classes is None else need_label(label, classes)


def embed_label(label: Labels | None, classes: int | None, features: int, name: str) -> jax.Array | None:
    """Returns a learned vector for each label, `[B, features]`, or None for an unconditional network.

    Raises:
        ValueError: the network has classes, but no labels were given.
    """
    label = check_label(label, classes)
    if classes is None or label is None:
        return None
    return nn.Embed(classes, features, embedding_init=nn.initializers.normal(1.0), name=name)(label)
