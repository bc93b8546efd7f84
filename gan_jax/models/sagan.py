"""SAGAN: SNGAN's ResNet with self-attention and spectral norm in both networks.

Zhang et al., "Self-attention generative adversarial networks", 2018. Labels enter by conditional batch norm, whose
linear maps also have spectral norm, and by projection. At 32 pixels, attention follows the generator's second
block and the discriminator's first, on maps of 16 x 16.

The paper trains at 128 pixels only, with attention on maps of 32 x 32; here attention acts by default at half the
image's side. The widths and the skip connection are those of `sngan`.
"""

from collections.abc import Iterable

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from ..types import Images, Labels
from .layers import (
    Remat,
    RunningVariance,
    SpectralNormed,
    SpectralVectors,
    blocks_in_order,
    image_size,
    recomputable,
)
from .layers.residual import Skip, blocks_to_image, first_map, image_to_logits, one_hot
from .layers.widths import discriminator_widths, generator_widths
from .sngan import LAYOUTS


class Generator(SpectralNormed):
    """Maps latents `[B, Z]` to images `[B, H, W, C]` in [-1, 1].

    Attributes:
        shape: shape of one image, `(H, W, C)`.
        widths: channels of the first map and of each block (each block doubles the side); None: as in `sngan`.
        attention: the blocks that self-attention follows, counted from 1; None: the second to last.
        classes: number of labels; None: unconditional.
        dtype: the type that it computes in; images are float32.
        remat: "none", "blocks" or "all": what its derivatives recompute; see `layers.Remat`.
        spectral_vectors: "u" or "uv": what spectral norm keeps; see `layers.SpectralVectors`.
        running_variance: "biased" or "unbiased"; see `layers.BatchNorm`.
    """

    shape: tuple[int, ...]
    widths: tuple[int, ...] | None = None
    attention: tuple[int, ...] | None = None
    classes: int | None = None
    dtype: DTypeLike = jnp.float32
    spectral_vectors: SpectralVectors = "u"
    running_variance: RunningVariance = "biased"
    remat: Remat = "none"

    @nn.compact
    @recomputable
    def __call__(
        self, latents: jax.Array, label: Labels | None = None, *, train: bool, axis_name: str | None = None
    ) -> Images:
        first, widths = generator_widths(LAYOUTS, image_size(self.shape, "sagan"), self.widths, "sagan")
        blocks = len(widths) - 1
        condition = one_hot(label, self.classes, self.dtype)
        x = first_map(latents, first, widths[0], spectral=self.spectral_vectors, dtype=self.dtype)
        return blocks_to_image(
            x, [condition] * blocks, widths[1:], self.shape[-1],
            attention=self.attention if self.attention is not None else (max(1, blocks - 1),),
            spectral=self.spectral_vectors, running_variance=self.running_variance,
            dtype=self.dtype, remat=self.remat, train=train, axis_name=axis_name,
        )  # fmt: skip


class Discriminator(SpectralNormed):
    """Maps images `[B, H, W, C]` to logits `[B]`.

    Attributes:
        widths: channels of each block; None: as in `sngan`.
        halvings: number of first blocks that halve the map; None: as in `sngan`, or all but one for other widths.
        attention: the blocks that self-attention follows, counted from 1.
        skip: "rectified" or "plain"; see `DiscriminatorBlock`.
        classes, dtype, remat, spectral_vectors: as in `Generator`.
    """

    widths: tuple[int, ...] | None = None
    halvings: int | None = None
    attention: tuple[int, ...] = (1,)
    skip: Skip = "rectified"
    classes: int | None = None
    dtype: DTypeLike = jnp.float32
    spectral_vectors: SpectralVectors = "u"
    remat: Remat = "none"

    @nn.nowrap
    def image_blocks(self, names: Iterable[str]) -> list[list[str]]:
        """Returns the names of each block's parameters, the block nearest to the image first."""
        return blocks_in_order(names, r"(?:block|attention)_(\d+)")

    @nn.compact
    @recomputable
    def __call__(self, image: Images, label: Labels | None = None) -> jax.Array:
        size = image_size(image.shape[1:], "sagan")
        widths, halvings = discriminator_widths(LAYOUTS, size, self.widths, self.halvings, "sagan")
        return image_to_logits(
            image, label, self.classes, widths, halvings,
            attention=self.attention, skip=self.skip,
            spectral_vectors=self.spectral_vectors, dtype=self.dtype, remat=self.remat,
        )  # fmt: skip
