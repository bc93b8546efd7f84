import os
import shutil
import socket
from pathlib import Path

import numpy as np
import pytest

CLASSES = ["cat", "dog", "eel"]
COUNTS = {"train": 23, "test": 7}


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Makes every attempt to use the network fail."""

    def refuse(*args, **kwargs):
        raise AssertionError(f"the network was used: {args}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def real_tfds() -> str:
    """Returns the folder of real TFDS sets: TFDS_DATA_DIR, or shared/tfds beside the checkout."""
    default = Path(__file__).parents[3] / "shared" / "tfds"
    folder = Path(os.environ.get("TFDS_DATA_DIR", default))
    if not (folder / "fashion_mnist").is_dir() or not (folder / "cifar10").is_dir():
        pytest.skip("no real TFDS data (fashion_mnist, cifar10): set TFDS_DATA_DIR")
    return str(folder)


@pytest.fixture(scope="session")
def sea_creatures() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Returns the data of the set "tide_pool": for each split images [N, 6, 5, 3] and labels [N]."""
    rng = np.random.default_rng(5)
    return {
        split: (rng.integers(0, 256, (count, 6, 5, 3), np.uint8), rng.integers(0, 3, count))
        for split, count in COUNTS.items()
    }


@pytest.fixture(scope="session")
def prepared_once(tmp_path_factory, sea_creatures) -> Path:
    """Returns a data_dir with the TFDS set "tide_pool", whose array_record files have several shards."""
    import tensorflow_datasets as tfds
    from PIL import Image

    with tfds.core.registered.skip_registration():

        class TidePool(tfds.core.GeneratorBasedBuilder):
            VERSION = tfds.core.Version("1.2.0")

            def _info(self):
                features = {
                    "image": tfds.features.Image(shape=(6, 5, 3)),
                    "label": tfds.features.ClassLabel(names=CLASSES),
                    "depth": tfds.features.Scalar(np.float32),
                }
                return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

            def _split_generators(self, dl_manager):
                return {split: self._generate_examples(*sea_creatures[split]) for split in sea_creatures}

            def _generate_examples(self, images, labels):
                for i, (image, label) in enumerate(zip(images, labels)):
                    yield i, {"image": Image.fromarray(image), "label": int(label), "depth": float(i)}

    data_dir = tmp_path_factory.mktemp("tfds")
    builder = TidePool(data_dir=str(data_dir), file_format="array_record")
    config = tfds.download.DownloadConfig(try_download_gcs=False, num_shards=3)
    builder.download_and_prepare(download_config=config, download_dir=str(tmp_path_factory.mktemp("dl")))
    return data_dir


@pytest.fixture
def tide_pool(prepared_once, tmp_path) -> Path:
    """Returns a copy of the data_dir with "tide_pool" that a test may change."""
    return Path(shutil.copytree(prepared_once, tmp_path / "tfds"))
