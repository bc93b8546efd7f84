"""SNGAN: a ResNet with spectral norm in the discriminator; labels enter by conditional batch norm and projection.

Miyato et al., "Spectral normalization for generative adversarial networks", 2018, tables 4 to 6; Miyato and
Koyama, "cGANs with projection discriminator", 2018. With 32 pixels, 128 latents and 10 classes, the generator has
4,304,387 parameters and the discriminator 1,055,105; without labels 4,276,739 and 1,053,825.

The discriminator's skip connection is that of the published code (see `residual.DiscriminatorBlock`);
`skip="plain"` is the papers'. The layers for 32, 48 and 128 pixels are from the paper. 28 has one block less than
32, on a first map of 7 x 7, and 64 one stage less than 128. Video, volumes and audio have the same blocks, with
convolutions of 3 x 3 x 3 and 3; `layers.widths` says which widths.
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
    recomputable,
    sample_size,
    stage_factors,
)
from .layers.residual import Skip, blocks_to_image, first_map, image_to_logits, one_hot
from .layers.widths import Layout, discriminator_widths, generator_widths

LAYOUTS = {
    28: Layout((256, 256, 256), (128, 128, 128, 128), 2),
    32: Layout((256, 256, 256, 256), (128, 128, 128, 128), 2),
    48: Layout((512, 256, 128, 64), (64, 128, 256, 512, 1024), 4),
    64: Layout((1024, 512, 256, 128, 64), (64, 128, 256, 512, 1024), 4),
    128: Layout((1024, 1024, 512, 256, 128, 64), (64, 128, 256, 512, 1024, 1024), 5),
}


class Generator(nn.Module):
    """Maps latents `[B, Z]` to samples `[B, *S, C]` in [-1, 1]: images, audio, video or volumes.

    Attributes:
        shape: shape of one sample, `(H, W, C)`, `(T, C)` or `(D, H, W, C)`.
        widths: channels of the first map and of each block (each block doubles the sides, see `layers.sizes`);
            None: as published.
        classes: number of labels; None: unconditional.
        dtype: the type that it computes in; samples are float32.
        remat: "none", "blocks" or "all": what its derivatives recompute; see `layers.Remat`.
        running_variance: "biased" or "unbiased"; see `layers.BatchNorm`.
    """

    shape: tuple[int, ...]
    widths: tuple[int, ...] | None = None
    classes: int | None = None
    dtype: DTypeLike = jnp.float32
    running_variance: RunningVariance = "biased"
    remat: Remat = "none"

    @nn.compact
    @recomputable
    def __call__(
        self, latents: jax.Array, label: Labels | None = None, *, train: bool, axis_name: str | None = None
    ) -> Images:
        size = sample_size(self.shape, "sngan")
        first, widths = generator_widths(LAYOUTS, size, self.widths, "sngan")
        condition = one_hot(label, self.classes, self.dtype)
        x = first_map(latents, first, widths[0], spectral=False, dtype=self.dtype)
        return blocks_to_image(
            x, [condition] * (len(widths) - 1), widths[1:], self.shape[-1],
            factors=stage_factors(size, len(widths) - 1), running_variance=self.running_variance,
            dtype=self.dtype, remat=self.remat, train=train, axis_name=axis_name,
        )  # fmt: skip


class Discriminator(SpectralNormed):
    """Maps samples `[B, *S, C]`, as the generator makes them, to logits `[B]`.

    Attributes:
        widths: channels of each block; None: as published.
        halvings: number of first blocks that halve the map; None: as published, or all but one for other widths.
        skip: "rectified" or "plain"; see `DiscriminatorBlock`.
        classes, dtype, remat: as in `Generator`.
        spectral_vectors: "u" or "uv": what spectral norm keeps; see `layers.SpectralVectors`.
    """

    widths: tuple[int, ...] | None = None
    halvings: int | None = None
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
        size = sample_size(image.shape[1:], "sngan")
        widths, halvings = discriminator_widths(LAYOUTS, size, self.widths, self.halvings, "sngan")
        return image_to_logits(
            image, label, self.classes, widths, stage_factors(size, halvings)[::-1],
            skip=self.skip, spectral_vectors=self.spectral_vectors, dtype=self.dtype, remat=self.remat,
        )  # fmt: skip
