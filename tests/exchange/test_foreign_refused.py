"""Files of weights that are wrong or hostile: one sentence each, and nothing is run."""

import json
import os
import pickle
import re
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

import torch_files
from gan_jax.errors import UserError
from gan_jax.exchange.foreign import read_networks
from gan_jax.exchange.foreign_file import read_foreign
from gan_jax.exchange.foreign_layouts import find
from quick import some
from weights_of import NAMES, arrays, kind_of, saved


def refused(file, kind="sngan", *overrides, **keywords):
    with pytest.raises(UserError) as caught:
        read_networks(Path(file), kind, overrides, **keywords)
    return str(caught.value)


@pytest.mark.parametrize(
    ("case", "kind", "said"),
    [
        ("sngan", "biggan", "has a generator of sngan in the layout of PyTorch-StudioGAN: say --as sngan"),
        (
            "biggan by its authors",
            "r3gan",
            "of biggan in the layout of BigGAN-PyTorch: say --as biggan",
        ),
        ("stylegan2", "sngan", "stylegan2 in the layout of stylegan2-ada-pytorch: say --as stylegan2"),
    ],
)
def test_another_architecture(case, kind, said, tmp_path):
    assert said in refused(saved(tmp_path, arrays(case)), kind)


def test_no_generator_or_another_discriminator(tmp_path):
    file = saved(tmp_path, arrays("r3gan", "d"))
    assert "has a discriminator alone of r3gan in the layout of R3GAN: give the file" in refused(file, "r3gan")
    file = saved(tmp_path, {"weight": np.zeros(3, np.float32)})
    assert "has no generator of sngan in a known layout (PyTorch-StudioGAN and mimicry)" in refused(file)
    assert "--as pixelgan: it is one of r3gan" in refused(file, "pixelgan")
    (tmp_path / "g").mkdir()
    generator = saved(tmp_path / "g", arrays("sngan", "g_ema"))
    other = saved(tmp_path, arrays("sngan without labels", "d"))
    assert "the discriminator has no classes, but the generator has 3" in refused(generator, discriminator=other)
    other = saved(tmp_path, arrays("r3gan", "d"))
    assert "has no discriminator of sngan in the layout of PyTorch-StudioGAN" in refused(
        generator, discriminator=other
    )
    mimicry = {name: np.zeros((4, 4), np.float32) for name in ("block2.c1.weight", "l1.weight")}
    assert "mimicry, whose generator enlarges maps by bilinear" in refused(saved(tmp_path, mimicry))


WEIGHTS = ("weight", "weight_orig", "Bias", "bias")


@pytest.mark.parametrize("case", some(NAMES, "sngan"))
def test_a_missing_array_or_another_shape_is_named(case, tmp_path):
    made, kind = arrays(case), kind_of(case)
    names = [name for name in made if name.endswith(WEIGHTS) and name.startswith("g_ema.")]
    for name in (names[len(names) // 3], names[len(names) // 2]):
        without = saved(tmp_path, {other: array for other, array in made.items() if other != name})
        assert re.search(
            r"w\.safetensors (has|lacks) .*\(layout of|w\.safetensors has no array", refused(without, kind)
        )
    name = names[len(names) // 2]
    wrong = np.zeros((*made[name].shape[:-1], made[name].shape[-1] + 1), np.float32)
    assert "w.safetensors" in refused(saved(tmp_path, {**made, name: wrong}), kind)


@pytest.mark.parametrize("case", NAMES)
def test_any_shape_gives_a_sentence(case):
    """Arrays of random ranks and shapes never give anything but a UserError."""
    random, made = np.random.default_rng(3), arrays(case)
    for _ in range(100):
        changed = dict(made)
        for name in random.choice(list(made), 2):
            changed[str(name)] = np.zeros(tuple(random.integers(0, 6, random.integers(0, 5))), np.float32)
        try:
            found = find(changed, kind_of(case), Path("w.pth"))
        except UserError:
            continue
        assert all(isinstance(origin.name, str) for origin in found.network.table.values())


def test_numbers_that_are_none(tmp_path):
    made = arrays("sngan", "g_ema")
    made["g_ema.bn4.weight"][0] = np.nan
    assert "has numbers in g_ema.bn4.weight that are not finite" in refused(saved(tmp_path, made))
    made["g_ema.bn4.weight"] = np.ones(8, np.int32)
    assert "as int32, but weights are floats" in refused(saved(tmp_path, made))


def test_damaged_files(tmp_path):
    whole = saved(tmp_path, arrays("sngan")).read_bytes()
    hostile = tmp_path / "bad.safetensors"
    length = struct.unpack("<Q", whole[:8])[0]
    header = json.loads(whole[8 : 8 + length])
    name = next(iter(header))
    for data in (
        whole[:-5],
        whole[: length // 2],
        struct.pack("<Q", 2**60) + whole[8:],
        whole[:8] + b"{" + b"\xff" * (length - 1) + whole[8 + length :],
    ):
        hostile.write_bytes(data)
        assert "bad.safetensors can't be read as safetensors" in refused(hostile)
    lying = json.dumps({**header, name: {**header[name], "shape": [10**9, 10**9]}}).encode()
    hostile.write_bytes(struct.pack("<Q", len(lying)) + lying + whole[8 + length :])
    assert "can't be read as safetensors" in refused(hostile)
    hostile.write_bytes(b"GIF89a" + bytes(40))
    assert "is no file of weights: give a safetensors" in refused(hostile)
    hostile.write_bytes(b"")
    assert "is no file of weights" in refused(hostile)
    assert "can't be read: No such file" in refused(tmp_path / "missing.pth")
    assert "can't be read: Is a directory" in refused(tmp_path)


# -- PyTorch's files: dictionaries in one another, and pickles that want to run something


def float_tensor(key, *size):
    strides = tuple(np.cumprod((1, *size[:0:-1]))[::-1].tolist())
    return torch_files.tensor(torch_files.storage(key, int(np.prod(size))), 0, size, strides)


def stored(*sizes):
    return {str(i): np.arange(size, dtype=np.float32).tobytes() for i, size in enumerate(sizes)}


def test_dictionaries_in_one_another(tmp_path):
    """Numbers, texts, arguments of a program and optimizers lie beside the tensors."""
    arguments = torch_files.Call(torch_files.Name("argparse", "Namespace"))
    value = {
        "g_ema": {"a.weight": float_tensor("0", 2, 3)},
        "optimizer": {"state": {0: {"step": 7, "exp_avg": float_tensor("1", 4)}}, "groups": [{"lr": 0.1}]},
        "args": arguments, "epoch": 3, "best": None, 5: "text",
    }  # fmt: skip
    file = torch_files.zipped(tmp_path / "w.pth", value, stored(6, 4))
    found = read_foreign(Path(file))
    assert list(found) == ["g_ema.a.weight", "optimizer.state.0.exp_avg"]
    np.testing.assert_array_equal(found["g_ema.a.weight"], [[0, 1, 2], [3, 4, 5]])


def test_a_dictionary_that_holds_itself_or_repeats(tmp_path):
    inside = {"w": float_tensor("0", 2)}
    inside["again"] = inside
    file = torch_files.zipped(tmp_path / "w.pth", {"g": inside}, stored(2))
    assert "holds itself" in refused(file)
    deep = {"w": float_tensor("0", 2)}
    for _ in range(40):
        deep = {"a": deep}
    assert "dictionaries in one another" in refused(torch_files.zipped(tmp_path / "w.pth", deep, stored(2)))
    wide = {"w": float_tensor("0", 2)}
    for _ in range(12):  # 2^12 paths to one tensor: each dictionary counts once
        wide = {"a": wide, "b": wide}
    assert len(read_foreign(Path(torch_files.zipped(tmp_path / "w.pth", wide, stored(2))))) == 1
    one = torch_files.storage("0", 1)
    many = {str(i): torch_files.tensor(one, 0, (2**20,), (0,)) for i in range(100)}
    assert "far larger" in refused(torch_files.zipped(tmp_path / "w.pth", many, stored(1)))
    twice = {"a.b": float_tensor("0", 2), "a": {"b": float_tensor("0", 2)}}
    assert "two tensors of the name a.b" in refused(torch_files.zipped(tmp_path / "w.pth", twice, stored(2)))


class Runs:
    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_no_pickle_is_run(tmp_path):
    """A pickle that calls os.system gets a sentence, in each format, and nothing is called."""
    made, hostile = tmp_path / "made", Runs()
    hostile.path = made
    data = pickle.dumps({"state_dict": hostile}, protocol=2)
    with zipfile.ZipFile(tmp_path / "w.pth", "w") as archive:
        archive.writestr("archive/data.pkl", data)
    assert "asks for posix.system" in refused(tmp_path / "w.pth")
    (tmp_path / "old.pt").write_bytes(data)
    assert "asks for posix.system" in refused(tmp_path / "old.pt")
    (tmp_path / "new.pkl").write_bytes(pickle.dumps(hostile, protocol=4))
    said = refused(tmp_path / "new.pkl")
    assert "a pickle of Python objects is never opened" in said
    names = {"Namespace": "argparse", "scalar": "numpy.core.multiarray"}
    for name, module in names.items():  # what has a stand-in does nothing either
        call = torch_files.Call(
            torch_files.Name(module, name), torch_files.Call(torch_files.Name("os", "system"), "id")
        )
        assert "asks for os.system" in refused(torch_files.zipped(tmp_path / "w.pth", {"a": call}, {}))
    assert not made.exists()


def test_a_network_object_gets_advice(tmp_path):
    value = {
        "G_ema": torch_files.Call(torch_files.Name("torch_utils.persistence", "_reconstruct_persistent_obj"), {})
    }
    said = refused(torch_files.zipped(tmp_path / "w.pkl", value, {}), "stylegan2")
    assert "torch_utils.persistence._reconstruct_persistent_obj" in said
    assert "G_ema.state_dict()" in said
