"""What each update of a step reads: real images, their labels and the random draws."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ..gan import GAN
from ..pixels import to_float
from ..state import GANState
from ..types import AxisName, Batch, Images, Labels
from .draws import Draws, draw, global_index


class UpdateInputs(NamedTuple):
    """What one update of one player reads. Every leaf has a leading [B], so it can be cut into microbatches.

    Attributes:
        image: real images, `[B, *S]` in [-1, 1].
        label: their labels, or None.
        draws: the update's random draws.
        fake: generated images, if they exist before the update; else None.
        fields: the other fields of the batch.
    """

    image: Images
    label: Labels | None
    draws: Draws
    fake: Images | None = None
    fields: dict[str, Any] | None = None

    @property
    def batch(self) -> dict[str, Any]:
        """All fields of the batch, with the images in [-1, 1]."""
        return {**(self.fields or {}), "image": self.image} | ({} if self.label is None else {"label": self.label})

    @property
    def size(self) -> int:
        """The number of samples, of this device."""
        return self.draws.real.shape[0]


def update_inputs(gan: GAN, state: GANState, batch: Batch, axis_name: AxisName | None) -> list[UpdateInputs]:
    """Returns the inputs of each update of the discriminator, in order, and then those of the generator's update.

    Update i of the discriminator reads batch i. The generator's update reads the last batch. With
    `gan.share_latents` that is the last batch of the discriminator too, and the latents, labels and noise are the
    same.
    """
    count = gan.batches_per_step
    batches = [batch] if count == 1 else [jax.tree.map(lambda x, i=i: x[i], batch) for i in range(count)]
    images = [to_float(one["image"]) for one in batches]
    labels = [one.get("label") for one in batches]
    fields = [{name: x for name, x in one.items() if name not in ("image", "label")} for one in batches]
    index = global_index(jax.tree.leaves(images)[0].shape[0], axis_name)

    def inputs(update: int, number: int) -> UpdateInputs:
        rows = {**fields[number], "image": images[number]}
        rows |= {} if labels[number] is None else {"label": labels[number]}
        draws = draw(gan, state.key, state.step, update, rows, index)
        return UpdateInputs(images[number], labels[number], draws, fields=fields[number])

    for_discriminator = [inputs(i, i) for i in range(gan.disc_steps)]
    for_generator = inputs(gan.disc_steps, -1)
    if gan.share_latents:
        shared = for_discriminator[-1].draws
        draws = for_generator.draws._replace(
            latents=shared.latents, label=shared.label, generator=shared.generator
        )
        for_generator = for_generator._replace(draws=draws)
    return [*for_discriminator, for_generator]


def labels_out_of_range(gan: GAN, updates: Sequence[UpdateInputs]) -> jax.Array | None:
    """Returns how many labels are none of the classes of the network that reads them; None if that is not known.

    A network says how many there are by an attribute `classes`. The labels are the only integers `[B]` among the
    leaves. A label beyond the last class makes NaN or zeros in a network, and label -1 is read as the last class.
    """
    read = [(gan.discriminator, inputs.label) for inputs in updates]
    read += [(network, inputs.draws.label) for inputs in updates for network in (gan.generator, gan.discriminator)]
    counts = {}  # several updates may read the same labels
    for network, label in read:
        classes = getattr(network, "classes", None)
        leaves = [x for x in jax.tree.leaves(label) if jnp.ndim(x) == 1 and jnp.issubdtype(x.dtype, jnp.integer)]
        if isinstance(classes, int) and len(leaves) == 1:
            (x,) = leaves
            counts[classes, id(x)] = jnp.sum((x < 0) | (x >= classes), dtype=jnp.int32)
    return jnp.stack(list(counts.values())).sum() if counts else None
