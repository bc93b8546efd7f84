"""Before JAX starts: a compiler in a hurry. Before the core is imported: shapes in its signatures are checked."""

import os
from collections.abc import Iterator
from importlib.metadata import version

import jax
import pytest
from jaxtyping import install_import_hook

# The tests compile hundreds of small programs and run each a few times: with these XLA takes a third of the time.
# A flag that XLA doesn't know ends the process, hence the version; elsewhere the tests are slower, no more.
QUICK = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
if version("jaxlib").startswith("0.10."):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {QUICK}".strip()

# Nothing is left in the user's own folder; tests that compile much keep programs in one of theirs (`runs.py`).
os.environ["GAN_JAX_CACHE"] = "off"

_CHECKED = ["latents", "losses", "networks", "parallel", "schedules"]
_CHECKED += [
    "augment.adaptive",
    "augment.base",
    "augment.color",
    "augment.corruption",
    "augment.differentiable",
    "augment.geometry",
    "augment.pipeline",
    "draws",
    "step",
    "turns",
    "joint",
    "penalties",
    "gan",
    "optimizers",
    "models.dcgan",
    "ops.conv",
    "ops.grouped",
    "ops.modulated",
    "ops.resample",
    "models.layers",
    "models.mlp",
    "models.biggan",
    "models.equalized",
    "models.styled",
    "models.r3gan",
    "models.sagan",
    "models.sngan",
    "models.widths",
    "standing",
]
install_import_hook([f"gan_jax.{name}" for name in _CHECKED], "checking.checked")


@pytest.fixture
def strict_ranks() -> Iterator[None]:
    """No array grows an axis by itself: [B] against [B, 1] is an error, not a [B, B] table."""
    with jax.numpy_rank_promotion("raise"):
        yield


@pytest.fixture(scope="module")
def quick_compile() -> Iterator[None]:
    """Compile without most optimisations, for modules that play many small games."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
