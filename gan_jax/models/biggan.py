"""BigGAN: latents in chunks, one for the first map and one for each block, and an embedding that blocks share.

Brock et al., "Large scale GAN training for high fidelity natural image synthesis", 2019. With 80 latents at 32
pixels and 10 classes the players have 9,416,196 and 2,415,170 parameters. Spectral norm covers both players but
for the generator's embedding and last norm. Self-attention stands at half the image's side.

The layers for 128 pixels are the paper's and those for 32 its authors' for CIFAR-10, as in the published scores.
Ours: 48 has those of 32 on a larger first map, 28 those less one block, 64 those of 128 less one stage. The
discriminator's skip connection is that of the code behind the scores; `skip="plain"` is the paper's.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.scipy.special import ndtr, ndtri

from ..types import Images, Labels
from .layers import SpectralNormed, check_counts, check_label, check_truncation, side
from .layers.residual import Skip, first_map, grow, judge, label_table
from .layers.widths import Layout, discriminator_widths, generator_widths

BOUND = 2.0  # where latents are cut

_SMALL = Layout((4, 4, 4, 4), (2, 2, 2, 2), 2)
LAYOUTS = {  # in units of `width`
    28: _SMALL._replace(generator=(4, 4, 4)),
    32: _SMALL,
    48: _SMALL,
    64: Layout((16, 16, 8, 4, 2), (1, 2, 4, 8, 16), 4),
    128: Layout((16, 16, 8, 4, 2, 1), (1, 2, 4, 8, 16, 16), 5),
}


def truncate(latents: jax.Array, truncation: float | jax.Array) -> jax.Array:
    """Draws of N(0, 1) to draws of a normal cut at -2 and 2, times `truncation`; 1.0 leaves them as they are.

    `truncation q(z)` with `q = F^-1(Phi(z))`, F the distribution of the cut normal: each number on its own and
    in the same order, so nothing is drawn again. The scale is that of the paper's published models, whose latents
    are `truncation` times a normal cut at 2; the paper's own text redraws what exceeds the threshold. Those models
    cut at 2 also at 1.0. Here that means none, uncut as in training: 0.99 and 1.0 differ by the cut, not only by
    the hundredth.

    Raises:
        ValueError: `truncation` is not in 0..1, or is traced: it is a Python number, static under `jit`.
    """
    check_truncation(truncation)
    if not 0.0 <= truncation <= 1.0:
        raise ValueError(f"truncation must be from 0 to 1, got {truncation}")
    if truncation == 1.0:
        return latents
    # Below zero only: there float32 resolves the tail, and the other half is its mirror image.
    z = latents.astype(jnp.promote_types(latents.dtype, jnp.float32))
    outside = ndtr(jnp.full((), -BOUND, z.dtype))
    magnitude = -ndtri(outside + ndtr(-jnp.abs(z)) * (1.0 - 2.0 * outside))
    return truncation * jnp.sign(z) * magnitude


class Generator(SpectralNormed):
    """Latents `[B, Z]` to images `[B, H, W, C]` in [-1, 1].

    Attributes:
        shape: shape of one image, `(H, W, C)`, square.
        width: the unit in which channels are counted.
        widths: channels of the first map and of each block, every block doubling the side; None: as published.
        embedding: features of the vector that a label has in all blocks.
        attention: after which blocks, counted from 1; None: the last but one.
        classes: number of labels it is conditioned on; None: blocks see their chunk of the latents alone.
        dtype: what it computes in; images are float32.
    """

    shape: tuple[int, ...]
    width: int = 96
    widths: tuple[int, ...] | None = None
    embedding: int = 128
    attention: tuple[int, ...] | None = None
    classes: int | None = None
    dtype: Any = jnp.float32

    @nn.compact
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
        base, widths = generator_widths(table, side(self.shape, "biggan"), self.widths, "biggan")
        if latents.shape[-1] % len(widths):
            raise ValueError(
                f"biggan cuts its latents into {len(widths)} chunks, and {latents.shape[-1]} can't be cut so: "
                f"make it a multiple, as with latent.size={20 * len(widths)}"
            )
        first, *chunks = jnp.split(truncate(latents, truncation), len(widths), axis=-1)
        label = check_label(label, self.classes)
        if label is not None and self.classes is not None:
            embedded = label_table(label, self.classes, self.embedding)
            chunks = [jnp.concatenate([embedded, chunk], axis=-1) for chunk in chunks]
        return grow(
            first_map(first, base, widths[0], spectral=True, dtype=self.dtype),
            chunks, widths[1:], self.shape[-1],
            attention=self.attention if self.attention is not None else (max(1, len(chunks) - 1),),
            spectral=True, dtype=self.dtype, train=train, axis_name=axis_name,
        )  # fmt: skip


class Discriminator(SpectralNormed):
    """Images `[B, H, W, C]` to logits `[B]`.

    Attributes:
        width: the unit in which channels are counted.
        widths: channels of each block; None: as published.
        halvings: the first blocks that halve the map; None: as published, or all of other widths but the last.
        attention: after which blocks, counted from 1.
        skip: "rectified" or "plain".
        classes, dtype: as in `Generator`.
    """

    width: int = 96
    widths: tuple[int, ...] | None = None
    halvings: int | None = None
    attention: tuple[int, ...] = (1,)
    skip: Skip = "rectified"
    classes: int | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image: Images, label: Labels | None = None) -> jax.Array:
        check_counts(width=self.width)
        table = {size: _scaled(layout, self.width) for size, layout in LAYOUTS.items()}
        size = side(image.shape[1:], "biggan")
        widths, halvings = discriminator_widths(table, size, self.widths, self.halvings, "biggan")
        return judge(
            image, label, self.classes, widths, halvings,
            attention=self.attention, skip=self.skip, dtype=self.dtype,
        )  # fmt: skip


def _scaled(layout: Layout, width: int) -> Layout:
    generator, discriminator = (tuple(width * n for n in row) for row in layout[:2])
    return Layout(generator, discriminator, layout.halvings)
