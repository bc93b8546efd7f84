"""What needs processes of its own: a run's start, and several devices on a machine that has one."""

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

from .cases import CASES
from .runners import Runner, ours
from .timing import Sample, interleaved, sampled

_CONFIG = Path("configs") / "digits.py"


def starts(count: int) -> dict[str, Sample]:
    """Milliseconds from a process start to its first step of the digits, with an empty cache and with a full one.

    Raises:
        ValueError: there is no configs/digits.py from here.
    """
    if not _CONFIG.is_file():
        raise ValueError("the suite startup trains configs/digits.py: run it in a clone of the repository")
    taken: dict[str, list[float]] = {"cold cache": [], "warm cache": []}
    for _ in range(count):
        with tempfile.TemporaryDirectory(prefix="gan_jax-benchmark-") as folder:
            taken["cold cache"].append(_start(Path(folder), "one"))
            taken["warm cache"].append(_start(Path(folder), "two"))
    return {name: sampled(values) for name, values in taken.items()}


def _start(folder: Path, workdir: str) -> float:
    words = ["train", str(_CONFIG), "steps=10", "--workdir", str(folder / workdir), "--timings"]
    # Without a folder that JAX was given, the cache lies below this one.
    environment = {k: v for k, v in os.environ.items() if k not in ("JAX_COMPILATION_CACHE_DIR", "GAN_JAX_CACHE")}
    done = subprocess.run(
        [sys.executable, "-m", "gan_jax", *words], env={**environment, "XDG_CACHE_HOME": str(folder)},
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    return 1e3 * json.loads(done.stdout.splitlines()[0])["total"]


def scaling(case: str, batch: int, devices: int, rounds: int) -> Iterator[tuple[str, Runner, Sample]]:
    """`(mode, runner, sample)` of a step over some devices; on a CPU virtual ones, in another process."""
    if jax.device_count() >= devices:
        sized = dataclasses.replace(CASES[case], batch=batch)
        runners = {mode: ours(sized, mode, devices=devices) for mode in ("shard", "pmap")}
        for mode, sample in interleaved({m: r.run for m, r in runners.items()}, rounds).items():
            yield mode, runners[mode], sample
        return
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}".strip()
    words = [case, str(batch), str(devices), str(rounds)]
    done = subprocess.run(
        [sys.executable, "-m", __name__, *words], env={**os.environ, "XLA_FLAGS": flags},
        capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    for mode, values, facts in json.loads(done.stdout.splitlines()[-1]):
        yield mode, Runner(lambda n: None, **facts), Sample(*values)


def main() -> None:
    case, batch, devices, rounds = sys.argv[1:]
    found: list[Any] = []
    for mode, runner, sample in scaling(case, int(batch), int(devices), int(rounds)):
        facts = {name: getattr(runner, name) for name in ("compile_s", "first_s", "flops", "memory_bytes")}
        found.append((mode, sample, facts))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
