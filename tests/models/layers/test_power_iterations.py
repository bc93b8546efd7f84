"""Power iterations of matrices of one shape: together on GPUs, one by one elsewhere."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.models.layers import spectral, spectral_refresh

SHAPES = {"a": (3, 3, 4, 5), "b": (36, 5), "c": (7, 5), "d": (3, 3, 4, 5), "e": (1, 1, 36, 5)}
SHAPES_OF_MATRICES = 2  # that of c is another one


def variables(kept):
    """Random kernels of `SHAPES`, with the vectors `kept`, and a bias beside one of them."""
    random = np.random.default_rng(0)

    def layer(shape):
        lengths = {"u": shape[-1], "v": math.prod(shape[:-1])}
        return {"kernel": random.normal(size=shape)}, {name: random.normal(size=lengths[name]) for name in kept}

    made = {name: layer(shape) for name, shape in SHAPES.items()}
    params, vectors = ({name: part[i] for name, part in made.items()} for i in range(2))
    params["a"]["bias"] = np.zeros(5)
    nested = {"params": {"block": params}, "spectral": {"block": vectors}}
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), nested)


def test_together_is_one_by_one(monkeypatch):
    for kept in ("u", "uv"):
        given = variables(kept)
        one_by_one = spectral_refresh(given)
        with monkeypatch.context() as patch:
            patch.setattr(spectral.lax, "platform_dependent", lambda *args, cuda, **others: cuda(*args))
            together = spectral_refresh(given)
        assert jax.tree.structure(together) == jax.tree.structure(given)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), one_by_one, together)
        jax.tree.map(np.testing.assert_array_equal, together["params"], given["params"])
        matrix = np.asarray(given["params"]["block"]["d"]["kernel"], np.float64).reshape(-1, 5)
        turned = matrix.T @ matrix @ np.asarray(given["spectral"]["block"]["d"]["u"], np.float64)
        expected = turned / np.linalg.norm(turned)
        np.testing.assert_allclose(together["spectral"]["block"]["d"]["u"], expected, atol=1e-6)


def test_the_platform_decides():
    traced = jax.jit(spectral_refresh).trace(variables("uv"))
    products = {
        platform: traced.lower(lowering_platforms=(platform,)).as_text().count("dot_general")
        for platform in ("cpu", "cuda", "tpu")
    }
    assert products == {"cpu": 2 * len(SHAPES), "cuda": 2 * SHAPES_OF_MATRICES, "tpu": 2 * len(SHAPES)}
