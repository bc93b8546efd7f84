"""`gan-jax doctor`."""

import re

import pytest

from runs import call

pytestmark = [pytest.mark.usefixtures("programs"), pytest.mark.timeout(180)]


def test_doctor():
    outcome = call("doctor")
    assert outcome.code == 0, outcome.err
    assert re.search(r"^devices   \d+ x \S+", outcome.out, re.MULTILINE)
    import jax

    assert re.search(rf"^jax +{re.escape(jax.__version__)}$", outcome.out, re.MULTILINE)
