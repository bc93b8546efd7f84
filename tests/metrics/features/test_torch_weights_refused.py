"""The reader of weights refuses damaged and hostile PyTorch files, and runs nothing in them."""

import io
import pickle
import zipfile

import numpy as np
import pytest

from gan_jax.errors import UserError
from gan_jax.metrics.features.torch_pickle import Unpickler
from gan_jax.metrics.features.torch_weights import read_torch
from torch_files import DATA, FORMATS, Call, Name, Writer, legacy, pickled, storage, tensor, zipped


@pytest.mark.parametrize("write", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize(
    ("offset", "size", "stride"),
    [
        (0, (13,), (1,)),
        (1, (12,), (1,)),
        (0, (3, 4), (5, 1)),
        (12, (), ()),
        (0, (2,), (2**40,)),
        (0, (2**40,), (0,)),
    ],
)
def test_tensors_outside_their_storage_are_refused(tmp_path, write, offset, size, stride):
    path = write(tmp_path / "w.pth", {"w": tensor(storage("0", 12), offset, size, stride)}, {"0": DATA.tobytes()})
    with pytest.raises(UserError, match=r"reaches number|over 12 numbers"):
        read_torch(path)


@pytest.mark.parametrize(
    ("offset", "size", "stride"),
    [(-1, (1,), (1,)), (0, (-1,), (1,)), (11, (2,), (-1,)), (0, (2,), (1, 1)), (0.0, (1,), (1,)), (0, [1], (1,))],
)
def test_what_is_not_a_count_is_refused(tmp_path, offset, size, stride):
    path = zipped(tmp_path / "w.pth", {"w": tensor(storage("0", 12), offset, size, stride)}, {"0": DATA.tobytes()})
    with pytest.raises(UserError, match="has a tensor of size"):
        read_torch(path)


CALLED = []  # what a pickle managed to call


def run_me(*args):
    CALLED.append(args)


HOSTILE = {
    "os.system": Call(Name("os", "system"), "echo ran"),
    "posix.system": Call(Name("posix", "system"), "echo ran"),
    "builtins.eval": Call(Name("builtins", "eval"), "1"),
    "__builtin__.getattr": Call(Name("__builtin__", "getattr"), 1, "real"),
    f"{__name__}.run_me": Call(Name(__name__, "run_me"), 1),
    "numpy._core.multiarray._reconstruct": Call(Name("numpy._core.multiarray", "_reconstruct"), 0),
    "torch.load": Call(Name("torch", "load"), "x"),
    "torch._utils._rebuild_qtensor": Call(Name("torch._utils", "_rebuild_qtensor"), 1),
    "collections.OrderedDict.fromkeys": Call(Name("collections", "OrderedDict.fromkeys"), "x"),
}


@pytest.mark.parametrize("write", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("name", HOSTILE)
def test_every_other_global_is_refused_and_not_called(tmp_path, write, name, capfd):
    path = write(
        tmp_path / "w.pth", {"w": tensor(storage("0", 12), 0, (12,), (1,)), "x": HOSTILE[name]}, {"0": b""}
    )
    with pytest.raises(UserError, match=f"asks for {name}, which no file of weights needs"):
        read_torch(path)
    assert not CALLED
    assert "ran" not in capfd.readouterr().out


def test_the_first_pickle_of_the_old_format_is_not_trusted_either(tmp_path):
    path = tmp_path / "w.pth"
    path.write_bytes(pickled(Call(Name(__name__, "run_me"), 1)))
    with pytest.raises(UserError, match="run_me"):
        read_torch(path)
    assert not CALLED


@pytest.mark.parametrize(
    "function",
    [Name("torch._utils", "_rebuild_tensor_v2"), Name("torch", "FloatStorage"), Name("torch", "float32")],
)
@pytest.mark.parametrize("state", [{"__call__": 1, "type": 2}, (None, {"__call__": 1, "type": 2})])
def test_a_pickle_can_t_change_the_stand_ins(tmp_path, function, state):
    """The opcode BUILD sets attributes of the object on top of the stack."""
    out = io.BytesIO()
    writer = Writer(out, protocol=2)
    writer.write(b"\x80\x02")
    writer.save(function)
    writer.save(state)
    writer.write(pickle.BUILD + pickle.STOP)
    with zipfile.ZipFile(tmp_path / "w.pth", "w") as archive:
        archive.writestr("archive/data.pkl", out.getvalue())
    with pytest.raises(UserError, match="changes a function or a type"):
        read_torch(tmp_path / "w.pth")


PAIRS = b")" + b"".join(b"q%ch%c\x86" % (i, i) for i in range(60))  # a tuple of 2^60 tuples
BOMBS = {
    "a key whose hash ends the process": b"})" + b"\x85" * 1_000_000 + b"Ns.",
    "a key": b"}" + PAIRS + b"Ns.",
    "a key in a call": b"ccollections\nOrderedDict\n]]" + PAIRS + b"aNaa\x85R.",
    "a reference": PAIRS + b"Q.",
    "a storage": b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\n" + PAIRS + b"K\x00K\x01tQ.",
    "a size": b"ctorch._utils\n_rebuild_tensor_v2\n(K\x00K\x00" + PAIRS + b")tR.",
    "a long size": b"ctorch._utils\n_rebuild_tensor_v2\n(K\x00K\x00(" + b"K\x00" * 1000 + b"t)tR.",
    "an opcode": b"}2.",
    "no tensors": PAIRS + b".",
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("bomb", BOMBS)
def test_a_pickle_that_needs_years_is_refused(tmp_path, bomb, nested):
    """Hashing or printing what these pickles hold would take years, or end the process."""
    path, data = tmp_path / "w.pth", b"\x80\x02" + BOMBS[bomb]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", data)
    if nested and "key" in bomb:  # it is left out
        assert read_torch(path, nested) == {}
    else:
        with pytest.raises(UserError) as caught:
            read_torch(path, nested)
        assert len(str(caught.value)) < 700
    path.write_bytes(data)
    with pytest.raises(UserError):
        read_torch(path, nested)


def test_an_index_needs_no_memory(tmp_path):
    """Python's unpickler takes 64 GiB for this index."""
    with zipfile.ZipFile(tmp_path / "w.pth", "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}r\xff\xff\xff\xff.")
    assert read_torch(tmp_path / "w.pth") == {}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_protocol_gives_the_same_values(protocol):
    value = {
        "a": [1, -1, 300, 70_000, -(2**40), 2**3000], "b": (True, False, None, 0.5, float("inf"), b"\0\xff", ""),
        "c": ((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)), "d": {"e" * 300: "é", 7: [], 8: {}}, "f": "x" * 70_000,
    }  # fmt: skip
    value["again"] = value["a"]
    data = io.BytesIO(pickle.dumps(value, protocol) + b"rest")
    found = Unpickler(data, nested=True).load()
    if protocol == 2:  # where bytes are a call of _codecs.encode, which is left out
        value["b"] = found["b"] = None
    assert found == value
    assert found["again"] is found["a"]
    assert data.read() == b"rest"


def test_the_list_of_storages_of_the_old_format_is_not_trusted_either(tmp_path):
    path = legacy(tmp_path / "w.pth", {"w": tensor(storage("0", 12), 0, (12,), (1,))}, {})
    deep = b"\x80\x02](" + b")" + b"\x85" * 1_000_000 + b"e."
    path.write_bytes(path.read_bytes().removesuffix(pickled([])) + deep)
    with pytest.raises(UserError, match="its list of storages is not that of its tensors"):
        read_torch(path)


@pytest.mark.parametrize("write", FORMATS.values(), ids=FORMATS)
def test_a_file_cut_anywhere_is_refused(tmp_path, write):
    path = write(tmp_path / "w.pth", {"w": tensor(storage("0", 12), 0, (12,), (1,))}, {"0": DATA.tobytes()})
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError):
            read_torch(path)


@pytest.mark.parametrize("write", FORMATS.values(), ids=FORMATS)
def test_storages_have_the_size_that_is_said(tmp_path, write):
    value = {"w": tensor(storage("0", 12), 0, (1,), (1,))}
    for data in (DATA[:11].tobytes(), np.zeros(13, np.float32).tobytes()):
        with pytest.raises(UserError, match="is damaged"):
            read_torch(write(tmp_path / "w.pth", value, {"0": data}))
    with pytest.raises(UserError, match="is damaged"):
        read_torch(write(tmp_path / "w.pth", value, {"1": DATA.tobytes()}))


def test_other_files(tmp_path):
    value, storages = {"w": tensor(storage("0", 12), 0, (12,), (1,))}, {"0": DATA.tobytes()}
    path = tmp_path / "w.pth"
    for written in (lambda: zipped(path, value, storages, b"big"), lambda: legacy(path, value, storages, False)):
        with pytest.raises(UserError, match="big-endian"):
            read_torch(written())
    for other in ([1], {"w": 1}, {1: value["w"]}, value["w"], None):
        with pytest.raises(UserError, match="does not hold named tensors alone"):
            read_torch(zipped(path, other, storages))
    path.write_bytes(b"no weights")
    with pytest.raises(UserError, match="is not a PyTorch file"):
        read_torch(path)
    with pytest.raises(UserError, match="No such file"):
        read_torch(tmp_path / "none.pth")
