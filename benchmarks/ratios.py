"""Two ratios that a wrong formulation breaks by 5 to 40 times: `python -m benchmarks.ratios`, run by CI.

Forward and gradients of a transposed convolution to those of the plain one, and fused steps to single ones. Best
of five of each, so that a busy machine does not matter.
"""

import sys
from collections.abc import Mapping

from .cases import CASES
from .parts import convolutions
from .runners import Runner, ours
from .timing import interleaved

LIMITS = {"transposed convolution to convolution": 5.0, "fused step to single step": 1.5}


def ratio(variants: Mapping[str, Runner], one: str, other: str) -> float:
    """How many times as long a step of `one` takes as one of `other`, best of five."""
    found = interleaved({name: runner.run for name, runner in variants.items()}, rounds=5, seconds=0.2)
    best = {name: found[name].least / variants[name].steps for name in (one, other)}
    return best[one] / best[other]


def main() -> int:
    case = CASES["dcgan32"]
    steps = {"single": ours(case), "fused": ours(case, fuse=case.fuse)}
    found = {
        "transposed convolution to convolution": ratio(convolutions(), "conv_transpose", "conv"),
        "fused step to single step": ratio(steps, "fused", "single"),
    }
    for name, value in found.items():
        print(f"{name}: {value:.2f} (limit {LIMITS[name]})")
    return 0 if all(value < LIMITS[name] for name, value in found.items()) else 1


if __name__ == "__main__":
    sys.exit(main())
