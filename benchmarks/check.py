"""Checks correctness before speed on this computer: `python -m benchmarks.check`.

Two checks: all modes of a step give the same result (8 steps of SGD with full float32 products), and a run that is
stopped and resumed ends with the same bits as an undisturbed run. On a GPU the second check needs
XLA_FLAGS=--xla_gpu_deterministic_ops=true.
"""

import argparse
import dataclasses
import os
import sys
import tempfile
from collections.abc import Sequence

import jax
import numpy as np

import gan_jax
from gan_jax.types import PyTree

from .cases import CASES, init
from .runners import make_step, place

_STEPS = 8


def mode_difference(name: str, batch: int) -> float:
    """Returns the largest difference between any mode's parameters and EMA and those of plain jit.

    Use cases without batch norm. At these sizes batch norm makes gradients so small that a single rectifier which
    rounding pushes across its kink changes them by a hundredth. The tests cover small GANs with batch norm.
    """
    case = dataclasses.replace(CASES[name], batch=batch)
    sgd = gan_jax.optimizers.sgd(1e-3)
    gan = case.gan(generator_tx=sgd, discriminator_tx=sgd)
    images = np.random.default_rng(1).integers(0, 256, (_STEPS, batch, *case.shape), np.uint8)

    def train(mode: str, fuse: int = 1) -> PyTree:
        step, mesh = make_step(gan, mode, fuse)
        state: PyTree = init(case, gan)
        for start in range(0, _STEPS, fuse):
            batch = {"image": images[start : start + fuse] if fuse > 1 else images[start]}
            state, _ = step(*place(step, mesh, state, batch))
        return jax.tree.map(np.array, (state.generator.params, state.discriminator.params, state.ema))

    with jax.default_matmul_precision("highest"):
        expected = jax.tree.leaves(train("jit"))
        others = [train("shard"), train("pmap"), train("jit", fuse=4)]
    pairs = [(a, b) for other in others for a, b in zip(jax.tree.leaves(other), expected)]
    return max(float(np.max(np.abs(a - b))) for a, b in pairs)


def resume_is_exact(steps: int = 40) -> bool:
    """Returns whether half of the digits' `steps` and as many resumed steps end with the digest of all at once."""
    from gan_jax.config import load, override
    from gan_jax.train import train

    config = override(load("digits"), ["log.tensorboard=false", "sample.every=1000", "checkpoint.every=1000"])

    def digest(folder: str, *stops: int) -> str | None:
        with open(os.devnull, "w") as quiet:
            return [train(dataclasses.replace(config, steps=s), folder, stream=quiet) for s in stops][-1]

    with tempfile.TemporaryDirectory() as whole, tempfile.TemporaryDirectory() as resumed:
        return digest(whole, steps) == digest(resumed, steps // 2, steps)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.check")
    parser.add_argument("--toy", action="store_true", help="the smallest sizes, to see that the command runs")
    toy = parser.parse_args(arguments).toy
    sizes = {"mlp28": 8} if toy else {"mlp28": 32, "resnet32_r1r2": 8}
    difference = max(mode_difference(name, batch) for name, batch in sizes.items())
    exact = resume_is_exact(4 if toy else 40)
    print(f"modes differ by at most {difference:.1e}; resume is {'exact' if exact else 'NOT exact'}")
    return 0 if difference < 1e-5 and exact else 1


if __name__ == "__main__":
    sys.exit(main())
