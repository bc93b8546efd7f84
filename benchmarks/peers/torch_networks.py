"""The benchmark's networks as PyTorch users write them, and the conversion of weights from and to JAX."""

import copy
import itertools

import jax
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from gan_jax.pytree import named_leaves
from gan_jax.types import PyTree

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
    """Builds both networks of `gan_jax.models.mlp`."""
    height, _, channels = case.shape
    size = height * height * channels

    def hidden(inputs: int) -> list[nn.Module]:
        widths = [inputs] + [width] * layers
        return [m for i, o in itertools.pairwise(widths) for m in (nn.Linear(i, o), nn.LeakyReLU(0.2))]

    out = [nn.Linear(width, size), nn.Tanh(), Shape(channels, height, height)]
    return nn.Sequential(*hidden(LATENT), *out), nn.Sequential(Flat(), *hidden(size), nn.Linear(width, 1), Flat())


def dcgan(case: Case, width: int = 64) -> tuple[nn.Module, nn.Module]:
    """Builds both networks of PyTorch's DCGAN example, for images whose side is a power of two."""
    shape = case.shape
    doublings = (shape[0] // 4).bit_length() - 1
    widths = [width * 2**i for i in reversed(range(doublings))]
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
    """Builds both networks of `benchmarks.resnet`."""
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


def make(case: Case, generator: PyTree, discriminator: PyTree) -> tuple[nn.Module, nn.Module]:
    """Builds both networks of `case`, with the weights of two JAX parameter trees.

    Raises:
        ValueError: the parameters of the two frameworks differ in number or shape.
    """
    networks = _NETWORKS[case.name](case)
    for network, params in zip(networks, (generator, discriminator)):
        _copy(network, params)
    return networks


def _copy(network: nn.Module, params: PyTree) -> None:
    layers = {name: module for name, module in network.named_modules() if list(module.parameters(recurse=False))}
    groups: dict[tuple[str, ...], dict[str, np.ndarray]] = {}
    for name, leaf in named_leaves(params).items():
        *path, last = name.split("/")
        groups.setdefault(tuple(path), {})[last] = np.asarray(leaf)
    if len(layers) != len(groups):
        raise ValueError(f"{len(layers)} layers in PyTorch, {len(groups)} in JAX")
    with torch.no_grad():
        if isinstance(network, torch_r3gan.Player):
            ordered = [groups[tuple(name.split("."))] if name else groups[()] for name in layers]
        else:
            ordered = _ordered(groups)
        for layer, group in zip(layers.values(), ordered):
            for name, value in _converted(layer, group).items():
                parameter = getattr(layer, name)
                if parameter.shape != value.shape:
                    raise ValueError(f"{name} is {tuple(parameter.shape)} in PyTorch, {value.shape} in JAX")
                parameter.copy_(torch.from_numpy(np.array(value)))


def read_back(network: nn.Module, like: PyTree) -> PyTree:
    """Returns the network's parameters as a JAX tree with the structure of `like`.

    It inverts `make` without a second conversion: it copies the index of every JAX value into a second network,
    and each parameter there tells which JAX value the same parameter of `network` is.
    """
    leaves, structure = jax.tree.flatten(like)
    ends = np.cumsum([leaf.size for leaf in leaves])
    indices = [np.arange(end - leaf.size, end).reshape(leaf.shape) for leaf, end in zip(leaves, ends)]
    index_network = copy.deepcopy(network).double().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    _copy(index_network, jax.tree.unflatten(structure, [index.astype(np.float64) for index in indices]))
    values = np.empty(ends[-1])
    for index, parameter in zip(index_network.parameters(), network.parameters()):
        values[index.detach().cpu().numpy().astype(np.int64).ravel()] = parameter.detach().cpu().numpy().ravel()
    return jax.tree.unflatten(structure, [values[index] for index in indices])


def _ordered(groups: dict[tuple[str, ...], dict[str, np.ndarray]]) -> list[dict[str, np.ndarray]]:
    """Returns the groups in the order of the layers, judged by their names, because JAX sorts a tree's keys."""
    first, last = ("project",), ("image",)
    from_image = ("logit",) in groups

    def position(path: tuple[str, ...]) -> tuple[int, int, tuple[str, ...]]:
        head, number = path[0].rpartition("_")[0], path[0].rpartition("_")[2]
        if path in (first, last, ("logit",), ("out",)):
            is_first = path == first or (path == last and from_image)
            return (-1 if is_first else 1_000, 0, path)
        order = ["width", "block"] if head in ("width", "block") else ["up", "down", "dense", "norm"]
        return (int(number), order.index(head), path[1:])

    return [groups[path] for path in sorted(groups, key=position)]


def _converted(layer: nn.Module, group: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Converts one layer's parameters from JAX's names and layout to PyTorch's."""
    if isinstance(layer, torch_r3gan.Player):  # "basis" or "pool"
        return {name: value.transpose(2, 0, 1) for name, value in group.items()}
    converted = {}
    if "scale" in group:
        converted["weight"] = group["scale"]
    if "bias" in group:
        converted["bias"] = group["bias"]
    kernel = group.get("kernel")
    if kernel is None:
        return converted
    if isinstance(layer, nn.ConvTranspose2d) and kernel.ndim == 2:  # "project": rows [base, base, C]
        converted["weight"] = kernel.reshape(kernel.shape[0], 4, 4, -1).transpose(0, 3, 1, 2)
    elif isinstance(layer, nn.ConvTranspose2d):
        converted["weight"] = kernel.transpose(2, 3, 0, 1)
    elif isinstance(layer, nn.Conv2d) and kernel.ndim == 2:  # "logit": columns [4, 4, C]
        converted["weight"] = kernel.reshape(4, 4, -1, kernel.shape[1]).transpose(3, 2, 0, 1)
    elif isinstance(layer, nn.Conv2d):
        converted["weight"] = kernel.transpose(3, 2, 0, 1)
    else:
        converted |= _linear(kernel, group.get("bias"))
    return converted


def _linear(kernel: np.ndarray, bias: np.ndarray | None) -> dict[str, np.ndarray]:
    """Converts a matrix; if it reads or writes a 4 x 4 map, reorders its values to PyTorch's channels first."""
    i, o = kernel.shape
    maps = 16 * WIDTHS[0]
    converted = {} if bias is None else {"bias": bias}
    if o == maps:
        kernel = kernel.reshape(i, 16, -1).transpose(0, 2, 1).reshape(i, o)
        converted |= {} if bias is None else {"bias": bias.reshape(16, -1).T.reshape(-1)}
    elif i == maps:
        kernel = kernel.reshape(16, -1, o).transpose(1, 0, 2).reshape(i, o)
    return {**converted, "weight": kernel.T}
