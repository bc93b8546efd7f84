"""How long large photos take until the first step, cold and warm, and how soon Ctrl-C is answered.

    python -m benchmarks.large_photos FOLDER [--count 5000] [--out results.jsonl]

FOLDER gets `--count` JPEG files of 12 megapixels (about 2 MB each), and stays for the next time. A few images are
encoded. Each file is one of them with a comment of its own, so that all contents differ and all are decoded.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from . import machine

_SIDES = (3000, 4000)
_KINDS = 8
_MOMENTS = (1.0, 6.0, 20.0)  # seconds after the start: imports, and twice while photos are decoded


def make(folder: Path, count: int) -> None:
    """Writes the photos that are not there yet."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    kinds = []
    for _ in range(_KINDS):
        coarse = rng.integers(0, 256, (30, 40, 3), np.uint8)
        image = Image.fromarray(coarse).resize((_SIDES[1], _SIDES[0]), Image.Resampling.BICUBIC)
        noisy = np.asarray(image).astype(np.int16) + rng.integers(-6, 7, (*_SIDES, 1), np.int16)
        file = folder / "kind.jpg"
        Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(file, quality=88)
        kinds.append(file.read_bytes())
        file.unlink()
    for number in range(count):
        path = folder / f"{number:05d}.jpg"
        if not path.exists():
            comment = f"{number:08d}".encode()
            body = kinds[number % _KINDS]
            path.write_bytes(body[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + body[2:])


def command(photos: Path, workdir: Path, *more: str) -> list[str]:
    """Returns the command of a short run of DCGAN at 32 pixels."""
    fields = [
        "data.source=folder", f"data.source.path={photos}", "data.source.size=32", "steps=2000", "batch=16",
        "generator.width=16", "discriminator.width=16",
    ]  # fmt: skip
    return [sys.executable, "-m", "gan_jax", "train", "cifar10_dcgan", *fields, "--workdir", str(workdir), *more]


def start(photos: Path, cache: Path) -> dict[str, float]:
    """Returns the seconds until the first step was done, and the most memory in MiB."""
    with tempfile.TemporaryDirectory() as workdir:
        began = time.monotonic()
        process = subprocess.Popen(
            command(photos, Path(workdir), "--timings"), env={**os.environ, "GAN_JAX_CACHE": str(cache)},
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        assert process.stdout is not None
        process.stdout.readline()
        first = time.monotonic() - began
        process.send_signal(signal.SIGINT)
        usage = os.wait4(process.pid, 0)[2]
        return {"first_step_s": first, "memory_mib": usage.ru_maxrss / 1024}


def interrupt(photos: Path, cache: Path, seconds: float) -> float:
    """Returns how long a run takes to end after Ctrl-C, in seconds."""
    with tempfile.TemporaryDirectory() as workdir:
        process = subprocess.Popen(
            command(photos, Path(workdir)), env={**os.environ, "GAN_JAX_CACHE": str(cache)},
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        time.sleep(seconds)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        process.wait(120)
        return time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    photos, cache = arguments.folder.absolute(), arguments.folder.absolute().with_name("photos_cache")
    make(photos, arguments.count)
    shutil.rmtree(cache, ignore_errors=True)
    answered = {f"cold, after {moment:g} s": interrupt(photos, cache, moment) for moment in _MOMENTS}
    shutil.rmtree(cache, ignore_errors=True)
    record = {
        "photos": arguments.count, "cold": start(photos, cache), "warm": start(photos, cache),
        "answered_s": answered, "cores": os.cpu_count(), "device": machine.described()["device"],
    }  # fmt: skip
    for moment in (3.0, 5.0):  # while it compiles, and while it trains
        answered[f"warm, after {moment:g} s"] = interrupt(photos, cache, moment)
    print(json.dumps(record, indent=1))
    if arguments.out is not None:
        with arguments.out.open("a") as file:
            file.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
