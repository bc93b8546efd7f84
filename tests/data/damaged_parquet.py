"""Reads 1000 damaged parquet files. Every one must be read, or be one sentence; the process must not end."""

import os
import resource
import tempfile
from pathlib import Path

import numpy as np

from gan_jax.data import read_all
from gan_jax.data.parquet import parquet
from gan_jax.errors import UserError
from test_data_parquet import NAMES, random_files, write_parquet


def damage(content: bytes, rng: np.random.Generator) -> bytes:
    """Changes one to three bytes, mostly in the description at the end."""
    damaged = bytearray(content)
    start = 0 if rng.integers(4) == 0 else len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    for _ in range(rng.integers(1, 4)):
        position = int(rng.integers(start, len(damaged)))
        damaged[position] = int(rng.choice([0, 0x7F, 0x80, 0xFF, damaged[position] ^ 1 << rng.integers(8)]))
    return bytes(damaged)


def main() -> None:
    os.environ["GAN_JAX_CACHE"] = "off"
    resource.setrlimit(resource.RLIMIT_AS, (6 * 2**30, 6 * 2**30))
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        path, originals = Path(folder) / "a.parquet", []
        kinds = [{}, {"compression": "zstd"}, {"use_dictionary": False, "compression": "none"}, {"struct": False}]
        for options in kinds:
            write_parquet(path, random_files(8), [0, 1, 2, 0, 1, 2, 0, 1], NAMES, **options)
            originals.append(path.read_bytes())
        for number in range(1000):
            path.write_bytes(damage(originals[number % len(originals)], rng))
            try:
                read_all(parquet(str(path), size=4))
            except UserError as error:
                if "\n" in str(error):
                    raise AssertionError(f"more than one line: {error}") from error
    print("done")


if __name__ == "__main__":
    main()
