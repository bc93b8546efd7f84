"""BigGAN: splits the latents into chunks, one for the first map and one for each block; blocks share an embedding.

Brock et al., "Large scale GAN training for high fidelity natural image synthesis", 2019. With 80 latents, 32
pixels and 10 classes, the generator has 9,416,196 parameters and the discriminator 2,415,170. Both have spectral
norm everywhere except the generator's embedding and last norm. Self-attention acts at half the image's side.

The layers for 128 pixels are from the paper, those for 32 from its authors' code for CIFAR-10, as in the published
scores. The others are ours: 48 has the layers of 32 on a larger first map, 28 has one block less than 32, and 64
one stage less than 128. The discriminator's skip connection is that of the published code; `skip="plain"` is the
paper's.
"""

from collections.abc import Iterable

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.scipy.special import ndtr, ndtri
from jax.typing import DTypeLike

from ..types import Images, Labels
from .layers import (
    Remat,
    RunningVariance,
    SpectralNormed,
    SpectralVectors,
    blocks_in_order,
    check_counts,
    check_label,
    check_truncation,
    image_size,
    recomputable,
)
from .layers.residual import EPSILON, Skip, blocks_to_image, first_map, image_to_logits, label_table
from .layers.widths import Layout, discriminator_widths, generator_widths

BOUND = 2.0  # the truncated normal distribution has no values beyond it

_SMALL = Layout((4, 4, 4, 4), (2, 2, 2, 2), 2)
LAYOUTS = {  # in units of `width`
    28: _SMALL._replace(generator=(4, 4, 4)),
    32: _SMALL,
    48: _SMALL,
    64: Layout((16, 16, 8, 4, 2), (1, 2, 4, 8, 16), 4),
    128: Layout((16, 16, 8, 4, 2, 1), (1, 2, 4, 8, 16, 16), 5),
}


def truncate(latents: jax.Array, truncation: float | jax.Array) -> jax.Array:
    """Maps draws of N(0, 1) to draws of a normal truncated at -2 and 2, times `truncation`; 1.0 changes nothing.

    Each number z becomes `truncation F^-1(Phi(z))`, where F is the distribution function of the truncated normal.
    So the order of numbers stays, and nothing is drawn again. The paper's published models also multiply a normal
    truncated at 2, while the paper's text redraws what exceeds a threshold. Those models truncate at 2 even for
    1.0. Here 1.0 means no truncation, as in training, so 0.99 and 1.0 also differ by the truncation at 2.

    Raises:
        ValueError: `truncation` is not in 0..1, or is traced; it must be a Python number, static under `jit`.
    """
    check_truncation(truncation)
    if not 0.0 <= truncation <= 1.0:
        raise ValueError(f"truncation must be from 0 to 1, got {truncation}")
    if truncation == 1.0:
        return latents
    # Compute on the negative half only, where float32 resolves the tail; the other half is its mirror image.
    z = latents.astype(jnp.promote_types(latents.dtype, jnp.float32))
    outside = ndtr(jnp.full((), -BOUND, z.dtype))
    magnitude = -ndtri(outside + ndtr(-jnp.abs(z)) * (1.0 - 2.0 * outside))
    return truncation * jnp.sign(z) * magnitude


class Generator(SpectralNormed):
    """Maps latents `[B, Z]` to images `[B, H, W, C]` in [-1, 1].

    Attributes:
        shape: shape of one image, `(H, W, C)`.
        width: the unit in which channels are counted.
        widths: channels of the first map and of each block (each block doubles the side); None: as published.
        embedding: size of a label's vector, which all blocks share.
        attention: the blocks that self-attention follows, counted from 1; None: the second to last.
        classes: number of labels; None: unconditional, so a block sees only its chunk of the latents.
        dtype: the type that it computes in; images are float32.
        remat: "none", "blocks" or "all": what its derivatives recompute; see `layers.Remat`.
        spectral_vectors: "u" or "uv": what spectral norm keeps; see `layers.SpectralVectors`.
        running_variance: "biased" or "unbiased"; see `layers.BatchNorm`.
        epsilon: of batch norm; the authors' code has 1e-5, StudioGAN 1e-4.
    """

    shape: tuple[int, ...]
    width: int = 96
    widths: tuple[int, ...] | None = None
    embedding: int = 128
    attention: tuple[int, ...] | None = None
    classes: int | None = None
    dtype: DTypeLike = jnp.float32
    spectral_vectors: SpectralVectors = "u"
    running_variance: RunningVariance = "biased"
    epsilon: float = EPSILON
    remat: Remat = "none"

    @nn.compact
    @recomputable
    def __call__(
        self,
        latents: jax.Array,
        label: Labels | None = None,
        *,
        train: bool,
        axis_name: str | None = None,
        truncation: float | jax.Array = 1.0,
    ) -> Images:
        check_counts(width=self.width, embedding=self.embedding)
        table = {size: _scaled(layout, self.width) for size, layout in LAYOUTS.items()}
        base, widths = generator_widths(table, image_size(self.shape, "biggan"), self.widths, "biggan")
        if latents.shape[-1] % len(widths):
            raise ValueError(
                f"biggan cuts its latents into {len(widths)} chunks, but {latents.shape[-1]} is not a multiple of "
                f"that: change the number of latents, as with latent.size={20 * len(widths)}"
            )
        first, *chunks = jnp.split(truncate(latents, truncation), len(widths), axis=-1)
        label = check_label(label, self.classes)
        if label is not None and self.classes is not None:
            embedded = label_table(label, self.classes, self.embedding, self.dtype)
            chunks = [jnp.concatenate([embedded, chunk], axis=-1) for chunk in chunks]
        return blocks_to_image(
            first_map(first, base, widths[0], spectral=self.spectral_vectors, dtype=self.dtype),
            chunks, widths[1:], self.shape[-1],
            attention=self.attention if self.attention is not None else (max(1, len(chunks) - 1),),
            spectral=self.spectral_vectors, running_variance=self.running_variance,
            epsilon=self.epsilon, dtype=self.dtype, remat=self.remat, train=train, axis_name=axis_name,
        )  # fmt: skip


class Discriminator(SpectralNormed):
    """Maps images `[B, H, W, C]` to logits `[B]`.

    Attributes:
        width: the unit in which channels are counted.
        widths: channels of each block; None: as published.
        halvings: number of first blocks that halve the map; None: as published, or all but one for other widths.
        attention: the blocks that self-attention follows, counted from 1.
        skip: "rectified" or "plain"; see `DiscriminatorBlock`.
        classes, dtype, remat, spectral_vectors: as in `Generator`.
    """

    width: int = 96
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
        check_counts(width=self.width)
        table = {size: _scaled(layout, self.width) for size, layout in LAYOUTS.items()}
        size = image_size(image.shape[1:], "biggan")
        widths, halvings = discriminator_widths(table, size, self.widths, self.halvings, "biggan")
        return image_to_logits(
            image, label, self.classes, widths, halvings,
            attention=self.attention, skip=self.skip,
            spectral_vectors=self.spectral_vectors, dtype=self.dtype, remat=self.remat,
        )  # fmt: skip


def _scaled(layout: Layout, width: int) -> Layout:
    generator, discriminator = (tuple(width * n for n in row) for row in layout[:2])
    return Layout(generator, discriminator, layout.halvings)
