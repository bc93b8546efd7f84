"""Blocks that the architectures share. Parameters are float32; `dtype` is what the layer computes in."""

import math
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jax.core import Tracer

from ...ops import conv, conv_transpose
from ...types import Labels

Norm = Literal["batch", "spectral", "none"]
Initializer = Any

_SPECTRAL = "spectral"


def _direction(vector: jax.Array) -> jax.Array:
    return vector / (jnp.linalg.norm(vector) + 1e-12)


def _matrix(kernel: jax.Array) -> jax.Array:
    """A kernel `[..., O]` as the matrix `[fan in, O]` whose largest singular value is meant."""
    return kernel.reshape(-1, kernel.shape[-1]).astype(jnp.float32)


def _exact(a: jax.Array, b: jax.Array) -> jax.Array:
    """A product in full float32 also where the platform's default is less: a norm has to be one."""
    return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)


def spectral_refresh(variables: Mapping[str, Any]) -> dict[str, Any]:
    """One power iteration for every spectrally normalised kernel: u <- W^T v / ||.||, v = W u / ||W u||."""
    if _SPECTRAL not in variables:
        return dict(variables)

    def walk(params: Mapping[str, Any], vectors: Mapping[str, Any]) -> dict[str, Any]:
        def iterate(name: str) -> Any:
            if name != "u":
                return walk(params[name], vectors[name])
            matrix = _matrix(params["kernel"])
            return _direction(_exact(matrix.T, _direction(_exact(matrix, vectors["u"]))))

        return {name: iterate(name) for name in vectors}

    return {**variables, _SPECTRAL: lax.stop_gradient(walk(variables["params"], variables[_SPECTRAL]))}


class SpectralNormed(nn.Module):
    """A network whose spectrally normalised layers iterate once at the start of its own turn."""

    @nn.nowrap
    def refresh(self, variables: Mapping[str, Any]) -> dict[str, Any]:
        return spectral_refresh(variables)


class _Layer(nn.Module):
    """A kernel, divided by its largest singular value where `spectral`, and a bias where `use_bias`.

    The singular value is `v . W u` with u, v held constant, u kept in the collection "spectral". Miyato et
    al., "Spectral normalization for generative adversarial networks", 2018, algorithm 1.
    """

    features: int
    use_bias: bool = True
    spectral: bool = False
    kernel_init: Initializer = nn.initializers.lecun_normal()
    dtype: Any = jnp.float32

    def _kernel(self, shape: tuple[int, ...]) -> jax.Array:
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
        if self.spectral:
            kernel = kernel / self._singular_value(kernel)
        return kernel.astype(self.dtype)

    def _singular_value(self, kernel: jax.Array) -> jax.Array:
        def start() -> jax.Array:
            return _direction(jax.random.normal(self.make_rng("params"), (kernel.shape[-1],), jnp.float32))

        u = lax.stop_gradient(self.variable(_SPECTRAL, "u", start).value)
        image = _exact(_matrix(kernel), u)
        return _exact(lax.stop_gradient(_direction(image)), image)

    def _finish(self, x: jax.Array, features: int) -> jax.Array:
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (features,), jnp.float32).astype(self.dtype)
            x = x + jnp.expand_dims(bias, tuple(range(x.ndim - 1)))
        return x


class Dense(_Layer):
    """`[..., I]` to `[..., features]`."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self._kernel((x.shape[-1], self.features))
        return self._finish(x.astype(self.dtype) @ kernel, self.features)


class Conv(_Layer):
    """`[N, H, W, I]` to `[N, H', W', features]`; see `ops.conv`."""

    size: int = 3
    stride: int = 1
    padding: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self._kernel((self.size, self.size, x.shape[-1], self.features))
        x = conv(x.astype(self.dtype), kernel, stride=self.stride, padding=self.padding)
        return self._finish(x, self.features)


class ConvTranspose(_Layer):
    """`[N, h, w, I]` to `[N, H, W, features]`; see `ops.conv_transpose`. The kernel is `[k, k, I, features]`."""

    size: int = 4
    stride: int = 2
    padding: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = jnp.swapaxes(self._kernel((self.size, self.size, x.shape[-1], self.features)), 2, 3)
        x = conv_transpose(x.astype(self.dtype), kernel, stride=self.stride, padding=self.padding)
        return self._finish(x, self.features)


class Embed(_Layer):
    """Labels `[B]` to their rows of the kernel `[classes, features]`; `spectral` divides the whole table."""

    use_bias: bool = False
    classes: int = 1

    @nn.compact
    def __call__(self, label: Labels) -> jax.Array:
        return self._finish(jnp.take(self._kernel((self.classes, self.features)), label, axis=0), self.features)


class BatchNorm(nn.Module):
    """Batch normalisation over the global batch: under `pmap` the statistics are reduced over `axis_name`.

    Statistics are computed and kept in float32. Without `affine` no gain and bias follow. Ioffe and Szegedy, 2015.
    """

    dtype: Any = jnp.float32
    scale_init: Initializer = nn.initializers.ones
    epsilon: float = 1e-5
    affine: bool = True

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, axis_name: str | None) -> jax.Array:
        norm = nn.BatchNorm(
            use_running_average=not train,
            momentum=0.9,
            epsilon=self.epsilon,
            use_scale=self.affine,
            use_bias=self.affine,
            axis_name=axis_name,
            dtype=self.dtype,
            scale_init=self.scale_init,
            name="norm",
        )
        return norm(x)


def check_counts(**counts: int) -> None:
    """Raises ValueError for the first that is not at least 1."""
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name} must be at least 1, got {count}")


def check_truncation(truncation: Any) -> None:
    """Raises ValueError where truncation is traced: what the program computes depends on whether there is any."""
    if isinstance(truncation, Tracer):
        raise ValueError(
            "truncation must be a Python number, and this one is traced: name it in jit's static_argnames"
        )


def need_label(label: Labels | None, classes: int | None) -> Labels:
    """The labels of a network with classes; raises ValueError where there are none."""
    if label is None:
        raise ValueError(f"a network with {classes} classes needs labels: pass `label`, integers [B]")
    return label


def check_label(label: Labels | None, classes: int | None) -> Labels | None:
    """The labels of a conditional network; None where it is unconditional.

    Raises:
        ValueError: the network has classes, but no labels were given.
    """
    return None if classes is None else need_label(label, classes)


def embed_label(label: Labels | None, classes: int | None, features: int, name: str) -> jax.Array | None:
    """A learned vector for each label, `[B, features]`; None where the network is unconditional.

    Raises:
        ValueError: the network has classes, but no labels were given.
    """
    label = check_label(label, classes)
    if classes is None or label is None:
        return None
    return nn.Embed(classes, features, embedding_init=nn.initializers.normal(1.0), name=name)(label)


def doublings(size: int, base: int | None = None, model: str = "dcgan", most: int = 128) -> tuple[int, int]:
    """`(base, times)` with `size == base * 2 ** times`; the largest base up to 7 where none is given.

    Raises:
        ValueError: no base from 2 to 7 doubles into `size`, or `size` is not in 8..`most`.
    """
    for candidate in [base] if base else range(7, 1, -1):
        times = round(math.log2(size / candidate)) if size > 0 else 0
        if times >= 1 and candidate * 2**times == size and 2 <= candidate <= 7 and 8 <= size <= most:
            return candidate, times
    what = f"base {base}" if base else "a base of 2 to 7"
    raise ValueError(
        f"{model} makes square images of 8 to {most} pixels that {what} doubles into (8, 12, 16, 28, 32, 64, "
        f"...), not {size}: resize the data, as with data.source.size=32"
    )


def side(shape: tuple[int, ...], model: str = "dcgan") -> int:
    """Pixels on each side of an image of this shape; raises ValueError where it isn't a square image."""
    if len(shape) != 3 or shape[0] != shape[1]:
        raise ValueError(f"{model} needs square images [H, W, C], not samples of shape {tuple(shape)}: use mlp")
    return shape[0]
