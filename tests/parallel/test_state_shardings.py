"""Along which axis a leaf of the state is split over eight devices."""

import json

import jax
import jax.numpy as jnp
import pytest

import gan_jax
from devices import run_json
from gan_jax.parallel.mesh import _fills_tiles

# (shape, the axis that is split, or None). A tile is 8 x 128 on the last two axes that are longer than 1.
LEAVES = [
    ((3, 3, 256, 256), 2),  # shares of 32 rows fill tiles, those of 32 columns do not
    ((3, 3, 64, 256), 2),  # shares of 8 rows, though the last axis is larger
    ((1032, 1024), 1),  # 128 columns, though the first axis is larger: 129 rows
    ((1, 1, 768, 1536), 2),
    ((512, 8192), 1),  # 1,024 columns fill tiles too, and this axis is larger
    ((1024, 1024), 1),  # both fill tiles: the last
    ((64, 3, 16, 128), 0),  # the axes before the last two have no tiles
    ((3, 3, 16, 1536), 3),  # no axis fills tiles: the largest
    ((32768,), 0),
    ((6272,), 0),
    ((3, 3, 250, 250), None),  # eight divide none
    ((16, 16), None),  # too small
]


@pytest.mark.parametrize(
    ("shape", "axis", "fills"),
    [
        ((256, 256), 0, True),
        ((256, 256), 1, False),
        ((64, 256), 0, True),
        ((32, 256), 0, False),
        ((16, 1024), 1, True),
        ((16, 512), 1, False),
        ((24, 512, 1), 1, False),  # 64 columns, not rows: the axis of size 1 does not count
        ((24, 1024, 1), 1, True),
        ((8, 3, 3, 3), 0, True),
    ],
)
def test_what_fills_tiles(shape, axis, fills):
    assert _fills_tiles(shape, axis, 8) == fills


def main():
    mesh = gan_jax.make_mesh()
    leaves = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape, _ in LEAVES]
    specs = [sharding.spec for sharding in gan_jax.state_shardings(leaves, mesh)]
    print(json.dumps([next((i for i, name in enumerate(spec) if name), None) for spec in specs]))


@pytest.mark.slow
def test_the_axis():
    found = run_json("import test_state_shardings; test_state_shardings.main()", devices=8)
    assert found == [axis for _, axis in LEAVES]
