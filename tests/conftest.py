"""Before the core is imported: the shapes in its signatures are checked while tests run."""

from collections.abc import Iterator

import jax
import pytest
from jaxtyping import install_import_hook

_CHECKED = ["latents", "losses", "networks", "parallel", "schedules"]
_CHECKED += ["ops.conv", "models.layers", "models.mlp"]
install_import_hook([f"gan_jax.{name}" for name in _CHECKED], "checking.checked")


@pytest.fixture
def strict_ranks() -> Iterator[None]:
    """No array grows an axis by itself: [B] against [B, 1] is an error, not a [B, B] table."""
    with jax.numpy_rank_promotion("raise"):
        yield


@pytest.fixture(scope="module")
def quick_compile() -> Iterator[None]:
    """See `games.quick_compile`; imported here, after the hook above."""
    import games

    with games.quick_compile():
        yield
