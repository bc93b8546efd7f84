"""Checks that a function refuses many inputs: each with one sentence.

Hypothesis chooses the inputs; its choices are the same every time.
"""

from collections.abc import Callable
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from gan_jax.errors import UserError

T = TypeVar("T")
FULL = [pytest.param(1, id="quick"), pytest.param(10, id="full", marks=pytest.mark.slow)]
# The least number of refused inputs of each kind in a quick run. A full run has ten times as many, 2,000 in all.
LEAST = {"override": 80, "file": 20, "json": 20, "folder": 40, "npz": 40}


def refuses(kind: str, times: int, strategy: st.SearchStrategy[T], use: Callable[[T], object]) -> None:
    """Checks that `use` raises UserError, and nothing else, for enough inputs of the strategy."""
    wanted, used, refused = times * LEAST[kind], set(), set()

    @settings(
        max_examples=2 * wanted, derandomize=True, database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(strategy)
    def each(value: T) -> None:
        used.add(text := repr(value))
        try:
            use(value)
        except UserError as error:
            message = str(error)
            assert 10 < len(message) < 12_000, message
            assert message.splitlines() == [message]
            refused.add(text)

    each()
    print(f"{kind}: {len(refused)} of {len(used)} inputs were refused, {len(used) - len(refused)} accepted")
    assert len(refused) >= wanted


ODD = [
    "", " ", "nan", "-inf", "1e400", "1e300", "-1", "0", "1.5", "9" * 5000, "none", "true", "maybe", "()", "[]",
    "(" * 300, "{[]: 1}", "[{1: 2}]", "{1}", "1j", "(1j,)", "b'x'", "'\\d'", "\0", "\n", "a\nb", "\x1b[2J",
    "\ud800", "²", "٣", "１", "hinge", "os", ":", "a:b", ":b", ".a:b", "a:", "..", "../x", "a.b", "builtins:no",
    "[[", "gan_jax.losses:jax", "x" * 3000, "=", "a=b", "1_000", "0x10", "None, None", "1,2", "2**70", "~nobody/x",
]  # fmt: skip
texts = st.sampled_from(ODD) | st.text(max_size=8) | st.floats().map(repr) | st.integers().map(str)
