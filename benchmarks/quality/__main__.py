"""`python -m benchmarks.quality`: trains what is left to train, scores what is left to score, writes the table.

Stopped and started again it goes on: runs that had their time are kept, one that was interrupted starts anew.
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
    used = records[0].options["versions"] if records else {}
    versions = ", ".join(f"{name} {version}" for name, version in used.items())
    done = sum(finished(contestant, home, seconds) is not None for contestant in contestants)
    return f"""# Fashion-MNIST, {seconds / 60:g} minutes on one thread

Made by `python -m benchmarks.quality`: {done} runs of {seconds:g} seconds each, from the start of the process
(imports, reading the data and compiling included; nothing compiled is kept), each pinned to one hardware thread of
{cpu_model() or "the processor"}, two runs side by side. Frechet distances of {COUNT:,} samples and {REFERENCE:,}
training images: medians over the seeds, the lowest and the highest in brackets; lower is better. They are not FID.
`torch_dcgan` is the PyTorch tutorial's DCGAN at 28 pixels (`benchmarks/quality/torch_dcgan.py`); the others are
`configs/fashion_mnist_<model>.py`, sampled from the generator's moving average, which the tutorial has none of.

{table(contestants, home, seconds)}

A small R3GAN sees fewer images in the time than the others: its convolutions run at full resolution, and two
penalties need gradients of gradients. It is here for its place in the order at a small budget, not as its best.

Features:

{extractors}

Versions: {versions}. Every record: `quality.jsonl`.
"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__)
    parser.add_argument("--home", type=Path, default=Path("runs/quality"), help="where the runs live")
    parser.add_argument("--seconds", type=float, default=480, help="of each run (480)")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--models", default=",".join(_NAMES), help=f"of {', '.join(_NAMES)}")
    parser.add_argument("--score-only", action="store_true", help="train nothing")
    parser.add_argument("--results", type=Path, default=_RESULTS)
    arguments = parser.parse_args()
    names = arguments.models.split(",")
    if unknown := set(names) - set(_NAMES):
        parser.error(f"no model {', '.join(sorted(unknown))}: there are {', '.join(_NAMES)}")
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
