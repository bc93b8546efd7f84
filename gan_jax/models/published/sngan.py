"""The layout of SNGAN in PyTorch-StudioGAN, conditional or not; see `studiogan`.

Files of mimicry (kwotsin/mimicry) are known, and refused: its generator enlarges maps by bilinear interpolation.
"""

from . import studiogan
from .tables import Layout, Network, Shapes


def _generator(shapes: Shapes) -> Network:
    network, attention = studiogan.generator(shapes, spectral=False)
    if attention:
        raise ValueError("has self-attention, so it is no SNGAN")
    classes = None
    if "blocks.0.0.bn1.embed0.weight" in shapes:
        classes = shapes["blocks.0.0.bn1.embed0.weight"][0]
    elif "blocks.0.0.bn1.gain.weight" in shapes:
        classes = shapes["blocks.0.0.bn1.gain.weight"][1]
    return network._replace(classes=classes, latents=shapes["linear0.weight"][1])


def _discriminator(shapes: Shapes) -> Network:
    network, attention = studiogan.discriminator(shapes)
    if attention:
        raise ValueError("has self-attention in its discriminator, so it is no SNGAN")
    return network


def _mimicry(shapes: Shapes) -> Network:
    raise ValueError(
        "has the layout of mimicry, whose generator enlarges maps by bilinear interpolation, where ours repeats "
        "pixels: its images would differ"
    )


GENERATORS = (
    Layout("PyTorch-StudioGAN", ("linear0.weight", "bn4.weight", "conv2d5.weight"), _generator, studiogan.UNUSED),
    Layout("mimicry", ("block2.c1.weight", "l1.weight"), _mimicry),
)
DISCRIMINATORS = (
    Layout(
        "PyTorch-StudioGAN", ("linear1.weight_orig", "blocks.0.0.conv2d1.weight_orig"), _discriminator,
        studiogan.UNUSED,
    ),
)  # fmt: skip
