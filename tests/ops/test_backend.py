"""The compiler's options, which it may take or not."""

import jax
import pytest

from gan_jax.ops import backend


@pytest.mark.parametrize(
    ("offered", "taken"),
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
def test_what_the_compiler_refuses_is_done_without(offered, taken, monkeypatch):
    monkeypatch.setattr(backend, "_CPU", offered)
    backend.compiler_options.cache_clear()
    try:
        assert backend.compiler_options() == taken
    finally:
        backend.compiler_options.cache_clear()


def test_this_compiler_takes_all():
    """Or else programs that run once are compiled slowly, and nobody would see why."""
    gone = {} if jax.__version_info__ < (0, 12) else {"xla_cpu_use_fusion_emitters": False}
    assert backend.compiler_options(once=True) | gone == backend._CPU_ONCE
    assert backend.compiler_options() == backend._CPU
