"""The report page of a run: one HTML file with curves, the last samples, the metrics and the config."""

import json
import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

from ..data.source import Source, class_names
from ..files import json_lines
from ..files.folder import Folder
from ..files.typed_json import parse_object
from ..metrics import record as records
from ..metrics.record import Record
from . import writer
from .chart import line_chart
from .config_rows import flatten, text_of
from .layout import choose_layout, grid_legend
from .reals import reals_legend
from .sample_files import SAMPLES, SOUNDS, grid_names, step_of
from .view import choose_view

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
figure ul { list-style: none; margin: .5rem 0 0; padding: 0; }
figure li { display: flex; align-items: center; gap: .6rem; margin: .3rem 0; }
audio { flex: 1; min-width: 0; max-width: 24rem; height: 2.2rem; }
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


def _training_curves(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Draws a chart for each group of metrics in the log."""
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


def _metric_curves(found: Sequence[Record]) -> list[str]:
    """Draws a chart for each metric, and features, that was measured at more than one step."""
    lines: dict[tuple[str, str], list[tuple[float, float | None]]] = {}
    for record in found:
        if record.step is not None:
            lines.setdefault((record.metric, record.features), []).append((record.step, _finite(record.value)))
    return [
        f"<figure><h2>{escape(metric)}</h2><figcaption>{escape(features)}</figcaption>"
        f"{line_chart({metric: sorted(points)}, 'step', metric)}</figure>"
        for (metric, features), points in lines.items()
        if len({step for step, _ in points}) > 1
    ]


def _last_metrics(found: Sequence[Record]) -> str:
    """Makes a table of the records of the last step; of all records if none has a step."""
    steps = [record.step for record in found if record.step is not None]
    last = [record for record in found if record.step == max(steps)] if steps else list(found)
    return _table([(record.metric, record.text()) for record in last])


def _finite(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _table(rows: Sequence[tuple[str, str]]) -> str:
    cells = "\n".join(f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>" for name, text in rows)
    return f"<table>{cells}</table>"


def _samples(workdir: Path, legends: Mapping[str, str]) -> list[str]:
    """Shows the reals, the last sample grid and the GIF of a run; beside a grid, clips that play and sounds."""
    folder = Folder(workdir)
    there = {*folder.names(f"{SAMPLES}/*"), *folder.names("samples.gif")}
    steps = [step for name in there if name.endswith(".png") and (step := step_of(name)) is not None]
    last, figures = max(steps, default=0), []
    captions = {"reals": "Reals, as the networks see them", "samples": f"Samples at step {last}"}
    for kind, name in grid_names(last).items():
        what, clips, _ = kind.partition(".gif")
        sounds = [f"{name.removesuffix('.png')}_{index}.wav" for index in range(SOUNDS)]
        caption = f"{captions[what]}{', playing' if clips else ''}{_more(legends, kind)}"
        figures.append((name, caption, [sound for sound in sounds if sound in there]))
    figures.append(("samples.gif", "Samples over the run", []))
    return [_figure(*figure) for figure in figures if figure[0] in there]


def _figure(name: str, caption: str, sounds: Sequence[str]) -> str:
    players = "".join(
        f'<li>{number} <audio controls preload="metadata" src="{escape(quote(sound))}"></audio></li>'
        for number, sound in enumerate(sounds, 1)
    )
    return (
        f'<figure><img src="{escape(quote(name))}" alt="{escape(caption)}">'
        f"<figcaption>{escape(caption)}</figcaption>{players and f'<ul>{players}</ul>'}</figure>"
    )


def _more(legends: Mapping[str, str], kind: str) -> str:
    return f". {legends[kind][0].upper()}{legends[kind][1:]}" if kind in legends else ""


def _summary(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return "no metrics yet"
    last = rows[-1]
    parts = [f"step {last['step']}"]
    if images := _finite(last.get("images")):
        parts.append(f"{images / 1000:g} kimg")
    speeds = sorted(row["images_per_second"] for row in rows if _finite(row.get("images_per_second")))
    if speeds:
        parts.append(f"{speeds[len(speeds) // 2]:.0f} images/s (median)")
    return ", ".join(parts)


def _config(workdir: Path) -> dict[str, object]:
    try:
        return parse_object(Folder(workdir).read("config.json"))
    except (OSError, ValueError):  # a page without the config is better than no page
        return {}


def _changes(workdir: Path) -> str:
    """Makes a table of what the run changed on the way; empty if it changed nothing."""
    found, _ = json_lines.read(Folder(workdir), "history.jsonl", dict)
    keys = ("step", "field", "before", "after", "text")
    values = [[text_of(row.get(key)) for key in keys] for row in found]
    rows = [
        (f"step {step}", f"{field}: {words if 'text' in row else f'{before} -> {after}'}")
        for row, (step, field, before, after, words) in zip(found, values)
    ]
    return "<h2>Changes on the way</h2>" + _table(rows) if rows else ""


def make_legends(source: Source, conditional: bool, count: int, paired: bool = False) -> dict[str, str]:
    """Says what is where in the grids of a run: of reals ("reals"), of samples ("samples"), and of clips.

    "reals.gif" and "samples.gif" are the clips beside these grids.

    Args:
        source: the data of the run.
        conditional: whether the samples of the run have classes.
        count: the samples in a sample grid.
        paired: whether sample i is made from row i of the data.
    """
    if paired:
        return {"reals": "each real sample is in the place of the sample that is made from it"}
    view, names = choose_view(tuple(source.shape)), class_names(source)
    shown = view.shown(count, len(names) if names is not None and conditional else None)

    def of_samples(size: tuple[int, int] | None) -> str | None:
        if names is None or not conditional:
            return None
        return grid_legend(names[:shown], size and choose_layout(shown, *size, len(names)))

    legends = {"reals": [view.legend, reals_legend(source)], "samples": [view.legend, of_samples(view.size)]}
    if view.frame is not None:
        legends |= {"reals.gif": [reals_legend(source, view.frame)], "samples.gif": [of_samples(view.frame)]}
    return {kind: text for kind, texts in legends.items() if (text := "; ".join(filter(None, texts)))}


def page(workdir: str | Path, legends: Mapping[str, str] = MappingProxyType({})) -> Path:
    """Writes `report.html` into a run's workdir and returns its path.

    It shows `metrics.jsonl`, `evaluations.jsonl`, `config.json`, `samples/reals.png`, the last
    `samples/step_*.png`, what lies beside both, and `samples.gif`, as far as they exist. It refers to
    these files by relative links. `legends`: see `make_legends`.
    """
    workdir = Path(workdir)
    rows, note_of_log = writer.read(workdir)
    config = _config(workdir)
    name = str(config.get("name") or workdir.resolve().name)
    sections = [f"<h1>{escape(name)}</h1>", f"<p>{escape(_summary(rows))}</p>"]
    found, note_of_records = records.read(workdir / records.EVALUATIONS)
    sections += [f"<p>{escape(note)}</p>" for note in (note_of_log, note_of_records) if note]
    for title, figures in (
        ("Samples", _samples(workdir, legends)),
        ("", _training_curves(rows)),
        ("", _metric_curves(found)),
    ):
        if figures:
            heading = f"<h2>{title}</h2>" if title else ""
            sections.append(f'{heading}<div class="row">\n' + "\n".join(figures) + "\n</div>")
    if found:
        sections.append("<h2>Last metrics</h2>" + _last_metrics(found))
    if rows:
        line = [(k, f"{v:.6g}" if isinstance(v, float) else text_of(v)) for k, v in rows[-1].items()]
        sections.append("<h2>Last line of the log</h2>" + _table(line))
    sections.append(_changes(workdir))
    if config:
        sections.append("<h2>Config</h2>" + _table(flatten(config)))
    head = '<meta charset="utf-8">\n<meta name="viewport" content="width=device-width">\n'
    head += f"<title>{escape(name)}</title>"
    text = f'<!doctype html>\n<html lang="en">\n<head>\n{head}\n<style>{STYLE}</style>\n</head>\n<body>\n'
    text += "\n".join(sections) + "\n</body>\n</html>\n"
    Folder(workdir).write("report.html", text.encode(errors="backslashreplace"), sync=False)
    return workdir / "report.html"
