"""The programs in examples/imported_step are short, are named in the docs, and run."""

from pathlib import Path

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


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_a_program_does_what_it_says(path: Path) -> None:
    """It ends with assertions. Those for four devices ask JAX for them themselves."""
    assert run_python(path.read_text(), timeout=300.0).strip()
