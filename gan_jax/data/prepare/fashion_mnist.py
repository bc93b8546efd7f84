"""Prepares Fashion-MNIST from its four files without TensorFlow.

The data are by Xiao, Rasul and Vollgraf, 2017, arXiv:1708.07747, MIT licence.
"""

import gzip
import hashlib
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...errors import UserError
from ..source import reason

if TYPE_CHECKING:
    from tensorflow_datasets.core.download import DownloadManager

DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
_PREFIXES = {"train": "train", "test": "t10k"}
_KINDS = {"image": "images-idx3-ubyte", "label": "labels-idx1-ubyte"}
_GZIP_TIMES = {"train": 1504176606, "t10k": 1504176627}  # seconds, in the gzip headers of the original files


def missing_files(folder: Path) -> list[str]:
    """Returns which of the four .gz files are not in the folder."""
    names = [f"{prefix}-{kind}.gz" for prefix in _PREFIXES.values() for kind in _KINDS.values()]
    return [name for name in names if not (folder / name).is_file()]


def write_fashion_mnist(folder: Path, data_dir: Path) -> Path:
    """Writes TFDS's fashion_mnist as array_record from the files in `folder`, and returns the folder of the set.

    Raises UserError if a file does not have the checksum that TFDS registers for it.
    """
    import tensorflow_datasets
    from PIL import Image
    from tensorflow_datasets.core import registered
    from tensorflow_datasets.image_classification import mnist

    urls = mnist.FashionMNIST.url_infos or {}
    checksums = {Path(url).name: info.checksum for url, info in urls.items()}
    splits = {split: _read_split(folder, prefix, checksums) for split, prefix in _PREFIXES.items()}

    # Not registered, so that it does not replace the TFDS class of the same name. Only the input files differ.
    with registered.skip_registration():

        class FashionMNIST(mnist.FashionMNIST):
            name = "fashion_mnist"

            def _split_generators(self, dl_manager: "DownloadManager") -> dict[str, Iterator]:
                del dl_manager  # nothing is downloaded
                return {split: self._generate_examples(*arrays) for split, arrays in splits.items()}

            def _generate_examples(self, images: np.ndarray, labels: np.ndarray) -> Iterator:
                # Pillow images, because TFDS encodes arrays with TensorFlow.
                for index, (image, label) in enumerate(zip(images, labels)):
                    yield index, {"image": Image.fromarray(image), "label": int(label)}

    config = tensorflow_datasets.download.DownloadConfig(try_download_gcs=False)
    try:
        builder = FashionMNIST(data_dir=str(data_dir), file_format="array_record")
        with tempfile.TemporaryDirectory() as download_dir:
            builder.download_and_prepare(download_config=config, download_dir=download_dir)
    except OSError as error:
        raise UserError(f"fashion_mnist cannot be written to '{data_dir}': {reason(error)}") from error
    return Path(builder.data_dir)


def _read_split(folder: Path, prefix: str, checksums: dict[str, str]) -> tuple[np.ndarray, np.ndarray]:
    """Returns uint8 images [N, 28, 28] and labels [N]."""
    raw = {kind: _read_checked(folder / f"{prefix}-{_KINDS[kind]}.gz", prefix, checksums) for kind in _KINDS}
    labels = np.frombuffer(raw["label"], np.uint8, offset=8)
    return np.frombuffer(raw["image"], np.uint8, offset=16).reshape(len(labels), 28, 28), labels


def _read_checked(file: Path, prefix: str, checksums: dict[str, str]) -> bytes:
    packed = file.read_bytes()
    # Debian's files differ in the gzip header alone: it has no file name and another time. Restore the original.
    name = file.name.removesuffix(".gz").encode()
    header = b"\x1f\x8b\x08\x08" + struct.pack("<I", _GZIP_TIMES[prefix]) + b"\x00\x03" + name + b"\x00"
    for candidate in (packed, header + packed[10:]):
        if hashlib.sha256(candidate).hexdigest() == checksums[file.name]:
            return gzip.decompress(candidate)
    raise UserError(f"'{file}' is not the original Fashion-MNIST file (its checksum differs): download it again")
