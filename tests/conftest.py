"""Before JAX starts: a compiler in a hurry. Before the core is imported: shapes in its signatures are checked."""

import ctypes
import gc
import os
import shutil
import signal
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import jax
import pytest
from jaxtyping import install_import_hook

# The tests compile hundreds of small programs and run each a few times: these options cut XLA's time to a third.
# An option that XLA does not know ends the process, so each is for the versions that were tried with it.
_QUICK = {
    "--xla_cpu_use_fusion_emitters=false": ("0.10.", "0.11."),
    "--xla_cpu_parallel_codegen_split_count=1": ("0.10.", "0.11.", "0.12."),
}
_FLAGS = [flag for flag, versions in _QUICK.items() if version("jaxlib").startswith(versions)]
os.environ["XLA_FLAGS"] = " ".join([*os.environ.get("XLA_FLAGS", "").split(), *_FLAGS])

# A shell starts a command in the background with Ctrl-C ignored, and the tests of signals need it.
signal.signal(signal.SIGINT, signal.default_int_handler)

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
    "step.draws",
    "step.train_step",
    "step.updates",
    "step.simultaneous",
    "penalties",
    "gan",
    "optimizers",
    "models.dcgan",
    "ops.conv",
    "ops.grouped",
    "ops.modulated",
    "ops.resample",
    "models.layers.base",
    "models.mlp",
    "models.biggan",
    "models.layers.equalized",
    "models.layers.styled",
    "models.r3gan",
    "models.sagan",
    "models.sngan",
    "models.layers.widths",
    "standing_statistics",
]
install_import_hook([f"gan_jax.{name}" for name in _CHECKED], "checking.checked")


MEMORY = 1200  # MiB of a process, above which a module's end drops all compiled programs


@pytest.fixture(scope="module", autouse=True)
def bounded_memory() -> Iterator[None]:
    """Drops what JAX compiled, which it would keep until the process ends, and gives the memory back."""
    yield
    statm = Path("/proc/self/statm")  # of Linux
    pages = int(statm.read_text().split()[1]) if statm.exists() else 0
    if pages * os.sysconf("SC_PAGE_SIZE") > MEMORY * 2**20:
        jax.clear_caches()
        gc.unfreeze()  # `gan-jax train` freezes what it imported, and what earlier tests left with it
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)


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


# For tests of whole runs. Imports stay inside: the hook above has to come before the first of the core.


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What the module's runs compile is kept, for all that this worker runs."""
    import runs

    with runs.programs_kept(tmp_path_factory.getbasetemp() / "programs"):
        yield


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a tiny run's config; a module may have its own."""
    import runs

    return runs.write_config(tmp_path_factory.mktemp("config"))


@pytest.fixture(scope="module")
def trained(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workdir with checkpoints at steps 10 and 20. Tests copy it, or leave it as it is."""
    import runs

    workdir = tmp_path_factory.mktemp("trained") / "run"
    outcome = runs.call("train", config, "steps=20", "--workdir", workdir)
    assert outcome.code == 0, outcome.err
    return workdir


@pytest.fixture
def kept(trained: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of the run; afterwards every file of it must still be what it was."""
    import runs

    workdir = shutil.copytree(trained, tmp_path / "kept")
    before = runs.files(workdir)
    yield workdir
    assert runs.files(workdir) == before
