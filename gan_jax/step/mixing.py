"""Names what a GAN computes over a microbatch instead of the whole batch."""

import jax

from ..gan import GAN
from ..state import GANState


def mixes_samples(gan: GAN, state_shapes: GANState) -> list[str]:
    """Names the operations that see a microbatch instead of the whole batch; an empty list if there are none.

    They are: a network's collections other than those of spectral norm (batch statistics, for one), a minibatch
    deviation (a discriminator's attribute `group`), and the states of penalties, which all move once a microbatch.
    What a loss, a penalty or a network of your own mixes besides these cannot be seen here. The answer does not
    depend on `gan.microbatches`.

    Args:
        gan: what is trained.
        state_shapes: its state, or the `jax.ShapeDtypeStruct`s of one.
    """
    players = (
        ("generator", state_shapes.generator, gan.generator_terms),
        ("discriminator", state_shapes.discriminator, gan.discriminator_terms),
    )
    found = []
    for name, player, terms in players:
        found += [
            f"the {name}'s {collection}"
            for collection in sorted(set(player.model_state) - {"spectral", "noise_buffers"})
        ]
        for term, state in zip(terms, player.penalties, strict=True):
            if jax.tree.leaves(state):
                found.append(f"the state of the penalty {term.penalty.name}")
    group = getattr(gan.discriminator, "group", 1)
    if isinstance(group, int) and group > 1:
        found.append(f"the discriminator's minibatch deviation (group={group})")
    return found
