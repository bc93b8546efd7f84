"""The search for what fits, with a compiler that only counts."""

import pytest

from gan_jax.targets.fit import divisors, smallest


def test_divisors():
    assert divisors(12) == [1, 2, 3, 4, 6, 12]


@pytest.mark.parametrize("guess", [0, 1, 3, 8, 100])
@pytest.mark.parametrize("least", [1, 2, 4, 32, 64])
def test_the_smallest_that_fits(least, guess):
    asked = []

    def fits(choice):
        asked.append(choice)
        return choice >= least

    found = smallest([1, 2, 4, 8, 16, 32], fits, guess)
    assert found == (least if least <= 32 else None)
    assert len(asked) == len(set(asked))  # nothing is compiled twice


def test_a_good_guess_compiles_two_programs():
    asked = []
    assert smallest(divisors(64), lambda n: asked.append(n) or n >= 8, 7.5) == 8
    assert asked == [8, 4]


def test_nothing_to_choose_from():
    assert smallest([], lambda _: True, 1) is None
