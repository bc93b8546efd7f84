"""Checks two ratios of times, without a stored baseline: `python -m benchmarks.ratios`, run by CI.

The ratios are a transposed convolution (forward and gradients) to a plain one, and a fused step to a single step.
A wrong formulation makes them 5 to 40 times larger. Each time is the best of five, so other load hardly matters.
"""

import sys
from collections.abc import Mapping

from .cases import CASES
from .parts import convolutions
from .runners import Runner, ours
from .timing import interleaved

LIMITS = {"transposed convolution to convolution": 5.0, "fused step to single step": 1.5}


def ratio(variants: Mapping[str, Runner], one: str, other: str) -> float:
    """Returns the time of a step of `one` over that of `other`, each the best of five."""
    samples = interleaved({name: runner.run for name, runner in variants.items()}, rounds=5, seconds=0.2)
    best = {name: samples[name].least / variants[name].steps for name in (one, other)}
    return best[one] / best[other]


def main() -> int:
    case = CASES["dcgan32"]
    steps = {"single": ours(case), "fused": ours(case, fuse=case.fuse)}
    ratios = {
        "transposed convolution to convolution": ratio(convolutions(), "conv_transpose", "conv"),
        "fused step to single step": ratio(steps, "fused", "single"),
    }
    for name, value in ratios.items():
        print(f"{name}: {value:.2f} (limit {LIMITS[name]})")
    return 0 if all(value < LIMITS[name] for name, value in ratios.items()) else 1


if __name__ == "__main__":
    sys.exit(main())
