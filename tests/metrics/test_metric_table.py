"""The table of numbers: short lines, every number in one format, and all that it depends on."""

import math

import pytest

from gan_jax.metrics.record import Record, readable
from gan_jax.metrics.table import table


def record(**changes) -> Record:
    fields = dict(
        metric="frechet", value=12.3412, features="quarters", weights="ab12cd34ef567890", resize="none",
        reference="digits n=1797 8x8x1 #0123456789ab", split="train", reference_count=60_000,
        generated_count=10_000, seed=3, step=300, options={"truncation": 0.5}, versions={"gan_jax": "1"},
    )  # fmt: skip
    return Record(**{**fields, **changes})


def test_a_run_s_numbers():
    kernel = record(
        metric="kernel", value=0.00123456, error=0.000231, error_meaning="std over 100 subsets of 50",
        options={"subset_size": 50, "truncation": 0.5}, notes=("a note",),
    )  # fmt: skip
    assert table([record(notes=("a note",)), kernel]).splitlines() == [
        "frechet  12.34",
        "kernel   1.235e-03 ± 2.310e-04  subset_size 50, std over 100 subsets of 50",
        "",
        "generated  10,000 images of step 300, seed 3",
        "reference  60,000 images of split train, digits n=1797 8x8x1 #0123456789ab",
        "features   quarters, weights ab12cd34ef567890, not resized",
        "options    truncation 0.5",
        "versions   gan_jax 1",
        "note       a note",
    ]


def test_two_sets_and_lines_below_100_columns():
    long = "photographs of a very long name/" * 6
    found = record(generated="npz n=10 #b", notes=("a sentence that goes on " * 12,), options={}, step=None)
    text = table([found], (long, "b.npz"))
    assert max(map(len, text.splitlines())) < 100
    assert "B         b.npz: 10,000 images, npz n=10 #b" in text.splitlines()
    assert "".join(text.split()).count("".join(long.split())) == 1  # nothing is lost in wrapping


def test_few_images_of_a_run_are_said_once():
    text = table([record(generated_count=50), record(metric="kernel", generated_count=50)])
    assert " ".join(text.split()).count("the generated set has 50 images. Below 1,000") == 1


def test_a_singular_covariance_of_a_run_s_images_is_said():
    text = " ".join(table([record(generated_count=1100, size=1280)]).split())
    assert "frechet: the generated set has 1,100 images for 1,280 features. Its covariance is singular" in text
    assert "singular" not in table([record(generated_count=1300, size=1280)])


@pytest.mark.parametrize(
    ("value", "text"),
    [(1234.567, "1234.57"), (2.5e6, "2.500e+06"), (10, "10.00"), (1 / 3, "0.3333"), (0, "0.0000"),
     (0.01, "0.0100"),     (-0.00512345, "-5.123e-03"), (math.inf, "inf"), (math.nan, "nan")],
)  # fmt: skip
def test_a_number(value, text):
    assert readable(value) == text
