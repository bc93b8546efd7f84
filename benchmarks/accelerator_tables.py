"""Formats what `benchmarks.accelerators` compiled as the tables of docs/accelerators.md."""

from collections.abc import Iterable, Iterator
from typing import Any

MODES = {
    "pmap": ("parallel.mode=pmap",),
    "sharded parameters": ("parallel.mode=shard", "parallel.params=sharded"),
}
HEADER = (
    "recipe", "target", "batch", "fits", "memory of a device", "temporaries", "TFLOP", "of the model's", "kernels",
    "slow conv.", "moves", "collectives", "traffic", "bounds: arithmetic, traffic, sum",
)  # fmt: skip


def newest(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the last row of each recipe, target and overrides, in the order of recipes and targets.

    One that was compiled with less effort counts only where there is no other.
    """
    better_later = sorted(rows, key=lambda row: not row.get("quick", False))
    last = {(row["recipe"], row["target"], *row["overrides"]): row for row in better_later}
    return sorted(last.values(), key=lambda row: (row["recipe"], row["target"], row["overrides"]))


def lines(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Yields the lines of the table of the modes that the recipes have, then the versions and commits."""
    rows = [row for row in rows if mode(row) is None]
    yield f"| {' | '.join(HEADER)} |"
    yield f"|{'---|' * len(HEADER)}"
    for row in rows:
        yield f"| {' | '.join(cells(row))} |"
    yield from _origin(rows)


def mode_lines(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Yields the lines of the table of `MODES`: the collectives of each, then the versions and commits."""
    rows = [row for row in rows if mode(row) is not None]
    yield f"| recipe | target | batch | {' | '.join(MODES)} |"
    yield f"|---|---|---|{'---|' * len(MODES)}"
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault((row["recipe"], _target(row)), []).append(row)
    for (recipe, target), alike in found.items():
        batch = next((f"{row['batch']:,}" for row in alike if "batch" in row), "")
        texts = {mode(row): row["failed"] if "failed" in row else sent(row["facts"]) for row in alike}
        yield f"| `{recipe}` | {target} | {batch} | {' | '.join(texts.get(name, '') for name in MODES)} |"
    yield from _origin(rows)


def mode(row: dict[str, Any]) -> str | None:
    """Returns which of `MODES` a row is compiled in; None: in that of the recipe."""
    return next((name for name, fields in MODES.items() if set(fields) <= set(row["overrides"])), None)


def sent(facts: dict[str, Any]) -> str:
    """Returns what the devices send each other, in one step."""
    kinds = facts.get("collectives", {}).items()
    return ", ".join(f"{one['count']:g} {kind} {one['bytes'] / 1e6:,.3g} MB" for kind, one in kinds) or "–"


def _target(row: dict[str, Any]) -> str:
    return row["target"] + (", quick" if row.get("quick", False) else "")


def _origin(rows: list[dict[str, Any]]) -> Iterator[str]:
    if not rows:
        yield "Nothing was compiled yet."
        return
    used = sorted({", ".join(f"{n} {v}" for n, v in row["versions"].items()) for row in rows})
    yield ""
    yield f"Compiled by {'; '.join(used)}. Commits: {', '.join(sorted({row['commit'] for row in rows}))}."


def cells(row: dict[str, Any]) -> list[str]:
    """Returns the cells of one row."""
    name = " ".join([f"`{row['recipe']}`", *row["overrides"]])
    target = _target(row)
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
    return [
        *start, _gib(memory["temporaries"]),
        f"{flops['model_step'] / 1e12:,.3g}", f"{flops['program_of_model']:.1%}",
        f"{sum(facts['kernels'].values()):,.0f}",
        str(facts["slow_convolutions"]), str(facts["moves"]), sent(facts),
        f"{facts['bytes'] / 1e9:,.3g} GB", ", ".join(f"{1e3 * b:.3g}" for b in bounds.values()) + " ms",
    ]  # fmt: skip


def _gib(count: float) -> str:
    return f"{count / 2**30:,.3g} GiB"
