"""The run's page: one HTML file with curves, the last samples and the config, from this workdir alone."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from . import writer

WIDTH, HEIGHT = 560, 260
LEFT, RIGHT, TOP, BOTTOM = 64, 30, 12, 44  # margins of a chart, for its labels
POINTS = 400  # more than that on a line cannot be told apart

STYLE = """
:root { color-scheme: light dark; --back: #fff; --ink: #1d2126; --soft: #667080; --line: #dde1e7;
  --c0: #1f60c4; --c1: #d6452d; --c2: #2b8a57; --c3: #9055b8; --c4: #b07d12; --c5: #12808c; }
@media (prefers-color-scheme: dark) { :root {
  --back: #16191d; --ink: #e4e7eb; --soft: #98a2b0; --line: #333a43;
  --c0: #6ea3f5; --c1: #f08672; --c2: #63c490; --c3: #c294e4; --c4: #dcb04e; --c5: #5bc3ce; } }
body { background: var(--back); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; max-width: 1180px;
  margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; font-weight: 600; margin-bottom: 0; }
h2 { font-size: 1.05rem; font-weight: 600; margin: 2.2rem 0 .6rem; }
p, figcaption { color: var(--soft); margin: .2rem 0; }
figure { margin: 0; }
.row { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 460px), 1fr)); gap: 1.6rem; }
img { max-width: 100%; height: auto; }
svg { width: 100%; height: auto; }
svg text { fill: var(--soft); font-size: 12px; }
.rule { stroke: var(--line); stroke-width: 1; }
.curve { fill: none; stroke-width: 1.6; stroke-linejoin: round; }
.key { margin-right: 1rem; white-space: nowrap; }
.key::before { content: ""; display: inline-block; width: 1em; height: 3px; margin-right: .4em;
  vertical-align: middle; background: var(--key); }
table { border-collapse: collapse; font-size: .92rem; }
td, th { border-bottom: 1px solid var(--line); padding: .2rem 1.4rem .2rem 0; text-align: left;
  font-weight: 400; }
th { color: var(--soft); }
td { font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
"""

Points = Sequence[tuple[float, float | None]]


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers from `low` to `high`, at steps of 1, 2 or 5 times a power of ten."""
    if not high > low:
        return [low]
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    return [round(n * step, 12) for n in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def _thin(points: Points) -> Points:
    """At most about POINTS of them: of each stretch the lowest and the highest, so that no spike is lost."""
    if len(points) <= POINTS:
        return points
    size = math.ceil(2 * len(points) / POINTS)
    kept = []
    for start in range(0, len(points), size):
        part = points[start : start + size]
        real = [(y, x) for x, y in part if y is not None]
        if len(real) < len(part):
            kept.append((part[0][0], None))
        kept += sorted((x, y) for y, x in ({min(real), max(real)} if real else ()))
    return kept


def line_chart(lines: Mapping[str, Points], x_label: str, y_label: str) -> str:
    """Lines `{name: [(x, y or None), ...]}` as SVG, with axes and a title to hover over; None is a gap."""
    lines = {name: _thin(points) for name, points in lines.items()}
    real = [(x, y) for points in lines.values() for x, y in points if y is not None]
    if not real:
        return f"<p>no finite values of {escape(y_label)}</p>"
    x0, x1 = min(x for x, _ in real), max(x for x, _ in real)
    y0, y1 = min(y for _, y in real), max(y for _, y in real)
    x1, slack = (x1 if x1 > x0 else x0 + 1), (y1 - y0) * 0.05 or abs(y0) * 0.1 or 1.0
    y0, y1 = y0 - slack, y1 + slack
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM

    def at(x: float, y: float) -> tuple[float, float]:
        across = LEFT + (x - x0) / (x1 - x0) * (right - LEFT)
        return round(across, 1), round(bottom - (y - y0) / (y1 - y0) * (bottom - TOP), 1)

    label = f"{escape(y_label)} over {escape(x_label)}"
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">']
    for y in ticks(y0, y1, 7):
        down = at(x0, y)[1]
        parts.append(f'<line class="rule" x1="{LEFT}" x2="{right}" y1="{down}" y2="{down}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{down + 4}" text-anchor="end">{y:.4g}</text>')
    for x in ticks(x0, x1, 6):
        across = at(x, y0)[0]
        parts.append(f'<line class="rule" x1="{across}" x2="{across}" y1="{bottom}" y2="{bottom + 5}"/>')
        parts.append(f'<text x="{across}" y="{bottom + 19}" text-anchor="middle">{x:.6g}</text>')
    middle = (TOP + bottom) / 2
    parts.append(f'<text x="{(LEFT + right) / 2}" y="{HEIGHT - 6}" text-anchor="middle">{escape(x_label)}</text>')
    turned = f'transform="rotate(-90 14 {middle})" x="14" y="{middle}" text-anchor="middle"'
    parts.append(f"<text {turned}>{escape(y_label)}</text>")
    for index, (name, points) in enumerate(lines.items()):
        parts.append(_curve(name, points, f"var(--c{index % 6})", x_label, at))
    return "\n".join([*parts, "</svg>"])


def _curve(name: str, points: Points, colour: str, x_label: str, at: Any) -> str:
    path, dots, pen = [], [], "M"
    for x, y in points:
        if y is None:
            pen = "M"
            continue
        across, down = at(x, y)
        path.append(f"{pen}{across} {down}")
        pen = "L"
        title = f"{escape(name)} {y:.5g} at {escape(x_label)} {x:.10g}"
        dots.append(f'<circle cx="{across}" cy="{down}" r="4" fill="transparent"><title>{title}</title></circle>')
    return f'<path class="curve" style="stroke:{colour}" d="{"".join(path)}"/>\n' + "\n".join(dots)


def _charts(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    names = sorted({name for row in rows for name in row})
    groups = [
        ("loss", "Losses", "loss"),
        ("logits", "Logits", "mean logit"),
        ("penalty", "Penalties", "penalty"),
        ("grad_norm", "Gradient norms", "gradient norm"),
    ]
    figures = []
    for prefix, title, label in groups:
        shown = [name for name in names if name.startswith(prefix + "/")]
        if not shown:
            continue
        lines = {name: [(row["step"], _finite(row[name])) for row in rows if name in row] for name in shown}
        keys = "".join(
            f'<span class="key" style="--key: var(--c{i % 6})">{escape(name.partition("/")[2])}</span>'
            for i, name in enumerate(shown)
        )
        chart = line_chart(lines, "step", label)
        figures.append(f"<figure><h2>{title}</h2><figcaption>{keys}</figcaption>{chart}</figure>")
    return figures


def _finite(value: Any) -> float | None:
    number = isinstance(value, int | float) and math.isfinite(value)
    return float(value) if number else None


def _flat(value: Any, path: str = "") -> list[tuple[str, str]]:
    """The leaves of a JSON tree as text; a Call keeps to one line."""
    if isinstance(value, dict) and not _is_call(value):
        return [row for name, one in value.items() for row in _flat(one, f"{path}.{name}" if path else name)]
    if isinstance(value, list) and any(isinstance(one, dict) for one in value):
        return [row for index, one in enumerate(value) for row in _flat(one, f"{path}.{index}")]
    return [(path, _text(value))]


def _is_call(value: Any) -> bool:
    return isinstance(value, dict) and set(value) == {"call", "with"} and isinstance(value["with"], dict)


def _text(value: Any) -> str:
    if _is_call(value):
        return f"{value['call']}({', '.join(f'{k}={_text(v)}' for k, v in value['with'].items())})"
    return value if isinstance(value, str) else json.dumps(value)


def _table(rows: Sequence[tuple[str, str]]) -> str:
    cells = "\n".join(f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>" for name, text in rows)
    return f"<table>{cells}</table>"


def _pictures(workdir: Path) -> list[str]:
    samples = sorted((workdir / writer.SAMPLES).glob("step_*.png"))
    films = sorted([*workdir.glob("*.gif"), *(workdir / writer.SAMPLES).glob("*.gif")])
    captions = []
    if samples:
        number = samples[-1].stem.removeprefix("step_")
        captions.append((samples[-1], f"Samples at step {int(number) if number.isdigit() else number}"))
    captions += [(film, "Over the run") for film in films[:1]]
    return [
        f'<figure><img src="{escape(path.relative_to(workdir).as_posix())}" alt="{escape(caption)}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
        for path, caption in captions
    ]


def _summary(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return "no metrics yet"
    last = rows[-1]
    parts = [f"step {last['step']}"]
    if "images" in last:
        parts.append(f"{last['images'] / 1000:g} kimg")
    speeds = sorted(row["images_per_second"] for row in rows if _finite(row.get("images_per_second")))
    if speeds:
        parts.append(f"{speeds[len(speeds) // 2]:.0f} images/s (median)")
    return ", ".join(parts)


def _config(path: Path) -> dict[str, Any]:
    try:
        tree = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):  # a page of the curves is better than none
        return {}
    return tree if isinstance(tree, dict) else {}


def page(workdir: str | Path) -> Path:
    """Writes `report.html` into a run's workdir and returns its path.

    Reads `metrics.jsonl`, `config.json`, `samples/step_*.png` and a GIF, each where there is one.
    """
    workdir = Path(workdir)
    rows = writer.read(workdir)
    config = _config(workdir / "config.json")
    name = str(config.get("name") or workdir.resolve().name)
    sections = [f"<h1>{escape(name)}</h1>", f"<p>{escape(_summary(rows))}</p>"]
    for title, figures in (("Samples", _pictures(workdir)), ("", _charts(rows))):
        if figures:
            heading = f"<h2>{title}</h2>" if title else ""
            sections.append(f'{heading}<div class="row">\n' + "\n".join(figures) + "\n</div>")
    if rows:
        last = [(k, f"{v:.6g}" if isinstance(v, float) else _text(v)) for k, v in rows[-1].items()]
        sections.append("<h2>Last line of metrics</h2>" + _table(last))
    if config:
        sections.append("<h2>Config</h2>" + _table(_flat(config)))
    head = '<meta charset="utf-8">\n<meta name="viewport" content="width=device-width">\n'
    head += f"<title>{escape(name)}</title>"
    text = f'<!doctype html>\n<html lang="en">\n<head>\n{head}\n<style>{STYLE}</style>\n</head>\n<body>\n'
    text += "\n".join(sections) + "\n</body>\n</html>\n"
    path = workdir / "report.html"
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text, "utf-8")
    os.replace(temporary, path)
    return path
