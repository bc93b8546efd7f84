"""SAGAN: SNGAN's ResNet with self-attention and spectral norm in both players.

Zhang et al., "Self-attention generative adversarial networks", 2018. Labels enter by conditional batch norm, whose
linear maps have spectral norm too, and by projection. At 32 pixels attention follows the generator's second block
and the discriminator's first, on maps of 16 x 16.

Ours: the paper trains at 128 pixels only, on attention's maps of 32 x 32; here it stands at half the image's side
wherever it isn't placed by hand. The widths are those of `sngan`. The skip connection is as there.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from ..types import Images, Labels
from .layers import SpectralNormed, side
from .layers.residual import Skip, first_map, grow, judge, one_hot
from .layers.widths import discriminator_widths, generator_widths
from .sngan import LAYOUTS


class Generator(SpectralNormed):
    """Latents `[B, Z]` to images `[B, H, W, C]` in [-1, 1].

    Attributes:
        shape: shape of one image, `(H, W, C)`, square.
        widths: channels of the first map and of each block, every block doubling the side; None: as in `sngan`.
        attention: after which blocks, counted from 1; None: the last but one.
        classes: number of labels it is conditioned on, or None.
        dtype: what it computes in; images are float32.
    """

    shape: tuple[int, ...]
    widths: tuple[int, ...] | None = None
    attention: tuple[int, ...] | None = None
    classes: int | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, latents: jax.Array, label: Labels | None = None, *, train: bool, axis_name: str | None = None
    ) -> Images:
        base, widths = generator_widths(LAYOUTS, side(self.shape, "sagan"), self.widths, "sagan")
        blocks = len(widths) - 1
        condition = one_hot(label, self.classes, self.dtype)
        x = first_map(latents, base, widths[0], spectral=True, dtype=self.dtype)
        return grow(
            x, [condition] * blocks, widths[1:], self.shape[-1],
            attention=self.attention if self.attention is not None else (max(1, blocks - 1),),
            spectral=True, dtype=self.dtype, train=train, axis_name=axis_name,
        )  # fmt: skip


class Discriminator(SpectralNormed):
    """Images `[B, H, W, C]` to logits `[B]`.

    Attributes:
        widths: channels of each block; None: as in `sngan`.
        halvings: the first blocks that halve the map; None: as in `sngan`, or all of other widths but the last.
        attention: after which blocks, counted from 1.
        skip: "rectified" or "plain".
        classes, dtype: as in `Generator`.
    """

    widths: tuple[int, ...] | None = None
    halvings: int | None = None
    attention: tuple[int, ...] = (1,)
    skip: Skip = "rectified"
    classes: int | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image: Images, label: Labels | None = None) -> jax.Array:
        size = side(image.shape[1:], "sagan")
        widths, halvings = discriminator_widths(LAYOUTS, size, self.widths, self.halvings, "sagan")
        return judge(
            image, label, self.classes, widths, halvings,
            attention=self.attention, skip=self.skip, dtype=self.dtype,
        )  # fmt: skip
