"""A source of images, vectors or samples of any rank from a NumPy .npz file."""

import dataclasses
from pathlib import Path
from typing import NoReturn

import numpy as np

from ..errors import UserError, one_line
from .arrays import Arrays, is_audio, is_image
from .decode import Range
from .floats import Scale, map_to_floats
from .image_set import used_labels
from .images import Channels, Crop, Filter, Size, Transform
from .npz_file import load_arrays
from .source import Mirrored, Source, check_rate, describe_shape, expand_path


def npz(
    path: str,
    image_key: str = "image",
    label_key: str = "label",
    size: Size | None = None,
    crop: Crop = "center",
    filter: Filter = "lanczos",
    channels: Channels | None = None,
    range: Range | None = None,
    scale: Scale | None = None,
    mirror: bool = False,
    rate: float | None = None,
) -> Source:
    """Returns a source of the samples in a .npz file, which are held in memory.

    Samples are the array `image_key`, or the only array of the file:

    - images [N, H, W] or [N, H, W, C] with C = 1, 3 or 4: uint8, or any numbers if `range` says which values
      become 0 and 255;
    - float32 vectors [N, D], used as they are;
    - any other samples [N, ...], such as audio [N, T, C], video [N, T, H, W, C], volumes [N, D, H, W, C] or
      latents of an autoencoder [N, H, W, C]. Video and volumes of uint8 stay so. Other numbers become floats: they
      are multiplied by `scale` (a number, or "std": 1 / the standard deviation of all), or `range` says which
      values become -1 and 1. Floats in [-1, 1] need neither. [N, T, 1] and [N, T, 2] are always audio.

    `scale` makes floats of images too. A note says what the array holds and how it is mapped. The image options
    are for images only. `rate` is for audio and video: the samples, or frames, in a second.

    Labels are the array `label_key` of integers, if the file has it; "" ignores it. If they are not 0 to K - 1,
    the K different ones become these. The array `names` of text, if there is one, names the classes 0 to K - 1;
    names of the samples are not used. Raises UserError if the file cannot be used.
    """
    file = expand_path(path)
    arrays = load_arrays(file, image_key, label_key)
    transform = Transform(size, crop, filter, channels, range)
    if range is not None and scale is not None:
        raise UserError("data.source.range and data.source.scale both map the numbers: give one of them")
    key, samples = arrays["image"]
    image = _checked_samples(_describe(file, key, samples), samples, transform, scale)
    notes = [] if image is None else _image_notes(samples)
    if image is None:
        image, note = map_to_floats(_describe(file, key, samples), samples, range, scale)
        notes, transform = [note], dataclasses.replace(transform, range=None)
    label = _checked_labels(file, *arrays["label"], len(image)) if "label" in arrays else None
    if not is_image(image, transform) and (transform != Transform() or (mirror and (image.ndim < 4 or scale))):
        kind = "vectors" if image.ndim == 2 else f"samples of {describe_shape(image.shape[1:])} {image.dtype}"
        raise UserError(
            f"'{one_line(file)}' holds {kind}: size, crop, filter, channels, range and mirror are only for images"
        )
    check_rate(rate, least=1 if image.ndim == 3 else 0.01)
    if rate is not None and image.ndim in (2, 4):
        kind = "vectors" if image.ndim == 2 else "images"
        raise UserError(f"'{one_line(file)}' holds {kind}: rate is only for audio and video")
    source = Npz(file, image, label, transform, arrays.get("names"), notes, rate)
    return Mirrored(source) if mirror else source


class Npz(Arrays):
    """A source of the arrays of a file; `npz` makes it.

    label: int64 [N] as in the file, or None.
    names: the name of the array of names in the file, and that array; None: there is none.
    value_notes: how the numbers were mapped.
    rate: samples of audio, or frames of video, in a second; None: not known.
    """

    def __init__(
        self,
        file: Path,
        image: np.ndarray,
        label: np.ndarray | None,
        transform: Transform,
        names: tuple[str, np.ndarray] | None,
        value_notes: list[str],
        rate: float | None,
    ):
        self.rate, self._raw, self._label_notes = rate, (image, label, transform), list[str]()
        self._value_notes = value_notes
        if label is None:
            super().__init__("npz", image, transform=transform)
            return
        class_names, note = (None, []) if names is None else _checked_names(file, *names, label)
        if class_names is None:
            label, class_names, self._label_notes = used_labels(label)
        self._label_notes = [*note, *self._label_notes]
        super().__init__("npz", image, label.astype(np.int32), len(class_names), transform, class_names)

    def notes(self) -> list[str]:
        return [*self._value_notes, *self._label_notes, *super().notes()]

    def fingerprint(self) -> str:
        earlier = self._earlier_classes()
        if earlier in (None, self.classes):
            return super().fingerprint()
        return f"{super().fingerprint()} classes={self.classes}"  # the labels may be the same

    def before(self) -> tuple[Arrays, str] | None:
        """Returns the source with the labels that gan_jax 0.1 gave, which are those of the file."""
        image, label, transform = self._raw
        earlier = self._earlier_classes()
        if label is None or earlier in (None, self.classes):
            return None
        source = Arrays("npz", image, label.astype(np.int32), earlier, transform)
        return source, source.fingerprint()

    def _earlier_classes(self) -> int | None:
        """Returns the number of classes in gan_jax 0.1; None: there are none, or it refused the labels."""
        label = self._raw[1]
        return None if label is None or label.min() < 0 else int(label.max()) + 1


def _describe(file: Path, key: str, array: np.ndarray) -> str:
    return f"array '{one_line(key)}' of '{one_line(file)}' ({array.dtype} {list(array.shape)})"


def _checked_samples(
    name: str, samples: np.ndarray, transform: Transform, scale: Scale | None
) -> np.ndarray | None:
    """Returns images, vectors, or samples of uint8 as they are used; None: they have to become floats first."""
    if samples.ndim == 0 or samples.size == 0:
        raise UserError(f"{name} is empty")
    if samples.ndim == 1 or samples.dtype.kind not in "iuf":
        raise UserError(
            f"{name} is neither images [N, H, W], [N, H, W, C], vectors [N, D] nor other numbers [N, ...]: images "
            "must be uint8"
        )
    if samples.dtype.kind == "f" and not np.isfinite([samples.min(), samples.max()]).all():
        raise UserError(f"{name} holds values that are not finite")
    if scale is not None:
        return None
    if samples.ndim == 2:
        if samples.dtype != np.float32:
            raise UserError(f"{name} must be float32 to be used as vectors: convert it with .astype('float32')")
        return samples
    if is_audio(samples):
        return None
    if samples.ndim > 4:
        return samples if samples.dtype == np.uint8 and transform.range is None else None
    has_colours = samples.ndim == 3 or samples.shape[-1] in (1, 3, 4)
    if samples.dtype.kind == "f" and (transform.range is None or not has_colours):
        if transform.range is None and (samples.min() >= 0 or samples.min() < -1 or samples.max() > 1):
            _refuse_values(name, samples)
        return None
    if samples.dtype != np.uint8 and transform.range is None:
        _refuse_values(name, samples)
    if not has_colours:
        hint = " (channels come last: transpose it)" if samples.shape[1] in (1, 3, 4) else ""
        raise UserError(f"{name} must have 1, 3 or 4 channels in its last axis{hint}")
    return samples[..., None] if samples.ndim == 3 else samples


def _image_notes(samples: np.ndarray) -> list[str]:
    """Returns a note on what an array, which is not mapped to floats, may hold in place of images."""
    if samples.ndim == 4 and samples.shape[-1] == 4 and samples.dtype.kind == "f":
        return ["note: the fourth channel is read as transparency; data.source.scale keeps it, as latents want"]
    if samples.ndim == 3 and samples.shape[1] <= 2 < samples.shape[2]:
        size = f"{samples.shape[1]} x {samples.shape[2]}"
        return [f"note: these are images of {size} pixels; audio must be [N, T, C]: transpose it"]
    return []


def _refuse_values(name: str, samples: np.ndarray) -> NoReturn:
    raise UserError(
        f"{name} must be uint8 to be used as images: convert it, or pass data.source.range=LOW,HIGH for the "
        f"values that become 0 and 255 (it has {samples.min():g} to {samples.max():g}); data.source.scale=FACTOR "
        "keeps floats, such as latents"
    )


def _checked_labels(file: Path, key: str, label: np.ndarray, count: int) -> np.ndarray:
    name = _describe(file, key, label)
    if label.shape != (count,):
        raise UserError(f"{name} must hold one label for each of the {count} samples")
    if label.dtype.kind not in "iu" or label.min() < -(2**31) or label.max() >= 2**31 - 1:
        raise UserError(f"{name} must hold one integer for each sample: pass label_key='' to ignore it")
    return label.astype(np.int64)


def _checked_names(
    file: Path, key: str, names: np.ndarray, label: np.ndarray
) -> tuple[tuple[str, ...] | None, list[str]]:
    """Returns the names of the classes, or None for names of something else, and notes."""
    shown, classes = f"array '{one_line(key)}' of '{one_line(file)}'", int(label.max()) + 1
    if names.shape == label.shape and len(names) != classes:
        count = f"one element for each of the {len(label):,} samples"
        return None, [f"note: {shown} has {count}, so it does not name the classes"]
    if label.min() < 0:
        raise UserError(
            f"the labels of '{one_line(file)}' go down to {label.min()}, but {shown} names the classes from 0 on: "
            "remove the samples with other labels, or the names"
        )
    if names.ndim != 1 or names.dtype.kind != "U" or len(names) < classes:
        raise UserError(
            f"{shown} ({names.dtype} {list(names.shape)}) must hold a text for each of the {classes} classes: "
            "remove it, or mend it"
        )
    return tuple(map(one_line, names.tolist())), []
