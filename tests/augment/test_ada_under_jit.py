"""ADA compiled by XLA gives the pixels of float64 and of op by op, and the transpose belongs to them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from devices import run_json
from gan_jax.augment.adaptive import POLICIES
from gan_jax.augment.sampling import warp
from test_ada_geometry import reference

# Without `quick_compile`: the fault that these tests look for is one of fusions.

H, W = 12, 16
# Rotations by the angles of the triangle 3, 4, 5: many source positions are whole numbers but for rounding.
ROTATIONS = np.float32([
    [[0.6, -0.8, 0], [0.8, 0.6, 0], [0, 0, 1]],
    [[0.6, -0.8, 0.1], [0.8, 0.6, 0.2], [0, 0, 1]],
    [[0.8, -0.6, 0.1], [0.6, 0.8, 0.3], [0, 0, 1]],
])  # fmt: skip


def test_positions_at_whole_pixels_are_right_in_both_directions():
    """A pixel's index and weight may be rounded apart: with floor(y) and y - floor(y) the error was up to 0.8."""
    x, y = np.random.default_rng(0).normal(size=(2, 3, H, W, 2))
    expected = np.stack([reference(a, np.float64(m), (H - 1, W - 1)) for a, m in zip(x, ROTATIONS)])

    @jax.jit
    def both(x, y):
        out, pullback = jax.vjp(lambda x: warp(x, jnp.asarray(ROTATIONS)), x)
        return out, pullback(y)[0]

    forward = jax.jit(lambda x: warp(x, jnp.asarray(ROTATIONS)))(jnp.asarray(x, jnp.float32))
    out, back = (np.float64(a) for a in both(jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32)))
    np.testing.assert_allclose(forward, expected, atol=1e-5)
    np.testing.assert_allclose(out, expected, atol=1e-5)
    np.testing.assert_allclose(np.sum(back * x, (1, 2, 3)), np.sum(expected * y, (1, 2, 3)), atol=1e-4)


MANY = """
import json
import jax, jax.numpy as jnp, numpy as np
from gan_jax.augment import ada

SIZE, BATCH = 24, 250
augment = ada(POLICY, p=1.0, target=None)
state = augment.init()
plain = lambda x, keys: augment.apply(state, x, keys)
jitted = jax.jit(plain)
pull = jax.jit(lambda x, y, keys: jax.vjp(lambda x: plain(x, keys), x)[1](y)[0])
gaps, adjoint = [], []
for i in range(2000 // BATCH):
    kx, ky, keys = jax.random.split(jax.random.fold_in(jax.random.key(0), i), 3)
    x, y = jax.random.normal(kx, (BATCH, SIZE, SIZE, 3)), jax.random.normal(ky, (BATCH, SIZE, SIZE, 3))
    keys = jax.random.split(keys, BATCH)
    found = jitted(x, keys)
    with jax.disable_jit():
        expected = plain(x, keys)  # op by op
    # Colours and filters can make an image 20 times as bright, and its rounding errors as large.
    brightest = jnp.maximum(1, jnp.abs(expected).max((1, 2, 3)))
    gaps.append(float((jnp.abs(found - expected).max((1, 2, 3)) / brightest).max()))
    linear = np.float64(found) - np.float64(jitted(jnp.zeros_like(x), keys))  # colours and noise add constants
    inner = lambda a, b: np.sum(np.float64(a) * np.float64(b), (1, 2, 3))
    scale = np.sqrt(inner(linear, linear) * inner(y, y)) + 1e-30
    adjoint.append(float((np.abs(inner(linear, y) - inner(x, pull(x, y, keys))) / scale).max()))
print(json.dumps({"gap": max(gaps), "adjoint": max(adjoint)}))
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("policy", POLICIES)
def test_2000_images_as_op_by_op(policy):
    """In a process of its own, which compiles as a user does: the options of these tests change the fusions."""
    found = run_json(MANY.replace("POLICY", repr(policy)), timeout=280.0)
    assert found["gap"] < 1e-4, found
    assert found["adjoint"] < 1e-4, found
