"""An imported run is a run: it samples, it is measured, it is exported, and others train on from it."""

import json

import numpy as np
import pytest
from PIL import Image

from runs import call, sentence
from weights_of import arrays, saved

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("programs"), pytest.mark.timeout(300)]

CONFIG = """
from gan_jax.config import Call, Config, Data, Log, Sample

def get_config():
    return Config(
        name="tuned", steps=2, batch=4, conditional=True, data=Data(source=Call("folder", path="PATH")),
        generator=Call("sngan", widths=(16, 16, 8)),
        discriminator=Call("sngan", widths=(8, 16, 16), halvings=2, spectral_vectors="uv"),
        latent=Call("normal", size=6), log=Log(tensorboard=False), sample=Sample(every=2, count=4, gif=False),
    )
"""


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Returns a folder of 12 images in three classes."""
    folder, random = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for i in range(12):
        path = folder / f"class_{i % 3}" / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(random.integers(0, 256, (16, 16, 3), np.uint8)).save(path)
    return folder


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("imported")
    outcome = call("import", saved(folder, arrays("sngan")), "--as", "sngan", "--out", folder / "run", "seed=3")
    assert outcome.code == 0, outcome.err
    assert outcome.out.count("are taken (layout of PyTorch-StudioGAN)") == 2
    assert json.loads((folder / "run" / "config.json").read_text())["seed"] == 3
    sentence(
        call("import", folder / "w.safetensors", "--as", "sngan", "--out", folder / "run"), "something at", "--out"
    )
    return folder / "run"


def test_it_samples_and_is_measured(workdir, images, tmp_path):
    assert call("sample", workdir, "--count", 6, "--out", tmp_path / "s.npz").code == 0
    with np.load(tmp_path / "s.npz") as found:
        assert found["image"].shape == (6, 16, 16, 3)
        assert found["label"].tolist() == [0, 1, 2, 0, 1, 2]
    sentence(call("evaluate", workdir, "--count", 6), "--data PATH")
    words = ["--count", 6, "--features", "efficientnet_lite0", "--metrics", "kernel", "--data", images]
    outcome = call("evaluate", workdir, *words)
    assert outcome.code == 0, outcome.err
    assert call("card", workdir, "--out", tmp_path / "card", "--count", 6).code == 0
    text = (tmp_path / "card" / "README.md").read_text()
    assert "weights were imported from w.safetensors" in text
    assert "kernel, features efficientnet" in text


def test_it_is_trained_on(workdir, images, tmp_path):
    (tmp_path / "tuned.py").write_text(CONFIG.replace("PATH", str(images)))
    outcome = call("train", tmp_path / "tuned.py", f"init_from={workdir}", "--workdir", tmp_path / "tuned")
    assert outcome.code == 0, outcome.err
    (said,) = (line for line in outcome.err.splitlines() if "arrays taken" in line)
    taken, of = said.rsplit(": ", 1)[1].split(" arrays")[0].split(" of ")
    assert taken == of, outcome.err
