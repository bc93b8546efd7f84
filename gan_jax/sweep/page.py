"""The page of a sweep: one HTML file with the members' numbers, their curves together, and their last grids."""

import math
from collections.abc import Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from ..files.folder import Folder
from ..metrics.measures import NUMBERS
from ..metrics.record import readable
from ..report import writer
from ..report.chart import COLOURS, Points, line_chart
from ..report.page_style import STYLE
from ..report.sample_files import SAMPLES, step_of
from .grid import short_names
from .halving import better_first
from .record import Standing, scores

PAGE = "report.html"
_CURVES = ("loss/generator", "loss/discriminator", "logits/real", "logits/fake", "grad_norm/generator")
_MOST = 2 * len(COLOURS)  # curves in a chart: more can't be told apart
_MORE_STYLE = """
.row.small { grid-template-columns: repeat(auto-fill, minmax(min(100%, 200px), 1fr)); }
.row.curves { grid-template-columns: repeat(auto-fit, minmax(min(100%, 330px), 1fr)); }
.key.dashed::before { background: repeating-linear-gradient(90deg, var(--key) 0 4px, transparent 4px 6px); }
.best td, .best th { font-weight: 600; color: var(--ink); }
a { color: var(--c0); }
"""


def best_of(standings: Sequence[Standing], by: str) -> Standing | None:
    """Returns the best member of those that were measured last, by a number; None: none was measured."""
    measured = [
        one for one in standings if one.score is not None and math.isfinite(one.score) and one.state != "lost"
    ]
    if not measured:
        return None
    last = max(one.scored or 0 for one in measured)
    scored = {one.name: one.score for one in measured if one.scored == last and one.score is not None}
    name = better_first(scored, by, 1)[0]
    return next(one for one in measured if one.name == name)


def ordered(standings: Sequence[Standing], by: str) -> list[Standing]:
    """Returns the members, those that were measured later first, of these the better ones; the lost ones last."""
    sign = -1.0 if NUMBERS[by][1] else 1.0

    def rank(one: Standing) -> tuple[bool, int, float]:
        score = math.inf if one.score is None or not math.isfinite(one.score) else sign * one.score
        return one.state == "lost", -(one.scored or 0), score

    return sorted(standings, key=rank)


def state_text(one: Standing) -> str:
    return "dropped by halving" if one.state == "dropped" else one.state


def table_text(standings: Sequence[Standing], paths: Sequence[str], by: str) -> str:
    """Returns the standings as lines of text."""
    heads = [*short_names(paths), "step", by, ""]
    rows = [
        [*one.values, str(one.step), "-" if one.score is None else readable(one.score), state_text(one)]
        for one in ordered(standings, by)
    ]
    widths = [max(len(row[i]) for row in [heads, *rows]) for i in range(len(heads))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in [heads, *rows]
    )


def write_page(workdir: Path, title: str, standings: Sequence[Standing], paths: Sequence[str], by: str) -> Path:
    """Writes `report.html` into the workdir of a sweep and returns its path. It refers to the members by links."""
    members = ordered(standings, by)
    best = best_of(standings, by)
    shown = members[:_MOST]
    sections = [f"<h1>{escape(title)}</h1>"]
    if best is not None and best.score is not None:
        sections.append(
            f"<p>The best of {len(members)} members: {escape(best.name)}, {escape(by)} {readable(best.score)} at "
            f"step {best.scored}</p>"
        )
    sections += ["<h2>Members</h2>", _table(members, paths, by, best)]
    grids = [figure for one in members if (figure := _grid(workdir, one))]
    if grids:
        sections += ["<h2>Last samples</h2>", f'<div class="row small">{"".join(grids)}</div>']
    if charts := _charts(workdir, shown, by):
        few = f" of the first {_MOST}" if len(members) > _MOST else ""
        sections += [f"<h2>Curves{few}</h2>", _keys(shown), f'<div class="row curves">{"".join(charts)}</div>']
    head = '<meta charset="utf-8">\n<meta name="viewport" content="width=device-width">\n'
    text = (
        f'<!doctype html>\n<html lang="en">\n<head>\n{head}<title>{escape(title)}</title>\n'
        f"<style>{STYLE}{_MORE_STYLE}</style>\n</head>\n<body>\n" + "\n".join(sections) + "\n</body>\n</html>\n"
    )
    Folder(workdir).write(PAGE, text.encode(errors="backslashreplace"))
    return workdir / PAGE


def _link(one: Standing) -> str:
    return f'<a href="members/{escape(quote(one.name))}/report.html">{escape(one.name)}</a>'


def _table(members: Sequence[Standing], paths: Sequence[str], by: str, best: Standing | None) -> str:
    heads = ["member", *short_names(paths), "step", by, ""]
    rows = ["<tr>" + "".join(f"<th>{escape(head)}</th>" for head in heads) + "</tr>"]
    for one in members:
        score = "" if one.score is None else readable(one.score)
        cells = [*one.values, str(one.step), score, state_text(one)]
        mark = ' class="best"' if best is not None and one.name == best.name else ""
        rows.append(
            f"<tr{mark}><th>{_link(one)}</th>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"
        )
    return f"<table>{''.join(rows)}</table>"


def _keys(members: Sequence[Standing]) -> str:
    keys = []
    for index, one in enumerate(members):
        again, colour = divmod(index, len(COLOURS))
        kind = "key dashed" if again else "key"
        keys.append(f'<span class="{kind}" style="--key: var(--c{colour})">{escape(one.name)}</span>')
    return f"<p>{''.join(keys)}</p>"


def _charts(workdir: Path, members: Sequence[Standing], by: str) -> list[str]:
    """Draws the score, and a curve of each member for each quantity of the log."""
    lines: dict[str, dict[str, Points]] = {by: {}}
    for one in members:
        measured = scores(workdir, one.name, by)
        lines[by][one.name] = sorted((step, value) for step, value in measured.items())
        rows, _ = writer.read(workdir / "members" / one.name)
        for name in _CURVES:
            points = [(row["step"], row[name]) for row in rows if name in row]
            lines.setdefault(name, {})[one.name] = [
                (step, value if value is not None and math.isfinite(value) else None) for step, value in points
            ]
    return [
        f"<figure><h2>{escape(name)}</h2>{line_chart(curves, 'step', name)}</figure>"
        for name, curves in lines.items()
        if any(y is not None for points in curves.values() for _, y in points)
    ]


def _grid(workdir: Path, one: Standing) -> str:
    folder = Folder(workdir / "members" / one.name)
    steps = {step: name for name in folder.names(f"{SAMPLES}/step_*.png") if (step := step_of(name)) is not None}
    if not steps:
        return ""
    source = f"members/{quote(one.name)}/{quote(steps[max(steps)])}"
    caption = f"{_link(one)}, step {max(steps)}"
    return (
        f'<figure><img src="{escape(source)}" alt="{escape(one.name)}"><figcaption>{caption}</figcaption></figure>'
    )
