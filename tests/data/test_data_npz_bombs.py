"""Files .npz that claim, or unpack to, more than their bytes: they are refused before that much is unpacked."""

import io
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest

from gan_jax.data.memory import available_memory_bytes, host_memory_bytes
from gan_jax.data.npz import npz
from gan_jax.errors import UserError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.npz"


def refused(path, peak: int = 2**20) -> str:
    """Returns the sentence that refuses a file; reading it may take so many bytes of memory."""
    tracemalloc.start()
    try:
        with pytest.raises(UserError) as error:
            npz(str(path))
        assert tracemalloc.get_traced_memory()[1] < peak
    finally:
        tracemalloc.stop()
    assert str(error.value).splitlines() == [str(error.value)]
    return str(error.value)


def member(header: str, content: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header) + 1) + header.encode() + b"\n" + content


def zipped(path, method: int = zipfile.ZIP_DEFLATED, **members: bytes) -> None:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)


def npy(array: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (
            "{'descr': '|u1', 'fortran_order': False, 'shape': (1000000, 1000000, 3)}",
            "claims 3,000,000,000,000",
        ),
        ("{'descr': '|u1', 'fortran_order': False, 'shape': (-2, 8, 8)}", "cannot be read"),
        ("{'descr': '|V0', 'fortran_order': False, 'shape': (1000000000000, 8, 8)}", ""),
    ],
)
def test_headers_that_claim_what_is_not_there(header, message, path):
    zipped(path, image=member(header))
    assert message in refused(path)


def test_what_unpacks_a_thousandfold(path, monkeypatch):
    zeros, noise = npy(np.zeros((100, 100, 100), np.uint8)), np.random.default_rng(0).bytes(9)
    zipped(path, image=zeros)
    assert len(npz(str(path))) == 100  # a small one is fine
    monkeypatch.setattr("gan_jax.data.memory._SMALL", 10_000)
    size = path.stat().st_size
    assert f"its {size:,} bytes unpack to 1,000,128, more than 100 times as many" in refused(path)
    image = npy(np.frombuffer(noise, np.uint8).reshape(1, 3, 3))
    zipped(path, image=image, label=zeros)  # the labels too
    assert "unpack to 1,000,265, more" in refused(path)
    assert len(npz(str(path), label_key="")) == 1  # unless nothing reads them
    monkeypatch.setattr("gan_jax.data.memory._SMALL", 2**28)
    assert "must hold one label for each of the 1 samples" in refused(path, peak=2**22)


def test_what_does_not_fit_in_the_memory_of_now(path, monkeypatch):
    zipped(path, image=npy(np.zeros((100, 100, 100), np.uint8)))
    monkeypatch.setattr("gan_jax.data.npz_file.available_memory_bytes", lambda: 999_999)
    assert "it needs 1,000,128 bytes of memory, but this host has 999,999 available now" in refused(path)
    assert 2**20 < available_memory_bytes() <= host_memory_bytes()


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressions_that_unpack_more_than_is_asked_for(method, path):
    """Python unpacks a whole block of them at once, however much the reader wants."""
    zipped(path, method, image=npy(np.zeros((3000, 100, 100), np.uint8)))
    assert "it is packed with another method than zip's own" in refused(path)


@pytest.mark.parametrize("claimed", [228, 40_000_000])
def test_a_directory_that_lies(claimed, path):
    """The file unpacks to 30 MB; its directory and its header claim another size."""
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': (1, 10, {(claimed - 128) // 10:9})}}".ljust(117)
    zipped(path, image=member(header, bytes(30_000_000)))
    real = struct.pack("<I", 30_000_128)
    content = path.read_bytes()
    assert content.count(real) == 2  # beside the member, and in the directory
    path.write_bytes(content.replace(real, struct.pack("<I", claimed)))
    assert "cannot be read as an .npz file" in refused(path, peak=claimed + 2**20)


def test_the_memory_of_a_container_and_of_a_whole_machine(tmp_path):
    """The group of a whole machine has `memory.stat` alone."""
    (tmp_path / "memory.stat").write_text("anon 5\ninactive_file 1000\n")
    whole = available_memory_bytes(tmp_path)
    assert 2**20 < whole <= host_memory_bytes()
    (tmp_path / "memory.current").write_text(f"{host_memory_bytes() - 2**20}\n")
    assert available_memory_bytes(tmp_path) == 2**20 + 1000
