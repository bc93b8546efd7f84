"""Model cards, the folder for a repository, and its upload to a hub that is a stand-in."""

import json
import re

import numpy as np
import pytest
import yaml
from PIL import Image

from card_run import record
from gan_jax.checkpoint.digest import leaf_digests, state_digest
from gan_jax.exchange import card_text
from gan_jax.exchange.card import write_card
from gan_jax.exchange.load import load
from gan_jax.train.open_run import open_run
from runs import call, sentence

pytestmark = [pytest.mark.usefixtures("programs"), pytest.mark.timeout(120)]

HOSTILE = 'x" | <script>alert(1)</script> `a` [b](c) \ufffe\n---\nlicense: mine'


def header(text: str) -> dict:
    return yaml.safe_load(text.split("---\n")[1])


def test_the_card(folder, workdir):
    text = (folder / "README.md").read_text()
    found = header(text)
    assert found["library_name"] == "gan_jax"
    assert found["license"] == "cc-by-4.0"
    assert found["pipeline_tag"] == "unconditional-image-generation"
    assert {"gan", "jax", "mlp", "class-conditional"} <= set(found["tags"])
    (model,) = found["model-index"]
    numbers = [result["metrics"][0] for result in model["results"]]
    assert numbers == [
        {"type": "fid", "name": "FID", "value": 11.25},  # the last one of its kind, of this step
        {"type": "kernel", "name": "kernel, features inception", "value": "nan"},
    ]
    assert model["results"][0]["dataset"] == {"name": "cats.npz", "type": "cats.npz"}
    measured = "200 generated images against 100 real images, seed 1"
    for words in ("cat, dog, owl", "npz (path=cats.npz)", "1.25 hours", "50 images a second", measured):
        assert words in text, words
    assert "11.25" in text
    assert "99" not in text
    assert "secret" not in text
    assert str(workdir.parent) not in text


def test_the_folder(folder, workdir):
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md", "config.json", "evaluations.jsonl", "model.safetensors", "samples.png",
    ]  # fmt: skip
    config = json.loads((folder / "config.json").read_text())
    assert config["config"]["name"] == "mlp"
    assert config["step"] == 0
    assert len((folder / "evaluations.jsonl").read_text().splitlines()) == 2
    with Image.open(folder / "samples.png") as image:
        assert np.asarray(image).std() > 1
    for path in folder.iterdir():
        assert b"secret" not in path.read_bytes(), path


def test_a_card_that_was_changed_stays(workdir, tmp_path):
    said = []
    folder = write_card(workdir, out=tmp_path / "card", count=4, say=said.append)
    text = (folder / "README.md").read_text()
    write_card(workdir, out=folder, license="mit", count=4, say=said.append)
    again = (folder / "README.md").read_text()
    assert said == []
    assert header(again)["license"] == "mit"
    for changed in (text + "For tests alone.\n", text.replace("cat", "tiger"), "mine", ""):
        (folder / "README.md").write_text(changed)
        (folder / "samples.png").unlink()
        write_card(workdir, out=folder, count=4, say=said.append)
        assert (folder / "README.md").read_text() == changed
        assert "README.md was changed by hand, so it stays as it is" in said.pop()
        assert (folder / "samples.png").exists()


def test_the_five_lines_work(folder, workdir, monkeypatch):
    lines = re.search(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)[1]
    assert len(lines.splitlines()) == 5
    monkeypatch.chdir(folder)
    names: dict = {}
    exec(lines, names)
    run = open_run(workdir, None)
    np.testing.assert_array_equal(names["samples"], run.sampler(0)(run.state.ema, 16))
    assert (folder / "16_samples.png").read_bytes().startswith(b"\x89PNG")
    (folder / "16_samples.png").unlink()
    assert state_digest(leaf_digests(load("model.safetensors").state)) == state_digest(leaf_digests(run.state))


def test_hostile_names_stay_text(workdir):
    """Names of strangers make neither fields of the header, nor HTML, nor links."""
    run = open_run(workdir, None)
    spec = run.spec._replace(class_names=(HOSTILE, "dog", "../../etc"))
    run = run._replace(spec=spec, data=HOSTILE)
    facts = card_text.Facts(run, {"imported": HOSTILE}, [], [record(metric=HOSTILE, value=1.0)], None, False)
    text = card_text.card(facts)
    found = header(text)
    assert "license" not in found
    assert found["model-index"][0]["results"][0]["metrics"][0]["type"].startswith('x" | <script>')
    body = text.split("---\n", 2)[2]
    assert not re.search(r"(?<!\\)<script", body)
    assert not re.search(r"(?<!\\)\[b(?<!\\)\]", body)
    assert "The run has no log." in text


def test_wrong_arguments_are_one_sentence(workdir, tmp_path):
    for words, said in {
        ("--push", "../../etc"): "is no repository: it is NAME/NAME",
        ("--push", "digits"): "is no repository: it is NAME/NAME",
        ("--push", "me/a--b"): "is no repository",
        ("--private",): "--private is for --push",
        ("--license", "my licence!"): "is no identifier of a licence",
        ("--count", "0"): "--count must be at least 1",
        ("--step", "3"): "has no checkpoint",
    }.items():
        outcome = call("card", workdir, "--out", tmp_path / "card", *words)
        if words[0] == "--step":
            assert outcome.code == 2
        else:
            sentence(outcome, said)
        assert not (tmp_path / "card").exists()
    (tmp_path / "file").write_text("")
    sentence(call("card", workdir, "--out", tmp_path / "file" / "card"), "can't write", "choose another --out")
    sentence(call("card", tmp_path), "config.json")
