"""Latents and directions that a workdir keeps by name: `latents/NAME.npz` and `directions/NAME.npz` in it.

A workdir may come from anyone, so a file is checked before an array of it is used, and nothing is unpickled.
"""

import io
import os
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..data.image_set import natural
from ..data.npz_file import check_size, read_member
from ..errors import UserError, first_line, near, one_line, quoted
from ..files.folder import Folder
from .directions import Directions

LATENTS, DIRECTIONS = "latents", "directions"  # the folders
_NAME = re.compile(r"[\w][\w.+-]{0,99}")
_MOST_BYTES = 200  # of a name in UTF-8: file systems have 255, and an ending follows
_LARGEST = 2**30  # bytes of a file


class KeptLatents(NamedTuple):
    """Latents that a workdir keeps under one name.

    Attributes:
        latents: float32 `[count, N]` of "z", `[count, W]` of "w", `[count, L, W]` of "w+".
        space: "z", "w" or "w+".
        step: of the checkpoint that they were found with.
        labels: int32 `[count]`, or None without labels.
        noise_seed: of the noise inside the generator.
        noise: maps of noise in its place, each `[count, h, w]`, in the order of `jax.tree.leaves`; empty: none.
    """

    latents: np.ndarray
    space: str
    step: int
    labels: np.ndarray | None = None
    noise_seed: int = 0
    noise: tuple[np.ndarray, ...] = ()


def keep_latents(workdir: Path, name: str, kept: KeptLatents, replace: bool = False) -> Path:
    """Keeps latents under a name, by one rename, and returns the path of their file.

    Raises:
        UserError: it is no name, the name is taken and `replace` is False, or the disk refuses.
    """
    arrays = {
        "latents": kept.latents.astype(np.float32), "space": np.array(kept.space), "step": np.array(kept.step),
        "noise_seed": np.array(kept.noise_seed), **{f"map_{i}": x for i, x in enumerate(kept.noise)},
    }  # fmt: skip
    if kept.labels is not None:
        arrays["labels"] = kept.labels.astype(np.int32)
    return _write(workdir, LATENTS, name, arrays, replace)


def read_latents(workdir: Path, name: str) -> KeptLatents:
    """Returns the latents that a workdir keeps under a name.

    Raises:
        UserError: there are none, or gan_jax did not write the file.
    """
    arrays, path = _read(workdir, LATENTS, name)
    latents, labels = arrays.get("latents"), arrays.get("labels")
    count = 0 if latents is None or latents.ndim not in (2, 3) else len(latents)
    noise = tuple(arrays[key] for key in sorted(arrays, key=natural) if key.startswith("map_"))
    is_whole = (
        count > 0
        and latents is not None
        and _is_finite(latents)
        and (labels is None or (labels.dtype == np.int32 and labels.shape == (count,)))
        and all(x.ndim == 3 and len(x) == count and _is_finite(x) for x in noise)
        and _text(arrays.get("space")) in ("z", "w", "w+")
    )
    step, seed = _number(arrays.get("step")), _number(arrays.get("noise_seed"))
    if not is_whole or latents is None or step is None or seed is None:
        raise UserError(f"{path} holds no latents that gan_jax keeps: remove it, or restore it")
    return KeptLatents(latents, _text(arrays["space"]), step, labels, seed, noise)


def keep_directions(workdir: Path, name: str, directions: Directions, replace: bool = False) -> Path:
    """Keeps directions under a name, by one rename, and returns the path of their file.

    Raises:
        UserError: as `keep_latents`.
    """
    arrays = {
        "method": np.array(directions.method), "space": np.array(directions.space),
        "names": np.array(directions.names, np.str_), "vectors": directions.vectors.astype(np.float32),
        "scales": directions.scales.astype(np.float32),
    }  # fmt: skip
    return _write(workdir, DIRECTIONS, name, arrays, replace)


def read_directions(workdir: Path, name: str) -> Directions:
    """Returns the directions that a workdir keeps under a name.

    Raises:
        UserError: there are none, or gan_jax did not write the file.
    """
    arrays, path = _read(workdir, DIRECTIONS, name)
    vectors, scales, names = arrays.get("vectors"), arrays.get("scales"), arrays.get("names")
    method, space = _text(arrays.get("method")), _text(arrays.get("space"))
    if (
        vectors is None or vectors.ndim != 2 or not _is_finite(vectors)
        or scales is None or scales.shape != vectors.shape[:1] or not _is_finite(scales)
        or names is None or names.dtype.kind != "U" or names.shape != scales.shape
        or space not in ("z", "w") or not method
    ):  # fmt: skip
        raise UserError(f"{path} holds no directions that gan_jax keeps: remove it, or restore it")
    return Directions(one_line(method), space, tuple(map(one_line, names.tolist())), vectors, scales)


def latent_names(workdir: Path) -> list[str]:
    """Returns the names under which a workdir keeps latents, sorted."""
    return _names(workdir, LATENTS)


def direction_names(workdir: Path) -> list[str]:
    """Returns the names under which a workdir keeps directions, sorted."""
    return _names(workdir, DIRECTIONS)


def check_name(name: str) -> str:
    """Returns the name if latents and directions may be kept under it.

    Raises:
        UserError: it is no such name.
    """
    if not _NAME.fullmatch(name) or len(os.fsencode(name)) > _MOST_BYTES:
        raise UserError(
            f"{quoted(name)} is no name to keep latents under: choose one of letters, digits and _.+-, at "
            f"most 100 and at most {_MOST_BYTES} bytes, that begins with a letter, a digit or _"
        )
    return name


def name_like(text: str) -> str:
    """Returns a name to keep latents under that is like any text: `a_b` for "a b"."""
    plain = re.sub(r"[^\w.+-]", "_", text).lstrip(".+-")[:100]
    return os.fsencode(plain)[:_MOST_BYTES].decode(errors="ignore") or "image"


def check_free(workdir: Path, folder: str, name: str, replace: bool) -> None:
    """Raises UserError if a workdir keeps something under this name already, unless it may be replaced."""
    if not replace and name in _names(workdir, folder):
        raise UserError(
            f"{workdir} keeps {folder} under the name {name} already: choose another, or add --replace"
        )


def _names(workdir: Path, folder: str) -> list[str]:
    found = [Path(name).name.removesuffix(".npz") for name in Folder(workdir).names(f"{folder}/*.npz")]
    return [name for name in found if _NAME.fullmatch(name)]


def _write(workdir: Path, folder: str, name: str, arrays: Mapping[str, np.ndarray], replace: bool) -> Path:
    check_free(workdir, folder, check_name(name), replace)
    content, path = io.BytesIO(), f"{folder}/{name}.npz"
    np.savez_compressed(content, **arrays)  # pyright: ignore[reportArgumentType]
    try:
        Folder(workdir).write(path, content.getvalue())
    except OSError as error:
        raise UserError(f"can't write {workdir / path} ({error.strerror}): make room, or remove that") from error
    return workdir / path


def _read(workdir: Path, folder: str, name: str) -> tuple[dict[str, np.ndarray], Path]:
    path = workdir / folder / f"{check_name(name)}.npz"
    try:
        content = Folder(workdir).read(f"{folder}/{name}.npz", _LARGEST)
    except (FileNotFoundError, NotADirectoryError):
        known = _names(workdir, folder)
        command = {LATENTS: "gan-jax project", DIRECTIONS: "gan-jax directions"}[folder]
        hint = near(name, known) if known else f": it keeps none ({command} does)"
        raise UserError(f"{workdir} keeps no {folder} under the name {name}{hint}") from None
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror}): restore it, or remove it") from error
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            check_size(len(content), archive.infolist())
            members = [one for one in archive.namelist() if one.endswith(".npy")]
            return {one.removesuffix(".npy"): read_member(archive, one) for one in members}, path
    except Exception as error:  # zipfile and NumPy may raise any exception for damaged bytes
        raise UserError(
            f"{path} is not a whole .npz file ({first_line(error)}): remove it, or restore it"
        ) from error


def _is_finite(array: np.ndarray) -> bool:
    return array.dtype == np.float32 and bool(np.isfinite(array).all())


def _text(array: np.ndarray | None) -> str:
    return str(array) if array is not None and array.dtype.kind == "U" and array.shape == () else ""


def _number(array: np.ndarray | None) -> int | None:
    """Returns a number from 0 to 2^63 - 1; None if it is none."""
    is_one = array is not None and array.shape == () and array.dtype.kind in "iu" and 0 <= int(array) < 2**63
    return int(array) if is_one and array is not None else None
