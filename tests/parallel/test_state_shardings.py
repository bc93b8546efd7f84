"""Along which axis a leaf of the state is split over eight devices."""

import json

import jax
import jax.numpy as jnp
import pytest

import gan_jax
from devices import run_json

# (shape, the axis that is split, or None). A TPU's tile is 8 x 128 on the last two axes that are longer than 1.
LEAVES = [
    ((3, 3, 256, 256), 2),  # shares of 32 rows are whole tiles, those of 32 columns are not
    ((1, 1, 768, 1536), 2),
    ((512, 8192), 1),  # 1,024 columns are whole tiles too, and this axis is larger
    ((64, 3, 16, 128), 0),  # the axes before the last two have no tiles
    ((4, 4, 1024, 1), 2),  # 128 columns: the last axis is 1
    ((3, 3, 16, 1536), 3),  # no axis makes whole tiles: the largest
    ((32768,), 0),
    ((6272,), 0),
    ((3, 3, 250, 250), None),  # eight divide none
    ((16, 16), None),  # too small
]


def main():
    mesh = gan_jax.make_mesh()
    leaves = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape, _ in LEAVES]
    specs = [sharding.spec for sharding in gan_jax.state_shardings(leaves, mesh)]
    print(json.dumps([next((i for i, name in enumerate(spec) if name), None) for spec in specs]))


@pytest.mark.slow
def test_the_axis():
    found = run_json("import test_state_shardings; test_state_shardings.main()", devices=8)
    assert found == [axis for _, axis in LEAVES]
