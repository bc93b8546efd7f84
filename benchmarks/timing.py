"""Interleaved timing: machines drift, so variants take turns and are compared by medians of the same rounds."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple


class Sample(NamedTuple):
    """Milliseconds a call: median, least and most of `count` samples."""

    median: float
    least: float
    most: float
    count: int


def sampled(values: list[float]) -> Sample:
    return Sample(statistics.median(values), min(values), max(values), len(values))


def interleaved(
    variants: Mapping[str, Callable[[int], None]], rounds: int = 7, seconds: float = 0.4, pause: float = 0.05
) -> dict[str, Sample]:
    """Time each variant in every round, one after the other.

    Args:
        variants: name to `run(n)`: n calls, waited for.
        rounds: samples of each; the first round, not counted, also tells how many calls fill `seconds`.
        seconds: how long one sample is to take.
        pause: between two variants. Threads of PyTorch's pool spin after a call and slow down what comes next.
    """
    calls: dict[str, int] = {}
    for name, run in variants.items():
        run(1)
        begun = time.perf_counter()
        run(1)
        calls[name] = max(1, round(seconds / max(time.perf_counter() - begun, 1e-6)))
    taken: dict[str, list[float]] = {name: [] for name in variants}
    for turn in range(rounds):
        for name in list(variants)[:: 1 if turn % 2 == 0 else -1]:  # nobody always follows the same one
            time.sleep(pause)
            begun = time.perf_counter()
            variants[name](calls[name])
            taken[name].append(1e3 * (time.perf_counter() - begun) / calls[name])
    return {name: sampled(values) for name, values in taken.items()}
