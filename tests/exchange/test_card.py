"""Model cards, the folder for a repository, and its upload to a hub that is a stand-in."""

import base64
import http.server
import json
import re
import sys
import threading
import types

import numpy as np
import pytest
import yaml
from PIL import Image

from gan_jax.checkpoint.digest import leaf_digests, state_digest
from gan_jax.config import Call, Data
from gan_jax.errors import UserError
from gan_jax.exchange import card_text, hub
from gan_jax.exchange.card import write_card
from gan_jax.exchange.load import load
from gan_jax.metrics.record import Record, append_new
from gan_jax.train.open_run import open_run
from runs import call, sentence
from small_runs import fresh_run, small_config

pytestmark = [pytest.mark.usefixtures("programs"), pytest.mark.timeout(120)]

HOSTILE = 'x" | <script>alert(1)</script> `a` [b](c) \ufffe\n---\nlicense: mine'
TOKEN = "hf_" + "s" * 34


def record(**fields) -> Record:
    common = {
        "features": "inception", "weights": "ab" * 8, "resize": "none", "reference": "npz abc", "split": "",
        "reference_count": 100, "generated_count": 200, "seed": 0, "step": 0,
    }  # fmt: skip
    return Record(**{**common, **fields})


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """Returns a run with a log and measured numbers."""
    folder = tmp_path_factory.mktemp("card")
    data = Data(source=Call("npz", path=f"{folder}/secret folder/cats.npz"))
    workdir = fresh_run("mlp", True, folder / "run", small_config("mlp", True, data=data))
    rows = [{"step": 0, "time": t, "images_per_second": 50.0} for t in (1800.0, 3600.0, 900.0)]
    (workdir / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = [
        record(metric="frechet", value=12.5, error=0.5, error_meaning="std"),
        record(metric="frechet", value=11.25, seed=1),
        record(metric="kernel", value=float("nan"), notes=("a | note",)),
        record(metric="frechet", value=99.0, step=7),
    ]
    append_new(workdir, found)
    return workdir


@pytest.fixture(scope="module")
def folder(workdir):
    return write_card(workdir, license="cc-by-4.0", count=9)


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


# -- The hub


class FakeApi:
    def __init__(self, token):
        self.token, self.error = token, None

    def create_repo(self, repo, **keywords):
        self.made = (repo, keywords)
        return f"https://hub.example/{repo}"

    def upload_folder(self, **keywords):
        if self.error is not None:
            raise self.error
        self.sent = keywords


@pytest.fixture
def package(monkeypatch):
    """Puts a stand-in in the place of huggingface_hub."""
    package, api = types.ModuleType("huggingface_hub"), FakeApi(TOKEN)
    package.get_token = lambda: TOKEN
    package.HfApi = lambda token: api if token == TOKEN else None
    package.api = api
    monkeypatch.setitem(sys.modules, "huggingface_hub", package)
    return package


def test_a_push(workdir, package, tmp_path):
    outcome = call("card", workdir, "--out", tmp_path / "card", "--push", "me/digits", "--private")
    assert outcome.code == 0, outcome.err
    assert outcome.out.splitlines() == [str(tmp_path / "card" / "README.md"), "https://hub.example/me/digits"]
    assert package.api.made == ("me/digits", {"private": True, "exist_ok": True})
    assert package.api.sent["folder_path"] == tmp_path / "card"
    assert package.api.sent["repo_id"] == "me/digits"
    written = {path.name for path in (tmp_path / "card").iterdir()}
    assert set(package.api.sent["allow_patterns"]) == written  # nothing else that lies in the folder


def test_a_push_that_fails_keeps_the_folder_and_the_token(workdir, package, tmp_path):
    package.api.error = ConnectionError(f"403 for Bearer {TOKEN}\nmore")
    outcome = call("card", workdir, "--out", tmp_path / "card", "--push", "me/digits")
    assert outcome.code == 2
    assert "--push me/digits failed (ConnectionError: 403 for Bearer <token>)" in outcome.err
    assert "is complete" in outcome.err
    assert len(outcome.err.splitlines()) == 1
    assert TOKEN not in outcome.err + outcome.out
    assert (tmp_path / "card" / "README.md").is_file()
    package.get_token = lambda: None
    outcome = call("card", workdir, "--out", tmp_path / "card", "--push", "me/digits")
    assert outcome.code == 2
    assert "there is no token for the Hugging Face Hub: set HF_TOKEN" in outcome.err


def test_without_the_package(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match=r"pip install 'gan_jax\[hub\]'"):
        hub.push(tmp_path, "me/digits")


class _Stub(http.server.BaseHTTPRequestHandler):
    """Answers as the Hub does to what an upload asks; keeps the requests."""

    def log_message(self, *words):
        pass

    def _answer(self, value, code=200):
        body = json.dumps(value).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self._answer({"error": "not found"}, 404)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server = self.server
        server.seen.append((self.path, self.headers.get("Authorization"), body))
        here = f"http://127.0.0.1:{server.server_port}"
        if server.refuses:
            self._answer({"error": "no"}, 403)
        elif self.path == "/api/repos/create":
            self._answer({"url": f"{here}/me/digits"})
        elif "/preupload/" in self.path:
            files = json.loads(body)["files"]
            named = [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]
            self._answer({"files": named})
        elif "/commit/" in self.path:
            self._answer({"commitUrl": f"{here}/me/digits/commit/abc", "commitOid": "abc"})
        else:
            self._answer({})


@pytest.mark.slow
def test_the_package_itself_uploads_to_a_local_server(folder, monkeypatch):
    huggingface_hub = pytest.importorskip("huggingface_hub")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Stub) as server:
        server.seen, server.refuses = [], False
        threading.Thread(target=server.serve_forever, daemon=True).start()
        endpoint = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(huggingface_hub, "get_token", lambda: TOKEN)
        monkeypatch.setattr(
            huggingface_hub,
            "HfApi",
            lambda token, make=huggingface_hub.HfApi: make(endpoint=endpoint, token=token),
        )
        (folder / "secret.txt").write_text("not of the card")
        assert hub.push(folder, "me/digits") == f"{endpoint}/me/digits"
        (folder / "secret.txt").unlink()
        assert {token for _, token, _ in server.seen} == {f"Bearer {TOKEN}"}
        (commit,) = (body for path, _, body in server.seen if "/commit/" in path)
        rows = [json.loads(line) for line in commit.splitlines()]
        sent = {row["value"]["path"]: row["value"]["content"] for row in rows if row["key"] == "file"}
        assert sent.keys() == {path.name for path in folder.iterdir()}
        assert base64.b64decode(sent["README.md"]) == (folder / "README.md").read_bytes()
        server.refuses = True
        with pytest.raises(UserError, match=r"--push me/digits failed .* is complete") as caught:
            hub.push(folder, "me/digits")
        assert TOKEN not in str(caught.value)
        server.shutdown()
    card = huggingface_hub.ModelCard((folder / "README.md").read_text())
    results = card.data.eval_results
    assert [(one.metric_type, one.metric_value) for one in results] == [("fid", 11.25), ("kernel", "nan")]
    assert card.data.license == "cc-by-4.0"
