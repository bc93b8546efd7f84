"""Networks of ours in a safetensors file: a round trip keeps every bit, and a damaged file is refused."""

import json
import shutil
import struct

import numpy as np
import pytest
import safetensors.numpy

import runs
from gan_jax.config.build import SampleSpec, make_gan
from gan_jax.exchange import safetensors_file
from gan_jax.train.open_run import open_run
from runs import call, sentence
from small_runs import NETWORKS, fresh_run

pytestmark = [pytest.mark.usefixtures("programs"), pytest.mark.timeout(180)]


def images(workdir, folder, *more):
    out = folder / "samples.npz"
    outcome = call("sample", workdir, "--count", 6, "--out", out, *more)
    assert outcome.code == 0, outcome.err
    with np.load(out, allow_pickle=False) as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory):
    """Returns the bytes of the exported run."""
    path = tmp_path_factory.mktemp("exported") / "run.safetensors"
    outcome = call("export", trained, "--format", "safetensors", "--out", path)
    assert outcome.out == f"{path}: generator and discriminator at step 20; gan-jax import reads it\n"
    return path.read_bytes()


def test_an_export_does_not_replace_that_of_the_other_network(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "run")
    for network in ("both", "discriminator"):
        assert call("export", tmp_path / "run", "--format", "safetensors", "--network", network).code == 0
    found = sorted(path.name for path in (tmp_path / "run").glob("export_*"))
    assert found == ["export_00000020.safetensors", "export_00000020_discriminator.safetensors"]


def test_export_import_sample(trained, exported, tmp_path):
    (tmp_path / "run.safetensors").write_bytes(exported)
    outcome = call("import", tmp_path / "run.safetensors", "--out", tmp_path / "new")
    assert outcome.code == 0, outcome.err
    assert outcome.out == f"{tmp_path}/new: tiny at step 20, its moving average and its discriminator\n"
    before, after = open_run(trained, None), open_run(tmp_path / "new", None)
    assert (after.spec, after.data, after.step) == (before.spec, before.data, 0)
    assert np.array_equal(images(trained, tmp_path)["image"], images(tmp_path / "new", tmp_path)["image"])
    again = call("export", tmp_path / "new", "--format", "safetensors", "--out", tmp_path / "b.safetensors")
    assert again.code == 0, again.err
    one, two = (safetensors.numpy.load_file(tmp_path / f"{name}.safetensors") for name in ("run", "b"))
    assert one.keys() == two.keys()
    assert all(np.array_equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("conditional", [True, False], ids=["conditional", "not"])
@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n == "mlp" else pytest.mark.slow) for n in NETWORKS])
def test_every_model_keeps_its_samples(name, conditional, tmp_path):
    """Samples before and after are equal, bit for bit, and so are the names of the classes."""
    workdir = fresh_run(name, conditional, tmp_path / "run")
    assert call("export", workdir, "--format", "safetensors", "--out", tmp_path / "a.safetensors").code == 0
    assert call("import", tmp_path / "a.safetensors", "--out", tmp_path / "new").code == 0
    before, after = images(workdir, tmp_path), images(tmp_path / "new", tmp_path)
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[key], after[key]) for key in before)
    assert len(np.unique(before["image"])) > 20


def test_a_run_starts_from_an_import_and_the_generator_alone_is_enough(trained, config, tmp_path):
    path = tmp_path / "g.safetensors"
    assert call("export", trained, "--format", "safetensors", "--network", "generator", "--out", path).code == 0
    outcome = call("import", path, "--out", tmp_path / "new")
    assert outcome.out == f"{tmp_path}/new: tiny at step 20, its moving average and a new discriminator\n"
    outcome = call("train", config, "steps=1", f"init_from={tmp_path / 'new'}", "--workdir", tmp_path / "next")
    assert outcome.code == 0, outcome.err
    assert "12 of 12 arrays taken" in outcome.err
    outcome = call("evaluate", tmp_path / "new", "--count", 20, "--features", "fake_features:quarters")
    assert outcome.code == 0, outcome.err


def test_the_discriminator_alone_is_no_run(trained, tmp_path):
    path = tmp_path / "d.safetensors"
    assert (
        call("export", trained, "--format", "safetensors", "--network", "discriminator", "--out", path).code == 0
    )
    sentence(call("import", path, "--out", tmp_path / "new"), "has no generator", "--network both")


def test_the_header_says_what_the_run_is_and_not_where_its_data_lie(exported, tmp_path):
    (tmp_path / "run.safetensors").write_bytes(exported)
    with safetensors.safe_open(tmp_path / "run.safetensors", "numpy") as file:
        header = file.metadata()
    assert set(header) == {"format", "gan_jax", "config", "sample", "step", "digest", "data"}
    assert json.loads(header["sample"])["shape"] == [8, 8, 1]


def test_a_published_file_names_no_folder_of_its_author(tmp_path):
    np.savez(tmp_path / "some.npz", image=np.zeros((8, 8, 8, 1), np.uint8))
    config = runs.write_config(tmp_path, runs.MLP)
    words = ["steps=1", "batch=4", "data.source=npz", f"data.source.path={tmp_path / 'some.npz'}"]
    assert call("train", config, *words, "--workdir", tmp_path / "run").code == 0
    path = tmp_path / "a.safetensors"
    assert call("export", tmp_path / "run", "--format", "safetensors", "--out", path).code == 0
    content = path.read_bytes()
    assert str(tmp_path).encode() not in content
    assert b"some.npz" in content


# ---- files of strangers


def parts(content):
    """Returns the header of a safetensors file, and the bytes of its arrays."""
    (size,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + size]), content[8 + size :]


def joined(header, data):
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def changed(content, change):
    header, data = parts(content)
    change(header)
    return joined(header, data)


def in_metadata(name, value):
    return lambda content: changed(content, lambda header: header["__metadata__"].update({name: value}))


def in_json(name, change):
    def edit(content):
        def of(header):
            tree = json.loads(header["__metadata__"][name])
            change(tree)
            header["__metadata__"][name] = json.dumps(tree)

        return changed(content, of)

    return edit


def renamed(content):
    def change(header):
        header["../../etc/passwd"] = header.pop("generator/params/out/bias")

    return changed(content, change)


def not_finite(content):
    header, data = parts(content)
    start, _ = header["generator/params/out/bias"]["data_offsets"]
    return joined(header, data[:start] + struct.pack("<f", np.inf) + data[start + 4 :])


HOSTILE = {
    "empty": (lambda c: b"", "can't be read as safetensors"),
    "garbage": (lambda c: b"\x80\x04}q" * 40, "can't be read as safetensors"),
    "truncated": (lambda c: c[:-5], "can't be read as safetensors"),
    "a header cut short": (lambda c: c[:40], "can't be read as safetensors"),
    "a huge header": (lambda c: struct.pack("<Q", 2**60) + c[8:], "can't be read as safetensors"),
    "a shape that lies": (
        lambda c: changed(c, lambda h: h["generator/params/out/bias"].update(shape=[2**40])),
        "can't be read as safetensors",
    ),
    "another shape": (
        lambda c: changed(c, lambda h: h["generator/params/out/bias"].update(shape=[8, 8])),
        "has params/out/bias of shape (8, 8), but its network has (64,)",
    ),
    "a name that is a path": (renamed, "has an array ../../etc/passwd, which is of no network"),
    "not finite": (not_finite, "has numbers in params/out/bias that are not finite"),
    "no metadata": (lambda c: changed(c, lambda h: h.pop("__metadata__")), "has no config of gan_jax", "--as"),
    "a config that is no JSON": (in_metadata("config", "{"), "config: it is not JSON"),
    "a later format": (in_metadata("format", "2"), "export format 2", "reads format 1"),
    "an unknown field": (in_json("config", lambda t: t.update(what=1)), "unknown field 'what'"),
    "code that is not ours": (in_json("config", lambda t: t["generator"].update(call="os:system")), "--allow os"),
    "a network of another size": (
        in_json("config", lambda t: t["generator"]["with"].update(width=10**9)), "but its network has",
    ),
    "no sample": (in_metadata("sample", "{}"), "cannot be used"),
    "more names than classes": (
        in_json("sample", lambda t: t.update(classes=2, class_names=["a"])), "does not describe samples",
    ),
    "a step that is none": (in_metadata("step", "-1"), "step is no number"),
    "data of two lines": (in_metadata("data", "a\nb"), "data has control characters"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_gets_one_sentence(name, exported, tmp_path):
    make, *words = HOSTILE[name]
    (tmp_path / "bad.safetensors").write_bytes(make(exported))
    sentence(call("import", tmp_path / "bad.safetensors", "--out", tmp_path / "new"), *words)
    assert [path.name for path in tmp_path.iterdir()] == ["bad.safetensors"]


def test_what_is_no_file(tmp_path):
    sentence(call("import", tmp_path, "--out", tmp_path / "new"), "there is no file")
    sentence(call("import", tmp_path / "absent", "--out", tmp_path / "new"), "there is no file")
    sentence(call("import", tmp_path / "a.onnx", "--out", tmp_path / "new"), "is a program, not weights")
    sentence(call("import", tmp_path / "a.npz", "--out", tmp_path / "new"), "say by --as of what network")


def test_options_that_do_not_belong_together(trained, tmp_path):
    export = ("export", trained, "--format", "safetensors")
    sentence(call(*export, "--truncation", 0.5), "--truncation and --batch are for programs")
    sentence(call(*export, "--out", tmp_path / "a.onnx"), "ends in .safetensors")
    sentence(call("export", trained, "--format", "onnx", "--network", "both"), "one network in a file")
    sentence(
        call("import", tmp_path / "a", "batch=3", "--out", tmp_path / "b"), "batch=3 is for published weights"
    )


def test_a_reader_of_the_header_needs_no_network(exported, tmp_path):
    (tmp_path / "run.safetensors").write_bytes(exported)
    header, arrays = safetensors_file.read(tmp_path / "run.safetensors")
    assert header.spec == SampleSpec((8, 8, 1), "uint8", 10, tuple("0123456789"))
    assert make_gan(header.config, header.spec).generator is not None
    assert set(arrays) == {"generator", "discriminator"}
