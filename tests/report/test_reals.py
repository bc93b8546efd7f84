"""The grid of reals: the right images at the right places."""

import numpy as np
import pytest
from PIL import Image

from gan_jax import report
from gan_jax.data.arrays import Arrays
from gan_jax.data.gaussians import gaussians
from gan_jax.data.source import Mirrored
from gan_jax.report.layout import choose_layout, grid_legend
from gan_jax.report.reals import reals_legend, write_reals


def labelled(counts, side=2):
    """Every image of class c has the colour c + 1."""
    label = np.repeat(np.arange(len(counts)), counts).astype(np.int32)
    image = np.broadcast_to((label + 1).astype(np.uint8)[:, None, None, None], (len(label), side, side, 1)).copy()
    return Arrays("a", image, label, len(counts))


def cells(path, rows, columns):
    """The colour in the middle of each image of a grid."""
    with Image.open(path) as read:
        pixels = np.asarray(read)[..., 0]
    height, width = pixels.shape[0] / rows, pixels.shape[1] / columns
    return [
        [int(pixels[int((r + 0.5) * height), int((c + 0.5) * width)]) for c in range(columns)] for r in range(rows)
    ]


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize("wrapped", [lambda source: source, Mirrored])
def test_a_block_for_each_class(wrapped, in_memory, tmp_path):
    source = labelled([40, 0, 3])
    if not in_memory:  # as a set on disk, whose labels are read with the images
        image, label, source.label = source.image, source.label, None
        source.read = lambda rows: {"image": image[rows], "label": label[rows]}
    source.class_names = ("circle", "none", "square")
    source = wrapped(source)
    write_reals(tmp_path, source)
    each = 64 // 3
    layout = choose_layout(3 * each, 2, 2, 3)
    found = cells(tmp_path / "samples" / "reals.png", layout.down * layout.rows, layout.across * layout.columns)
    for index in range(3 * each):
        *_, row, column = layout.place(index)
        circle, none, square = (1, *[report.images.BACKGROUND] * 2) if index >= 9 else (1, 255, 3)
        assert found[row][column] == (circle, none, square)[index % 3]
    assert reals_legend(source) == grid_legend(["circle", "none", "square"], layout)
    assert reals_legend(source).endswith("circle, none, square")


def test_many_classes(tmp_path):
    source = labelled([2] * 100)
    write_reals(tmp_path, source)
    found = np.array(cells(tmp_path / "samples" / "reals.png", 8, 8)).ravel()
    assert found[0] == 1
    assert found[-1] == 100
    assert len(set(found)) == 64
    assert (np.diff(found) > 0).all()
    assert reals_legend(source).startswith("classes, in turn from sample to sample: 0, 2, 3")


def test_without_labels(tmp_path):
    source = labelled([200])
    source.label, source.classes = None, None
    write_reals(tmp_path, source)
    assert cells(tmp_path / "samples" / "reals.png", 8, 8) == [[1] * 8] * 8
    assert reals_legend(source) is None


def test_large_images_make_no_huge_grid(tmp_path):
    source = labelled([9, 9], side=1500)
    write_reals(tmp_path, source)
    with Image.open(tmp_path / "samples" / "reals.png") as read:
        assert max(read.size) < 4096


def test_a_mixture_is_a_scatter_plot(tmp_path):
    source = gaussians(count=1000)
    write_reals(tmp_path, source)
    with Image.open(tmp_path / "samples" / "reals.png") as read:
        assert (np.asarray(read) != 255).any()
        assert read.size == (512, 512)
    assert reals_legend(source) is None
