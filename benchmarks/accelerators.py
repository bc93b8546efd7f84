"""Writes the table of docs/accelerators.md: what each recipe's step is on accelerators that need not be here.

    python -m benchmarks.accelerators --recipes cifar10_dcgan,digits --targets h200,h200:8,v5e:2x4

Each row is compiled in a process of its own, and is appended to results/accelerators.jsonl with the versions. A
row that is there for the same commit and config is skipped, so a broken run goes on where it stopped.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from gan_jax import config as configs
from gan_jax.config.recipes import recipes

from . import machine, table

RESULTS = Path(__file__).parent / "results" / "accelerators.jsonl"
DOCUMENT = Path(__file__).parent.parent / "docs" / "accelerators.md"
TARGETS = ("h200", "h200:8", "v5e:2x4")
PACKAGES = ("jax", "jaxlib", "gan_jax", "libtpu", "jax-cuda12-plugin")
HEADER = (
    "recipe", "target", "batch", "fits", "memory of a device", "temporaries", "TFLOP", "of the model's", "kernels",
    "slow conv.", "moves", "collectives", "traffic", "bounds: arithmetic, traffic, sum",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", type=_words, default=tuple(recipes()), help="the recipes; all if not given")
    parser.add_argument("--targets", type=_words, default=TARGETS, help="the targets")
    parser.add_argument("--overrides", nargs="*", default=[], metavar="key=value", help="fields of every config")
    parser.add_argument("--limit", type=int, default=1800, help="seconds that one row may take (1800)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the file of the rows")
    parser.add_argument("--quick", action="store_true", help="TPUs: with less effort of the compiler")
    parser.add_argument("--again", action="store_true", help="compile also what is there")
    parser.add_argument("--table", action="store_true", help="compile nothing: write the table anew")
    arguments = parser.parse_args()
    if not arguments.table:
        for recipe in arguments.recipes:
            for target in arguments.targets:
                measure(recipe, target, arguments)
    if arguments.results == RESULTS:
        table.update(DOCUMENT, "accelerators", "\n".join(lines(newest(read(RESULTS)))))


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def measure(recipe: str, target: str, arguments: argparse.Namespace) -> None:
    """Compiles one row in a process of its own, and appends it."""
    key = {"recipe": recipe, "target": target, "overrides": arguments.overrides, "commit": machine.commit()}
    key["config"] = digest(recipe, arguments.overrides)
    key["quick"] = arguments.quick and target.startswith("v")  # of a TPU
    if not arguments.again and any(
        key.items() <= row.items() and "facts" in row for row in read(arguments.results)
    ):
        print(f"{recipe} {target}: is there", flush=True)
        return
    row = {**key, "versions": versions(), **compiled(recipe, target, arguments)}
    arguments.results.parent.mkdir(exist_ok=True)
    with arguments.results.open("a") as file:
        file.write(json.dumps(row) + "\n")
    print(f"{recipe} {target}: {row.get('failed', 'done')}", flush=True)


def compiled(recipe: str, target: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Returns "facts" and "batch" of a row, or why it "failed"."""
    with tempfile.TemporaryDirectory(prefix="gan_jax-accelerators-") as folder:
        file = Path(folder) / "facts.json"
        words = [sys.executable, "-m", "gan_jax", "train", recipe, *arguments.overrides, "--dry-run"]
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
    return {"batch": configs.override(configs.load(recipe), arguments.overrides).batch, "facts": facts}


def digest(recipe: str, overrides: list[str]) -> str:
    """Returns a short name of a resolved config."""
    text = configs.to_text(configs.override(configs.load(recipe), overrides))
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def versions() -> dict[str, str]:
    """Returns the versions of the packages that matter, those that are installed."""
    there = {distribution.metadata["Name"]: distribution.version for distribution in metadata.distributions()}
    return {name: there[name] for name in PACKAGES if name in there}


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def newest(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the last row of each recipe, target and overrides, in the order of recipes and targets.

    One that was compiled with less effort counts only where there is no other.
    """
    better_later = sorted(rows, key=lambda row: not row.get("quick", False))
    last = {(row["recipe"], row["target"], *row["overrides"]): row for row in better_later}
    return sorted(last.values(), key=lambda row: (row["recipe"], row["target"], row["overrides"]))


def lines(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Yields the lines of the table, then the versions and commits."""
    yield f"| {' | '.join(HEADER)} |"
    yield f"|{'---|' * len(HEADER)}"
    for row in rows:
        yield f"| {' | '.join(cells(row))} |"
    used = sorted({", ".join(f"{n} {v}" for n, v in row["versions"].items()) for row in rows})
    yield ""
    yield f"Compiled by {'; '.join(used)}. Commits: {', '.join(sorted({row['commit'] for row in rows}))}."


def cells(row: dict[str, Any]) -> list[str]:
    """Returns the cells of one row."""
    name = " ".join([f"`{row['recipe']}`", *row["overrides"]])
    target = row["target"] + (", quick" if row.get("quick", False) else "")
    if "failed" in row:
        return [name, target, "", row["failed"], *[""] * (len(HEADER) - 4)]
    facts = row["facts"]
    memory, fit = facts["memory"], facts.get("fit")
    fits = "yes" if memory["fits"] else f"microbatches={fit['microbatches']}" if fit else "no"
    if fit and fit["batch_per_device"]:
        fits += f", or {fit['batch_per_device']} a device"
    start = [name, target, f"{row['batch']:,}", fits, _gib(memory["needed"])]
    if "bounds_seconds" not in facts:
        return [*start, *[""] * (len(HEADER) - len(start))]
    flops, bounds = facts["flops"], facts["bounds_seconds"]
    sent = ", ".join(f"{one['count']:g} {kind} {one['bytes'] / 1e6:,.3g} MB"
                     for kind, one in facts["collectives"].items())  # fmt: skip
    return [
        *start, _gib(memory["temporaries"]),
        f"{flops['model_step'] / 1e12:,.3g}", f"{flops['program_of_model']:.1%}",
        f"{sum(facts['kernels'].values()):,.0f}",
        str(facts["slow_convolutions"]), str(facts["moves"]), sent or "–",
        f"{facts['bytes'] / 1e9:,.3g} GB", ", ".join(f"{1e3 * b:.3g}" for b in bounds.values()) + " ms",
    ]  # fmt: skip


def _gib(count: float) -> str:
    return f"{count / 2**30:,.3g} GiB"


if __name__ == "__main__":
    main()
