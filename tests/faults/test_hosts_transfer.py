"""Several processes start a run from the weights of another run: process 0 alone reads them."""

import numpy as np
import pytest

import runs
from gan_jax.checkpoint import Catalogue, read_arrays
from host_processes import ended, start
from runs import call, write_config

pytestmark = [pytest.mark.usefixtures("programs"), pytest.mark.timeout(400)]

SHORT = ["steps=4", "checkpoint.every=2", "sample.every=4", "sample.count=4", "log.every=2"]


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """The words of a run that begins with the weights of another one."""
    folder = tmp_path_factory.mktemp("source")
    mlp = write_config(folder, runs.MLP)
    assert call("train", mlp, *SHORT, "conditional=true", "--workdir", folder / "run").code == 0
    return [str(mlp), *SHORT, "latent.size=8", f"init_from={folder / 'run'}", "freeze_discriminator=1"]


@pytest.fixture(scope="module")
def one(words, tmp_path_factory):
    """The arrays at step 0 on one device."""
    workdir = tmp_path_factory.mktemp("one") / "run"
    assert call("train", *words, "--workdir", workdir).code == 0
    return read_arrays(Catalogue(workdir / "checkpoints"), 0)[1]


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["parallel.mode=pmap", "parallel.params=sharded", "parallel.fuse=2"])
def test_every_mode_begins_with_the_same_bits(mode, words, one, tmp_path):
    """Two processes with two devices each: the weights at step 0 are those on one device."""
    outcomes = ended(start(tmp_path / "run", *words, mode))
    assert [outcome.code for outcome in outcomes] == [0, 0], outcomes
    assert "of 12 arrays taken" in outcomes[0].err
    assert "init_from" not in outcomes[1].err
    here = read_arrays(Catalogue(tmp_path / "run" / "checkpoints"), 0)[1]
    for name in one:
        if name.startswith(("state/ema", "state/generator", "state/discriminator")):
            assert np.array_equal(here[name], one[name]), name
    after = read_arrays(Catalogue(tmp_path / "run" / "checkpoints"), 4)[1]
    kernels = [name for name in after if name.startswith("state/discriminator/params/") and "kernel" in name]
    changed = {name.split("/")[3] for name in kernels if not np.array_equal(after[name], here[name])}
    assert changed == {"dense_1", "out"}
