"""The report page of a run: one HTML file with curves, the last samples, the metrics and the config."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

from ..files import json_lines
from ..files.folder import Folder
from ..metrics import record as records
from ..metrics.record import Record
from .chart import line_chart
from .config_rows import flatten, text_of
from .page_style import SCRIPT, STYLE
from .progress import Progress, read_config, read_progress
from .run_rows import RunRows
from .sample_files import SAMPLES, SOUNDS, grid_names, step_of


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


def page(
    workdir: str | Path,
    legends: Mapping[str, str] = MappingProxyType({}),
    *,
    live: bool = False,
    rows: RunRows | None = None,
) -> Path:
    """Writes `report.html` into a run's workdir and returns its path; see `render`."""
    text = render(Path(workdir), legends, live=live, rows=rows)
    Folder(workdir).write("report.html", text.encode(errors="backslashreplace"), sync=False)
    return Path(workdir) / "report.html"


def render(
    workdir: Path,
    legends: Mapping[str, str] = MappingProxyType({}),
    *,
    live: bool = False,
    rows: RunRows | None = None,
) -> str:
    """Returns the page of a run as HTML.

    It shows `metrics.jsonl`, `evaluations.jsonl`, `config.json`, `samples/reals.png`, the last
    `samples/step_*.png`, what lies beside both, and `samples.gif`, as far as they exist. It refers to
    these files by relative links.

    Args:
        workdir: of the run.
        legends: see `make_legends`.
        live: whether the page says how far the run is, and reloads itself every 10 s until the run is finished.
        rows: of the workdir, kept by a caller that draws the page again and again.
    """
    logged, note_of_log = (RunRows(workdir) if rows is None else rows).read()
    config = read_config(workdir)
    name = str(config.get("name") or workdir.resolve().name)
    sections = [f"<h1>{escape(name)}</h1>"]
    progress = read_progress(workdir, logged, config)
    live = live and progress.state != "finished"
    sections.append(_live(progress) if live else f"<p>{escape(_summary(logged))}</p>")
    found, note_of_records = records.read(workdir / records.EVALUATIONS)
    sections += [f"<p>{escape(note)}</p>" for note in (note_of_log, note_of_records) if note]
    for title, figures in (
        ("Samples", _samples(workdir, legends)),
        ("", _training_curves(logged)),
        ("", _metric_curves(found)),
    ):
        if figures:
            heading = f"<h2>{title}</h2>" if title else ""
            sections.append(f'{heading}<div class="row">\n' + "\n".join(figures) + "\n</div>")
    if found:
        sections.append("<h2>Last metrics</h2>" + _last_metrics(found))
    if logged:
        line = [(k, f"{v:.6g}" if isinstance(v, float) else text_of(v)) for k, v in logged[-1].items()]
        sections.append("<h2>Last line of the log</h2>" + _table(line))
    sections.append(_changes(workdir))
    if config:
        sections.append("<h2>Config</h2>" + _table(flatten(config)))
    head = '<meta charset="utf-8">\n<meta name="viewport" content="width=device-width">\n'
    head += f"<title>{escape(name)}</title>"
    text = f'<!doctype html>\n<html lang="en">\n<head>\n{head}\n<style>{STYLE}</style>\n</head>\n<body>\n'
    script = f"<script>{SCRIPT}</script>\n" if live else ""
    return text + "\n".join(sections) + f"\n{script}</body>\n</html>\n"


def _live(progress: Progress) -> str:
    """Says how far a run is. The script counts on from the age of the last news."""
    bar = f'<progress max="{progress.steps}" value="{progress.step}"></progress>' if progress.steps else ""
    age = "" if progress.age is None else f' data-age="{progress.age:.1f}"'
    news = f'<p id="news"{age}>{escape(progress.news())}</p>'
    return f"{bar}<p>{escape(progress.text())}</p>{news}"
