"""The reader of PyTorch's files: what it reads, and what it refuses without running any of it."""

import io
import pickle
import struct
import zipfile
from collections import OrderedDict
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
import pytest

from devices import run_json
from gan_jax.errors import UserError
from gan_jax.metrics.features.torch_weights import digest, read_torch, read_weights

RAN = []  # what a pickle managed to call


class Name:
    """Pickled as a global of another module."""

    def __init__(self, module, name):
        self.module, self.name = module, name


class Call:
    """Pickled as a call."""

    def __init__(self, function, *args):
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args


class Writer(pickle._Pickler):
    """Pickles names that can't be imported here, and storages as torch.save does."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def persistent_id(self, obj):
        return obj[1] if isinstance(obj, tuple) and len(obj) == 2 and obj[0] == "persistent" else None

    def save_name(self, obj):
        self.write(b"c" + f"{obj.module}\n{obj.name}\n".encode())
        self.memoize(obj)

    dispatch[Name] = save_name

    def save_call(self, obj):
        self.save(obj.function)
        self.save(obj.args)
        self.write(pickle.REDUCE)

    dispatch[Call] = save_call


def pickled(value):
    out = io.BytesIO()
    Writer(out, protocol=2).dump(value)
    return out.getvalue()


def storage(key, numel, kind="FloatStorage"):
    return ("persistent", ("storage", Name("torch", kind), key, "cpu", numel))


def tensor(stored, offset, size, stride):
    rebuild = Name("torch._utils", "_rebuild_tensor_v2")
    return Call(rebuild, stored, offset, size, stride, False, Call(Name("collections", "OrderedDict")))


def zipped(path, value, storages, order=b"little", compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", pickled(value))
        archive.writestr("archive/byteorder", order)
        for key, data in storages.items():
            archive.writestr(f"archive/data/{key}", data)
    return path


def legacy(path, value, storages, little=True):
    parts = [pickled(0x1950A86A20F9469CFC6C), pickled(1001), pickled({"little_endian": little})]
    parts += [pickled(value), pickled(list(storages))]
    parts += [struct.pack("<q", len(data) // 4) + data for data in storages.values()]
    path.write_bytes(b"".join(parts))
    return path


DATA = np.arange(12, dtype=np.float32)
FORMATS = {
    "stored": zipped,
    "deflated": lambda *args: zipped(*args, compression=zipfile.ZIP_DEFLATED),
    "legacy": legacy,
}


@pytest.mark.parametrize("write", FORMATS.values(), ids=FORMATS)
def test_views_of_one_storage(tmp_path, write):
    """Offsets and strides in units of elements, NumPy's being of bytes; 0 strides, no axes and no elements."""
    one = storage("0", 12)
    parameter = Call(Name("torch._utils", "_rebuild_parameter"), tensor(one, 0, (12,), (1,)), True, None)
    value = OrderedDict(
        whole=tensor(one, 0, (3, 4), (4, 1)),
        transposed=tensor(one, 0, (4, 3), (1, 4)),
        corner=tensor(one, 5, (2, 2), (4, 2)),
        repeated=tensor(one, 3, (5, 2), (0, 1)),
        scalar=tensor(one, 11, (), ()),
        empty=tensor(one, 12, (0, 3), (3, 1)),
        parameter=parameter,
    )
    found = read_torch(write(tmp_path / "w.pth", value, {"0": DATA.tobytes()}))
    table = DATA.reshape(3, 4)
    expected = {
        "whole": table, "transposed": table.T, "corner": table[1:, 1::2], "repeated": np.tile(DATA[3:5], (5, 1)),
        "scalar": DATA[11], "empty": np.zeros((0, 3)), "parameter": DATA,
    }  # fmt: skip
    assert list(found) == list(value)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].shape == array.shape
        assert found[name].dtype == np.float32


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


def run_me(*args):
    RAN.append(args)


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
    assert not RAN
    assert "ran" not in capfd.readouterr().out


def test_the_first_pickle_of_the_old_format_is_not_trusted_either(tmp_path):
    path = tmp_path / "w.pth"
    path.write_bytes(pickled(Call(Name(__name__, "run_me"), 1)))
    with pytest.raises(UserError, match="run_me"):
        read_torch(path)
    assert not RAN


@pytest.mark.parametrize(
    "function",
    [Name("torch._utils", "_rebuild_tensor_v2"), Name("torch", "FloatStorage"), Name("torch", "float32")],
)
@pytest.mark.parametrize("state", [{"__call__": 1, "type": 2}, (None, {"__call__": 1, "type": 2})])
def test_a_pickle_can_t_change_the_stand_ins(tmp_path, function, state):
    """BUILD sets attributes of whatever lies on the stack."""
    out = io.BytesIO()
    writer = Writer(out, protocol=2)
    writer.write(b"\x80\x02")
    writer.save(function)
    writer.save(state)
    writer.write(pickle.BUILD + pickle.STOP)
    with zipfile.ZipFile(tmp_path / "w.pth", "w") as archive:
        archive.writestr("archive/data.pkl", out.getvalue())
    with pytest.raises(UserError, match="AttributeError"):
        read_torch(tmp_path / "w.pth")


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


def test_npz_without_pickles(tmp_path):
    np.savez(tmp_path / "w.npz", a=DATA, b=np.ones((2, 3)))
    np.testing.assert_array_equal(read_weights(tmp_path / "w.npz")["a"], DATA)
    np.savez(tmp_path / "o.npz", a=np.array([run_me], object))
    with pytest.raises(UserError, match="can't be read as arrays"):
        read_weights(tmp_path / "o.npz")


def test_digest_is_sha_256(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert digest(tmp_path / "abc") == "ba7816bf8f01cfea"  # FIPS 180-2, appendix B.1


KINDS = {
    "DoubleStorage": np.float64, "HalfStorage": np.float16, "BFloat16Storage": jnp.bfloat16,
    "BoolStorage": np.bool_, "LongStorage": np.int64, "IntStorage": np.int32, "ShortStorage": np.int16,
    "CharStorage": np.int8, "ByteStorage": np.uint8,
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_types_of_numbers(tmp_path, kind):
    data = np.array([0, 1, 1, 0], np.float32).astype(KINDS[kind])
    found = read_torch(
        zipped(tmp_path / "w.pth", {"w": tensor(storage("0", 4, kind), 0, (4,), (1,))}, {"0": data.tobytes()})
    )["w"]
    assert found.dtype == data.dtype
    np.testing.assert_array_equal(found, data)


TORCH = """
import json
import numpy as np
try:
    import torch
except ImportError:
    print(json.dumps(None))
    raise SystemExit
from gan_jax.metrics.torch_weights import read_torch
torch.manual_seed(0)
net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Linear(4, 2).bfloat16())
table = torch.arange(24.0).reshape(4, 6)
state = net.state_dict()
views = {"t": table.T, "part": table[1:3, ::2], "flat": table, "expanded": table[0].expand(3, 6)}
for name, value in (("state", state), ("views", views), ("parameters", dict(net.named_parameters()))):
    for zipped in (True, False):
        path = f"FOLDER/{name}{zipped}.pth"
        torch.save(value, path, _use_new_zipfile_serialization=zipped)
        found = read_torch(path)
        assert list(found) == list(value)
        for key, tensor in value.items():
            np.testing.assert_array_equal(found[key].astype(np.float32), tensor.detach().float().numpy())
            assert found[key].shape == tuple(tensor.shape)
print(json.dumps(sorted(state)))
"""


def test_what_torch_saves_is_read_as_torch_has_it(tmp_path):
    names = run_json(TORCH.replace("FOLDER", str(tmp_path)))
    if names is None:
        pytest.skip("PyTorch is not installed (make peers)")
    assert len(names) == 9
