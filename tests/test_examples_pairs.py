"""The examples on digits reach the figures of their docstrings: pairs, two domains, two heads."""

import numpy as np
import pytest

from example_programs import load


def _distance(images: np.ndarray, target: np.ndarray) -> float:
    return float(np.abs(images - target).mean())


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_super_resolution_has_a_higher_psnr_than_bicubic_interpolation() -> None:
    example = load("super_resolution")
    found = example["train"]()
    psnr = {name: example["psnr"](images, found["real"]) for name, images in found.items() if name != "real"}
    print(psnr)
    assert psnr["ours"] > psnr["bicubic"] + 4


def test_its_small_images_are_means_and_its_psnr_is_that_of_numbers() -> None:
    example = load("super_resolution")
    image = np.arange(64.0).reshape(8, 8, 1)
    assert example["shrink"](image)[1, 2, 0] == image[2:4, 4:6].mean()
    assert example["psnr"](np.full((2, 8, 8, 1), 0.2), np.zeros((2, 8, 8, 1))) == pytest.approx(20.0)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_pix2pix_is_nearer_to_new_digits_than_the_blurred_mean() -> None:
    found = load("pix2pix")["train"]()
    error = {name: _distance(images, found["real"]) for name, images in found.items()}
    print(error)
    assert error["ours"] < 0.97 * error["blurred"]


def test_its_edges_are_the_dark_neighbours_of_bright_pixels() -> None:
    image = np.zeros((1, 8, 8, 1), np.uint8)
    image[0, 3:5, 0] = 200
    drawn = np.argwhere(load("pix2pix")["edges"](image)[0, ..., 0] > 0)
    assert drawn.tolist() == [[2, 0], [3, 1], [4, 1], [5, 0]]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_cyclegan_finds_the_true_map() -> None:
    found = load("cyclegan")["train"]()
    error = {name: _distance(images, found["true"]) for name, images in found.items()}
    print(error)
    assert error["ours"] < error["a"] / 10


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_acgan_makes_the_digits_that_were_asked_for() -> None:
    example = load("acgan")
    images, label = example["train"]()
    print(share := np.mean(example["classes_of"](images) == label))
    assert share > 0.95


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_infogan_finds_classes_without_labels() -> None:
    example = load("infogan")
    table, bits = example["read"](example["train"]())
    print(table, bits)
    assert bits > 2.0


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_its_information_is_that_of_tables() -> None:
    """A code for each class shares log2(10) bits with it; a code that says nothing shares none."""
    example = load("infogan")
    images = example["digits"]().read(np.arange(1797))
    by_class = np.stack([images["image"][images["label"] == k][:100] for k in range(10)])
    assert example["read"](by_class)[1] > 0.95 * np.log2(10)
    assert example["read"](np.swapaxes(by_class, 0, 1).reshape(by_class.shape))[1] < 0.05


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_bigan_encodes_new_digits() -> None:
    found = load("bigan")["train"]()
    ours, constant = (_distance(x, found["real"]) for x in (found["again"], np.median(found["real"], axis=0)))
    print(ours, constant)
    assert ours < 0.75 * constant
    assert found["samples"].std(axis=0).max() > 0.3  # no collapse: digits differ by 0.8 there
