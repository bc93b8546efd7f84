"""Guards ADA's sampling on a TPU: no sort and no gather, and what is traced twice is computed once."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import SingleDeviceSharding

from gan_jax.augment import sampling
from gan_jax.targets import find
from small_programs import BATCH, MISSING

pytestmark = [
    pytest.mark.programs,
    pytest.mark.skipif(bool(MISSING), reason=f"{MISSING} is not installed: `.ci/run programs` installs it"),
    pytest.mark.timeout(300),
]


@pytest.mark.parametrize("name", ["blit", "warp"])
def test_a_loss_with_a_penalty_has_no_sort_and_shares_its_pass(name):
    """Loops: the samples, their transpose for the penalty, and the penalty's own gradient."""
    sample = getattr(sampling, name)

    def loss(scale: jax.Array, images: jax.Array, inverses: jax.Array) -> jax.Array:
        critic = lambda x: jnp.sum(jnp.sin(scale * sample(x, inverses)))  # noqa: E731
        return critic(images) + jnp.sum(jax.grad(critic)(images) ** 2)

    place = SingleDeviceSharding(find("v5e:2x2").devices[0])
    shapes = ((), (BATCH, 32, 32, 3), (BATCH, 3, 3))
    arrays = [jax.ShapeDtypeStruct(shape, jnp.float32, sharding=place) for shape in shapes]
    text = jax.jit(jax.grad(loss)).lower(*arrays).compile().as_text()
    assert text is not None
    assert " sort(" not in text
    assert " gather(" not in text
    assert text.count(" while(") == 3
