"""A source that reads a TensorFlow Datasets (TFDS) set from array_record files, without TensorFlow."""

import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np

from ..errors import UserError, one_line, quoted
from ..files.typed_json import parse_object
from . import tfds_layout as layout
from .decode import Range, open_image, quiet_pillow
from .facts import hash_files
from .images import Channels, Crop, Filter, Size, Transform
from .source import DataMissingError, Mirrored, Source, checked_indices, describe_shape, hash_parts, reason

if TYPE_CHECKING:
    from tensorflow_datasets.core.features import ClassLabel, FeaturesDict


def tfds(
    name: str,
    split: str = "train",
    data_dir: str | None = None,
    image_key: str = "image",
    label_key: str = "label",
    size: Size | None = None,
    crop: Crop = "center",
    filter: Filter = "lanczos",
    channels: Channels | None = None,
    range: Range | None = None,
    mirror: bool = False,
) -> Source:
    """Returns a source of the TFDS set "NAME[/CONFIG][:VERSION]", prepared in `data_dir`.

    `data_dir` is by default TFDS_DATA_DIR or ~/tensorflow_datasets. `split` may be sliced ("train[:1000]",
    "train+test"). Labels are the ClassLabel feature `label_key`; there are no labels if label_key="", or if it is
    "label" and the set has no such feature. Pillow decodes the images, even if OpenCV is installed, so that the
    pixels are the same everywhere. Never uses the network: if the set is absent or has no array_record files, a
    UserError names the command that prepares it.
    """
    copies = layout.find_copies(name, data_dir)
    copy = next((copy for copy in copies if copy.has_array_record), None)
    if copy is None:
        state = f"only as {copies[0].formats[0]}, not as array_record," if copies else "not"
        command = layout.prepare_command(name, data_dir)
        where = one_line(layout.data_folder(data_dir))
        setting = "data.source.data_dir" if data_dir else "TFDS_DATA_DIR"
        raise DataMissingError(
            f"the TFDS set '{name}' is {state} in '{where}': run `{command}`, or name another set in "
            f"data.source.name, or another folder in {setting}"
        )
    source = PreparedSplit(name, copy, split, image_key, label_key, Transform(size, crop, filter, channels, range))
    return Mirrored(source) if mirror else source


class RawRecords(Protocol):
    """The records of a split as bytes, by random access, as TFDS opens them."""

    def __len__(self) -> int: ...

    def __getitems__(self, record_keys: list[int], /) -> Sequence[bytes]: ...


class PreparedSplit:
    """A source of one split of a prepared set; `tfds` makes it."""

    def __init__(
        self, name: str, copy: layout.Copy, split: str, image_key: str, label_key: str, transform: Transform
    ):
        import tensorflow_datasets

        quiet_pillow()
        try:
            _check_features(copy.path / "features.json")
            builder = tensorflow_datasets.builder_from_directory(copy.path)
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"'{one_line(copy.path)}' cannot be read as a TFDS set: {reason(error)}") from error
        self.name, self.split, self.version = name.split(":")[0], split, copy.version
        self.dtype = np.dtype(np.uint8)
        self._image_key, self._label_key = image_key, label_key
        self._transform = transform
        features = cast("FeaturesDict", builder.info.features)
        image = _image_feature(name, features, image_key)
        self.shape = _image_shape(name, image.shape, transform)
        label = _label_feature(name, features, label_key)
        self.classes = None if label is None else label.num_classes
        self.class_names = None if label is None else tuple(label.names)
        # Other features are not parsed, because masks or captions may cost more than the images.
        parsed = {image_key: image} if label is None else {image_key: image, label_key: label}
        self._features = tensorflow_datasets.features.FeaturesDict(parsed)
        self._decoders = {image_key: tensorflow_datasets.decode.SkipDecoding()}
        self._records, self._parts = _open_split(builder, name, split)
        digests = hash_files([path for path, *_ in self._parts])
        shards = [f"{digest} {skip} {take}" for digest, (_, skip, take) in zip(digests, self._parts)]
        self._keys = [image_key, label_key if self.classes else ""]
        self._content_hash = hash_parts([*shards, *self._keys])

    def __len__(self) -> int:
        return len(self._records)

    def read(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        indices = checked_indices(indices, len(self))
        image = np.empty((len(indices), *self.shape), np.uint8)
        label = np.empty(len(indices), np.int32)
        for position, example in enumerate(self._parse(indices)):
            image[position] = self._decode(example[self._image_key], int(indices[position]))
            if self.classes is not None:
                label[position] = example[self._label_key]
                if not 0 <= label[position] < self.classes:
                    raise UserError(
                        f"record {indices[position]} of '{self.name}' has the label {label[position]}, outside "
                        f"its {self.classes} classes: pass data.source.label_key='' to train without labels"
                    )
        return {"image": image} if self.classes is None else {"image": image, "label": label}

    def _parse(self, indices: np.ndarray) -> list[Any]:
        try:
            records = self._records.__getitems__(indices.tolist())
            return [self._features.deserialize_example_np(record, decoders=self._decoders) for record in records]
        except Exception as error:  # damaged bytes may raise any exception
            raise UserError(f"'{self.name}' ({self.split}) cannot be read: {reason(error)}") from error

    def _decode(self, encoded: bytes, row: int) -> np.ndarray:
        try:
            # TFDS ignores the EXIF orientation, so its shapes are those of the image as it is stored.
            with open_image(io.BytesIO(encoded)) as image:
                pixels = self._transform.apply(image, self.shape[-1], upright=False)
        except Exception as error:  # Pillow's decoders may raise any exception
            raise UserError(
                f"record {row} of '{self.name}' ({self.split}) cannot be decoded: {reason(error)}"
            ) from error
        if pixels.shape != self.shape:
            raise UserError(
                f"record {row} of '{self.name}' is {describe_shape(pixels.shape)}: pass data.source.size=N"
            )
        return pixels

    def fingerprint(self) -> str:
        return self._fingerprint(self._content_hash)

    def before(self) -> tuple["PreparedSplit", str]:
        """Returns the source, and the fingerprint that it had in gan_jax 0.1: by names and sizes of files."""
        shards = [f"{path.name} {path.stat().st_size} {skip} {take}" for path, skip, take in self._parts]
        return self, self._fingerprint(hash_parts([*shards, *self._keys]))

    def _fingerprint(self, content_hash: str) -> str:
        words = [f"tfds {self.name}:{self.version}", self.split.replace(" ", ""), f"n={len(self)}"]
        return " ".join([*words, describe_shape(self.shape), self._transform.describe(), f"#{content_hash}"])


def _check_features(file: Path) -> None:
    """Refuses features of other packages, because TFDS would import and run the modules that the file names."""
    for name in _class_names(parse_object(file.read_text())):
        if not name.startswith("tensorflow_datasets."):
            raise UserError(f"'{one_line(file)}' names the code {quoted(name)}: only TFDS's own features are read")


def _class_names(node: object) -> Iterator[str]:
    """Yields the class names in the JSON of a features.json, in TFDS's newer form, its older form, or both."""
    pairs = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in pairs:
        if key in ("type", "pythonClassName", "python_class_name") and isinstance(value, str):
            yield value
        elif key in ("json", "content") and isinstance(value, str):
            yield from _class_names(json.loads(value))
        else:
            yield from _class_names(value)


def _image_feature(name: str, features: "FeaturesDict", key: str) -> Any:
    import tensorflow_datasets

    if key not in features:
        raise UserError(f"the TFDS set '{name}' has no feature '{one_line(key)}': it has {', '.join(features)}")
    feature = features[key]
    if not isinstance(feature, tensorflow_datasets.features.Image) or feature.np_dtype != np.uint8:
        kind = f"{type(feature).__name__} of {feature.np_dtype}"
        raise UserError(f"feature '{key}' of the TFDS set '{name}' is {kind}, not an 8-bit image")
    return feature


def _label_feature(name: str, features: "FeaturesDict", key: str) -> "ClassLabel | None":
    import tensorflow_datasets

    if key == "" or (key == "label" and key not in features):
        return None
    kind = tensorflow_datasets.features.ClassLabel
    offered = {name: feature for name, feature in features.items() if isinstance(feature, kind)}
    label = offered.get(key)
    if label is None or label.num_classes is None:
        raise UserError(
            f"the TFDS set '{name}' has no class labels '{one_line(key)}': it has {', '.join(offered) or 'none'}; "
            "data.source.label_key='' trains without labels"
        )
    return label


def _image_shape(name: str, shape: tuple[int | None, ...], transform: Transform) -> tuple[int, int, int]:
    height, width, channels = shape
    if transform.size is None and (height is None or width is None):
        raise UserError(
            f"the images of the TFDS set '{name}' differ in size: pass data.source.size=N to make them all N x N"
        )
    return transform.shape(height or 0, width or 0, 1 if channels == 1 else 3)


def _open_split(builder: Any, name: str, split: str) -> tuple[RawRecords, list[tuple[Path, int, int]]]:
    """Returns the records of the split, and for each shard: the file, records to skip and to take."""
    import tensorflow_datasets

    known = list(builder.info.splits)
    for part in split.split("+"):
        if part.split("[")[0].strip() not in [*known, "all"]:
            unknown = one_line(part.strip())
            raise UserError(f"the TFDS set '{name}' has no split '{unknown}': it has {', '.join(known)}")
    try:
        raw = tensorflow_datasets.decode.DeserializeMethod.RAW_BYTES
        # This call comes first: it switches builder.info to the array_record files if there are other formats.
        records = builder.as_data_source(split, deserialize_method=raw, file_format="array_record")
        files = [(Path(f.filename), f.skip, f.take) for f in builder.info.splits[split].file_instructions]
    except Exception as error:  # TFDS may raise any exception for a bad slice or a damaged set
        message = f"split '{one_line(split)}' of the TFDS set '{name}' cannot be read: {reason(error)}"
        raise UserError(message) from error
    for path, skip, take in files:
        if not path.is_file():
            raise UserError(
                f"the TFDS set '{name}' lacks its file '{path}': copy it there, or prepare the set again"
            )
        if skip + take > path.stat().st_size:  # a record has a byte or more
            raise UserError(
                f"the TFDS set '{name}' claims {skip + take:,} records in '{path}', which has "
                f"{path.stat().st_size:,} bytes: mend its dataset_info.json, or prepare the set again"
            )
    return records, files
