"""Sample grids are near to square, keep each class together, and make GIFs that are small enough."""

import numpy as np
import pytest
from PIL import Image

from gan_jax import report
from gan_jax.report.gif import save_gif
from gan_jax.report.layout import Layout, choose_layout, grid_legend


@pytest.mark.parametrize("size", [(64, 64), (192, 128), (128, 192), (32, 64)])
@pytest.mark.parametrize(
    ("count", "groups"), [(8, 1), (64, None), (64, 2), (64, 3), (60, 10), (64, 12), (100, 10), (36, 7), (64, 1000)]
)
def test_a_grid_is_near_to_square_whatever_the_classes(count, groups, size):
    grid = report.grid(np.zeros((count, *size, 1), np.uint8), groups=groups)
    assert 1 / 1.6 < grid.shape[0] / grid.shape[1] < 1.6
    assert 512 <= max(grid.shape[:2]) < 3000


def test_every_image_has_one_place_in_the_block_of_its_class():
    for count, groups in ((64, 12), (8, 3), (50, 7), (100, 10), (9, 8)):
        layout = choose_layout(count, 64, 48, groups)
        places = [layout.place(index) for index in range(count)]
        assert len({place[2:] for place in places}) == count
        for index, (down, across, row, column) in enumerate(places):
            assert (row // layout.rows, column // layout.columns) == (down, across)
            assert down * layout.across + across == index % groups
            assert down < layout.down


def test_classes_are_blocks_with_wider_lines_between():
    layout = choose_layout(16, 2, 2, 4)
    assert layout == Layout(1, 4, 4, 1, 4)  # a column for each class, where that is square
    pixels = np.uint8(10 * (np.arange(16) % 4)).reshape(16, 1, 1, 1) * np.ones((1, 2, 2, 1), np.uint8)
    grid = report.grid(pixels, pad=1, min_side=1, groups=4)[..., 0]
    assert grid.shape == (4 * 3 + 1, 4 * 3 + 1 + 3 * 4)
    for label in range(4):
        assert (grid[1:3, 1 + 7 * label : 3 + 7 * label] == 10 * label).all()
        assert (grid[10:12, 1 + 7 * label : 3 + 7 * label] == 10 * label).all()


def test_one_class_is_a_plain_grid():
    images = np.random.default_rng(0).integers(0, 256, (8, 64, 64, 3), np.uint8)
    np.testing.assert_array_equal(report.grid(images, groups=1), report.grid(images))
    assert report.grid(images).shape[:2] == (3 * (3 * 64 + 2) + 2,) * 2  # once 4114 x 516


def test_legends_say_where_a_class_is():
    names = ["cat", "dog"]
    assert grid_legend(["cat"], None) == "all are of the class cat"
    assert grid_legend(names, None) == "classes, in turn from sample to sample: cat, dog"
    assert grid_legend(names, Layout(2, 1)) == "classes, in turn from sample to sample: cat, dog"
    assert grid_legend(names, Layout(1, 4, 2, 1, 2)) == "each column is one class, from the left: cat, dog"
    assert grid_legend(names, Layout(4, 1, 1, 2, 2)) == "each row is one class, from the top: cat, dog"
    assert grid_legend(names, Layout(4, 2, 1, 2, 2)) == "each 2 rows are one class, from the top: cat, dog"
    block = "each block of 2 x 3 samples is one class, from the top left, row by row: cat, dog"
    assert grid_legend(names, Layout(2, 3, 2, 1, 2)) == block


def noise_frames(folder, count, size):
    rng, paths = np.random.default_rng(0), [folder / f"step_{i:08}.png" for i in range(count)]
    for path in paths[:-1]:
        report.save_png(path, rng.integers(0, 256, (*size, 3), np.uint8))
    report.save_png(paths[-1], np.full((*size, 3), 7, np.uint8))
    return paths


def test_a_large_gif_loses_frames_and_then_pixels_but_never_its_last_frame(tmp_path):
    """Noise does not compress: 40 frames of 4,096 pixels are about 200 kB."""
    paths, path = noise_frames(tmp_path, 40, (48, 64)), tmp_path / "samples.gif"
    found = []
    for most_bytes in (10**6, 100_000, 20_000):
        save_gif(path, paths, most_bytes=most_bytes)
        assert path.stat().st_size <= most_bytes
        with Image.open(path) as gif:
            frames, size = gif.n_frames, gif.size  # type: ignore[attr-defined]
            gif.seek(frames - 1)
            last = np.asarray(gif.convert("RGB"))
        assert (last == 7).all()
        found.append((frames, size))
    assert found[0] == (40, (64, 48))
    assert 12 < found[1][0] < 40
    assert found[1][1] == (64, 48)
    frames, (width, height) = found[2]
    assert (frames, width / height) == (12, pytest.approx(64 / 48, rel=0.05))
    assert width < 64
