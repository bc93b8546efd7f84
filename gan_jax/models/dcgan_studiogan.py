"""StudioGAN's DCGAN: the layers behind the scores of "DCGAN" in that library's benchmark; `dcgan` has the paper's.

Kang et al., "StudioGAN: a taxonomy and benchmark of GANs for image synthesis", 2023 (`deep_conv` in its code).
With 32 pixels and 128 latents, the generator has 3,812,355 parameters and the discriminator 2,931,009, as there.
That is without labels, as in the benchmark; with `classes` they enter by conditional batch norm and projection.

Unlike `dcgan`, the generator has no norm before its first transposed convolution and ends in a 3 x 3 convolution;
the discriminator has 3 x 3 convolutions between the strided ones, norms on all of them, ReLUs, and sums its last
map. Convolutions have biases. Weights start orthogonal.
"""

import functools
from collections.abc import Iterable

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from ..ops import relu, widen
from ..types import Images, Labels
from .layers import (
    BatchNorm,
    Conv,
    ConvTranspose,
    Dense,
    Remat,
    RunningVariance,
    Size,
    blocks_in_order,
    check_counts,
    check_label,
    image_size,
    recomputable,
    recomputed,
)
from .layers.residual import EPSILON, ConditionalBatchNorm, label_table, one_hot
from .layers.sizes import in_words

_ORTHOGONAL = nn.initializers.orthogonal()
_BASE = 4  # smaller side of the smallest map


class Generator(nn.Module):
    """Maps latents `[B, Z]` to images `[B, H, W, C]` in [-1, 1].

    Attributes:
        shape: shape of one image, `(H, W, C)`.
        widths: channels of the first map, whose smaller side is 4, and of each doubling; three doublings make
            32 pixels.
        classes: number of labels; None: unconditional.
        dtype: the type that it computes in; images are float32 at least.
        remat: "none", "blocks" or "all": what its derivatives recompute; see `layers.Remat`.
        running_variance: "biased" or "unbiased", as in the original; see `layers.BatchNorm`.
    """

    shape: tuple[int, ...]
    widths: tuple[int, ...] = (512, 256, 128, 64)
    classes: int | None = None
    dtype: DTypeLike = jnp.float32
    running_variance: RunningVariance = "unbiased"
    remat: Remat = "none"

    @nn.compact
    @recomputable
    def __call__(
        self, latents: jax.Array, label: Labels | None = None, *, train: bool, axis_name: str | None = None
    ) -> Images:
        height, width = _first_map(image_size(self.shape, "dcgan_studiogan"), self.widths)
        condition = one_hot(label, self.classes, self.dtype)
        common = {"kernel_init": _ORTHOGONAL, "dtype": self.dtype}
        x = Dense(height * width * self.widths[0], **common, name="project")(latents)
        x = x.reshape(-1, height, width, self.widths[0])
        for i, width in enumerate(self.widths[1:], 1):

            def block(
                _: nn.Module, x: jax.Array, condition: jax.Array | None, i: int = i, width: int = width
            ) -> jax.Array:
                x = ConvTranspose(width, **common, name=f"up_{i}")(x)
                norm = ConditionalBatchNorm(False, self.dtype, self.running_variance, name=f"norm_{i}")
                return relu(norm(x, condition, train=train, axis_name=axis_name))

            x = recomputed(block, self.remat != "none")(self, x, condition)
        x = Conv(self.shape[-1], **common, name="image")(x)
        return jnp.tanh(widen(x))


class Discriminator(nn.Module):
    """Maps images `[B, H, W, C]` to logits `[B]`.

    Attributes:
        widths: channels of the map before each halving, and of the last map, whose smaller side is 4.
        classes, dtype, remat, running_variance: as in `Generator`.
    """

    widths: tuple[int, ...] = (64, 128, 256, 512)
    classes: int | None = None
    dtype: DTypeLike = jnp.float32
    running_variance: RunningVariance = "unbiased"
    remat: Remat = "none"

    @nn.nowrap
    def image_blocks(self, names: Iterable[str]) -> list[list[str]]:
        """Returns the names of each block's parameters, the block nearest to the image first."""
        return blocks_in_order(names, r"(?:conv|norm|down|down_norm)_(\d+)")

    @nn.compact
    @recomputable
    def __call__(
        self, image: Images, label: Labels | None = None, *, train: bool, axis_name: str | None = None
    ) -> jax.Array:
        label = check_label(label, self.classes)
        _first_map(image_size(image.shape[1:], "dcgan_studiogan"), self.widths)
        conv = functools.partial(Conv, kernel_init=_ORTHOGONAL, dtype=self.dtype)

        def normed(x: jax.Array, name: str) -> jax.Array:
            norm = BatchNorm(self.dtype, epsilon=EPSILON, running_variance=self.running_variance, name=name)
            return relu(norm(x, train=train, axis_name=axis_name))

        x = image
        for i, width in enumerate(self.widths[:-1], 1):

            def block(_: nn.Module, x: jax.Array, i: int = i, width: int = width) -> jax.Array:
                x = normed(conv(width, name=f"conv_{i}")(x), f"norm_{i}")
                return normed(conv(width, size=4, stride=2, name=f"down_{i}")(x), f"down_norm_{i}")

            x = recomputed(block, self.remat != "none")(self, x)
        x = normed(conv(self.widths[-1], name="last")(x), "last_norm")
        features = jnp.sum(widen(x), axis=(1, 2))
        logits = Dense(1, kernel_init=_ORTHOGONAL, name="logit")(features)[:, 0]
        if self.classes is None or label is None:
            return logits
        return logits + jnp.sum(label_table(label, self.classes, self.widths[-1], self.dtype) * features, axis=-1)


def _first_map(size: Size, widths: tuple[int, ...]) -> Size:
    """Returns the size of the smallest map; raises ValueError if these widths do not lead from there to `size`."""
    for i, width in enumerate(widths, 1):
        check_counts(**{f"widths[{i}]": width})
    times = len(widths) - 1
    if not widths or min(size) != _BASE << times or any(side % 2**times for side in size):
        made = f"{_BASE << times} pixels" if widths else "no image"
        side = " on the smaller side, with the other a multiple of" if size[0] != size[1] and widths else ""
        made += f"{side} {2**times}," if side else ""
        raise ValueError(
            f"dcgan_studiogan makes and reads {made} with {len(widths)} widths, not {in_words(size)}: change "
            "`widths`, or resize the data, as with data.source.size=32"
        )
    return size[0] >> times, size[1] >> times
