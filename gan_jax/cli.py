"""The command line: parses `gan-jax COMMAND`, runs the command, and turns errors into exit codes."""

import argparse
import contextlib
import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from types import ModuleType
from typing import NamedTuple

from .errors import UserError
from .runtime import compilation_cache
from .runtime.preemption import Preemption


class Command(NamedTuple):
    """A command: its line of help, and whether its compiled programs are kept for the next process."""

    help: str
    compiles: bool = False


COMMANDS = {
    "train": Command("train a config; the same command resumes the run", compiles=True),
    "sample": Command("write samples of a run", compiles=True),
    "evaluate": Command("measure the quality of a run's samples", compiles=True),
    "digest": Command("print the digest of a run's state, as read back from disk", compiles=True),
    "checkpoints": Command("list a run's checkpoints and verify each"),
    "recipes": Command("list the recipes: configs that come with gan_jax"),
    "init": Command("write a config to start from, for your own images"),
    "prepare": Command("prepare a TFDS data set as array_record files"),
    "benchmark": Command("measure steps per second on this machine, beside other libraries", compiles=True),
    "doctor": Command("print what this machine offers", compiles=True),
}
"""The commands. Each is the module of its name in `gan_jax.commands`, which is imported only when it is chosen."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit code.

    0: success. 1: an error of gan_jax itself. 2: a mistake that the user can correct. 3: a run whose numbers are
    not finite any more. 4: another process of the run is gone (JAX itself may end the process with 134 instead).
    75: a run that was stopped and saved. 130: Ctrl-C.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    if os.getcwd() not in sys.path:  # as `python -m gan_jax` does, so that a config finds your modules beside it
        sys.path.append(os.getcwd())
    # Before JAX is imported, which takes seconds: a run can be asked to stop from its first moment on.
    trains = words[:1] == ["train"] and "--dry-run" not in words
    with Preemption() if trains else contextlib.nullcontext() as preemption:
        parsed = parse(words)
        parsed.preemption = preemption
        return _run(parsed)


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Reads the words of a command line. Exits with code 2 where they are wrong."""
    parser = argparse.ArgumentParser(
        prog="gan-jax",
        description="Train generative adversarial networks in JAX.",
        epilog=f"Compiled programs are kept in {compilation_cache.folder()}. GAN_JAX_CACHE=/another/folder keeps "
        "them there, GAN_JAX_CACHE=off keeps none.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    parsers = {name: commands.add_parser(name, help=command.help) for name, command in COMMANDS.items()}
    if words and words[0] in COMMANDS:
        _module(words[0]).add_arguments(parsers[words[0]])
    parsed, rest = parser.parse_known_args(words)
    # argparse takes all positionals in one go, so overrides that follow an option are left over.
    if rest and (not hasattr(parsed, "overrides") or any(word.startswith("-") for word in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        parsed.overrides = [*parsed.overrides, *rest]
    return parsed


def _module(command: str) -> ModuleType:
    return importlib.import_module(f".commands.{command}", __package__)


def _run(parsed: argparse.Namespace) -> int:
    try:
        if COMMANDS[parsed.command].compiles and (note := compilation_cache.enable()):
            print(note, file=sys.stderr)
        return _module(parsed.command).run(parsed) or 0
    except UserError as error:
        print(f"gan-jax: {' '.join(str(error).splitlines())}", file=sys.stderr)
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


def _is_distributed(parsed: argparse.Namespace) -> bool:
    """Whether this process belongs to a run of several processes."""
    return getattr(parsed, "distributed", False)


def _leave(parsed: argparse.Namespace, code: int) -> int:
    """Returns the exit code of a command that failed; a process of several ends here and does not return."""
    if _is_distributed(parsed):
        from .runtime.hosts import leave

        leave(code)
    return code
