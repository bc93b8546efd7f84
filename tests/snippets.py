"""Reads the documents: their fenced blocks, the commands in them, and the files of the repository they name."""

import re
import shlex
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md")])

_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)[^\n]*\n(?P<text>.*?)^(?P=indent)```\s*$", re.M | re.S)
_LINK = re.compile(r"\]\((?!\w+:|#)([^)\s#]+)[^)]*\)")


class Block(NamedTuple):
    """A fenced block: its first line, its text, and its output (the `text` block right behind it), or None."""

    path: Path
    line: int
    language: str
    text: str
    output: str | None

    @property
    def name(self) -> str:
        return f"{self.path.name}:{self.line}"


def blocks(path: Path, *languages: str) -> list[Block]:
    """Returns the fenced blocks of a Markdown file in one of `languages`, in order."""
    document = path.read_text()
    found = list(_FENCE.finditer(document))
    result = []
    for match, following in zip(found, [*found[1:], None]):
        line = document.count("\n", 0, match.start("text")) + 1
        output = None
        if following is not None and following["language"] == "text":
            between = document[match.end() : following.start()].strip()
            output = None if between else following["text"]
        result.append(Block(path, line, match["language"], match["text"], output))
    return [block for block in result if block.language in languages]


def run(block: Block, namespace: dict[str, Any], text: str | None = None) -> None:
    """Executes a Python block. A traceback shows the line of the document."""
    source = "\n" * (block.line - 1) + (block.text if text is None else text)
    exec(compile(source, str(block.path), "exec"), namespace)


def commands(block: Block, program: str = "gan-jax") -> list[list[str]]:
    """Returns the arguments of each call of `program` in a block of shell lines.

    If any line begins with `$`, only such lines are commands; the others are output.
    """
    lines = block.text.replace("\\\n", " ").splitlines()
    if any(line.startswith("$ ") for line in lines):
        lines = [line[2:] for line in lines if line.startswith("$ ")]
    found = []
    for line in lines:
        for part in re.split(r"\s(?:&&|\|\|?|;)\s", line):
            words = shlex.split(part, comments=True)
            while words and re.fullmatch(r"\w+=.*", words[0]):  # variables of the environment
                words = words[1:]
            if words and Path(words[0]).name == program:
                found.append([word for word in words[1:] if word != "&"])
    return found


def repo_files(document: str) -> set[str]:
    """Returns every text that looks like a path of the repository: it begins with one of its folders."""
    folders = "|".join(("gan_jax", "configs", "docs", "tests", "benchmarks", "examples"))
    pattern = rf"(?<![\w/.~-])(?:{folders})/[\w./-]*"
    return {found.rstrip(".,/-") for found in re.findall(pattern, document)}


def links(document: str) -> set[str]:
    """Returns the targets of links and images that are files, without anchors."""
    return set(_LINK.findall(document))
