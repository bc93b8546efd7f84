"""Correctness before speed, on the machine at hand: `python -m benchmarks.check`.

The modes of one step give one result (8 steps of SGD, full float32 products), and a run that stops and goes on
ends with the bits of one that did not (on a GPU under XLA_FLAGS=--xla_gpu_deterministic_ops=true).
"""

import dataclasses
import os
import runpy
import sys
import tempfile
from pathlib import Path
from typing import Any

import jax
import numpy as np

import gan_jax

from .cases import CASES, init
from .runners import placed, wrapped

_STEPS = 8


def modes(name: str, batch: int) -> float:
    """The largest difference that any mode's state shows against plain jit's.

    Of games without batch norm: at these sizes it leaves so little of a gradient that one rectifier's kink, on the
    other side by rounding, changes a hundredth of it. The tests play small games with batch norm.
    """
    case = dataclasses.replace(CASES[name], batch=batch)
    sgd = gan_jax.optimizers.sgd(1e-3)
    gan = case.gan(generator_tx=sgd, discriminator_tx=sgd)
    images = np.random.default_rng(1).integers(0, 256, (_STEPS, batch, *case.shape), np.uint8)

    def played(mode: str, fuse: int = 1) -> Any:
        step, mesh = wrapped(gan, mode, fuse)
        state: Any = init(case, gan)
        for start in range(0, _STEPS, fuse):
            rows = {"image": images[start : start + fuse] if fuse > 1 else images[start]}
            state, _ = step(*placed(step, mesh, state, rows))
        return jax.tree.map(np.array, (state.generator.params, state.discriminator.params, state.ema))

    with jax.default_matmul_precision("highest"):
        expected = jax.tree.leaves(played("jit"))
        others = [played("shard"), played("pmap"), played("jit", fuse=4)]
    pairs = [(a, b) for other in others for a, b in zip(jax.tree.leaves(other), expected)]
    return max(float(np.max(np.abs(a - b))) for a, b in pairs)


def resume() -> bool:
    """Whether 20 steps and 20 more of the digits end with the digest of 40."""
    from gan_jax.config import override
    from gan_jax.train import train

    here = Path(__file__).resolve().parent
    path = next(p for p in (here.parent / "configs/digits.py", Path("configs/digits.py")) if p.is_file())
    words = ["log.tensorboard=false", "sample.every=1000", "checkpoint.every=1000"]
    config = override(runpy.run_path(str(path))["get_config"](), words)

    def digest(folder: str, *stops: int) -> str | None:
        with open(os.devnull, "w") as quiet:
            return [train(dataclasses.replace(config, steps=s), folder, stream=quiet) for s in stops][-1]

    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        return digest(one, 40) == digest(other, 20, 40)


def main() -> int:
    difference, exact = max(modes("mlp28", 32), modes("resnet32_r1r2", 8)), resume()
    print(f"modes: largest difference {difference:.1e}; resume: {'exact' if exact else 'NOT exact'}")
    return 0 if difference < 1e-5 and exact else 1


if __name__ == "__main__":
    sys.exit(main())
