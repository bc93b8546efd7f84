"""Reads damaged parquet files. Every one must be read, or be one sentence; the process must not end.

Each byte of the description at the end of a file is changed in turn.
"""

import os
import resource
import tempfile
from pathlib import Path

from gan_jax.data import read_all
from gan_jax.data.parquet import parquet
from gan_jax.errors import UserError
from test_data_parquet import NAMES, random_files, write_parquet

CHANGES = (0x01, 0x7F)


def main() -> None:
    os.environ["GAN_JAX_CACHE"] = "off"
    resource.setrlimit(resource.RLIMIT_AS, (6 * 2**30, 6 * 2**30))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.parquet"
        write_parquet(path, random_files(3), [0, 1, 2], NAMES)
        whole = path.read_bytes()
        start = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
        for position in range(start, len(whole)):
            for change in CHANGES:
                damaged = bytearray(whole)
                damaged[position] ^= change
                path.write_bytes(damaged)
                try:
                    read_all(parquet(str(path), size=4))
                except UserError as error:
                    if "\n" in str(error):
                        raise AssertionError(f"more than one line: {error}") from error
    print("done")


if __name__ == "__main__":
    main()
