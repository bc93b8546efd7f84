"""Draws a bar chart for each suite: `python -m benchmarks.plot RECORDS FOLDER`."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .records import Record, read

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = {
    "gan_jax": "#2b6cb0", "torch_eager": "#f6ad55", "torch_tuned": "#dd6b20", "torch_compile": "#9c4221",
    "jax_tutorial": "#a0aec0", "keras": "#b83280",
}  # fmt: skip


def plot(records: Sequence[Record], path: Path) -> None:
    """Draws the images per second of one suite's records: a panel per case, a bar with its spread per record.

    Writes no file if no record was measured.

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
        return
    cases = list(dict.fromkeys(one.case for one in shown))
    sizes = [sum(one.case == case for one in shown) for case in cases]
    figure, panels = pyplot.subplots(
        len(cases), 1, figsize=(8, 0.8 + 0.42 * sum(sizes) + 0.6 * len(cases)), squeeze=False,
        gridspec_kw={"height_ratios": sizes}, constrained_layout=True,
    )  # fmt: skip
    for case, panel in zip(cases, panels[:, 0]):
        _panel(panel, case, [one for one in shown if one.case == case])
    panels[-1, 0].set_xlabel("images per second (median, minimum and maximum)")
    figure.suptitle(f"{shown[0].suite}: {shown[0].device}", fontsize=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


def plot_suites(records: Sequence[Record], folder: Path) -> None:
    """Draws a chart `<suite>.png` in `folder` for each suite among the records."""
    for suite in dict.fromkeys(record.suite for record in records):
        plot([record for record in records if record.suite == suite], folder / f"{suite}.png")


def _panel(panel: "Axes", case: str, records: Sequence[Record]) -> None:
    labels, places = [], range(len(records))
    for one in records:
        label = " ".join(part for part in (one.implementation, one.mode) if part)
        label += "" if one.precision == "float32" else f" {one.precision}"
        label += f", {one.devices} devices" if one.devices > 1 else ""
        labels.append(f"{label}, batch {one.batch}" if len({r.batch for r in records}) > 1 else label)
    speeds = [one.images_per_second or 0.0 for one in records]
    slow = [s * (1 - (one.step_ms_median or 0) / (one.step_ms_max or 1)) for s, one in zip(speeds, records)]
    fast = [s * ((one.step_ms_median or 0) / (one.step_ms_min or 1) - 1) for s, one in zip(speeds, records)]
    colours = [_COLOURS.get(one.implementation, "#718096") for one in records]
    panel.barh(places, speeds, xerr=[slow, fast], color=colours, height=0.7, error_kw={"lw": 1, "capsize": 2})
    panel.set_yticks(places, labels, fontsize=8)
    panel.invert_yaxis()
    panel.set_title(case, fontsize=9, loc="left")
    panel.tick_params(axis="x", labelsize=8)
    panel.spines[["top", "right"]].set_visible(False)


def main(arguments: Sequence[str] | None = None) -> int:
    path, folder = map(Path, sys.argv[1:] if arguments is None else arguments)
    plot_suites(read(path), folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
