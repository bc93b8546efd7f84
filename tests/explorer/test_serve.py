"""How the explorer is served: its port, its files, what it refuses, and how it ends."""

import http.client
import json
import os
import signal
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

import runs
from browser import Server, served

pytestmark = pytest.mark.usefixtures("programs")

EVENT = {"data": [None, 1, 0], "event_data": None, "fn_index": 0, "trigger_id": 1, "session_hash": "abc"}


@pytest.fixture
def no_gradio(monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)


def test_a_busy_port_gets_a_sentence(trained, no_gradio):
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        outcome = runs.call("explore", trained, "--port", port)
    runs.sentence(outcome, f"port {port} of 127.0.0.1 can't be used", "in use", "--port")


@pytest.mark.parametrize("port", [-1, 99999])
def test_a_port_that_does_not_exist(trained, no_gradio, port):
    runs.sentence(runs.call("explore", trained, "--port", port), "--port")


def test_a_host_that_is_not_here(trained, no_gradio):
    outcome = runs.call("explore", trained, "--host", "203.0.113.7", "--token")
    runs.sentence(outcome, "203.0.113.7", "can't be used")


def test_others_are_let_in_only_by_a_token(trained, no_gradio):
    runs.sentence(runs.call("explore", trained, "--host", "0.0.0.0"), "lets others open the explorer", "--token")
    runs.sentence(runs.call("explore", trained, "--token", "short"), "at least 16")


def test_without_gradio_it_says_what_to_install(trained, no_gradio, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name in ("GRADIO_ALLOWED_PATHS", "GRADIO_TEMP_DIR"):
        monkeypatch.setenv(name, "/")
    before = dict(os.environ)
    runs.sentence(runs.call("explore", trained, "--port", 0), "pip install 'gan_jax[explore]'")
    assert not list(tmp_path.iterdir())
    assert dict(os.environ) == before


# ---- the whole server


@pytest.fixture(scope="module")
def server(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("temporary")
    with served(trained, TMPDIR=str(folder), GRADIO_ALLOWED_PATHS="/") as one:
        one.folder = folder  # type: ignore[attr-defined]
        yield one


def ask(
    server: Server, path: str, method: str = "GET", body: object = None, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], bytes]:
    """Sends a request with exactly these headers; the path is sent as it is. Reads at most 1 MB."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    given: dict[str, Any] = {"Host": f"127.0.0.1:{server.port}", "Content-Type": "application/json"}
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    content = b"" if body is None else json.dumps(body).encode()
    for name, value in {**given, "Content-Length": len(content), **(headers or {})}.items():
        connection.putheader(name, str(value))
    connection.endheaders(content)
    answer = connection.getresponse()
    found = answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read(1_000_000)
    connection.close()
    return found


slow = pytest.mark.slow
long = pytest.mark.timeout(180)


@slow
@long
def test_the_page_is_there_and_says_nothing_of_this_machine(server, trained):
    status, headers, body = ask(server, "/")
    assert status == 200
    assert b"gradio_config" in body
    assert "default-src 'self'" in headers["content-security-policy"]
    for secret in (str(trained), str(Path.cwd()), str(server.folder), sys.prefix):
        assert secret.encode() not in body


@slow
@long
def test_no_file_is_served(server, trained, tmp_path):
    inside = server.folder / "secret.txt"
    inside.write_text("secret words")
    link = server.folder / "link"
    link.symlink_to("/etc/passwd")
    checkpoint = next((trained / "checkpoints").rglob("manifest.json"))
    files = [
        "/etc/passwd",
        str(checkpoint),
        str(trained / "config.json"),
        str(inside),
        str(link),
        "../../etc/passwd",
    ]
    for file in files:
        up = "../" * 12 + file.lstrip("/")
        for path in (
            f"/gradio_api/file={file}", f"/gradio_api/file/{file}", f"/file={file}", f"/gradio_api/file={up}",
            f"/assets/{up}", f"/static/{up}", f"/static/{up.replace('/', '%2f')}", f"/assets/%2e%2e/{up}",
            f"/gradio_api/proxy=file://{file}", f"/gradio_api/heartbeat/{up}", f"/svelte/{up}", f"{file}",
        ):  # fmt: skip
            status, _, body = ask(server, path.replace(" ", "%20"))
            assert status in (400, 403, 404), path
            for words in (b"root:", b"secret words", b'"leaves"', b'"generator"'):
                assert words not in body, path


@slow
@long
def test_a_foreign_page_reaches_nothing(server):
    reads = ["/", "/gradio_api/queue/data?session_hash=abc", "/gradio_api/heartbeat/abc", "/theme.css"]
    acts = ["/gradio_api/queue/join", "/gradio_api/upload"]
    for method, path in [*(("GET", one) for one in reads), *(("POST", one) for one in acts)]:
        body = EVENT if method == "POST" else None
        for headers in ({"Host": "evil.example"}, {"Host": f"evil.example:{server.port}"}, {"Origin": "http://evil.example"},
                        {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):  # fmt: skip
            status, found, _ = ask(server, path, method, body, headers)
            assert status == 403, (path, headers)
            assert not [name for name in found if name.startswith("access-control-")]
    own = {"Origin": f"http://127.0.0.1:{server.port}"}
    status, found, _ = ask(server, "/gradio_api/queue/join", "POST", EVENT, own)
    assert status == 200
    assert not [name for name in found if name.startswith("access-control-")]


@slow
@long
def test_an_event_cannot_name_a_file(server):
    file = {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}
    far = {"path": "http://evil.example/x", "url": "http://evil.example/x", "meta": {"_type": "gradio.FileData"}}
    for one in (file, far):
        for body in ({**EVENT, "data": [one]}, {**EVENT, "event_data": one}):
            assert ask(server, "/gradio_api/queue/join", "POST", body)[0] == 400
    form = {"Content-Type": "multipart/form-data; boundary=x"}
    assert ask(server, "/gradio_api/upload", "POST", EVENT, form)[0] == 404
    assert not [
        path for path in server.folder.rglob("*") if path.is_file() and path.name not in ("secret.txt", "link")
    ]


@slow
@long
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_nothing_is_left(trained, tmp_path, how):
    with served(trained, TMPDIR=str(tmp_path)) as server:
        assert list(tmp_path.glob("gan_jax_explorer_*"))
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        connection.request("GET", "/gradio_api/heartbeat/abc")  # a stream that stays open
        assert connection.getresponse().status == 200
        code, err = server.stop(how)
        connection.close()
    assert code == 0
    assert "Traceback" not in err
    assert not list(tmp_path.glob("gan_jax_explorer_*"))
    assert [line.split(":")[0] for line in server.lines[1:]] == ["open http"]


@slow
@long
def test_a_run_that_cannot_be_explored(tmp_path):
    outcome = runs.spawn("explore", tmp_path / "nothing", "--port", 0)
    runs.sentence(outcome, "nothing")
