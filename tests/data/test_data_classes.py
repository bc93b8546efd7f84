"""Classes: counts, lines that name them, and what a user calls them."""

import numpy as np
import pytest

from gan_jax.data.arrays import Arrays
from gan_jax.data.classes import (
    class_counts,
    describe_data,
    find_classes,
    folder_names,
    odd_classes,
    rows_legend,
)
from gan_jax.data.source import Mirrored
from gan_jax.errors import UserError

SHAPES = ("circle", "square", "triangle")


def labelled(label: list[int], classes: int) -> Arrays:
    return Arrays("a", np.zeros((len(label), 2, 2, 1), np.uint8), np.array(label, np.int32), classes)


def test_counts():
    source = labelled([0, 2, 2], 4)
    assert class_counts(source).tolist() == [1, 0, 2, 0]
    assert class_counts(Mirrored(source)).tolist() == [1, 0, 2, 0]  # mirror images are not counted
    assert class_counts(Arrays("a", np.zeros((3, 2), np.float32))) is None
    del source.label  # such as a set on disk
    assert class_counts(source) is None


@pytest.mark.parametrize(
    ("shape", "count", "names", "counts", "line"),
    [
        ((64, 64, 3), 303, SHAPES, [150, 150, 3],
         "303 images of 64x64x3; 3 classes: circle 150, square 150, triangle 3"),
        ((64, 64, 3), 303, SHAPES, None, "303 images of 64x64x3; 3 classes: circle, square, triangle"),
        ((8, 8, 1), 1797, ("0", "1"), [900, 897], "1,797 images of 8x8x1; 2 classes (897 to 900 images each)"),
        ((8, 8, 1), 2, ("0", "1"), [1, 1], "2 images of 8x8x1; 2 classes (1 image each)"),
        ((8, 8, 1), None, ("0", "1"), None, "images of 8x8x1; 2 classes"),
        ((2,), 5, None, None, "5 samples of 2; no classes"),
        ((8, 8, 1), 9, ("one",), [9], "9 images of 8x8x1; 1 class: one 9"),
        ((8, 8, 1), 200, [f"n{i}" for i in range(100)], [2] * 100,
         "200 images of 8x8x1; 100 classes: n0, n1, n2, n3, n4, n5, n6, n7, n8, n9, n10, ..., n99 "
         "(2 images each)"),
        ((8, 8, 1), 1, ("a\nb\x1b[2J",), [1], r"1 image of 8x8x1; 1 class: a\nb\x1b[2J 1"),
    ],
)  # fmt: skip
def test_the_line_of_a_data_set(shape, count, names, counts, line):
    assert describe_data(shape, count, names, None if counts is None else np.array(counts)) == line


def test_what_is_odd():
    assert odd_classes(SHAPES, np.array([150, 150, 140])) == []
    assert odd_classes(None, None) == odd_classes(SHAPES, None) == []
    [few] = odd_classes(SHAPES, np.array([30_000, 29_000, 3]))
    assert few.startswith("note: class triangle has 3 images, and circle has 30,000: ")
    empty, few = odd_classes(SHAPES, np.array([0, 1, 100]))
    assert empty.startswith("note: class circle has no images")
    assert few.startswith("note: class square has 1 image, and triangle has 100")
    [few] = odd_classes([*SHAPES, "d"], np.array([100, 1, 2, 90]))
    assert few.startswith("note: classes square, triangle have 1 to 2 images, and circle has 100")


def test_classes_are_found_by_name_and_by_number():
    assert find_classes(["square", "circle", "square"], SHAPES) == [1, 0, 1]
    assert find_classes([2, "0"], SHAPES) == [2, 0]
    # A name goes before a number: a user sees names alone.
    assert find_classes(["10", "2", 0], ("2", "10")) == [1, 0, 0]
    assert find_classes(["a, b"], ("a, b", "c")) == [0]


@pytest.mark.parametrize(
    ("given", "names", "words"),
    [
        (["squares"], SHAPES, "no class 'squares': did you mean 'square'"),
        (["Circle"], SHAPES, "no class 'Circle': did you mean 'circle'"),
        (["xyzzy"], SHAPES, "no class 'xyzzy': there are circle, square, triangle"),
        ([""], SHAPES, "no class '': there are circle, square, triangle"),
        (["3"], SHAPES, r"labels must be from 0 to 2, or a name \(circle, square, triangle\), got 3"),
        ([-1], ("0", "1"), "labels must be from 0 to 1, got -1"),
        ([], SHAPES, "no class is named: there are circle"),
        (["a"], ("a, b", "c"), "a name with a comma needs quotes"),
        (["9" * 5000], SHAPES, "there is no class '999"),
    ],
)
def test_a_class_that_is_not_there(given, names, words):
    with pytest.raises(UserError, match=words):
        find_classes(given, names)


def test_classes_as_folders():
    names = ["circle", "a/b", "..", "", "Circle", "a\\b", ".hid", "c:", "x" * 300, "tab\t", "é", "end."]
    folders = folder_names(names)
    assert folders[:8] == ["circle", "a_b", "__", "_", "Circle_4", "a_b_5", "_hid", "c_"]
    assert folders[8:] == ["x" * 100, "tab_", "é", "end_"]
    assert len({folder.casefold() for folder in folders}) == len(names)


def test_legends():
    assert rows_legend(["a"], 4) == "all are of the class a"
    assert rows_legend(SHAPES, 2) == "each row is one class, from the top: circle, square"
    assert rows_legend(SHAPES, 8).endswith("circle, square, triangle, and again")
