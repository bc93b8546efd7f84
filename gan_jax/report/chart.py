"""Line charts as SVG."""

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 560, 260
LEFT, RIGHT, TOP, BOTTOM = 64, 30, 12, 44  # margins for the labels
# Of curves on white; further curves are dashed.
COLOURS = ("#1f60c4", "#d6452d", "#2b8a57", "#9055b8", "#b07d12", "#12808c")
MAX_POINTS = 400  # more points on one line can't be told apart

Points = Sequence[tuple[float, float | None]]


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Returns the round numbers between `low` and `high`, spaced by 1, 2 or 5 times a power of ten."""
    if not high > low:
        return [low]
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    return [round(n * step, 12) for n in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def _thin(points: Points) -> Points:
    """Returns about MAX_POINTS points: the lowest and the highest of each stretch, so that every spike stays."""
    if len(points) <= MAX_POINTS:
        return points
    size = math.ceil(2 * len(points) / MAX_POINTS)
    kept = []
    for start in range(0, len(points), size):
        stretch = points[start : start + size]
        finite = [(y, x) for x, y in stretch if y is not None]
        if len(finite) < len(stretch):
            kept.append((stretch[0][0], None))
        kept += sorted((x, y) for y, x in ({min(finite), max(finite)} if finite else ()))
    return kept


def line_chart(lines: Mapping[str, Points], x_label: str, y_label: str) -> str:
    """Draws the lines `{name: [(x, y or None), ...]}` as SVG, with axes and tooltips; None is a gap in a line."""
    lines = {name: _thin(points) for name, points in lines.items()}
    finite = [(x, y) for points in lines.values() for x, y in points if y is not None]
    if not finite:
        return f"<p>no finite values of {escape(y_label)}</p>"
    x0, x1 = min(x for x, _ in finite), max(x for x, _ in finite)
    y0, y1 = min(y for _, y in finite), max(y for _, y in finite)
    x1, slack = (x1 if x1 > x0 else x0 + 1), (y1 - y0) * 0.05 or abs(y0) * 0.1 or 1.0
    y0, y1 = y0 - slack, y1 + slack
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM

    def to_pixels(x: float, y: float) -> tuple[float, float]:
        across = LEFT + (x - x0) / (x1 - x0) * (right - LEFT)
        return round(across, 1), round(bottom - (y - y0) / (y1 - y0) * (bottom - TOP), 1)

    label = f"{escape(y_label)} over {escape(x_label)}"
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">']
    for y in ticks(y0, y1, 7):
        down = to_pixels(x0, y)[1]
        parts.append(f'<line class="rule" x1="{LEFT}" x2="{right}" y1="{down}" y2="{down}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{down + 4}" text-anchor="end">{y:.4g}</text>')
    for x in ticks(x0, x1, 6):
        across = to_pixels(x, y0)[0]
        parts.append(f'<line class="rule" x1="{across}" x2="{across}" y1="{bottom}" y2="{bottom + 5}"/>')
        parts.append(f'<text x="{across}" y="{bottom + 19}" text-anchor="middle">{x:.6g}</text>')
    middle = (TOP + bottom) / 2
    parts.append(f'<text x="{(LEFT + right) / 2}" y="{HEIGHT - 6}" text-anchor="middle">{escape(x_label)}</text>')
    rotated = f'transform="rotate(-90 14 {middle})" x="14" y="{middle}" text-anchor="middle"'
    parts.append(f"<text {rotated}>{escape(y_label)}</text>")
    for index, (name, points) in enumerate(lines.items()):
        dashes = ";stroke-dasharray:5 3" if index >= len(COLOURS) else ""
        parts.append(_curve(name, points, f"var(--c{index % len(COLOURS)}){dashes}", x_label, to_pixels))
    return "\n".join([*parts, "</svg>"])


def svg_file(chart: str) -> bytes:
    """Returns a chart as the content of an SVG file, which has the colours that the page has in its style."""
    style = "; ".join(f"--c{i}: {colour}" for i, colour in enumerate(COLOURS))
    rules = (
        f"svg {{ {style}; background: #fff; font: 12px system-ui, sans-serif }} .rule {{ stroke: #dde1e7 }} "
        ".curve { fill: none; stroke-width: 1.6; stroke-linejoin: round } text { fill: #667080 }"
    )
    head, rest = chart.split(">", 1)
    size = f' xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}"'
    return f"{head}{size}><style>{rules}</style>{rest}\n".encode()


def _curve(
    name: str, points: Points, colour: str, x_label: str, to_pixels: Callable[[float, float], tuple[float, float]]
) -> str:
    path, dots, pen = [], [], "M"
    for x, y in points:
        if y is None:
            pen = "M"
            continue
        across, down = to_pixels(x, y)
        path.append(f"{pen}{across} {down}")
        pen = "L"
        tip = f"{escape(name)} {y:.5g} at {escape(x_label)} {x:.10g}"
        dots.append(f'<circle cx="{across}" cy="{down}" r="4" fill="transparent"><title>{tip}</title></circle>')
    return f'<path class="curve" style="stroke:{colour}" d="{"".join(path)}"/>\n' + "\n".join(dots)
