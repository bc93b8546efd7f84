"""A picture for each suite."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .records import Record, read

_COLOURS = {
    "gan_jax": "#2b6cb0", "torch_eager": "#f6ad55", "torch_tuned": "#dd6b20", "torch_compile": "#9c4221",
    "jax_tutorial": "#a0aec0", "keras": "#b83280",
}  # fmt: skip


def plot(records: Sequence[Record], path: Path) -> None:
    """Images a second of each measured record of one suite, as bars with their spread; a panel a case.

    Raises:
        ValueError: matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise ValueError("plots need matplotlib: pip install 'gan_jax[benchmark]'") from error
    matplotlib.use("Agg")
    from matplotlib import pyplot

    shown = [one for one in records if one.images_per_second]
    if not shown:
        return  # nothing was measured
    cases = list(dict.fromkeys(one.case for one in shown))
    sizes = [sum(one.case == case for one in shown) for case in cases]
    figure, panels = pyplot.subplots(
        len(cases), 1, figsize=(8, 0.8 + 0.42 * sum(sizes) + 0.6 * len(cases)), squeeze=False,
        gridspec_kw={"height_ratios": sizes}, constrained_layout=True,
    )  # fmt: skip
    for case, panel in zip(cases, panels[:, 0]):
        _panel(panel, case, [one for one in shown if one.case == case])
    panels[-1, 0].set_xlabel("images a second (median, with least and most)")
    figure.suptitle(f"{shown[0].suite}: {shown[0].device}", fontsize=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


def _panel(panel: Any, case: str, records: Sequence[Record]) -> None:
    names, places = [], range(len(records))
    for one in records:
        what = " ".join(p for p in (one.implementation, one.mode) if p)
        what += "" if one.precision == "float32" else f" {one.precision}"
        what += f", {one.devices} devices" if one.devices > 1 else ""
        names.append(f"{what}, batch {one.batch}" if len({r.batch for r in records}) > 1 else what)
    speeds = [one.images_per_second or 0.0 for one in records]
    slow = [s * (1 - (one.step_ms_median or 0) / (one.step_ms_max or 1)) for s, one in zip(speeds, records)]
    fast = [s * ((one.step_ms_median or 0) / (one.step_ms_min or 1) - 1) for s, one in zip(speeds, records)]
    colours = [_COLOURS.get(one.implementation, "#718096") for one in records]
    panel.barh(places, speeds, xerr=[slow, fast], color=colours, height=0.7, error_kw={"lw": 1, "capsize": 2})
    panel.set_yticks(places, names, fontsize=8)
    panel.invert_yaxis()
    panel.set_title(case, fontsize=9, loc="left")
    panel.tick_params(axis="x", labelsize=8)
    panel.spines[["top", "right"]].set_visible(False)


def main(arguments: Sequence[str] | None = None) -> int:
    """A picture of each suite in a file of records: `python -m benchmarks.plot RECORDS FOLDER`."""
    path, folder = map(Path, sys.argv[1:] if arguments is None else arguments)
    found = read(path)
    for suite in dict.fromkeys(one.suite for one in found):
        plot([one for one in found if one.suite == suite], folder / f"{suite}.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
