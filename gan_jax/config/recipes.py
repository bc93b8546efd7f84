"""Finds the recipes, the configs that come with gan_jax.

A wheel has them in the package, as `gan_jax/recipes`; a clone has them beside it, in `configs/`.
"""

import ast
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]


def recipes() -> dict[str, Path]:
    """Returns the file of each recipe by its name, sorted."""
    packaged = _PACKAGE / "recipes"
    folder = packaged if packaged.is_dir() else _PACKAGE.parent / "configs"
    return {file.stem: file for file in sorted(folder.glob("*.py"))}


def summary(recipe: Path) -> str:
    """Returns the first line of a recipe's docstring, without importing the recipe."""
    text = ast.get_docstring(ast.parse(recipe.read_bytes())) or ""
    return text.partition("\n")[0]
