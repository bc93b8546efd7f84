"""Writes the tables of docs/accelerators.md: what each recipe's step is on accelerators that need not be here.

    python -m benchmarks.accelerators --recipes cifar10_dcgan,digits --targets h200,h200:8,v5e:2x4
    python -m benchmarks.accelerators --modes --quick --targets h200:8,v5e:2x4  # other modes of several devices

Each row is compiled in a process of its own, and is appended to results/accelerators.jsonl with the versions. A
row that is there for the same commit and config is skipped, so a broken run goes on where it stopped.
"""

import argparse
import hashlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from gan_jax import config as configs
from gan_jax.commands import target_run
from gan_jax.config.recipes import recipes

from . import accelerator_tables, machine, table

RESULTS = Path(__file__).parent / "results" / "accelerators.jsonl"
DOCUMENT = Path(__file__).parent.parent / "docs" / "accelerators.md"
TARGETS = ("h200", "h200:8", "v5e:2x4")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", type=_words, default=tuple(recipes()), help="the recipes; all if not given")
    parser.add_argument("--targets", type=_words, default=TARGETS, help="the targets")
    parser.add_argument("--overrides", nargs="*", default=[], metavar="key=value", help="fields of every config")
    parser.add_argument(
        "--modes", action="store_true", help=f"in the other modes: {', '.join(accelerator_tables.MODES)}"
    )
    parser.add_argument("--limit", type=int, default=1800, help="seconds that one row may take (1800)")
    parser.add_argument(
        "--results",
        type=Path,
        default=RESULTS,
        help="the file of the rows; the tables are written from the default one",
    )
    parser.add_argument("--quick", action="store_true", help="TPUs: with less effort of the compiler")
    parser.add_argument("--again", action="store_true", help="compile also what is there")
    parser.add_argument("--table", action="store_true", help="compile nothing: write the tables anew")
    arguments = parser.parse_args()
    modes = accelerator_tables.MODES.values() if arguments.modes else [()]
    for recipe, target, mode in itertools.product(arguments.recipes, arguments.targets, modes):
        if not arguments.table:
            measure(recipe, target, [*arguments.overrides, *mode], arguments)
    if arguments.results == RESULTS:
        rows = accelerator_tables.newest(read(RESULTS))
        table.update(DOCUMENT, "accelerators", "\n".join(accelerator_tables.lines(rows)))
        table.update(DOCUMENT, "accelerator_modes", "\n".join(accelerator_tables.mode_lines(rows)))


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def measure(recipe: str, target: str, overrides: list[str], arguments: argparse.Namespace) -> None:
    """Compiles one row in a process of its own, and appends it."""
    key = {"recipe": recipe, "target": target, "overrides": overrides, "commit": machine.commit()}
    key["config"] = digest(recipe, overrides)
    key["quick"] = arguments.quick and target.startswith("v")  # of a TPU
    words = (recipe, target, *overrides)
    if not arguments.again and any(
        key.items() <= row.items() and "facts" in row for row in read(arguments.results)
    ):
        print(*words, "is there", flush=True)
        return
    row = {**key, "versions": target_run.versions(), **compiled(recipe, target, overrides, arguments)}
    arguments.results.parent.mkdir(exist_ok=True)
    with arguments.results.open("a") as file:
        file.write(json.dumps(row) + "\n")
    print(*words, row.get("failed", "done"), flush=True)


def compiled(recipe: str, target: str, overrides: list[str], arguments: argparse.Namespace) -> dict[str, Any]:
    """Returns "facts" and "batch" of a row, or why it "failed"."""
    with tempfile.TemporaryDirectory(prefix="gan_jax-accelerators-") as folder:
        file = Path(folder) / "facts.json"
        words = [sys.executable, "-m", "gan_jax", "train", recipe, *overrides, "--dry-run"]
        words += ["--quick"] * arguments.quick
        try:
            process = subprocess.run(
                [*words, "--target", target, "--json", str(file)], capture_output=True, text=True,
                timeout=arguments.limit, env={**os.environ, "JAX_PLATFORMS": "cpu"},
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return {"failed": f"took more than {arguments.limit} s to compile"}
        if process.returncode:
            return {"failed": (process.stderr.strip() or "no message").splitlines()[-1]}
        facts = json.loads(file.read_text())["targets"][0]
    # What is listed one by one is long: run the command with --json to have it.
    facts["moves"] = len(facts.get("moves", ()))
    facts.pop("products", None)
    return {"batch": configs.override(configs.load(recipe), overrides).batch, "facts": facts}


def digest(recipe: str, overrides: list[str]) -> str:
    """Returns a short name of a resolved config."""
    text = configs.to_text(configs.override(configs.load(recipe), overrides))
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


if __name__ == "__main__":
    main()
