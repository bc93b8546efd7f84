"""Reads TFRecord files without TensorFlow.

A record consists of its length (uint64, little-endian), the masked CRC-32C of the length, the content, and the
masked CRC-32C of the content: https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details
"""

import functools
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ...errors import UserError

_BLOCK = 2048  # bytes whose CRC is computed at once
_POLYNOMIAL = 0x82F63B78  # Castagnoli's polynomial, bits reversed


def read_tfrecord(path: Path) -> Iterator[bytes]:
    """Yields the records of a file in order. Raises UserError that names the record if the file is damaged."""
    remaining = path.stat().st_size
    with path.open("rb") as file:
        number = 0
        while header := file.read(12):
            remaining -= 12
            if len(header) < 12:
                raise _damaged(path, number, "the file ends within it")
            length, checksum = struct.unpack("<QI", header)
            if masked_crc32c(header[:8]) != checksum:
                raise _damaged(path, number, "the checksum of its length does not match")
            if length + 4 > remaining:
                raise _damaged(path, number, "the file ends within it")
            record, (checksum,) = file.read(length), struct.unpack("<I", file.read(4))
            if masked_crc32c(record) != checksum:
                raise _damaged(path, number, "its checksum does not match")
            remaining -= length + 4
            yield record
            number += 1


def masked_crc32c(content: bytes) -> int:
    """Returns the checksum of TFRecord: the CRC-32C rotated right by 15 bits, plus a constant."""
    crc = crc32c(content)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def crc32c(content: bytes) -> int:
    """Returns the CRC-32C (RFC 3720), at about 100 MB/s.

    The CRC is linear over GF(2). So the CRC of a block is the exclusive or of one CRC for each byte: that of the
    byte followed by zeros up to the end of the block. A table [position, byte] holds these CRCs.
    """
    table = _table()
    values = np.frombuffer(content, np.uint8)
    state = 0xFFFFFFFF
    start = 0
    # The shorter block comes first, so that all later blocks are whole.
    stop = len(values) % _BLOCK or _BLOCK
    while start < len(values):
        block = values[start:stop]
        if len(block) < 4:
            for value in block:
                state = int(table[-1, (state ^ int(value)) & 0xFF]) ^ (state >> 8)
        else:
            # The 32-bit register of the bytes before has the effect of an exclusive or with the next 4 bytes.
            block = block.copy()
            block[:4] ^= np.frombuffer(struct.pack("<I", state), np.uint8)
            rows = np.arange(_BLOCK - len(block), _BLOCK)
            state = int(np.bitwise_xor.reduce(table[rows, block]))
        start, stop = stop, stop + _BLOCK
    return state ^ 0xFFFFFFFF


@functools.cache
def _table() -> np.ndarray:
    """Returns uint32 [_BLOCK, 256]: the CRC register after the byte and the zeros up to the end of the block."""
    single = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        single = np.where(single & 1, (single >> 1) ^ np.uint32(_POLYNOMIAL), single >> 1).astype(np.uint32)
    table = np.empty((_BLOCK, 256), np.uint32)
    table[-1] = single
    for row in range(_BLOCK - 1, 0, -1):
        table[row - 1] = single[table[row] & 0xFF] ^ (table[row] >> 8)
    return table


def _damaged(path: Path, number: int, why: str) -> UserError:
    return UserError(f"'{path}' is damaged at record {number}, {why}: get the file again, then repeat the command")
