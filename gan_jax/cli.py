"""The command line: parses `gan-jax COMMAND`, runs the command, and turns errors into exit codes."""

import argparse
import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from types import ModuleType
from typing import NamedTuple, NoReturn

from .errors import LostError, UserError
from .runtime import compilation_cache, streams
from .runtime.preemption import Preemption


class Command(NamedTuple):
    """A command: its line of help, and whether its compiled programs are kept for the next process."""

    help: str
    compiles: bool = False


COMMANDS = {
    "train": Command("train a config; the same command resumes the run", compiles=True),
    "sample": Command("write samples of a run", compiles=True),
    "project": Command("find the latents whose images are nearest to given images", compiles=True),
    "directions": Command("find directions in latent space that change images in one way", compiles=True),
    "evaluate": Command("measure the quality of a run's samples", compiles=True),
    "export": Command("write a run's networks as safetensors, StableHLO or ONNX", compiles=True),
    "import": Command("make a run of exported or published weights", compiles=True),
    "compare": Command("measure how much two sets of images differ", compiles=True),
    "card": Command("write a model card, and a folder for a repository of models", compiles=True),
    "sweep": Command("train a population of runs that differ in some fields", compiles=True),
    "digest": Command("print the digest of a run's state, as read back from disk", compiles=True),
    "checkpoints": Command("list a run's checkpoints and verify each"),
    "watch": Command("show a run while it trains, in the terminal or in the browser"),
    "recipes": Command("list the recipes: configs that come with gan_jax"),
    "explore": Command("look at a run in the browser: directions, walks, checkpoints", compiles=True),
    "data": Command("say what a folder or file of images has, and how to train on it"),
    "init": Command("write a config to start from, for your own images"),
    "prepare": Command("write a data set as array_record files: of TFDS, or of your own images"),
    "benchmark": Command("measure steps per second on this machine, beside other libraries", compiles=True),
    "doctor": Command("print what this machine offers", compiles=True),
}
"""The commands. Each is the module of its name in `gan_jax.commands`, which is imported only when it is chosen."""


_WINDOWS = (
    "gan-jax: gan_jax runs on Linux, not on Windows itself: install Linux beside it with `wsl --install`, and "
    "start the same command there"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit code.

    0: success. 1: an error of gan_jax itself. 2: a mistake that the user can correct. 3: a run whose numbers are
    not finite any more. 4: another process of the run is gone (where JAX notices it, or one did not come, 134).
    75: a run that was stopped and saved. 130: Ctrl-C. 141: the reader of the output is gone.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    if sys.platform == "win32":  # files are locked and opened as only POSIX systems do
        print(_WINDOWS, file=sys.stderr)
        return 2
    # Before JAX is imported, which takes seconds: a run can be asked to stop from its first moment on.
    if words[:1] in (["train"], ["sweep"]) and not {"--dry-run", "--help", "-h"}.intersection(words):
        asked = Preemption(to_the_end=arguments is None)
        # A run without a reader of its progress saves before it ends.
        with asked, streams.guarded(lambda sentence, _: asked.request(sentence)):
            return _run(words, asked)
    with streams.guarded(streams.end_quietly):
        return _run(words)


class _Parser(argparse.ArgumentParser):
    """Says what a missing argument is, too."""

    def error(self, message: str) -> NoReturn:
        helps = {action.metavar or action.dest: action.help for action in self._actions}
        known = helps.get(message.partition("are required: ")[2])
        super().error(f"{message} ({known})" if known else message)


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Reads the words of a command line. Exits with code 2 where they are wrong."""
    parser = _Parser(
        prog="gan-jax",
        description="Train generative adversarial networks in JAX.",
        epilog=f"Compiled programs are kept in {compilation_cache.folder()}. GAN_JAX_CACHE=/another/folder keeps "
        "them there, GAN_JAX_CACHE=off keeps none.",
    )
    commands = parser.add_subparsers(
        required=True, metavar="COMMAND", dest="command", help=f"one of {', '.join(COMMANDS)}"
    )
    parsers = {name: commands.add_parser(name, help=command.help) for name, command in COMMANDS.items()}
    if words and words[0] in COMMANDS:
        _module(words[0]).add_arguments(parsers[words[0]])
    parsed, rest = parser.parse_known_args(words)
    # argparse takes all positionals in one go, so overrides that follow an option are left over.
    if rest and (not hasattr(parsed, "overrides") or any(word.startswith("-") for word in rest)):
        if hasattr(parsed, "overrides") and (hint := _field_of(rest, words)):
            raise UserError(f"gan-jax {parsed.command} has no option {hint}")
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        parsed.overrides = [*parsed.overrides, *rest]
    return parsed


def _field_of(rest: Sequence[str], words: Sequence[str]) -> str | None:
    """Says which field of the config an unknown option means, as in `--steps 100`; None if it means none."""
    from .config import Config
    from .config.aliases import advice

    for word in rest:
        option, equals, value = word.partition("=")
        name = option[2:].replace("-", "_")
        if not option.startswith("--") or not name:
            continue
        after = words[words.index(word) + 1 :] if not equals else ()
        if after and not after[0].startswith("-"):
            value = after[0]
        if name.partition(".")[0] in Config.__dataclass_fields__ and not advice(name):
            return f"{option}: fields of the config have no dashes, set {name}={value or 'VALUE'}"
        if found := advice(name, value):
            return f"{option}: {found}"
    return None


def _module(command: str) -> ModuleType:
    return importlib.import_module(f".commands.{command}", __package__)


def _run(words: Sequence[str], preemption: Preemption | None = None) -> int:
    parsed = argparse.Namespace()
    try:
        _find_modules_here()
        parsed = parse(words)
        parsed.preemption = preemption
        if COMMANDS[parsed.command].compiles and (note := compilation_cache.enable()):
            print(note, file=sys.stderr)
        return _module(parsed.command).run(parsed) or 0
    except UserError as error:
        # JAX's log comes from other threads, so it may have left a line unfinished. One write keeps ours whole.
        start = "\n" if isinstance(error, LostError) else ""
        sys.stderr.write(f"{start}gan-jax: {' '.join(str(error).splitlines())}\n")
        return _leave(parsed, error.exit_code)
    except Exception:
        if _is_distributed(parsed):
            traceback.print_exc()
            return _leave(parsed, 1)
        raise
    except KeyboardInterrupt:
        print(
            "\ngan-jax: stopped; the same command goes on from the last checkpoint, if there is one",
            file=sys.stderr,
        )
        return _leave(parsed, 130)


def _find_modules_here() -> None:
    """Lets a config find your modules in the current folder, as `python -m gan_jax` does."""
    try:
        here = os.getcwd()
    except FileNotFoundError as error:
        raise UserError("the current folder is gone: change to another one") from error
    if here not in sys.path:
        sys.path.append(here)


def _is_distributed(parsed: argparse.Namespace) -> bool:
    """Whether this process belongs to a run of several processes."""
    return getattr(parsed, "distributed", False)


def _leave(parsed: argparse.Namespace, code: int) -> int:
    """Returns the exit code of a command that failed; a process of several ends here and does not return."""
    if _is_distributed(parsed):
        from .runtime.connection import leave

        leave(code)
    return code
