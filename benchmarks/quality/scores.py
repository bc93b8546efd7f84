"""Scores all runs with the same metrics and sample count, and formats the table of scores."""

import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from gan_jax import report
from gan_jax.config import Call, load
from gan_jax.config.build import make_source
from gan_jax.metrics.evaluator import Evaluator, generate_images
from gan_jax.metrics.features.choose import make_extractor
from gan_jax.metrics.record import Record, append, read
from gan_jax.train.open_run import open_run

from .runs import Contestant, finished

RECORDS, COUNT, REFERENCE = "records.jsonl", 10_000, 20_000
FEATURES = (Call("classifier"), Call("efficientnet_lite0", pixels=64))
_SHOWN = 64


def samples(contestant: Contestant, home: Path) -> Iterator[np.ndarray]:
    """Yields `COUNT` uint8 images of a finished run, in batches."""
    folder = contestant.folder(home)
    if contestant.name == "torch_dcgan":
        with np.load(folder / "samples.npz", allow_pickle=False) as stored:
            yield stored["image"][:COUNT]
        return
    run = open_run(folder, None)
    yield from generate_images(run.sampler(contestant.seed), run.state.ema, COUNT)


def score_all(contestants: Sequence[Contestant], home: Path, seconds: float) -> None:
    """Scores the finished runs that have no scores yet; writes records and a sample grid to their folders."""
    source = make_source(load("configs/fashion_mnist_dcgan.py"))
    done = [c for c in contestants if finished(c, home, seconds)]
    unscored = [c for c in done if len(read(c.folder(home) / RECORDS)) < len(FEATURES)]
    if not unscored:
        return
    evaluators = [Evaluator(source, make_extractor(call, source), ["frechet"], REFERENCE) for call in FEATURES]
    for contestant in unscored:
        images = list(samples(contestant, home))
        folder = contestant.folder(home)
        report.save_png(folder / "samples.png", report.grid(images[0][:_SHOWN]))
        facts = finished(contestant, home, seconds) or {}
        (folder / RECORDS).unlink(missing_ok=True)
        for evaluator in evaluators:
            options = {"model": contestant.name, **facts}
            for record in evaluator.score(images, seed=contestant.seed, step=facts["steps"], options=options):
                append(folder / RECORDS, record)
                print(contestant.name, contestant.seed, record.text(), flush=True)


def table(contestants: Sequence[Contestant], home: Path, seconds: float) -> str:
    """Returns a Markdown table with a row per model: median, minimum and maximum over its seeds."""
    names = list(dict.fromkeys(contestant.name for contestant in contestants))
    rows = []
    for name in names:
        runs = [c for c in contestants if c.name == name and finished(c, home, seconds)]
        all_scores = [read(c.folder(home) / RECORDS).rows for c in runs]
        scored = [records for records in all_scores if len(records) == len(FEATURES)]
        if not scored:
            rows.append(f"| {name} | not measured |  |  |  |  |")
            continue
        seen = statistics.median(r[0].options["steps"] * r[0].options["batch"] for r in scored)
        cells = [_spread([records[i].value for records in scored]) for i in range(len(FEATURES))]
        batch = scored[0][0].options["batch"]
        rows.append(f"| {name} | {len(scored)} | {batch} | {seen / 1000:,.0f} | {' | '.join(cells)} |")
    head = "| model | seeds | batch | kimg seen | Frechet, classifier | Frechet, EfficientNet-Lite0 |"
    return "\n".join([head, "|---|---|---|---|---|---|", *rows])


def all_records(contestants: Sequence[Contestant], home: Path) -> list[Record]:
    return [record for contestant in contestants for record in read(contestant.folder(home) / RECORDS).rows]


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.2f} [{min(values):.2f}, {max(values):.2f}]"
