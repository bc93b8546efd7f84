"""Inception-v3 as the definition of FID uses it, from a file of weights that the user provides.

Heusel et al., "GANs trained by a two time-scale update rule converge to a local Nash equilibrium", 2017.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from ...errors import UserError
from ...files import user_cache
from ...types import PyTree
from .extractor import Extracted, Extractor
from .inception_layers import CLASSES, NETWORK, Conv, Pool, convolutions, run
from .layers import EXACT, conv, fold, linear, max_pool, mean_pool, three_channels
from .resize import bilinear
from .torch_weights import digest, read_weights

Resize = Literal["torch_fidelity", "pytorch_fid"]

VARIABLE = "GAN_JAX_INCEPTION"
# The same network in two files. By PyTorch's custom a name ends with the first digits of the file's SHA-256.
FILES = {
    "pt_inception-2015-12-05-6726825d.pth": "github.com/mseitzer/pytorch-fid/releases/tag/fid_weights",
    "weights-inception-2015-12-05-6726825d.pth": "github.com/toshas/torch-fidelity/releases/tag/v0.2.0",
}
_SIDE, _FEATURES, _EPS = 299, 2048, 1e-3


def inception(weights: str | None = None, *, resize: Resize = "torch_fidelity", bias: bool = False) -> Extractor:
    """Returns an extractor whose features are the 2048 channel means of the last map, with 1008 logits.

    Args:
        weights: path of the file; see `find` for None. Nothing is downloaded.
        resize: "torch_fidelity" places pixels as the original TensorFlow graph does, and scales them to
            (x - 128) / 128. "pytorch_fid" places them half a pixel away, and scales to 2 x / 255 - 1. The features
            differ by 8 to 33 %.
        bias: whether the logits include the bias. The Inception score of Salimans et al., 2016, excludes it.

    Raises:
        UserError: there is no file, or it holds another network.
    """
    if resize not in _APPLY:
        raise UserError(f"resize must be one of {', '.join(_APPLY)}, got {resize!r}")
    path = find(weights)
    state = read_weights(path)
    check(state, str(path))
    params = {
        layer.name: fold(state, f"{layer.name}.conv", f"{layer.name}.bn", _EPS) for layer, _ in convolutions()
    }
    fc = linear(state, "fc")
    params["fc"] = fc if bias else fc._replace(bias=np.zeros_like(fc.bias))
    name = "inception_v3 with bias" if bias else "inception_v3"
    return Extractor(name, digest(path), _RESIZE_TEXT[resize], _FEATURES, params, _APPLY[resize])


def find(weights: str | None = None) -> Path:
    """Returns the path of the file of weights.

    It is `weights`, or else `$GAN_JAX_INCEPTION`, or else one of `FILES` in `~/.cache/gan_jax/weights` (if
    `GAN_JAX_CACHE` names a folder: in `weights` there) or in the folder where PyTorch keeps downloads.

    Raises:
        UserError: there is no such file. The message says where to get it and where to put it.
    """
    named = weights or os.environ.get(VARIABLE)
    if named:
        path = Path(named).expanduser()
        if path.is_file():
            return path
        source = "" if weights else f", which {VARIABLE} names"
        raise UserError(f"there is no file '{path}'{source}: {_advice()}")
    for path in (folder / name for folder in _folders() for name in FILES):
        if path.is_file():
            return path
    raise UserError(f"FID needs the weights of its Inception network, which are not on this machine: {_advice()}")


def _folders() -> list[Path]:
    torch = Path(os.environ.get("TORCH_HOME") or user_cache.base() / "torch").expanduser()
    return [user_cache.home() / "weights", torch / "hub" / "checkpoints"]


def _advice() -> str:
    sources = " or ".join(f"{name} from https://{page}" for name, page in FILES.items())
    return f"get {sources}, and put it into {_folders()[0]}, or set {VARIABLE} to its path"


def shapes() -> dict[str, tuple[int, ...]]:
    """Returns the PyTorch shapes by their names in the state dict.

    They have 23,850,960 values, without the running statistics.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for layer, channels in convolutions():
        shapes[f"{layer.name}.conv.weight"] = (layer.features, channels, *layer.size)
        for part in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{layer.name}.bn.{part}"] = (layer.features,)
    return shapes | {"fc.weight": (CLASSES, _FEATURES), "fc.bias": (CLASSES,)}


def check(state: Mapping[str, np.ndarray], path: str) -> None:
    """Raises UserError if an array of this network is missing or has another shape."""
    for name, shape in shapes().items():
        if name not in state:
            raise UserError(f"'{path}' has no {name}, so it is not FID's Inception network: {_advice()}")
        if state[name].shape != shape:
            raise UserError(
                f"'{path}' has {name} of shape {state[name].shape}, not {shape}, so it is not FID's Inception "
                f"network (the usual one of ImageNet has 1000 classes): {_advice()}"
            )


def network(params: PyTree, x: jax.Array) -> Extracted:
    """Applies the network to scaled images `[B, 299, 299, 3]`."""

    def apply_layer(layer: Conv | Pool, x: jax.Array) -> jax.Array:
        if isinstance(layer, Conv):
            return jax.nn.relu(conv(x, params[layer.name], stride=layer.stride, padding=layer.padding))
        return mean_pool(x) if layer.kind == "mean" else max_pool(x, stride=layer.stride, padding=layer.padding)

    x = run(NETWORK, x, apply_layer, lambda branches: jnp.concatenate(branches, axis=-1))
    features = jnp.mean(x, axis=(1, 2))
    kernel, bias = params["fc"]
    return Extracted(features, jnp.matmul(features, kernel, precision=EXACT) + bias)


def _torch_fidelity(params: PyTree, images: jax.Array) -> Extracted:
    x = bilinear(three_channels(images).astype(jnp.float32), _SIDE, "corner")
    return network(params, (x - 128) / 128)


def _pytorch_fid(params: PyTree, images: jax.Array) -> Extracted:
    x = bilinear(three_channels(images).astype(jnp.float32) / 255, _SIDE, "half_pixel")
    return network(params, 2 * x - 1)


_APPLY = {"torch_fidelity": _torch_fidelity, "pytorch_fid": _pytorch_fid}
_RESIZE_TEXT = {
    "torch_fidelity": "bilinear 299 src=i*n/299 (torch-fidelity)",
    "pytorch_fid": "bilinear 299 src=(i+0.5)*n/299-0.5 (pytorch-fid)",
}
