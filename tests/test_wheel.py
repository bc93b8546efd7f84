"""The wheel: it has the recipes and the benchmark suite, and its commands work outside of a clone."""

import importlib.util
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from devices import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the unpacked wheel, as an installation has it."""
    folder = tmp_path_factory.mktemp("wheel")
    words = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT)]
    if importlib.util.find_spec("hatchling"):  # else pip fetches it from the package index
        words.append("--no-build-isolation")
    subprocess.run(words, check=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def gan_jax(site: Path, here: Path, *words: str) -> str:
    """What `gan-jax WORDS` prints, as run from `here` with the wheel first on the path."""
    variables = {**os.environ, "PYTHONPATH": str(site), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-m", "gan_jax", *words], cwd=here, env=variables, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_its_files(site):
    inside = {path.relative_to(site / "gan_jax").as_posix() for path in (site / "gan_jax").rglob("*")}
    assert {"recipes/digits.py", "benchmarks/command.py", "data/digits.npz", "py.typed", "__init__.pyi"} <= inside
    assert {path.name for path in (ROOT / "configs").glob("*.py")} == {
        path.name for path in (site / "gan_jax" / "recipes").iterdir()
    }
    assert [path.name for path in site.iterdir() if not path.name.endswith(".dist-info")] == ["gan_jax"]


def test_its_commands(site, tmp_path):
    listed = gan_jax(site, tmp_path, "recipes").splitlines()
    assert len(listed) == len(list((ROOT / "configs").glob("*.py")))
    assert "gan-jax train mine.py" in gan_jax(site, tmp_path, "init", "mine.py")
    assert "usage: gan-jax benchmark" in gan_jax(site, tmp_path, "benchmark", "--help")
    gan_jax(site, tmp_path, "train", "digits", "steps=2", "sample.gif=false")
    assert (tmp_path / "runs" / "digits" / "checkpoints" / "2").is_dir()


def test_its_benchmark_suite_is_found(site, tmp_path):
    """The suite refuses the case, so it was imported."""
    with pytest.raises(AssertionError, match="no case 'nothing': there are mlp28"):
        gan_jax(site, tmp_path, "benchmark", "--case", "nothing")
