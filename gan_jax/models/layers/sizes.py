"""The sizes of images that a network can make: a first map, times a power of two. Images need not be square."""

import math
from collections.abc import Callable

Size = tuple[int, int]  # (height, width), in pixels


def image_size(shape: tuple[int, ...], model: str = "dcgan") -> Size:
    """Returns the `(H, W)` of an image of this shape; raises ValueError if it is not an image `[H, W, C]`."""
    if len(shape) != 3:
        raise ValueError(f"{model} needs images [H, W, C], not samples of shape {tuple(shape)}: use mlp")
    return shape[0], shape[1]


def doublings(
    size: Size, base: int | None = None, model: str = "dcgan", least: int = 2, most: int = 128
) -> tuple[Size, int]:
    """Returns `(first, times)` with `size == first * 2 ** times`, for height and width alike.

    The smaller side of the first map is `base`, or without it, the largest number from `least` to 7 that gives the
    smaller side of `size` by doubling. So 128 x 128 pixels come from 4 x 4, and 192 x 128 from 6 x 4.

    Raises:
        ValueError: there is no such map, or the smaller side of `size` is not in 8..`most`.
    """

    def first_map(size: Size) -> tuple[Size, int] | None:
        smaller = min(size)
        for candidate in [base] if base else range(7, least - 1, -1):
            times = round(math.log2(smaller / candidate)) if smaller > 0 else 0
            fits = candidate * 2**times == smaller and all(side % 2**times == 0 for side in size)
            if times >= 1 and fits and least <= candidate <= 7 and 8 <= smaller <= most:
                return (size[0] >> times, size[1] >> times), times
        return None

    found = first_map(size)
    if found is not None:
        return found
    bases = f"{base} times it (base={base})" if base else f"{least} to 7 times it"
    examples = near_sizes(size, lambda other: first_map(other) is not None, most)
    raise ValueError(
        f"{model} can't make images of {in_words(size)} pixels: resize the data{examples}. Both sides must be "
        f"multiples of one power of two, and the smaller side must be {bases} and have 8 to {most} pixels"
    )


def near_sizes(size: Size, fits: Callable[[Size], bool], most: int = 1024) -> str:
    """Returns ", as with data.source.size=..." with the size that is nearest among those that `fits` accepts.

    It gives a smaller and a larger one where it finds both. It finds multiples of a power of two on either side of
    `size`, which is first brought into the range 8..`most` of the smaller side.
    """
    smaller = max(1, min(size))
    scale = min(max(1.0, 8 / smaller), most / smaller)
    target = (max(8, size[0] * scale), max(8, size[1] * scale))
    square = size[0] == size[1]

    def around(side: float, unit: int) -> list[int]:
        return [math.floor(side / unit) * unit, math.ceil(side / unit) * unit]

    found = set()
    for unit in (2**k for k in range(1, 11)):
        for height in around(target[0], unit):
            found |= {(height, height if square else width) for width in around(target[1], unit)}
    found = [other for other in found if min(other) > 0 and fits(other)]

    def distance(other: Size) -> float:
        return sum(abs(math.log(side / wanted)) for side, wanted in zip(other, target))

    below = [other for other in found if math.prod(other) <= math.prod(size)]
    above = [other for other in found if math.prod(other) > math.prod(size)]
    nearest = [min(sizes, key=lambda other: (distance(other), other)) for sizes in (below, above) if sizes]
    options = [str(h) if square else f"{h}x{w}" for h, w in nearest]
    return f", as with data.source.size={' or '.join(options)}" if options else ""


def in_words(size: Size) -> str:
    """Returns "32" for a square of that side, otherwise "48 x 32"."""
    return str(size[0]) if size[0] == size[1] else f"{size[0]} x {size[1]}"
