"""Compares a start from another run's weights with a start from nothing: `python -m benchmarks.quality.transfer`.

The other run is the recipe `digits`: ten classes at 16 pixels. The new data are 300 shapes of three classes, which
this file draws: rings, triangles and crosses, with a random place, size, angle and thickness. All runs have the
same config, so equal steps are equal time. The Frechet distance compares 3,000 samples with 3,000 other shapes of
the same kinds. Its features are those of a classifier that was trained on these 3,000, which no run has seen.
"""

import argparse
import io
import statistics
from pathlib import Path

import numpy as np

from gan_jax.config import Config, load, override
from gan_jax.config.build import make_source
from gan_jax.metrics.evaluator import Evaluator, generate_images
from gan_jax.metrics.features.choose import make_extractor
from gan_jax.metrics.record import Record, append
from gan_jax.runtime.machine import cpu_model
from gan_jax.train import train
from gan_jax.train.open_run import open_run

_RESULTS = Path("benchmarks/results")
_SIDE, _COUNT = 16, 3000
_STEPS = (150, 300, 600)  # at which a run is scored
_SETTINGS = [
    "conditional=true", "augment=diff_augment", f"steps={_STEPS[-1]}", "checkpoint.every=150", "checkpoint.keep=9",
    "sample.every=10000", "log.tensorboard=false", "sample.gif=false",
]  # fmt: skip


def shapes(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draws grey shapes, uint8 `[N, 16, 16, 1]`, with labels 0 (ring), 1 (triangle) and 2 (cross)."""
    random = np.random.default_rng(seed)
    label = np.arange(count) % 3
    center, radius = random.uniform(-2, 2, (2, count, 1, 1)), random.uniform(3, 5.5, (count, 1, 1))
    angle, thickness = random.uniform(0, 2 * np.pi, (count, 1, 1)), random.uniform(0.8, 1.6, (count, 1, 1))
    y, x = np.mgrid[:_SIDE, :_SIDE] - (_SIDE - 1) / 2
    y, x = y - center[0], x - center[1]
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    thirds = [u * np.cos(a) + v * np.sin(a) for a in 2 * np.pi * np.arange(3) / 3]
    bars = [np.maximum(np.abs(a), np.abs(b) - radius) for a, b in ((u, v), (v, u))]
    distances = [np.abs(np.hypot(u, v) - radius), np.abs(np.max(thirds, axis=0) - radius / 2), np.minimum(*bars)]
    distance = np.choose(label[:, None, None], distances)
    image = 255 * np.clip(thickness + 0.5 - distance, 0, 1)
    return np.round(image).astype(np.uint8)[..., None], label.astype(np.int32)


def _config(path: Path, *words: str) -> Config:
    return override(load("digits"), [*_SETTINGS, "data.source=npz", f"data.source.path={path}", *words])


def _score(evaluator: Evaluator, workdir: Path, seed: int, way: str) -> list[Record]:
    """Scores the moving average of one run at each of `_STEPS`."""
    found = []
    for step in _STEPS:
        run = open_run(workdir, step)
        images = generate_images(run.sampler(seed), run.state.ema, _COUNT, evaluator.wanted_labels(_COUNT))
        found += evaluator.score(images, seed=seed, step=step, options={"way": way, "cpu": cpu_model()})
    return found


def table(records: list[Record]) -> str:
    """Returns a Markdown table: a row for each way to start, with median, minimum and maximum over the seeds."""
    rows = []
    for way in dict.fromkeys(str(record.options["way"]) for record in records):
        cells = []
        for step in _STEPS:
            values = [r.value for r in records if r.options["way"] == way and r.step == step]
            cells.append(f"{statistics.median(values):.2f} [{min(values):.2f}, {max(values):.2f}]")
        rows.append(f"| {way} | {' | '.join(cells)} |")
    head = f"| start | {' | '.join(f'{step} steps' for step in _STEPS)} |"
    return "\n".join([head, "|---" * (1 + len(_STEPS)) + "|", *rows])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality.transfer", description=__doc__)
    parser.add_argument("--home", type=Path, default=Path("runs/transfer"), help="folder of the runs")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--source-steps", type=int, default=1000, help="training of the run with ten classes")
    parser.add_argument("--results", type=Path, default=_RESULTS)
    arguments = parser.parse_args()
    home, results = arguments.home.absolute(), arguments.results
    home.mkdir(parents=True, exist_ok=True)
    for name, count, seed in (("train", 300, 0), ("test", _COUNT, 1)):
        image, label = shapes(count, seed)
        np.savez(home / f"{name}.npz", image=image, label=label)
    words = [f"steps={arguments.source_steps}", "sample.every=10000", "log.tensorboard=false", "sample.gif=false"]
    train(override(load("digits"), words), home / "digits", stream=io.StringIO())
    test = make_source(_config(home / "test.npz"))
    evaluator = Evaluator(test, make_extractor(load("digits").metrics.features, test), ["frechet"])
    ways = {
        "from nothing": [],
        "init_from=digits": [f"init_from={home / 'digits'}"],
        "init_from=digits, freeze_discriminator=1": [f"init_from={home / 'digits'}", "freeze_discriminator=1"],
    }
    records: list[Record] = []
    for seed in range(1, arguments.seeds + 1):
        for number, (way, more) in enumerate(ways.items()):
            workdir = home / f"way_{number}_seed_{seed}"
            train(_config(home / "train.npz", f"seed={seed}", *more), workdir, stream=io.StringIO())
            records += _score(evaluator, workdir, seed, way)
            print(way, seed, [round(record.value, 2) for record in records[-len(_STEPS) :]], flush=True)
    (results / "transfer.jsonl").unlink(missing_ok=True)
    for record in records:
        append(results / "transfer.jsonl", record)
    text = f"# Transfer from ten digits to 300 shapes of three classes\n\n{__doc__}\n{table(records)}\n\n"
    text += f"Median over {arguments.seeds} seeds, with minimum and maximum in brackets; lower is better. "
    text += f"{arguments.source_steps} steps of `digits` come first. {cpu_model()}. Records: `transfer.jsonl`.\n"
    (results / "transfer.md").write_text(text)
    print(table(records))


if __name__ == "__main__":
    main()
