"""Tests that the compiler's options are used if it accepts them, and dropped otherwise."""

import jax
import pytest

from gan_jax.ops import backend


@pytest.mark.parametrize(
    ("offered", "accepted"),
    [
        (
            {"xla_backend_optimization_level": "0", "xla_no_such_option": "1"},
            {"xla_backend_optimization_level": "0"},
        ),
        (
            {"xla_no_such_option": "1", "xla_backend_optimization_level": "0"},
            {"xla_backend_optimization_level": "0"},
        ),
        ({"xla_no_such_option": "1"}, None),
        ({"xla_backend_optimization_level": "no number"}, None),
    ],
)
def test_options_that_the_compiler_refuses_are_dropped(offered, accepted, monkeypatch):
    monkeypatch.setattr(backend, "_CPU", offered)
    backend._accepted.cache_clear()
    try:
        assert backend.compiler_options() == accepted
    finally:
        backend._accepted.cache_clear()


def test_this_compiler_accepts_all_options():
    """Otherwise programs that run once would compile slowly, without anyone noticing."""
    removed = {} if jax.__version_info__ < (0, 12) else {"xla_cpu_use_fusion_emitters": False}
    assert backend.compiler_options(once=True) | removed == backend._CPU_ONCE
    assert backend.compiler_options() == backend._CPU
