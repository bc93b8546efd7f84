"""A run with figures, and its card, for the tests of cards."""

import pytest

from card_run import written_run
from gan_jax.exchange.card import write_card


@pytest.fixture(scope="module")
def workdir(tmp_path_factory, programs):
    return written_run(tmp_path_factory.mktemp("card"))


@pytest.fixture(scope="module")
def folder(workdir):
    return write_card(workdir, license="cc-by-4.0", count=9)
