"""Makes images and .npz files, also such as no program should write."""

import functools
import io
import struct
import zipfile
import zlib

import numpy as np
from PIL import Image


def crafted(side: int) -> bytes:
    """A PNG file that claims `side` by `side` pixels and holds none."""
    parts = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0), b"IDAT", b"IEND"
    chunks = (struct.pack(">I", len(p) - 4) + p + struct.pack(">I", zlib.crc32(p)) for p in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@functools.cache
def encoded(kind: str, mode: str, width: int, height: int) -> bytes:
    """Returns an image in that file format; a grey one if the format does not know the mode."""
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    file, image = io.BytesIO(), Image.fromarray(noise).convert("L")
    try:
        (Image.fromarray(noise) if mode == "RGB" else image.convert(mode)).save(file, kind)
    except (OSError, ValueError, KeyError):
        image.save(file, kind)
    return file.getvalue()


def npy(header: str, content: bytes = b"") -> bytes:
    """Returns an .npy file with any header."""
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header) + 1) + header.encode() + b"\n" + content


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def saved(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


HEADERS = [
    "{'descr': '|u1', 'fortran_order': False, 'shape': (1000000, 1000000, 3)}",
    "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 8, -8)}",
    f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({2**70}, 8, 8)}}",
    "{'descr': '|u1', 'fortran_order': False, 'shape': (2L, 8, 8)}",
    "{'descr': '|O', 'fortran_order': False, 'shape': (2, 8, 8)}",
    "{'descr': '|V0', 'fortran_order': False, 'shape': (2, 8, 8)}",
    "{'descr': [('a', '|O')], 'fortran_order': False, 'shape': (2,)}",
    "{'descr': '|u1', 'fortran_order': 3, 'shape': 2}",
    "{'descr': 'zz', 'fortran_order': False, 'shape': (2,)}",
    "{[]: 1}", "(" * 500, "{", "1", "", "\x0c\n'", "__import__('os')", "{'shape': (2,)}",
]  # fmt: skip
