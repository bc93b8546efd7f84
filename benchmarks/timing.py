"""Interleaved timing. The speed of a computer drifts, so the variants alternate and share the same rounds."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple


class Sample(NamedTuple):
    """Milliseconds per call: median, minimum and maximum of `count` samples."""

    median: float
    least: float
    most: float
    count: int


def summarize(values: list[float]) -> Sample:
    return Sample(statistics.median(values), min(values), max(values), len(values))


def interleaved(
    variants: Mapping[str, Callable[[int], object]], rounds: int = 7, seconds: float = 0.4, pause: float = 0.05
) -> dict[str, Sample]:
    """Times each variant once in every round.

    Args:
        variants: maps a name to `run(n)`, which makes n calls and waits for them.
        rounds: number of samples of each variant. Two calls before the first round warm it up and decide how many
            calls make one sample.
        seconds: how long one sample should take.
        pause: seconds between two variants. Without it, threads of PyTorch's pool still spin after a call and slow
            down the next variant.
    """
    calls: dict[str, int] = {}
    for name, run in variants.items():
        run(1)
        start = time.perf_counter()
        run(1)
        calls[name] = max(1, round(seconds / max(time.perf_counter() - start, 1e-6)))
    times: dict[str, list[float]] = {name: [] for name in variants}
    for round_number in range(rounds):
        # Every other round is reversed, so that no variant always follows the same one.
        for name in list(variants)[:: 1 if round_number % 2 == 0 else -1]:
            time.sleep(pause)
            start = time.perf_counter()
            variants[name](calls[name])
            times[name].append(1e3 * (time.perf_counter() - start) / calls[name])
    return {name: summarize(values) for name, values in times.items()}
