"""Trains and scores all models and writes the table: `python -m benchmarks.quality`.

It can be stopped and started again: finished runs and their scores are kept, and an interrupted run starts anew.
"""

import argparse
import json
import os
from pathlib import Path

from gan_jax.runtime.machine import cpu_model

from .runs import Contestant, finished, train_all
from .scores import COUNT, REFERENCE, all_records, score_all, table

_RESULTS = Path("benchmarks/results")
_NAMES = ("dcgan", "sngan", "r3gan", "torch_dcgan")


def _document(contestants: list[Contestant], home: Path, seconds: float) -> str:
    records = all_records(contestants, home)
    extractors = "\n".join(
        sorted({f"- `{r.features}` #{r.weights}, resize: {r.resize}; {r.reference}" for r in records})
    )
    packages = records[0].options["versions"] if records else {}
    versions = ", ".join(f"{name} {version}" for name, version in packages.items())
    done = sum(finished(contestant, home, seconds) is not None for contestant in contestants)
    return f"""# Fashion-MNIST, {seconds / 60:g} minutes on one thread

Written by `python -m benchmarks.quality`: {done} runs of {seconds:g} seconds each, counted from the start of the
process (imports, reading of data and compilation included; no compiled program is kept). Each run has one hardware
thread of {cpu_model() or "the processor"}; two runs train at the same time. The scores are Frechet distances
between {COUNT:,} samples and {REFERENCE:,} training images: the median over the seeds, with minimum and maximum in
brackets. Lower is better. They are not FID. `torch_dcgan` is the PyTorch tutorial's DCGAN at 28 x 28 pixels
(`benchmarks/quality/torch_dcgan.py`), without an EMA. The others are `configs/fashion_mnist_<model>.py`, sampled
from the EMA of the generator.

{table(contestants, home, seconds)}

A small R3GAN sees fewer images in this time than the others: its convolutions run at full resolution, and its two
penalties need second derivatives. The table shows how it compares at a small budget, not the best it can reach.

Features:

{extractors}

Versions: {versions}. Every record: `quality.jsonl`.
"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__)
    parser.add_argument("--home", type=Path, default=Path("runs/quality"), help="folder of the runs")
    parser.add_argument("--seconds", type=float, default=480, help="training time of each run (480)")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--models", default=",".join(_NAMES), help=f"comma-separated names of {', '.join(_NAMES)}")
    parser.add_argument("--score-only", action="store_true", help="train nothing, only score finished runs")
    parser.add_argument("--results", type=Path, default=_RESULTS)
    arguments = parser.parse_args()
    names = arguments.models.split(",")
    if unknown := set(names) - set(_NAMES):
        parser.error(f"no model {', '.join(sorted(unknown))}: the models are {', '.join(_NAMES)}")
    contestants = [Contestant(name, seed) for seed in range(arguments.seeds) for name in names]
    if not arguments.score_only:
        train_all(contestants, arguments.home, arguments.seconds, sorted(os.sched_getaffinity(0))[:2])
    score_all(contestants, arguments.home, arguments.seconds)
    arguments.results.mkdir(parents=True, exist_ok=True)
    with open(arguments.results / "quality.jsonl", "w") as file:
        for record in all_records(contestants, arguments.home):
            file.write(json.dumps(record.to_json(), sort_keys=True) + "\n")
    text = _document(contestants, arguments.home, arguments.seconds)
    (arguments.results / "quality.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
