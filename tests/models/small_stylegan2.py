"""A small StyleGAN2 generator, its inputs and its variables."""

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.models import stylegan2

KEY = jax.random.key(0)
SMALL = {"w_size": 6, "mapping_layers": 2, "channel_max": 4}


def init(network, *inputs, seed=0, **keywords):
    return jax.jit(lambda: network.init(jax.random.key(seed), *inputs, **keywords))()


def shapes(network, *inputs, **keywords):
    return jax.eval_shape(lambda: network.init_with_output(KEY, *inputs, **keywords))


GENERATOR = stylegan2.Generator((8, 8, 2), classes=3, **SMALL)
LABELS = jnp.asarray([0, 1, 2, 2])
LATENTS = jax.random.normal(jax.random.key(1), (4, 5))
KEYS = jax.random.split(jax.random.key(2), 4)


def noisy_variables():
    """Returns variables of GENERATOR with noise strengths and a moving average of w that are not zero."""
    initial = init(GENERATOR, LATENTS, LABELS, train=False)
    assert set(initial) == {"params", "w_avg"}
    np.testing.assert_array_equal(initial["w_avg"]["mean"], 0)  # `init` does not update it

    def louder(path, x):
        return x + 0.5 if "noise_strength" in jax.tree_util.keystr(path) else x

    params = jax.tree_util.tree_map_with_path(louder, initial["params"])
    return {"params": params, "w_avg": {"mean": jnp.linspace(-1.0, 1.0, 6)}}
