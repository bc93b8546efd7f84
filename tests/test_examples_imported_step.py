"""The programs in examples/imported_step are short, are named in the docs, and run."""

import runpy
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest

from devices import ROOT, run_python
from snippets import links

PROGRAMS = sorted((ROOT / "examples" / "imported_step").glob("*.py"))


def test_there_are_twenty_programs() -> None:
    assert len(PROGRAMS) >= 20


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_a_program_is_short_and_named_in_the_docs(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) < 40
    assert text.startswith('"""')
    assert "\nassert " in text or "\n    assert " in text
    page = ROOT / "docs" / "import_the_step.md"
    assert f"../examples/imported_step/{path.name}" in links(page.read_text())


FOUR = [path for path in PROGRAMS if "jax_num_cpu_devices" in path.read_text()]
ONE = [path for path in PROGRAMS if path not in FOUR]


@pytest.fixture
def compiled_for(path: Path) -> Iterator[None]:
    """Compiles fast, but not convolutions of many steps: these would take minutes."""
    jax.config.update("jax_disable_most_optimizations", "Conv" not in path.read_text())
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("path", ONE, ids=lambda path: path.stem)
def test_a_program_does_what_it_says(path: Path, compiled_for: None, capsys: pytest.CaptureFixture) -> None:
    """It ends with assertions."""
    runpy.run_path(str(path), run_name="__main__")
    assert capsys.readouterr().out.strip()


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("path", FOUR, ids=lambda path: path.stem)
def test_a_program_for_four_devices_does_what_it_says(path: Path) -> None:
    """It asks JAX for the devices itself, before JAX starts: so each has a process of its own."""
    assert run_python(path.read_text(), timeout=300.0, JAX_DISABLE_MOST_OPTIMIZATIONS="1").strip()
