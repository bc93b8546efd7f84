"""Trains each contestant in its own process, on its own core, for the same time."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from queue import Queue
from typing import Any, NamedTuple

from gan_jax import config as configs

_DONE = "done.json"
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "torch")
_STEPS = 10_000_000  # more than fit into the time


class Contestant(NamedTuple):
    """A model and a seed.

    Attributes:
        name: a config `configs/fashion_mnist_<name>.py`, or "torch_dcgan".
        seed: the seed of the whole run.
    """

    name: str
    seed: int

    def folder(self, home: Path) -> Path:
        return home / f"{self.name}_{self.seed}"

    def command(self, home: Path, seconds: float) -> list[str]:
        """Returns the command that trains it until its process is `seconds` old."""
        if self.name == "torch_dcgan":
            module, words = "benchmarks.quality.torch_dcgan", [str(self.folder(home)), f"--seconds={seconds:g}"]
            return [sys.executable, "-m", module, *words, f"--seed={self.seed}"]
        words = ["train", f"configs/fashion_mnist_{self.name}.py", "--workdir", str(self.folder(home))]
        words += [f"--max-time={seconds:g}s", f"steps={_STEPS}", f"seed={self.seed}", "log.tensorboard=false"]
        words += [f"checkpoint.every={_STEPS}", f"sample.every={_STEPS}", "sample.gif=false", "metrics.every=0"]
        return [sys.executable, "-m", "gan_jax", *words]


def recipe(contestant: Contestant) -> str:
    """Returns a digest of the config or the PyTorch script. A run with another digest must be repeated."""
    if contestant.name == "torch_dcgan":
        content = Path(__file__).with_name("torch_dcgan.py").read_bytes()
    else:
        config = configs.load(f"configs/fashion_mnist_{contestant.name}.py")
        content = json.dumps(configs.to_json(config), sort_keys=True).encode()
    return hashlib.sha256(content).hexdigest()[:12]


def finished(contestant: Contestant, home: Path, seconds: float) -> dict[str, Any] | None:
    """Returns the facts of a finished run (steps, batch, ...); None if it is unfinished or of another recipe."""
    path = contestant.folder(home) / _DONE
    facts = json.loads(path.read_text()) if path.is_file() else {}
    same = facts.get("budget") == seconds and facts.get("recipe") == recipe(contestant)
    return facts if same else None


def train_all(contestants: Sequence[Contestant], home: Path, seconds: float, cores: Sequence[int]) -> None:
    """Trains the contestants without a finished run, one per core at a time.

    An interrupted run starts anew, so that every run has the same load beside it for its whole time.
    """
    home.mkdir(parents=True, exist_ok=True)
    free_cores: Queue[int] = Queue()
    for core in cores:
        free_cores.put(core)

    def train(contestant: Contestant) -> None:
        core = free_cores.get()
        try:
            _train(contestant, home, seconds, core)
        finally:
            free_cores.put(core)

    unfinished = [contestant for contestant in contestants if finished(contestant, home, seconds) is None]
    with ThreadPoolExecutor(len(cores)) as pool:
        for result in [pool.submit(train, contestant) for contestant in unfinished]:
            result.result()


def _train(contestant: Contestant, home: Path, seconds: float, core: int) -> None:
    folder = contestant.folder(home)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    print(f"{contestant.name}, seed {contestant.seed}: {seconds:g} s on core {core}", flush=True)
    # Without the compilation cache, so that every run compiles its programs within its time.
    variables = {"OMP_NUM_THREADS": "1", "GAN_JAX_CACHE": "off"}
    start = time.time()
    with open(folder / "output.txt", "w") as output:
        process = subprocess.run(
            ["taskset", "-c", str(core), *contestant.command(home, seconds)],
            stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **variables},
        )  # fmt: skip
    if process.returncode not in (0, 75):
        raise RuntimeError(f"{contestant.name} exited with {process.returncode}: see {folder / 'output.txt'}")
    facts = {
        "seconds": round(time.time() - start, 1),
        "budget": seconds,
        "core": core,
        "recipe": recipe(contestant),
        "versions": {name: metadata.version(name) for name in _PACKAGES},
        **_steps(contestant, folder),
    }
    (folder / _DONE).write_text(json.dumps(facts))


def _steps(contestant: Contestant, folder: Path) -> dict[str, int]:
    if contestant.name == "torch_dcgan":
        return json.loads((folder / "steps.json").read_text())
    steps = max(int(path.parent.name) for path in (folder / "checkpoints").glob("*/manifest.json"))
    return {"steps": steps, "batch": json.loads((folder / "config.json").read_text())["batch"]}
