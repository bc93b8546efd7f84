"""The reader of weights: it reads .npz files, and what PyTorch saves."""

import zipfile
from collections import OrderedDict

import jax.numpy as jnp
import numpy as np
import pytest

from devices import run_json
from gan_jax.errors import UserError
from gan_jax.metrics.features.torch_weights import digest, read_torch, read_weights
from torch_files import DATA, FORMATS, Call, Name, storage, tensor, zipped


@pytest.mark.parametrize("write", FORMATS.values(), ids=FORMATS)
def test_views_of_one_storage(tmp_path, write):
    """Offsets and strides count elements (in NumPy they count bytes). Strides of 0, no axes, no elements."""
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


def test_npz_without_pickles(tmp_path):
    np.savez(tmp_path / "w.npz", a=DATA, b=np.ones((2, 3)))
    np.testing.assert_array_equal(read_weights(tmp_path / "w.npz")["a"], DATA)
    np.savez(tmp_path / "o.npz", a=np.array([print], object))
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
from gan_jax.metrics.features.torch_weights import read_torch
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


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_what_torch_saves_is_read_as_torch_has_it(tmp_path):
    names = run_json(TORCH.replace("FOLDER", str(tmp_path)))
    if names is None:
        pytest.skip("PyTorch is not installed (make peers)")
    assert len(names) == 9


def test_weights_that_unpack_a_thousandfold(tmp_path, monkeypatch):
    monkeypatch.setattr("gan_jax.data.memory._SMALL", 10_000)
    np.savez_compressed(tmp_path / "w.npz", a=np.zeros(1_000_000, np.uint8))
    with zipfile.ZipFile(tmp_path / "w.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("w/data.pkl", bytes(1_000_000))
    for name in ("w.npz", "w.pth"):
        with pytest.raises(UserError, match="more than 100 times as many"):
            read_weights(tmp_path / name)
