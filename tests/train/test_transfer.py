"""A run that starts from another run's weights: what is taken, what is new, and what the run remembers."""

import shutil

import jax.numpy as jnp
import numpy as np
import pytest

import runs
from gan_jax.checkpoint import Catalogue, read_arrays
from runs import call, write_config

pytestmark = [pytest.mark.usefixtures("programs"), pytest.mark.timeout(120)]

SHORT = ["steps=4", "checkpoint.every=2", "sample.every=4", "sample.count=4", "log.every=2"]


@pytest.fixture(scope="module")
def mlp(tmp_path_factory):
    return write_config(tmp_path_factory.mktemp("config"), runs.MLP)


@pytest.fixture(scope="module")
def source(mlp, tmp_path_factory):
    """Returns the workdir of a run of 4 steps with ten classes."""
    workdir = tmp_path_factory.mktemp("source") / "run"
    assert call("train", mlp, *SHORT, "conditional=true", "--workdir", workdir).code == 0
    return workdir


@pytest.fixture
def three(tmp_path):
    """Returns a data set of three classes, as overrides."""
    generator = np.random.default_rng(0)
    images, labels = generator.integers(0, 256, (48, 8, 8, 1), np.uint8), np.arange(48) % 3
    np.savez(tmp_path / "three.npz", image=images, label=labels)
    return ["data.source=npz", f"data.source.path={tmp_path / 'three.npz'}", "conditional=true"]


def arrays(workdir, step):
    return read_arrays(Catalogue(workdir / "checkpoints"), step)


def test_what_fits_is_taken_and_the_rest_is_named(mlp, source, three, tmp_path):
    """The state at step 0 has the other run's arrays, bit for bit; embeddings of ten classes do not fit three."""
    workdir = tmp_path / "run"
    outcome = call("train", mlp, *SHORT, *three, f"init_from={source}", "--workdir", workdir)
    assert outcome.code == 0, outcome.err
    said = [line for line in outcome.err.splitlines() if line.startswith("init_from: ")]
    assert said == [
        f"init_from: step 4 of {source}, its moving average for the generator: 12 of 14 arrays taken",
        "init_from: these are new: generator/params/embed/embedding (10x8 there, 3x8 here), "
        "discriminator/params/embed/embedding (10x8 there, 3x8 here)",
    ]
    (manifest, there), (own, here) = arrays(source, 4), arrays(workdir, 0)
    assert own["record"]["init_from"]["digest"] == manifest["digest"]
    for name in ("dense_0/kernel", "dense_1/bias", "out/kernel"):
        average = there[f"state/ema/params/{name}"]
        assert np.any(average != there[f"state/generator/params/{name}"])
        for home in ("generator", "ema"):
            assert np.array_equal(here[f"state/{home}/params/{name}"], average)
        of_d = f"state/discriminator/params/{name}"
        assert np.array_equal(here[of_d], there[of_d])
    moments = [leaf for name, leaf in here.items() if "opt_state" in name]
    assert moments
    assert not any(np.any(leaf) for leaf in moments)
    assert here["state/step"] == 0


@pytest.mark.slow
def test_the_raw_weights(mlp, source, tmp_path):
    words = [f"init_from={source}/checkpoints/2", "init_weights=raw", "conditional=true"]
    assert call("train", mlp, *SHORT, *words, "--workdir", tmp_path / "run").code == 0
    there, here = arrays(source, 2)[1], arrays(tmp_path / "run", 0)[1]
    for name in here:
        if "/params/" in name and "opt_state" not in name:
            assert np.array_equal(here[name], there[name.replace("/ema/", "/generator/")]), name


@pytest.mark.slow
def test_the_source_may_move_or_train_on_but_not_be_another(mlp, source, tmp_path):
    """The run goes on without its source; the digest of the checkpoint says which source it was."""
    there, workdir = shutil.copytree(source, tmp_path / "source"), tmp_path / "run"
    train = ["train", mlp, *SHORT, "conditional=true", "--workdir", workdir]
    undisturbed = call(*train[:-1], tmp_path / "other", f"init_from={there}")
    assert call(*train, f"init_from={there}", "steps=0").code == 0
    assert runs.checkpoints(workdir) == [0]
    there.rename(tmp_path / "moved")
    assert call(*train, f"init_from={there}", "steps=2").code == 0
    outcome = call(*train, f"init_from={tmp_path / 'moved'}")
    assert outcome.digest == undisturbed.digest
    for words, said in {
        (f"init_from={source}/checkpoints/2",): "has no such checkpoint",
        (f"init_from={tmp_path}",): "has no such checkpoint",
        (): f"it began with the weights of step 4 of {there}; set init_from=",
    }.items():
        runs.sentence(call(*train, *words), "this workdir holds another run", said)
    assert call("train", mlp, *SHORT, "--workdir", tmp_path / "new").code == 0
    outcome = call("train", mlp, *SHORT, f"init_from={source}", "--workdir", tmp_path / "new")
    runs.sentence(outcome, "it did not begin with the weights of", "leave init_from out")


def test_without_a_good_checkpoint_or_a_fit_it_is_one_sentence(mlp, source, tmp_path):
    train = ["train", mlp, *SHORT, "conditional=true", "--workdir", tmp_path / "run"]
    runs.sentence(call(*train, f"init_from={tmp_path}"), "holds no checkpoint: give the workdir of a run")
    runs.sentence(call(*train, f"init_from={source}/checkpoints/3"), "is no checkpoint")
    other = ["generator.width=5", "discriminator.width=5", "latent.size=3", "data.source=gaussians"]
    outcome = call(*train, f"init_from={source}", *other, "conditional=false")
    runs.sentence(outcome, "no weights in the checkpoint of step 4", "choose networks like those of that run")
    broken = shutil.copytree(source, tmp_path / "broken")
    for step in (2, 4):
        manifest = broken / "checkpoints" / str(step) / "manifest.json"
        manifest.write_text(manifest.read_text().replace('"step": ', '"step":  '))
        if step == 2:
            outcome = call(*train, f"init_from={broken}", "steps=0")
            assert "init_from: step 4 of" in outcome.err
            shutil.rmtree(tmp_path / "run")
    runs.sentence(
        call(*train, f"init_from={broken}"), "has no intact checkpoint: 4 (its manifest.json was changed"
    )
    assert not (tmp_path / "run" / "config.json").exists()


def test_sixteen_bits_and_other_kinds_of_type():
    from gan_jax.train.foreign_weights import _difference

    here = jnp.zeros((2, 3), jnp.bfloat16)
    assert _difference(np.zeros((2, 3), np.float32), here) is None
    assert _difference(np.zeros((2, 3), np.int32), here) == "int32 there, bfloat16 here"
    assert _difference(np.zeros((3, 2), np.float32), here) == "3x2 there, 2x3 here"
