"""Sets of TensorFlow Datasets, read from array_record files without TensorFlow."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError, one_line, told
from . import tfds_layout as layout
from .images import Channels, Crop, Filter, Transform, opened, quiet_pillow
from .source import Mirrored, Source, checked_indices, describe_shape, digest, reason


def tfds(
    name: str,
    split: str = "train",
    data_dir: str | None = None,
    image_key: str = "image",
    label_key: str = "label",
    size: int | None = None,
    crop: Crop = "center",
    filter: Filter = "lanczos",
    channels: Channels | None = None,
    mirror: bool = False,
) -> Source:
    """The set "NAME[/CONFIG][:VERSION]" prepared in `data_dir` (else TFDS_DATA_DIR, ~/tensorflow_datasets).

    `split` may be sliced ("train[:1000]", "train+test"). Labels are the ClassLabel feature `label_key`; there
    are none where the set has no "label", or for label_key="". Images are decoded by Pillow, whether OpenCV
    is installed or not, so that they have the same bits everywhere. Never touches the network: raises
    UserError naming the command that prepares the set where it is absent or has no array_record files.
    """
    copies = layout.find_copies(name, data_dir)
    copy = next((copy for copy in copies if copy.random_access), None)
    if copy is None:
        state = f"only as {copies[0].formats[0]}, not as array_record," if copies else "not"
        command = layout.prepare_command(name, data_dir)
        where = one_line(layout.data_folder(data_dir))
        other = "data.source.data_dir" if data_dir else "TFDS_DATA_DIR"
        raise UserError(
            f"the TFDS set '{name}' is {state} in '{where}': run `{command}`, or name another set in "
            f"data.source.name, or another folder in {other}"
        )
    source = Records(name, copy, split, image_key, label_key, Transform(size, crop, filter, channels))
    return Mirrored(source) if mirror else source


class Records:
    """A split of a prepared set; made by `tfds`."""

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
        features = builder.info.features
        used = {image_key: _image_feature(name, features, image_key)}
        self.shape = _image_shape(name, used[image_key].shape, transform)
        label = _label_feature(name, features, label_key)
        self.classes = None if label is None else int(label.num_classes)
        if label is not None:
            used[label_key] = label
        # Only these two are parsed: a set may carry masks or captions that cost more than its images.
        self._features = tensorflow_datasets.features.FeaturesDict(used)
        self._decoders = {image_key: tensorflow_datasets.decode.SkipDecoding()}
        self._records, shards = _open_split(builder, name, split)
        self._digest = digest(*shards, image_key, label_key if self.classes else "")

    def __len__(self) -> int:
        return len(self._records)

    def read(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        indices = checked_indices(indices, len(self))
        image = np.empty((len(indices), *self.shape), np.uint8)
        label = np.empty(len(indices), np.int32)
        for place, example in enumerate(self._parsed(indices)):
            image[place] = self._decode(example[self._image_key], int(indices[place]))
            if self.classes is not None:
                label[place] = example[self._label_key]
                if not 0 <= label[place] < self.classes:
                    raise UserError(
                        f"record {indices[place]} of '{self.name}' has the label {label[place]}, outside its "
                        f"{self.classes} classes: pass data.source.label_key='' to train without labels"
                    )
        return {"image": image} if self.classes is None else {"image": image, "label": label}

    def _parsed(self, indices: np.ndarray) -> list[Any]:
        try:
            records = self._records.__getitems__(indices.tolist())
            return [self._features.deserialize_example_np(one, decoders=self._decoders) for one in records]
        except Exception as error:  # a damaged file or record may raise anything
            raise UserError(f"'{self.name}' ({self.split}) cannot be read: {reason(error)}") from error

    def _decode(self, encoded: bytes, row: int) -> np.ndarray:
        try:
            # TFDS never turns an image by its EXIF orientation, and its shapes are those of the stored one.
            with opened(io.BytesIO(encoded)) as image:
                pixels = self._transform.apply(image, self.shape[-1], upright=False)
        except Exception as error:  # Pillow's decoders raise nearly anything
            raise UserError(
                f"record {row} of '{self.name}' ({self.split}) cannot be decoded: {reason(error)}"
            ) from error
        if pixels.shape != self.shape:
            raise UserError(
                f"record {row} of '{self.name}' is {describe_shape(pixels.shape)}: pass data.source.size=N"
            )
        return pixels

    def fingerprint(self) -> str:
        words = [f"tfds {self.name}:{self.version}", self.split.replace(" ", ""), f"n={len(self)}"]
        return " ".join([*words, describe_shape(self.shape), self._transform.describe(), f"#{self._digest}"])


def _check_features(file: Path) -> None:
    """Refuses features that are not TFDS's own: it would import the modules that they name."""
    for name in _classes(json.loads(file.read_text())):
        if not name.startswith("tensorflow_datasets."):
            raise UserError(f"'{one_line(file)}' names the code {told(name)}: only TFDS's own features are read")


def _classes(node: Any) -> Iterator[str]:
    """Every name of a class in a features.json, of TFDS's newer form, its older one, or one inside the other."""
    pairs = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in pairs:
        if key in ("type", "pythonClassName", "python_class_name") and isinstance(value, str):
            yield value
        elif key in ("json", "content") and isinstance(value, str):
            yield from _classes(json.loads(value))
        else:
            yield from _classes(value)


def _image_feature(name: str, features: Any, key: str) -> Any:
    import tensorflow_datasets

    if key not in features:
        raise UserError(f"the TFDS set '{name}' has no feature '{one_line(key)}': it has {', '.join(features)}")
    feature = features[key]
    if not isinstance(feature, tensorflow_datasets.features.Image) or feature.np_dtype != np.uint8:
        kind = f"{type(feature).__name__} of {feature.np_dtype}"
        raise UserError(f"feature '{key}' of the TFDS set '{name}' is {kind}, not an 8-bit image")
    return feature


def _label_feature(name: str, features: Any, key: str) -> Any:
    import tensorflow_datasets

    if key == "" or (key == "label" and key not in features):
        return None
    offered = [
        k for k, feature in features.items() if isinstance(feature, tensorflow_datasets.features.ClassLabel)
    ]
    if key not in offered or features[key].num_classes is None:
        raise UserError(
            f"the TFDS set '{name}' has no class labels '{one_line(key)}': it has {', '.join(offered) or 'none'}; "
            "data.source.label_key='' trains without labels"
        )
    return features[key]


def _image_shape(name: str, shape: tuple[int | None, ...], transform: Transform) -> tuple[int, int, int]:
    height, width, channels = shape
    if transform.size is None and (height is None or width is None):
        raise UserError(
            f"the images of the TFDS set '{name}' differ in size: pass data.source.size=N to make them all N x N"
        )
    return transform.shape(height or 0, width or 0, 1 if channels == 1 else 3)


def _open_split(builder: Any, name: str, split: str) -> tuple[Any, list[str]]:
    """The records of the split as bytes, and what tells its shards from others: name, size, first, count."""
    import tensorflow_datasets

    known = list(builder.info.splits)
    for part in split.split("+"):
        if part.split("[")[0].strip() not in [*known, "all"]:
            wrong, has = one_line(part.strip()), ", ".join(known)
            raise UserError(f"the TFDS set '{name}' has no split '{wrong}': it has {has}")
    try:
        raw = tensorflow_datasets.decode.DeserializeMethod.RAW_BYTES
        # The source first: it is what turns the info to the array_record files where there are others.
        records = builder.as_data_source(split, deserialize_method=raw, file_format="array_record")
        files = [(Path(f.filename), f.skip, f.take) for f in builder.info.splits[split].file_instructions]
    except Exception as error:  # what TFDS makes of a slice, or of a damaged set, is its own
        why = f"split '{one_line(split)}' of the TFDS set '{name}' cannot be read: {reason(error)}"
        raise UserError(why) from error
    for path, _, _ in files:
        if not path.is_file():
            raise UserError(
                f"the TFDS set '{name}' lacks its file '{path}': copy it there, or prepare the set again"
            )
    return records, [f"{path.name} {path.stat().st_size} {skip} {take}" for path, skip, take in files]
