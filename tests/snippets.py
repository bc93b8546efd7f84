"""What the documents show: their fenced blocks, the commands in them, and the files of the repo they name."""

import re
import shlex
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md")])

_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)[^\n]*\n(?P<text>.*?)^(?P=indent)```\s*$", re.M | re.S)
_LINK = re.compile(r"\]\((?!\w+:|#)([^)\s#]+)[^)]*\)")


class Block(NamedTuple):
    """A fenced block. `line` is that of its first line; `output` the `text` block right behind it, or None."""

    path: Path
    line: int
    language: str
    text: str
    output: str | None

    @property
    def name(self) -> str:
        return f"{self.path.name}:{self.line}"


def blocks(path: Path, *languages: str) -> list[Block]:
    """The fenced blocks of a Markdown file that are in one of `languages`, in order."""
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
    """Execute a Python block; a traceback shows the line of the document."""
    source = "\n" * (block.line - 1) + (block.text if text is None else text)
    exec(compile(source, str(block.path), "exec"), namespace)


def commands(block: Block, program: str = "gan-jax") -> list[list[str]]:
    """The arguments of each call of `program` in a block of shell lines.

    Where a line begins with `$`, only such lines are commands and the others their output.
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
    """What looks like a path of the repo: it begins with one of its folders, wherever it stands."""
    folders = "|".join(("gan_jax", "configs", "docs", "tests", "benchmarks"))
    pattern = rf"(?<![\w/.~-])(?:{folders})/[\w./-]*"
    return {found.rstrip(".,/-") for found in re.findall(pattern, document)}


def links(document: str) -> set[str]:
    """Targets of links and images that are files, without anchors."""
    return set(_LINK.findall(document))
