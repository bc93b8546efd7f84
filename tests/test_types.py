"""The types that a user's project sees: pyright accepts the README's program and every public name."""

import subprocess
import sys
from pathlib import Path

import pytest

import gan_jax
from snippets import ROOT, blocks

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

# `reportPrivateImportUsage`: a name that `__init__.pyi` does not export is an error.
CONFIG = """
[tool.pyright]
typeCheckingMode = "standard"
reportPrivateImportUsage = true
reportMissingTypeStubs = false
"""

NAMES = "import gan_jax\nfrom gan_jax import *\n\nprint(\n{names})\n"


def check(folder: Path, source: str) -> None:
    """Runs pyright on `source` in a project of its own, with the packages of this Python."""
    (folder / "pyproject.toml").write_text(CONFIG)
    (folder / "program.py").write_text(source)
    command = [sys.executable, "-m", "pyright", "--project", folder, "--pythonpath", sys.executable]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("block", blocks(ROOT / "README.md", "python"), ids=lambda block: block.name)
def test_the_readme_s_program(block, tmp_path):
    check(tmp_path, block.text)


def test_every_public_name(tmp_path):
    names = "".join(f"    gan_jax.{name},\n" for name in gan_jax.__all__)
    assert "gan_jax.GAN," in names
    check(tmp_path, NAMES.format(names=names))


def test_a_wrong_argument_is_an_error(tmp_path):
    """Else the types would be unknown to pyright, and the tests above would prove nothing."""
    with pytest.raises(AssertionError, match="1 error"):
        check(tmp_path, "import gan_jax\n\ngan_jax.make_mesh(2.5)\n")
