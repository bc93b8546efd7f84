"""The upload of a card's folder to a hub that is a stand-in."""

import base64
import http.server
import json
import sys
import threading
import types

import pytest

from gan_jax.errors import UserError
from gan_jax.exchange import hub
from runs import call

pytestmark = [pytest.mark.usefixtures("programs"), pytest.mark.timeout(120)]

TOKEN = "hf_" + "s" * 34


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
