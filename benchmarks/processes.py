"""Measurements in other processes: the start of a run, and several devices on a computer with one device."""

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import jax

from .cases import CASES
from .runners import Runner, ours
from .timing import Sample, interleaved, summarize


def starts(count: int) -> dict[str, Sample]:
    """Measures the milliseconds from the start of a process to its first step, on the recipe `digits`.

    Returns:
        Samples for "cold cache" (no compiled programs are stored) and for "warm cache" (all are stored).
    """
    times: dict[str, list[float]] = {"cold cache": [], "warm cache": []}
    for _ in range(count):
        with tempfile.TemporaryDirectory(prefix="gan_jax-benchmark-") as folder:
            times["cold cache"].append(_start(Path(folder), "one"))
            times["warm cache"].append(_start(Path(folder), "two"))
    return {name: summarize(values) for name, values in times.items()}


def _start(folder: Path, workdir: str) -> float:
    words = ["train", "digits", "steps=10", "--workdir", str(folder / workdir), "--timings"]
    # Without these variables, the compilation cache lies below XDG_CACHE_HOME.
    environment = {k: v for k, v in os.environ.items() if k not in ("JAX_COMPILATION_CACHE_DIR", "GAN_JAX_CACHE")}
    process = subprocess.run(
        [sys.executable, "-m", "gan_jax", *words], env={**environment, "XDG_CACHE_HOME": str(folder)},
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    return 1e3 * json.loads(process.stdout.splitlines()[0])["total"]


def scaling(case: str, batch: int, devices: int, rounds: int) -> Iterator[tuple[str, Runner, Sample]]:
    """Yields `(mode, runner, sample)` of a step over `devices` devices.

    If JAX has fewer devices, another process measures on as many virtual CPU devices.
    """
    if jax.device_count() >= devices:
        sized = dataclasses.replace(CASES[case], batch=batch)
        runners = {mode: ours(sized, mode, devices=devices) for mode in ("shard", "pmap")}
        for mode, sample in interleaved({m: r.run for m, r in runners.items()}, rounds).items():
            yield mode, runners[mode], sample
        return
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}".strip()
    words = [case, str(batch), str(devices), str(rounds)]
    process = subprocess.run(
        [sys.executable, "-m", __name__, *words], env={**os.environ, "XLA_FLAGS": flags},
        capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    for mode, values, facts in json.loads(process.stdout.splitlines()[-1]):
        yield mode, Runner(lambda n: None, **facts), Sample(*values)


def main() -> None:
    case, batch, devices, rounds = sys.argv[1:]
    results = []
    for mode, runner, sample in scaling(case, int(batch), int(devices), int(rounds)):
        facts = {name: getattr(runner, name) for name in ("compile_s", "first_s", "flops", "memory_bytes")}
        results.append((mode, sample, facts))
    print(json.dumps(results))


if __name__ == "__main__":
    main()
