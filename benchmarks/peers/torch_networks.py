"""The benchmark's networks in PyTorch, in its own layout and idiom, and weights taken over from JAX."""

import copy
import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ..cases import LATENT, Case
from ..resnet import WIDTHS
from . import torch_r3gan


class Flat(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1)


class Shape(nn.Module):
    def __init__(self, *shape: int):
        super().__init__()
        self.shape = shape

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.view(-1, *self.shape)


def mlp(case: Case, width: int = 512, layers: int = 3) -> tuple[nn.Module, nn.Module]:
    """`gan_jax.models.mlp`."""
    height, _, channels = case.shape
    size = height * height * channels

    def hidden(inputs: int) -> list[nn.Module]:
        widths = [inputs] + [width] * layers
        return [m for i, o in itertools.pairwise(widths) for m in (nn.Linear(i, o), nn.LeakyReLU(0.2))]

    out = [nn.Linear(width, size), nn.Tanh(), Shape(channels, height, height)]
    return nn.Sequential(*hidden(LATENT), *out), nn.Sequential(Flat(), *hidden(size), nn.Linear(width, 1), Flat())


def dcgan(case: Case, width: int = 64) -> tuple[nn.Module, nn.Module]:
    """PyTorch's own DCGAN example, for any power of two."""
    shape = case.shape
    times = (shape[0] // 4).bit_length() - 1
    widths = [width * 2**i for i in reversed(range(times))]
    up: list[nn.Module] = [Shape(LATENT, 1, 1), nn.ConvTranspose2d(LATENT, widths[0], 4, 1, 0, bias=False)]
    for i, o in zip(widths, [*widths[1:], shape[2]]):
        up += [nn.BatchNorm2d(i), nn.ReLU(True), nn.ConvTranspose2d(i, o, 4, 2, 1, bias=False)]
    down: list[nn.Module] = []
    for index, (i, o) in enumerate(zip([shape[2], *reversed(widths)], reversed(widths))):
        down.append(nn.Conv2d(i, o, 4, 2, 1, bias=False))
        down += [nn.BatchNorm2d(o)] if index else []
        down.append(nn.LeakyReLU(0.2, True))
    down += [nn.Conv2d(widths[0], 1, 4, 1, 0, bias=False), Flat()]
    return nn.Sequential(*up, nn.Tanh()), nn.Sequential(*down)


class Block(nn.Module):
    def __init__(self, features: int):
        super().__init__()
        self.conv_0 = nn.Conv2d(features, features, 3, padding=1)
        self.conv_1 = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.conv_1(F.leaky_relu(self.conv_0(F.leaky_relu(x, 0.2)), 0.2))


def resnet(case: Case) -> tuple[nn.Module, nn.Module]:
    """`benchmarks.resnet`."""
    shape = case.shape
    up: list[nn.Module] = [nn.Linear(LATENT, 16 * WIDTHS[0]), Shape(WIDTHS[0], 4, 4), Block(WIDTHS[0])]
    for i, o in itertools.pairwise(WIDTHS):
        up += [nn.Upsample(scale_factor=2), *([nn.Conv2d(i, o, 1, bias=False)] if i != o else []), Block(o)]
    up += [nn.LeakyReLU(0.2), nn.Conv2d(WIDTHS[-1], shape[2], 3, padding=1), nn.Tanh()]
    widths = WIDTHS[::-1]
    down: list[nn.Module] = [nn.Conv2d(shape[2], widths[0], 3, padding=1), Block(widths[0])]
    for i, o in itertools.pairwise(widths):
        down += [nn.AvgPool2d(2), *([nn.Conv2d(i, o, 1, bias=False)] if i != o else []), Block(o)]
    down += [nn.LeakyReLU(0.2), Flat(), nn.Linear(16 * widths[-1], 1), Flat()]
    return nn.Sequential(*up), nn.Sequential(*down)


_NETWORKS = {
    "mlp28": mlp, "dcgan32": dcgan, "dcgan64": dcgan, "resnet32_r1r2": resnet,
    "r3gan64": torch_r3gan.make, "r3gan64_quarter": torch_r3gan.make,
}  # fmt: skip


def make(
    case: Case, generator: Mapping[str, Any], discriminator: Mapping[str, Any]
) -> tuple[nn.Module, nn.Module]:
    """Both networks of `case`, with the weights of the two JAX parameter trees.

    Raises:
        ValueError: their parameters differ in number or size.
    """
    networks = _NETWORKS[case.name](case)
    for network, params in zip(networks, (generator, discriminator)):
        _copy(network, params)
    return networks


def _leaves(params: Mapping[str, Any], path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    """Leaves in the order of the layers: Linen names them in the order of their calls, Python keeps it."""
    return [
        leaf for name, value in params.items()
        for leaf in (_leaves(value, (*path, name)) if isinstance(value, Mapping) else [((*path, name), value)])
    ]  # fmt: skip


def _copy(network: nn.Module, params: Mapping[str, Any]) -> None:
    layers = {n: m for n, m in network.named_modules() if list(m.parameters(recurse=False))}
    groups: dict[tuple[str, ...], dict[str, np.ndarray]] = {}
    for path, leaf in _leaves(params):
        groups.setdefault(path[:-1], {})[path[-1]] = np.asarray(leaf)
    if len(layers) != len(groups):
        raise ValueError(f"{len(layers)} layers in PyTorch, {len(groups)} in JAX")
    with torch.no_grad():
        if isinstance(network, torch_r3gan.Player):
            ordered = [groups[tuple(name.split("."))] if name else groups[()] for name in layers]
        else:
            ordered = _ordered(groups)
        for layer, group in zip(layers.values(), ordered):
            for name, value in _converted(layer, group).items():
                own = getattr(layer, name)
                if own.shape != value.shape:
                    raise ValueError(f"{name} is {tuple(own.shape)} in PyTorch, {value.shape} in JAX")
                own.copy_(torch.from_numpy(np.array(value)))


def read_back(network: nn.Module, like: Mapping[str, Any]) -> Any:
    """The network's parameters as a JAX tree shaped as `like`: `make` undone, by copying the places of numbers."""
    counter = 0

    def number(leaf: Any) -> np.ndarray:
        nonlocal counter
        counter += leaf.size
        return np.arange(counter - leaf.size, counter, dtype=np.float64).reshape(leaf.shape)

    places = _tree_map(number, like)
    twin: Any = copy.deepcopy(network).double()
    twin = twin.to(memory_format=torch.contiguous_format)
    _copy(twin, places)
    values = np.empty(counter)
    for place, parameter in zip(twin.parameters(), network.parameters()):
        values[place.detach().cpu().numpy().astype(np.int64).ravel()] = parameter.detach().cpu().numpy().ravel()
    return _tree_map(lambda leaf: values[leaf.astype(np.int64)], places)


def _tree_map(function: Any, tree: Any) -> Any:
    if isinstance(tree, Mapping):
        return {name: _tree_map(function, value) for name, value in tree.items()}
    return function(tree)


def _ordered(groups: dict[tuple[str, ...], dict[str, np.ndarray]]) -> list[dict[str, np.ndarray]]:
    """JAX sorts a tree's keys, so the order of the layers is read off their names."""
    first, last = ("project",), ("image",)
    from_image = ("logit",) in groups

    def place(path: tuple[str, ...]) -> tuple:
        head, number = path[0].rpartition("_")[0], path[0].rpartition("_")[2]
        if path in (first, last, ("logit",), ("out",)):
            begins = path == first or (path == last and from_image)
            return (-1 if begins else 1_000, 0, path)
        order = ["width", "block"] if head in ("width", "block") else ["up", "down", "dense", "norm"]
        return (int(number), order.index(head), path[1:])

    return [groups[path] for path in sorted(groups, key=place)]


def _converted(layer: nn.Module, group: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    if isinstance(layer, torch_r3gan.Player):  # "basis" or "pool"
        return {name: value.transpose(2, 0, 1) for name, value in group.items()}
    found = {}
    if "scale" in group:
        found["weight"] = group["scale"]
    if "bias" in group:
        found["bias"] = group["bias"]
    kernel = group.get("kernel")
    if kernel is None:
        return found
    if isinstance(layer, nn.ConvTranspose2d) and kernel.ndim == 2:  # "project": rows [base, base, C]
        found["weight"] = kernel.reshape(kernel.shape[0], 4, 4, -1).transpose(0, 3, 1, 2)
    elif isinstance(layer, nn.ConvTranspose2d):
        found["weight"] = kernel.transpose(2, 3, 0, 1)
    elif isinstance(layer, nn.Conv2d) and kernel.ndim == 2:  # "logit": columns [4, 4, C]
        found["weight"] = kernel.reshape(4, 4, -1, kernel.shape[1]).transpose(3, 2, 0, 1)
    elif isinstance(layer, nn.Conv2d):
        found["weight"] = kernel.transpose(3, 2, 0, 1)
    else:
        found |= _linear(kernel, group.get("bias"))
    return found


def _linear(kernel: np.ndarray, bias: np.ndarray | None) -> dict[str, np.ndarray]:
    """A matrix; where it begins or ends at a 4 x 4 map, its rows in PyTorch's order (channels first)."""
    i, o = kernel.shape
    maps = 16 * WIDTHS[0]
    found = {} if bias is None else {"bias": bias}
    if o == maps:
        kernel = kernel.reshape(i, 16, -1).transpose(0, 2, 1).reshape(i, o)
        found |= {} if bias is None else {"bias": bias.reshape(16, -1).T.reshape(-1)}
    elif i == maps:
        kernel = kernel.reshape(16, -1, o).transpose(1, 0, 2).reshape(i, o)
    return {**found, "weight": kernel.T}
