"""Formats records as Markdown tables and writes them into a document."""

import math
import re
from collections.abc import Sequence
from pathlib import Path

from .records import Record

_COLUMNS = (
    ("gan_jax", "jit"), ("gan_jax", "fused"), ("torch_eager", ""), ("torch_tuned", ""), ("torch_compile", ""),
    ("jax_tutorial", ""), ("keras", ""),
)  # fmt: skip


def milliseconds(one: Record | None) -> str:
    """Formats the median and, in brackets, the minimum and the maximum."""
    if one is None or one.step_ms_median is None:
        return "not measured"
    values = (one.step_ms_median, one.step_ms_min or 0.0, one.step_ms_max or 0.0)
    # Three significant digits of the median; the others have as many decimals.
    digits = max(0, 2 - math.floor(math.log10(max(values[0], 1e-9))))
    median, least, most = (f"{v:.{digits}f}" for v in values)
    return f"{median} [{least}, {most}]"


def _ratio(base: Record | None, one: Record | None) -> str:
    if base is None or one is None or not base.step_ms_median or not one.step_ms_median:
        return ""
    return f"{base.step_ms_median / one.step_ms_median:.2f}"


def peers(records: Sequence[Record]) -> str:
    """Returns a table with a row per case: times of all implementations, then the speed-up over each peer.

    The speed-up is of the faster of gan_jax's two modes.
    """
    rows = [one for one in records if one.suite == "peers"]
    head = [mode or name for name, mode in _COLUMNS]
    head += [f"x {name.rpartition('_')[2]}" for name, _ in _COLUMNS[2:]] + ["of peak"]
    lines = ["| case | batch | " + " | ".join(head) + " |", "|---" * (len(head) + 2) + "|"]
    for case, precision, batch in dict.fromkeys((one.case, one.precision, one.batch) for one in rows):
        by_name = {
            (one.implementation, one.mode): one
            for one in rows
            if (one.case, one.precision, one.batch) == (case, precision, batch)
        }
        ours = [one for key in _COLUMNS[:2] if (one := by_name.get(key)) and one.step_ms_median]
        best = min(ours, key=lambda one: one.step_ms_median or math.inf, default=None)
        ratios = [_ratio(by_name.get(key), best) for key in _COLUMNS[2:]]
        fraction = f"{best.peak_fraction:.0%}" if best and best.peak_fraction else ""
        cells = [milliseconds(by_name.get(key)) for key in _COLUMNS] + ratios + [fraction]
        name = case if precision == "float32" else f"{case} {precision}"
        lines.append(f"| {name} | {batch} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def figures(records: Sequence[Record], suite: str) -> str:
    """Returns a table with a row per figure of one suite."""
    lines = ["| case | variant | batch | ms [min, max] | images/s |", "|---|---|---|---|---|"]
    for one in records:
        if one.suite == suite:
            speed = f"{one.images_per_second:,.0f}" if one.images_per_second else ""
            devices = f", {one.devices} devices" if one.devices > 1 else ""
            variant = one.mode + devices + ("" if one.precision == "float32" else f", {one.precision}")
            lines.append(f"| {one.case} | {variant} | {one.batch} | {milliseconds(one)} | {speed} |")
    return "\n".join(lines)


def operators(records: Sequence[Record]) -> str:
    """Returns a table of GFLOP/s with a row per convolution: each part in gan_jax and in PyTorch."""
    rows = [one for one in records if one.suite == "operators"]
    speed = {
        (one.case, one.mode, one.implementation): f"{one.flops / one.step_ms_median / 1e6:.0f}"
        for one in rows
        if one.flops and one.step_ms_median
    }
    parts = list(dict.fromkeys(one.mode for one in rows))
    lines = ["| convolution | " + " | ".join(f"{part}: gan_jax / torch" for part in parts) + " |"]
    lines.append("|---" * (len(parts) + 1) + "|")
    for case in dict.fromkeys(one.case for one in rows):
        pairs = [
            [speed.get((case, part, name), "not measured") for name in ("gan_jax", "torch_tuned")]
            for part in parts
        ]
        lines.append(f"| {case} | " + " | ".join(" / ".join(pair) for pair in pairs) + " |")
    return "\n".join(lines)


def update(document: Path, name: str, text: str) -> None:
    """Replaces the text between `<!-- benchmark:NAME -->` and `<!-- /benchmark:NAME -->` in the document.

    Raises:
        ValueError: the document has no such pair of marks.
    """
    before = document.read_text()
    place = re.compile(
        rf"(<!-- benchmark:{re.escape(name)} -->\n).*?(<!-- /benchmark:{re.escape(name)} -->)", re.S
    )
    after, count = place.subn(lambda m: f"{m[1]}{text}\n{m[2]}", before)
    if not count:
        raise ValueError(f"{document} has no place for the benchmark {name!r}: add <!-- benchmark:{name} -->")
    document.write_text(after)
