"""Guards how the gradients of split parameters reach the devices of a TPU: scattered, not added up on each."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

import gan_jax
from gan_jax.step.split_state import mean_share
from gan_jax.targets import find
from small_programs import MISSING

pytestmark = [
    pytest.mark.programs,
    pytest.mark.skipif(bool(MISSING), reason=f"{MISSING} is not installed: `.ci/run programs` installs it"),
    pytest.mark.timeout(300),
]


@pytest.mark.parametrize("shape", [(1, 1, 512, 1024), (3, 3, 256, 256), (512, 8192)])
def test_a_gradient_is_scattered(shape):
    """The axis is that of `state_shardings`. Axes of size 1, or shares of 32 columns, would spoil it."""
    mesh = gan_jax.make_mesh(find("v5e:2x4").devices)
    place = gan_jax.state_shardings(jax.ShapeDtypeStruct(shape, jnp.float32), mesh)
    axis = next(i for i, name in enumerate(place.spec) if name)
    (name,) = mesh.axis_names
    share = jax.shard_map(
        lambda x: mean_share(x, axis, name), mesh=mesh, in_specs=P(), out_specs=place.spec, check_vma=False
    )
    whole = jax.ShapeDtypeStruct(shape, jnp.float32, sharding=NamedSharding(mesh, P()))
    text = jax.jit(share).lower(whole).compile().as_text()
    assert text is not None
    assert " reduce-scatter(" in text
    assert " all-reduce(" not in text
