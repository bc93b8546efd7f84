"""Writes files in PyTorch's formats without PyTorch, with tensors and with what a hostile file may contain."""

import io
import pickle
import struct
import zipfile
from typing import ClassVar

import numpy as np


class Name:
    """Is pickled as a name in another module."""

    def __init__(self, module, name):
        self.module, self.name = module, name


class Call:
    """Is pickled as a call of a function."""

    def __init__(self, function, *args):
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args


class Writer(pickle._Pickler):
    """Pickles names that can't be imported here, and storages in the way of torch.save."""

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
