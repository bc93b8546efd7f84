"""Sets compiler options before JAX starts, and checks array shapes in the signatures of the library."""

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

# Tracing makes many objects and few cycles: rarer garbage collection saves a twentieth of the time.
gc.set_threshold(100_000, 50, 100)

# A shell starts a command in the background with Ctrl-C ignored, and the tests of signals need it.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Tests leave nothing in the user's cache; tests of whole runs keep programs in a cache of their own (`runs.py`).
os.environ["GAN_JAX_CACHE"] = "off"

_CHECKED = ["latents", "losses", "networks", "parallel", "schedules"]
_CHECKED += [
    "augment.adaptive",
    "augment.base",
    "augment.color",
    "augment.corruption",
    "augment.differentiable",
    "augment.geometry",
    "augment.grid",
    "augment.pipeline",
    "augment.sample_by_gather",
    "augment.sample_by_matmul",
    "augment.sampling",
    "step.draws",
    "step.train_step",
    "step.updates",
    "step.simultaneous",
    "penalties",
    "gan",
    "optimizers",
    "models.dcgan",
    "models.dcgan_studiogan",
    "ops.conv",
    "ops.grouped",
    "ops.modulated",
    "ops.resample",
    "models.layers.attention",
    "models.layers.base",
    "models.layers.spectral",
    "models.mlp",
    "models.biggan",
    "models.layers.equalized",
    "models.layers.styled",
    "models.r3gan",
    "models.sagan",
    "models.sngan",
    "models.layers.stages",
    "models.layers.widths",
    "batch_statistics",
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
    """Makes rank promotion an error: [B] plus [B, 1] raises, and gives no [B, B] array."""
    with jax.numpy_rank_promotion("raise"):
        yield


@pytest.fixture(scope="module")
def quick_compile() -> Iterator[None]:
    """Compiles without most optimisations, for modules that train many small GANs."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


# Fixtures for tests of whole runs. They import inside: the hook above must be set before the library is imported.


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keeps the programs that runs compile, for all modules of this test process."""
    import runs

    with runs.programs_kept(tmp_path_factory.getbasetemp() / "programs"):
        yield


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the config file of a tiny run of an MLP; a module may define its own."""
    import runs

    return runs.write_config(tmp_path_factory.mktemp("config"), runs.MLP)


_TRAINED: dict[tuple[str, bool], Path] = {}  # the run of each config, for all modules of this test process


@pytest.fixture(scope="module")
def trained(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a workdir with checkpoints at steps 10 and 20. Tests must not change it: they copy it."""
    import runs

    kind = config.read_text(), jax.config.values["jax_disable_most_optimizations"]  # what decides the bits
    if kind not in _TRAINED:
        workdir = tmp_path_factory.mktemp("first") / "run"
        outcome = runs.call("train", config, "steps=20", "--workdir", workdir)
        assert outcome.code == 0, outcome.err
        _TRAINED[kind] = workdir
    return shutil.copytree(_TRAINED[kind], tmp_path_factory.mktemp("trained") / "run")


@pytest.fixture
def kept(trained: Path, tmp_path: Path) -> Iterator[Path]:
    """Returns a copy of the run. At the end every file of it must be unchanged."""
    import runs

    workdir = shutil.copytree(trained, tmp_path / "kept")
    before = runs.files(workdir)
    yield workdir
    assert runs.files(workdir) == before
