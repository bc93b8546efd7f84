"""A generator as a StableHLO program: it makes the images that `gan-jax sample` makes, and JAX alone loads it."""

import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from devices import run_json
from gan_jax import ops
from gan_jax.config import override
from gan_jax.exchange.exported import make_network
from gan_jax.exchange.stablehlo import make_program
from gan_jax.train.open_run import open_run
from runs import call, sentence
from small_runs import NETWORKS, fresh_run, small_config

pytestmark = [pytest.mark.usefixtures("programs"), pytest.mark.timeout(180)]


def drawn(run, count, seed):
    """Returns latents, labels and images of `gan-jax sample --seed`."""
    sampler = run.sampler(seed)
    images = sampler(run.state.ema, count)
    index = np.arange(count, dtype=np.int32)
    return np.asarray(sampler._latents(jnp.asarray(index), {})), sampler.labels(index), images


def test_export_and_load(trained, tmp_path):
    path = tmp_path / "g.stablehlo"
    outcome = call("export", trained, "--format", "stablehlo", "--out", path)
    assert outcome.code == 0, outcome.err
    first, called, version = outcome.out.splitlines()
    assert first == f"{path}: the generator at step 20, for cpu, cuda, tpu; g.json describes it"
    assert called == "call(latents float32[batch, 8]) -> images [batch, 8, 8, 1]"
    assert re.match(rf"JAX {re.escape(jax.__version__)} wrote it, with calling convention \d+: ", version)
    program = export.deserialize(bytearray(path.read_bytes()))
    assert program.platforms == ("cpu", "cuda", "tpu")
    latents, _, images = drawn(open_run(trained, None), 5, seed=3)
    np.testing.assert_allclose(program.call(latents), images, atol=1e-5)
    np.testing.assert_allclose(program.call(latents[:2]), images[:2], atol=1e-5)
    assert b"gan_jax/" not in path.read_bytes()  # no folder of its author
    about = json.loads((tmp_path / "g.json").read_text())
    assert about["inputs"] == [{"name": "latents", "dtype": "float32", "shape": ["batch", 8]}]
    assert about["output"] == {"name": "images", "dtype": "float32", "shape": ["batch", 8, 8, 1]}
    assert (about["step"], about["sample"]["classes"], about["network"]) == (20, 10, "generator")
    images = run_json(f"""
import json, sys
import jax, numpy
program = jax.export.deserialize(bytearray(open({str(path)!r}, "rb").read()))
images = program.call(numpy.ones((2, 8), "float32"))
print(json.dumps([list(images.shape), [name for name in ("gan_jax", "flax") if name in sys.modules]]))
""")
    assert images == [[2, 8, 8, 1], []]


@pytest.mark.slow
@pytest.mark.parametrize("conditional", [True, False], ids=["conditional", "not"])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_model(name, conditional, tmp_path):
    """To 1e-5 of the images of `gan-jax sample`, with its noise, for two batch sizes."""
    run = open_run(fresh_run(name, conditional, tmp_path / "run"), None)
    program, draws = make_program(make_network(run, "generator"))
    program = export.deserialize(program.serialize())
    assert draws == (name == "stylegan2")
    latents, labels, images = drawn(run, 5, seed=3)
    count = 5 if conditional else 2  # each size is another compilation
    more = ([labels[:count]] if conditional else []) + ([np.uint32(3)] if draws else [])
    np.testing.assert_allclose(program.call(latents[:count], *more), images[:count], atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_every_discriminator(name, tmp_path):
    run = open_run(fresh_run(name, True, tmp_path / "run"), None)
    network = make_network(run, "discriminator")
    program, _ = make_program(network)
    images = jax.random.uniform(jax.random.key(0), (4, *run.spec.shape), minval=-1.0)
    labels = jnp.arange(4, dtype=np.int32) % 3
    expected = network.function(images, labels, jnp.uint32(0))
    assert expected.shape == (4,)
    np.testing.assert_allclose(program.call(images, labels), expected, atol=1e-4, rtol=1e-5)


def lowered(run):
    """Returns the text of the program for 4 images, without the places in the sources."""
    jax.clear_caches()
    text = make_program(make_network(run, "generator"), 4)[0].mlir_module()
    return re.sub(r"#?loc[^\n]*", "", text)


@pytest.mark.slow
def test_each_platform_has_its_own_formulation(trained, tmp_path, monkeypatch):
    """The program for a GPU is the one that is lowered for a GPU alone, though there is none here."""
    run = open_run(fresh_run("dcgan", False, tmp_path / "run"), None)
    text = lowered(run)
    assert "stablehlo.case" in text
    for platform in ("cpu", "cuda", "tpu"):
        # The formulation of one platform is replaced by that of another: the program must change.
        other = ops.FORMULATIONS["cpu" if platform != "cpu" else "tpu"]
        with monkeypatch.context() as patch:
            patch.setitem(ops.FORMULATIONS, platform, other)
            assert lowered(run) != text, platform
    assert lowered(run) == text


def test_what_is_refused(trained, tmp_path):
    words = ("export", trained, "--format", "stablehlo", "--out", tmp_path / "g.stablehlo")
    sentence(call(*words, "--truncation", 0.7), "has no truncation")
    sentence(call(*words, "--batch", 0), "--batch must be at least 1")
    sentence(call("export", trained, "--format", "stablehlo", "--network", "both"), "one network in a file")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("form", ["stablehlo", "onnx"])
def test_a_network_that_needs_to_know_the_batch_size(form, tmp_path):
    """Minibatch deviation makes groups of the batch."""
    config = override(small_config("stylegan2", False), ["discriminator.group=2"])
    workdir = fresh_run("stylegan2", False, tmp_path / "run", config)
    words = ("export", workdir, "--format", form, "--network", "discriminator", "--out", tmp_path / f"d.{form}")
    sentence(call(*words), "the discriminator can't be", "such as --batch 16")
    assert not (tmp_path / f"d.{form}").exists()
    outcome = call(*words, "--batch", 4)
    assert outcome.code == 0, outcome.err
    assert "[4, 16, 16, 3]" in outcome.out
