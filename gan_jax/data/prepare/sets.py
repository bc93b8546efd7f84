"""Prepares a TFDS set as array_record files, which training reads: `gan-jax prepare NAME`."""

import difflib
import importlib.util
from collections.abc import Callable
from pathlib import Path

from ...errors import UserError
from .. import tfds_layout as layout
from ..source import reason
from .convert import convert_to_array_record
from .fashion_mnist import DEBIAN_FOLDER, missing_files, write_fashion_mnist


def prepare_set(
    name: str,
    *,
    data_dir: str | None = None,
    manual_dir: str | None = None,
    report: Callable[[str], None] = print,
) -> Path:
    """Prepares the TFDS set "NAME[/CONFIG][:VERSION]" as array_record in `data_dir` and returns its folder.

    `data_dir` None is TFDS_DATA_DIR or ~/tensorflow_datasets. The first of these cases applies:

    1. The set has array_record files: nothing changes.
    2. There is a tfrecord copy: array_record files are added to it.
    3. The set is fashion_mnist, and its four files are in `manual_dir` or in Debian's package
       dataset-fashion-mnist: it is made from them.
    4. TFDS downloads and prepares the set. This needs TensorFlow and the network; files that TFDS cannot download
       are read from `manual_dir`.

    `report` is called with a line for each action. Raises UserError if the set cannot be prepared.
    """
    copies = layout.find_copies(name, data_dir)
    ready = next((copy for copy in copies if copy.has_array_record), None)
    if ready is not None:
        report(f"{name} is ready in {ready.path}")
        return ready.path
    convertible = next((copy for copy in copies if "tfrecord" in copy.formats), None)
    if convertible is not None:
        report(f"converting the tfrecord copy of {name} in {convertible.path}")
        convert_to_array_record(convertible.path)
        path = convertible.path
    elif (files := _fashion_mnist_files(name, manual_dir)) is not None:
        report(f"preparing {name} from {files}")
        path = write_fashion_mnist(files, layout.data_folder(data_dir))
    else:
        path = _prepare_with_tensorflow(name, layout.data_folder(data_dir), manual_dir)
    report(f"{name} is ready in {path}")
    return path


def _fashion_mnist_files(name: str, manual_dir: str | None) -> Path | None:
    """Returns the folder with the four files, or None for another set or if Debian's package is not installed."""
    if name.split(":")[0] != "fashion_mnist":
        return None
    folder = Path(manual_dir).expanduser() if manual_dir else DEBIAN_FOLDER
    missing = missing_files(folder)
    if missing and manual_dir:
        raise UserError(
            f"'{folder}' lacks {', '.join(missing)}: put the original files of Fashion-MNIST there, or "
            "`apt-get install dataset-fashion-mnist` and leave out --manual-dir"
        )
    return None if missing else folder


def _prepare_with_tensorflow(name: str, data_dir: Path, manual_dir: str | None) -> Path:
    import tensorflow_datasets

    known = tensorflow_datasets.list_builders(with_community_datasets=False)
    wanted = name.split(":")[0].split("/")[0]
    if wanted not in known:
        near = difflib.get_close_matches(wanted, known, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "see tensorflow.org/datasets/catalog"
        raise UserError(f"TFDS has no set '{wanted}', and '{data_dir}' has no set of that name: {hint}")
    if importlib.util.find_spec("tensorflow") is None:
        other = " (or `apt-get install dataset-fashion-mnist`)" if wanted == "fashion_mnist" else ""
        raise UserError(
            f"preparing '{name}' needs TensorFlow once (training does not): "
            f"run `pip install 'gan_jax[prepare]'`{other}"
        )
    try:
        builder = tensorflow_datasets.builder(
            name, data_dir=str(data_dir), file_format="array_record", try_gcs=False
        )
        config = tensorflow_datasets.download.DownloadConfig(manual_dir=manual_dir, try_download_gcs=False)
        builder.download_and_prepare(download_config=config)
    except Exception as error:  # a builder may raise any exception
        raise UserError(f"TFDS could not prepare '{name}': {type(error).__name__}: {reason(error)}") from error
    return Path(builder.data_dir)
