"""One contestant's training: a process on a core of its own, for as long as the others had."""

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
from typing import NamedTuple

from gan_jax import config as configs

_DONE = "done.json"
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "torch")
_STEPS = 10_000_000  # more than the time allows


class Contestant(NamedTuple):
    """name: a config `configs/fashion_mnist_<name>.py`, or "torch_dcgan". seed: of everything in the run."""

    name: str
    seed: int

    def folder(self, home: Path) -> Path:
        return home / f"{self.name}_{self.seed}"

    def command(self, home: Path, seconds: float) -> list[str]:
        """What trains it, until the process is so old."""
        if self.name == "torch_dcgan":
            module, words = "benchmarks.quality.torch_dcgan", [str(self.folder(home)), f"--seconds={seconds:g}"]
            return [sys.executable, "-m", module, *words, f"--seed={self.seed}"]
        words = ["train", f"configs/fashion_mnist_{self.name}.py", "--workdir", str(self.folder(home))]
        words += [f"--max-time={seconds:g}s", f"steps={_STEPS}", f"seed={self.seed}", "log.tensorboard=false"]
        words += [f"checkpoint.every={_STEPS}", f"sample.every={_STEPS}", "sample.gif=false", "metrics.every=0"]
        return [sys.executable, "-m", "gan_jax", *words]


def recipe(contestant: Contestant) -> str:
    """A digest of what is trained, the config or the PyTorch script: a run of another one is not this run."""
    if contestant.name == "torch_dcgan":
        content = Path(__file__).with_name("torch_dcgan.py").read_bytes()
    else:
        config = configs.load(f"configs/fashion_mnist_{contestant.name}.py")
        content = json.dumps(configs.to_json(config), sort_keys=True).encode()
    return hashlib.sha256(content).hexdigest()[:12]


def finished(contestant: Contestant, home: Path, seconds: float) -> dict | None:
    """What is known of a run of this recipe that had its time: seconds, steps, batch; None of any other."""
    path = contestant.folder(home) / _DONE
    known = json.loads(path.read_text()) if path.is_file() else {}
    same = known.get("budget") == seconds and known.get("recipe") == recipe(contestant)
    return known if same else None


def train_all(contestants: Sequence[Contestant], home: Path, seconds: float, cores: Sequence[int]) -> None:
    """Trains those that have not had their time, as many side by side as there are cores.

    A run that was interrupted starts anew: half of its time with a machine to itself would be no equal time.
    """
    home.mkdir(parents=True, exist_ok=True)
    free: Queue[int] = Queue()
    for core in cores:
        free.put(core)

    def one(contestant: Contestant) -> None:
        core = free.get()
        try:
            _train(contestant, home, seconds, core)
        finally:
            free.put(core)

    left = [contestant for contestant in contestants if finished(contestant, home, seconds) is None]
    with ThreadPoolExecutor(len(cores)) as pool:
        for result in [pool.submit(one, contestant) for contestant in left]:
            result.result()


def _train(contestant: Contestant, home: Path, seconds: float, core: int) -> None:
    folder = contestant.folder(home)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    print(f"{contestant.name}, seed {contestant.seed}: {seconds:g} s on core {core}", flush=True)
    # No compiled programs are kept: every run of ours compiles from nothing, within its time.
    alone = {"OMP_NUM_THREADS": "1", "GAN_JAX_CACHE": "off"}
    began = time.time()
    with open(folder / "output.txt", "w") as output:
        process = subprocess.run(
            ["taskset", "-c", str(core), *contestant.command(home, seconds)],
            stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **alone},
        )  # fmt: skip
    if process.returncode not in (0, 75):
        raise RuntimeError(f"{contestant.name} ended with code {process.returncode}: see {folder / 'output.txt'}")
    known = {
        "seconds": round(time.time() - began, 1),
        "budget": seconds,
        "core": core,
        "recipe": recipe(contestant),
        "versions": {name: metadata.version(name) for name in _PACKAGES},
        **_steps(contestant, folder),
    }
    (folder / _DONE).write_text(json.dumps(known))


def _steps(contestant: Contestant, folder: Path) -> dict[str, int]:
    if contestant.name == "torch_dcgan":
        return json.loads((folder / "steps.json").read_text())
    steps = max(int(path.parent.name) for path in (folder / "checkpoints").glob("*/manifest.json"))
    return {"steps": steps, "batch": json.loads((folder / "config.json").read_text())["batch"]}
