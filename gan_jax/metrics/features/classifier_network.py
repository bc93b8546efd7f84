"""The network of the classifier: strided convolutions, a hidden layer and logits."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict

from ...ops import conv
from ...types import PyTree
from .extractor import Extracted


class Network(nn.Module):
    """Convolutions 3 x 3 with stride 2 down to a map of about 4 x 4, a hidden layer with ReLU, and the logits.

    Attributes:
        classes: the number K of logits.
        width: channels of the first map. The second map has 2 `width` channels, later maps have 4 `width`.
        size: features, the units of the hidden layer.
    """

    classes: int
    width: int
    size: int

    @nn.compact
    def __call__(self, images: jax.Array) -> Extracted:
        x = jnp.asarray(images, jnp.float32) / 127.5 - 1.0
        i = 0
        while i < 3 or max(x.shape[1:3]) > 4:
            features = self.width * 2 ** min(i, 2)
            stride = 2 if max(x.shape[1:3]) > 4 else 1
            shape = (3, 3, x.shape[-1], features)
            kernel = self.param(f"kernel_{i}", nn.initializers.he_normal(), shape)  # see `initial_params`
            bias = self.param(f"bias_{i}", nn.initializers.zeros, (features,))
            x = nn.relu(conv(x, kernel, stride=stride, padding=1) + bias)
            i += 1
        hidden = nn.relu(nn.Dense(self.size, name="features")(x.reshape(x.shape[0], -1)))
        return Extracted(hidden, nn.Dense(self.classes, name="logits")(hidden))


def extract_features(network: Network, params: PyTree, images: jax.Array) -> Extracted:
    """Applies the network to uint8 images `[B, H, W, C]`."""
    return network.apply({"params": params}, images)  # pyright: ignore[reportReturnType]


def class_logits(network: Network, params: PyTree, images: jax.Array) -> jax.Array:
    """Returns the logits `[B, K]` of uint8 images `[B, H, W, C]`."""
    return extract_features(network, params, images).logits  # pyright: ignore[reportReturnType]


def initial_params(network: Network, seed: int, images: np.ndarray) -> PyTree:
    """Draws normal kernels with the scale of He et al., 2015, and zero biases, for such images `[B, H, W, C]`.

    NumPy draws them. JAX would compile a random generator for each shape, which takes longer than the training on
    a small set.
    """
    shapes = jax.eval_shape(network.init, jax.random.key(seed), images)["params"]
    random = np.random.default_rng(seed)

    def draw(shape: tuple[int, ...]) -> np.ndarray:
        if len(shape) == 1:
            return np.zeros(shape, np.float32)
        return (random.standard_normal(shape) * (2 / np.prod(shape[:-1])) ** 0.5).astype(np.float32)

    params = {path: draw(leaf.shape) for path, leaf in sorted(flatten_dict(shapes, sep="/").items())}
    return unflatten_dict(params, sep="/")
