"""Variables drawn without a network's own starting points, whose orthogonal matrices are slow to compile."""

import jax
import jax.numpy as jnp
import numpy as np


def filled(spec, seed=0):
    """Arrays of the shapes in `spec`: normal, of standard deviation 1 / sqrt(fan in); whole numbers are 0."""
    rng = np.random.default_rng(seed)

    def fill(path, leaf):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.key(seed)
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            return jnp.zeros(leaf.shape, leaf.dtype)
        if "batch_stats" in jax.tree_util.keystr(path):
            return jnp.full(leaf.shape, float("'var'" in jax.tree_util.keystr(path)), leaf.dtype)
        wide = np.sqrt(max(1, np.prod(leaf.shape[:-1]))) if len(leaf.shape) > 1 else 2.0
        return jnp.asarray(rng.normal(size=leaf.shape) / wide, leaf.dtype)

    return jax.tree_util.tree_map_with_path(fill, spec)
