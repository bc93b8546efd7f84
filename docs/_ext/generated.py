"""What the site generates: the home page, the recipes, the fields of a config, the commands, and a notebook.

A page has a line `<!-- generated:NAME -->` where the text of the function NAME belongs. A line for readers of the
repository may follow, up to `<!-- end -->`: it is replaced too.
"""

import argparse
import ast
import dataclasses
import html
import importlib
import importlib.util
import json
import re
import types
import typing
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
_SECTION = re.compile(r"^(Source|Data|Command|Expected|Cost)\s+(?=\S)")
_MARK = re.compile(r"^<!-- generated:(\w+) -->$(?:\n[^\n]*\n<!-- end -->$)?", re.M)
_MARKUP = re.compile(
    r"((?<![\w*])\*\w[^*]*\*(?![\w*]))|(?<!\\)([*|]|(?<=\w)_(?!\w))"
)  # *so* is emphasis, else a sign
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
    """A file of configs/: its docstring in parts, its code, and the config that it gives."""

    name: str
    summary: str
    parts: dict[str, list[str]]  # a part's lines, by its name
    code: str
    config: typing.Any

    @classmethod
    def read(cls, path: Path) -> "Recipe":
        text = path.read_text()
        tree = ast.parse(text)
        docstring = ast.get_docstring(tree)
        if not docstring:
            raise ValueError(f"{path} needs a docstring: see the other files there")
        code = "\n".join(text.splitlines()[tree.body[0].end_lineno :]).strip()
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
        return cls(path.stem, summary, parts, code, module.get_config())


def all_recipes() -> list[Recipe]:
    """Every recipe: those that need no download first."""
    found = [Recipe.read(path) for path in sorted((ROOT / "configs").glob("*.py"))]
    return sorted(found, key=lambda recipe: "Data" in recipe.parts and recipe.name != "stacked_digits")


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
        lines += ["```python", recipe.code, "```", ""]
        sections.append("\n".join(lines))
    return "\n".join([*rows, "", *sections])


# ---- the fields of a config


def _type(annotation: typing.Any) -> str:
    """A type in words: "bool or 'auto'"."""
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return " or ".join(f"`{value!r}`" for value in parts)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(_type, parts))
    if origin is tuple:
        return f"tuple of {_type(parts[0])}"
    return "`None`" if annotation is types.NoneType else f"`{(origin or annotation).__name__}`"


def _is_group(hint: typing.Any) -> bool:
    return dataclasses.is_dataclass(hint) and hint.__name__ != "Call"


def _fields(cls: type, prefix: str, docs: dict[str, str]) -> list[str]:
    """A definition list of the fields of one class: what each means, its type and its default."""
    hints = typing.get_type_hints(cls)
    lines = []
    for field in dataclasses.fields(cls):
        if _is_group(hints[field.name]):
            continue
        path = prefix + field.name
        meaning, _, default = docs[path].partition("\nDefault: ")
        facts = [_type(hints[field.name])] if "~" not in str(hints[field.name]) else []  # no type of a TypeVar
        facts += [f"default `{default.removesuffix('.')}`"] if default else []
        facts += ["may change on resume"] if field.metadata.get("free") else []
        text = meaning.replace("\n", "\n  ").replace("\n  \n", "\n\n")
        lines += [f"`{path}`", f": {text}", "", f"  *{', '.join(facts)}*" if facts else "", ""]
    return lines


def config() -> str:
    """Every field of a config: its name, meaning, type, default, and whether it may change on resume."""
    from gan_jax.config import Config, Term, field_docs

    docs = field_docs()
    lines = ["## The run", "", *_fields(Config, "", docs), "## Terms of a loss", ""]
    lines += ["`N` is the place of the term, from 0. The fields of `generator_terms` are the same.", ""]
    lines += _fields(Term, "discriminator_terms.N.", _terms(docs))
    for name, hint in typing.get_type_hints(Config).items():
        if _is_group(hint):
            lines += [f"## `{name}`", "", docs[name], "", *_fields(hint, f"{name}.", docs)]
    return "\n".join(lines)


def _terms(docs: dict[str, str]) -> dict[str, str]:
    start = "discriminator_terms."
    return {f"{start}N.{path.removeprefix(start)}": text for path, text in docs.items() if path.startswith(start)}


# ---- commands


def commands() -> str:
    """Every command with its arguments, as `--help` says them."""
    from gan_jax.cli import COMMANDS

    lines = []
    for name, command in COMMANDS.items():
        parser = argparse.ArgumentParser(prog=f"gan-jax {name}")
        importlib.import_module(f"gan_jax.commands.{name}").add_arguments(parser)
        lines += [f"## `gan-jax {name}`", "", f"{command.help[0].upper()}{command.help[1:]}.", ""]
        for action in parser._actions:
            if action.dest != "help":
                lines += [f"`{_usage(action)}`", f": {_sentence((action.help or '') % vars(action))}", ""]
    return "\n".join(lines)


def _usage(action: argparse.Action) -> str:
    if not action.option_strings:
        return str(action.metavar or action.dest)
    choices = "{" + ",".join(map(str, action.choices or ())) + "}"
    value = action.metavar or (choices if action.choices else action.dest.upper())
    return ", ".join(action.option_strings) + ("" if action.nargs == 0 else f" {value}")


def _sentence(text: str) -> str:
    return html.escape(text[:1].upper() + text[1:] + ".", quote=False)


def notebook_link() -> str:
    """A link to the notebook, which the site alone has."""
    return '<p><a href="first_gan.ipynb" download>Download this page as a Jupyter notebook</a></p>'


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


PAGES = {page.__name__: page for page in (readme, contributing, license, recipes, config, commands, notebook_link)}


def filled(text: str) -> str:
    """A page with the generated texts in their places."""
    return _MARK.sub(lambda mark: PAGES[mark[1]](), text)


def _fill(app: typing.Any, docname: str, source: list[str]) -> None:
    source[0] = filled(source[0])


def _literal(app: typing.Any, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Docstrings use Markdown's single backticks: they become literals, and other signs lose their meaning."""
    parts = _IN_BACKTICKS.split("\n".join(lines))
    for index, part in enumerate(parts):
        if index % 2:
            parts[index] = part if part.startswith("``") else f"`{part}`"
        else:
            part = _MARKUP.sub(lambda match: match[1] or f"\\{match[2]}", part)
            parts[index] = "\\ " + part if index and part[:1].isalnum() else part
    lines[:] = "".join(parts).split("\n")
    if what in ("property", "attribute", "data"):
        lines.insert(0, "")  # or napoleon takes what stands before a colon for a type


def _signature(
    app: typing.Any, what: str, name: str, obj: object, options: object, arguments: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """Types by the names that one imports them by, and no word that Sphinx cannot read."""

    def plain(text: str | None) -> str | None:
        for pattern, short in _SHORT:
            text = None if text is None else re.sub(pattern, short, text)
        return text

    return plain(arguments), plain(returns)


_SHORT = (
    ("<factory>", "..."),
    (r"^\(\*args, \*\*kwargs\)$", ""),  # a Protocol
    (r"<function (\w+)>", r"\1"),
    (r"<class '(?:\w+\.)*(\w+)'>", r"\1"),
    (r", parent: .*(?=\))", ""),  # Flax's own fields of a module
    (r"~?jaxlib\._jax\.Array", "Array"),
    (r"~?\b(?:jaxtyping|collections\.abc|typing|numpy|optax\._src\.base|jax\._src\.\w+)\.", ""),
)


def _skip(app: typing.Any, what: str, name: str, obj: object, skip: bool, options: object) -> bool | None:
    """Fields are described in their class: what Python says of them by itself adds nothing."""
    return True if (getattr(obj, "__doc__", None) or "").startswith("Alias for field number") else None


def _write_notebook(app: typing.Any, exception: Exception | None) -> None:
    if exception is None and app.builder.format == "html":
        text = (DOCS / "first_gan.md").read_text().replace("](images/", "](_images/")
        (Path(app.outdir) / "first_gan.ipynb").write_text(json.dumps(notebook(text), indent=1) + "\n")


def setup(app: typing.Any) -> dict[str, bool]:
    app.connect("source-read", _fill)
    app.connect("autodoc-process-docstring", _literal, priority=400)  # before napoleon
    app.connect("autodoc-process-signature", _signature)
    app.connect("autodoc-skip-member", _skip)
    app.connect("build-finished", _write_notebook)
    return {"parallel_read_safe": True}
