"""What the site generates: the home page, the recipes, the fields of a config, the commands, and a notebook.

A page has a line `<!-- generated:NAME -->` where the text of the function NAME belongs.
"""

import argparse
import ast
import dataclasses
import importlib.util
import json
import re
import typing
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
_SECTION = re.compile(r"^(Source|Data|Command|Expected|Cost)\s+(?=\S)")
_MARK = re.compile(r"^<!-- generated:(\w+) -->$", re.M)
_IN_BACKTICKS = re.compile(r"(``.+?``|(?<![`\w])`[^`]+`(?!`))", re.S)


# ---- the home page


def readme() -> str:
    """The README, its links those of the site."""
    text = (ROOT / "README.md").read_text()
    text = re.sub(r"\]\(docs/", "](", text).replace('src="docs/', 'src="')
    text = re.sub(r"\]\(configs/(\w+)\.py\)", r"](recipes.md#\1)", text)
    return text.replace("](CONTRIBUTING.md)", "](contributing.md)").replace("](LICENSE)", "](license.md)")


def contributing() -> str:
    """CONTRIBUTING.md as it is."""
    return (ROOT / "CONTRIBUTING.md").read_text().partition("\n")[2].strip()


def license() -> str:
    """The license as it is."""
    return f"```text\n{(ROOT / 'LICENSE').read_text().rstrip()}\n```"


# ---- recipes


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A file of configs/: the parts of its docstring, and the config itself."""

    name: str
    summary: str
    parts: dict[str, list[str]]  # a part's lines, by its name
    config: typing.Any

    @classmethod
    def read(cls, path: Path) -> "Recipe":
        docstring = ast.get_docstring(ast.parse(path.read_text()))
        if not docstring:
            raise ValueError(f"{path} needs a docstring: see the other files there")
        summary, *lines = docstring.splitlines()
        parts: dict[str, list[str]] = {}
        for line in lines:
            if match := _SECTION.match(line):
                parts[match[1]] = []
            if line.strip():
                list(parts.values())[-1].append(_SECTION.sub("", line).strip())
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return cls(path.stem, summary, parts, module.get_config())


def all_recipes() -> list[Recipe]:
    """Every recipe: those that need nothing first, then by the data set."""
    found = [Recipe.read(path) for path in sorted((ROOT / "configs").glob("*.py"))]
    return sorted(found, key=lambda recipe: (recipe.config.data.source.name not in ("digits", "gaussians", "stacked"),))


def _text(lines: list[str]) -> str:
    """Lines as one paragraph."""
    return " ".join(lines)


def _commands(lines: list[str]) -> str:
    """The commands as a block, other lines as a paragraph behind it."""
    commands = [line for line in lines if line.startswith("gan-jax ")]
    words = [line for line in lines if not line.startswith("gan-jax ")]
    return "```console\n" + "\n".join(commands) + "\n```\n" + (f"\n{_text(words)}\n" if words else "")


def recipes() -> str:
    """A table of the recipes, then a section for each."""
    rows = ["| recipe | model | data | images | batch |", "|---|---|---|---|---|"]
    sections = []
    for recipe in all_recipes():
        config = recipe.config
        source = config.data.source
        data = source.kwargs.get("name", source.name)
        if source.name == "folder":
            data = "your folder"
        kimg = f"{config.steps * config.batch / 1000:,.0f} kimg"
        rows.append(
            f"| [`{recipe.name}`](#{recipe.name}) | {config.generator.name} | {data} | {kimg} | {config.batch} |"
        )
        lines = [f"## `{recipe.name}`", "", recipe.summary, ""]
        lines.append(_commands(recipe.parts["Command"]))
        for name in ("Source", "Data", "Expected", "Cost"):
            if name in recipe.parts:
                lines += [f"**{name}.** {_text(recipe.parts[name])}", ""]
        lines += [f"```{{literalinclude}} ../configs/{recipe.name}.py", ":start-after: Cost", ":lines: 2-"]
        lines += [":language: python", "```", ""]
        sections.append("\n".join(lines))
    return "\n".join([*rows, "", *sections])


# ---- the fields of a config


def _shown(value: object) -> str:
    if value is dataclasses.MISSING:
        return "required"
    if type(value).__name__ == "Call":
        words = ", ".join([repr(value.name), *(f"{k}={v!r}" for k, v in value.kwargs.items())])
        return f"`Call({words})`"
    return f"`{value!r}`"


def _type(annotation: object) -> str:
    if typing.get_origin(annotation) is typing.Literal:
        return " or ".join(f"`{value!r}`" for value in typing.get_args(annotation))
    name = getattr(annotation, "__name__", None)
    text = name if isinstance(annotation, type) and name and not typing.get_args(annotation) else str(annotation)
    text = re.sub(r"\b(?:typing|gan_jax\.config(?:\.\w+)*)\.", "", text)
    return "`" + text.replace("|", "or") + "`"


def _fields(cls: type, prefix: str, docs: dict[str, str]) -> list[str]:
    hints = typing.get_type_hints(cls)
    rows = ["| field | type | default | on resume |", "|---|---|---|---|"]
    rows = []
    for field in dataclasses.fields(cls):
        if dataclasses.is_dataclass(hints[field.name]) and hints[field.name].__name__ != "Call":
            continue
        path = prefix + field.name
        free = "may change on resume" if field.metadata.get("free") else ""
        facts = [f"type {_type(hints[field.name])}", f"default {_shown(field.default)}", free]
        rows += [f"`{path}`", f": {docs.get(path, '')}", f"  <br>{', '.join(fact for fact in facts if fact)}", ""]
    return rows


def config() -> str:
    """Every field of a config: its name, type, default, meaning, and whether it may change on resume."""
    from gan_jax import config as configs
    from gan_jax.config import Config

    docs = dict(configs.field_docs()) if hasattr(configs, "field_docs") else {}
    lines = ["## The run", "", *_fields(Config, "", docs)]
    for name, hint in typing.get_type_hints(Config).items():
        if dataclasses.is_dataclass(hint) and hint.__name__ != "Call":
            lines += [f"## `{name}`: {hint.__doc__.splitlines()[0]}", "", *_fields(hint, f"{name}.", docs)]
    return "\n".join(lines)


# ---- commands


def commands() -> str:
    """Every command with its options, as `--help` says them."""
    from gan_jax import cli

    [subparsers] = [
        action for action in cli._parser()._actions if isinstance(action, argparse._SubParsersAction)
    ]
    helps = {action.dest: action.help or "" for action in subparsers._choices_actions}
    lines = []
    for name, parser in subparsers.choices.items():
        lines += [f"## `gan-jax {name}`", "", f"{helps.get(name, '').capitalize()}.", ""]
        for action in parser._actions:
            if action.dest == "help":
                continue
            words = [*action.option_strings] or [str(action.metavar or action.dest)]
            value = "" if action.nargs == 0 or not action.option_strings else f" {_metavar(action)}"
            text = (action.help or "") % {**vars(action), "prog": "gan-jax"}
            lines += [f"`{', '.join(words)}{value}`", f": {text or 'The workdir of a run.'}", ""]
    return "\n".join(lines)


def _metavar(action: argparse.Action) -> str:
    if action.choices:
        return "{" + ",".join(map(str, action.choices)) + "}"
    return str(action.metavar or action.dest.upper())


# ---- the tutorial as a notebook


def notebook(text: str) -> dict[str, typing.Any]:
    """A Markdown document as a Jupyter notebook: a cell for each Python block and for the text between them."""
    cells: list[dict[str, typing.Any]] = []
    for index, part in enumerate(re.split(r"^```python\n(.*?)^```$", text, flags=re.M | re.S)):
        source = part.strip().splitlines(keepends=True)
        if index % 2:
            cells.append({"cell_type": "code", "source": source, "outputs": [], "execution_count": None})
        elif source:
            cells.append({"cell_type": "markdown", "source": source})
    for number, cell in enumerate(cells):
        cell |= {"id": f"cell-{number}", "metadata": {}}
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


# ---- Sphinx


def _fill(app: typing.Any, docname: str, source: list[str]) -> None:
    def text(match: re.Match[str]) -> str:
        return PAGES[match[1]]()

    source[0] = _MARK.sub(text, source[0])


PAGES = {f.__name__: f for f in (readme, contributing, license, recipes, config, commands)}


def _literal(app: typing.Any, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Docstrings use Markdown's single backticks: they become literals, and other signs lose their meaning."""
    parts = _IN_BACKTICKS.split("\n".join(lines))
    for index, part in enumerate(parts):
        if index % 2:
            parts[index] = part if part.startswith("``") else f"`{part}`"
        else:
            parts[index] = re.sub(r"(?<!\\)([*|]|(?<=\w)_(?!\w))", r"\\\1", part)
    lines[:] = "".join(parts).split("\n")


def _write_notebook(app: typing.Any, exception: Exception | None) -> None:
    if exception is None and app.builder.format == "html":
        text = (DOCS / "first_gan.md").read_text().replace("](images/", "](_images/")
        (Path(app.outdir) / "first_gan.ipynb").write_text(json.dumps(notebook(text), indent=1) + "\n")


def setup(app: typing.Any) -> dict[str, bool]:
    app.connect("source-read", _fill)
    app.connect("autodoc-process-docstring", _literal, priority=400)  # before napoleon
    app.connect("build-finished", _write_notebook)
    return {"parallel_read_safe": True}
