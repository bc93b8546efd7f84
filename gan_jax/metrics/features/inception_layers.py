"""Inception-v3 as a table of layers: the network of December 2015 that defines FID and the Inception score.

Szegedy et al., "Rethinking the Inception architecture for computer vision", 2015, as TensorFlow published it; the
names are those of its PyTorch ports. It differs from later versions in its pools (a mean is over the pixels inside
the image, and the last block takes the maximum) and in its 1008 classes.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias, TypeVar

CLASSES = 1008

Node: TypeAlias = "Conv | Pool | Chain | Concat"
T = TypeVar("T")


class Conv(NamedTuple):
    """A convolution, a batch norm and a ReLU."""

    name: str
    features: int
    size: tuple[int, int] = (1, 1)
    stride: int = 1
    padding: str = "SAME"


class Pool(NamedTuple):
    """A pool over 3 x 3 pixels; `kind` is "max" or "mean"."""

    kind: str
    stride: int = 1
    padding: str = "SAME"


class Chain(NamedTuple):
    """Layers one after the other."""

    layers: tuple[Node, ...]


class Concat(NamedTuple):
    """Branches side by side, joined along the channels."""

    branches: tuple[Node, ...]


def _block(name: str, *branches: tuple[Node, ...]) -> Concat:
    """Makes a chain of each branch, and puts the block's name before those of its convolutions."""
    return Concat(tuple(Chain(tuple(_prefixed(name, layer) for layer in branch)) for branch in branches))


def _prefixed(name: str, layer: Node) -> Node:
    if isinstance(layer, Concat):
        return Concat(tuple(_prefixed(name, branch) for branch in layer.branches))
    return layer._replace(name=f"{name}.{layer.name}") if isinstance(layer, Conv) else layer


# The blocks that the PyTorch ports call InceptionA to InceptionE.


def _a(name: str, pooled: int) -> Concat:
    return _block(
        name,
        (Conv("branch1x1", 64),),
        (Conv("branch5x5_1", 48), Conv("branch5x5_2", 64, (5, 5))),
        (Conv("branch3x3dbl_1", 64), Conv("branch3x3dbl_2", 96, (3, 3)), Conv("branch3x3dbl_3", 96, (3, 3))),
        (Pool("mean"), Conv("branch_pool", pooled)),
    )


def _b(name: str) -> Concat:
    return _block(
        name,
        (_half("branch3x3", 384),),
        (Conv("branch3x3dbl_1", 64), Conv("branch3x3dbl_2", 96, (3, 3)), _half("branch3x3dbl_3", 96)),
        (_HALF_POOL,),
    )


def _c(name: str, width: int) -> Concat:
    return _block(
        name,
        (Conv("branch1x1", 192),),
        (Conv("branch7x7_1", width), Conv("branch7x7_2", width, (1, 7)), Conv("branch7x7_3", 192, (7, 1))),
        (
            Conv("branch7x7dbl_1", width),
            Conv("branch7x7dbl_2", width, (7, 1)),
            Conv("branch7x7dbl_3", width, (1, 7)),
            Conv("branch7x7dbl_4", width, (7, 1)),
            Conv("branch7x7dbl_5", 192, (1, 7)),
        ),
        (Pool("mean"), Conv("branch_pool", 192)),
    )


def _d(name: str) -> Concat:
    return _block(
        name,
        (Conv("branch3x3_1", 192), _half("branch3x3_2", 320)),
        (
            Conv("branch7x7x3_1", 192),
            Conv("branch7x7x3_2", 192, (1, 7)),
            Conv("branch7x7x3_3", 192, (7, 1)),
            _half("branch7x7x3_4", 192),
        ),
        (_HALF_POOL,),
    )


def _e(name: str, pool: str) -> Concat:
    return _block(
        name,
        (Conv("branch1x1", 320),),
        (Conv("branch3x3_1", 384), _cross("branch3x3_2")),
        (Conv("branch3x3dbl_1", 448), Conv("branch3x3dbl_2", 384, (3, 3)), _cross("branch3x3dbl_3")),
        (Pool(pool), Conv("branch_pool", 192)),
    )


def _half(name: str, features: int) -> Conv:
    return Conv(name, features, (3, 3), 2, "VALID")


def _cross(name: str) -> Concat:
    """A convolution 1 x 3 and one 3 x 1, side by side."""
    return Concat((Conv(f"{name}a", 384, (1, 3)), Conv(f"{name}b", 384, (3, 1))))


_HALF_POOL = Pool("max", 2, "VALID")

NETWORK = Chain(
    (
        _half("Conv2d_1a_3x3", 32),  # the input is [299, 299, 3]
        Conv("Conv2d_2a_3x3", 32, (3, 3), padding="VALID"),
        Conv("Conv2d_2b_3x3", 64, (3, 3)),
        _HALF_POOL,
        Conv("Conv2d_3b_1x1", 80),
        Conv("Conv2d_4a_3x3", 192, (3, 3), padding="VALID"),
        _HALF_POOL,
        *(_a("Mixed_5b", 32), _a("Mixed_5c", 64), _a("Mixed_5d", 64)),  # [35, 35, 288]
        _b("Mixed_6a"),
        *(_c("Mixed_6b", 128), _c("Mixed_6c", 160), _c("Mixed_6d", 160), _c("Mixed_6e", 192)),  # [17, 17, 768]
        _d("Mixed_7a"),
        *(_e("Mixed_7b", "mean"), _e("Mixed_7c", "max")),  # [8, 8, 2048]
    )
)


def run(node: Node, x: T, apply_layer: Callable[[Conv | Pool, T], T], join: Callable[[list[T]], T]) -> T:
    """Passes `x` through the table: `apply_layer` for a `Conv` or a `Pool`, `join` for branches' results."""
    if isinstance(node, Chain):
        for layer in node.layers:
            x = run(layer, x, apply_layer, join)
        return x
    if isinstance(node, Concat):
        return join([run(branch, x, apply_layer, join) for branch in node.branches])
    return apply_layer(node, x)


def convolutions() -> Iterator[tuple[Conv, int]]:
    """Yields each convolution with the number of its input channels."""
    found: list[tuple[Conv, int]] = []

    def count_channels(layer: Conv | Pool, channels: int) -> int:
        if isinstance(layer, Pool):
            return channels
        found.append((layer, channels))
        return layer.features

    run(NETWORK, 3, count_channels, sum)
    return iter(found)
