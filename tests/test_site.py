"""The parts of the site that are generated are complete: recipes, fields, commands and the notebook."""

import importlib.util
import re
import sys
from types import ModuleType

import pytest

from gan_jax import cli, config
from snippets import DOCUMENTS, ROOT, blocks, links

DOCS = ROOT / "docs"
FIRST_GAN = DOCS / "first_gan.md"


@pytest.fixture(scope="module")
def generated() -> ModuleType:
    """The module that writes the generated parts of the site; it needs no Sphinx."""
    spec = importlib.util.spec_from_file_location("generated", DOCS / "_ext" / "generated.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["generated"] = module  # its dataclasses look for it there
    spec.loader.exec_module(module)
    return module


def test_the_notebook_has_the_blocks_of_the_tutorial(generated: ModuleType) -> None:
    cells = generated.notebook(FIRST_GAN.read_text())["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert code == [block.text.strip() for block in blocks(FIRST_GAN, "python")]
    assert "".join(cells[0]["source"]).startswith("# Your first GAN")


def test_every_recipe_has_a_section(generated: ModuleType) -> None:
    page = generated.recipes()
    for path in ROOT.glob("configs/*.py"):
        assert f"## `{path.stem}`\n" in page
        assert f"(#{path.stem})" in page
        assert f"```console\ngan-jax train {path.stem}" in page


def test_every_field_of_a_config_is_described(generated: ModuleType) -> None:
    page = generated.config()
    for field, text in config.field_docs().items():
        summary, *_ = text.splitlines()
        assert summary in page, field
        path = re.sub(r"_terms\.", "_terms.N.", field)
        assert f"`{path}`" in page or path.startswith("generator_terms.N"), field


def test_every_command_is_described(generated: ModuleType) -> None:
    page = generated.commands()
    for command in cli.COMMANDS:
        assert f"## `gan-jax {command}`" in page
    assert "`--max-time 55m`\n: Save" in page


def test_pages_name_only_texts_that_are_generated(generated: ModuleType) -> None:
    for path in DOCUMENTS:
        assert "<!-- generated:" not in generated.filled(path.read_text()), path.name


def test_links_of_the_readme_lead_to_pages_of_the_site(generated: ModuleType) -> None:
    assert [name for name in links(generated.readme()) if not (DOCS / name).exists()] == []
