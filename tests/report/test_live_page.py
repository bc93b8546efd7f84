"""The page of a run while it trains, and the server of that page."""

import http.client
import os
import socket
import struct
import threading
import time

import pytest

from gan_jax.commands import watch_run
from gan_jax.errors import UserError
from gan_jax.report import page_server
from gan_jax.report.legends import keep_legends, read_legends
from gan_jax.report.live_page import LivePage
from gan_jax.report.page import render
from gan_jax.report.page_server import make_server
from logged_run import wait_for
from written_run import add_checkpoint, write_run

pytestmark = pytest.mark.timeout(60)


# ---- the page


def test_a_live_page_says_how_far_the_run_is(tmp_path):
    write_run(tmp_path)
    text = render(tmp_path, live=True)
    assert (
        '<progress max="100" value="30"></progress><p>step 30 of 100, 0.12 kimg, 8 images/s, 0:35 left</p>' in text
    )
    assert "location.reload()" in text
    assert "http" not in text
    add_checkpoint(tmp_path, 100)
    finished = render(tmp_path, live=True)
    assert "<script" not in finished
    assert "<progress" not in finished
    assert "location.reload()" in render(tmp_path / "nothing", live=True)


def test_the_page_costs_a_hundredth_of_the_time(tmp_path, monkeypatch):
    """The clock is fake: a page takes 0.25 s, so the next one is due 25 s later."""
    now, written = [0.0], []

    def page(workdir, legends, live, rows):
        written.append(now[0])
        now[0] += 0.25

    monkeypatch.setattr("gan_jax.report.live_page.page", page)
    live = LivePage(tmp_path, {}, clock=lambda: now[0])
    while now[0] < 100:
        live.refresh()
        now[0] += 1.0
    assert written == [0.0, 25.25, 50.5, 75.75]
    written.clear()
    monkeypatch.setattr("gan_jax.report.live_page.page", lambda *a, **k: written.append(round(now[0])))
    now[0] = 200.0
    for _ in range(40):
        live.refresh(is_line=True)
        now[0] += 1.0
    assert written == [200, 210, 220, 230]  # once the next page was cheap, lines wait 10 s


def test_legends_are_kept_for_readers_without_the_data(tmp_path):
    assert read_legends(tmp_path) == {}
    keep_legends(tmp_path, {"reals": "each row is a class"})
    assert read_legends(tmp_path) == {"reals": "each row is a class"}
    for text in ("", "[]", '{"reals": 3}', '{"reals": "\\u001b[2J"}'):
        (tmp_path / "legends.json").write_text(text)
        assert read_legends(tmp_path) == {}


# ---- the server


@pytest.fixture
def served(tmp_path):
    """Returns a function from a path, and headers, to the response of the server of a run, and its body."""
    workdir = write_run(tmp_path / "run")
    (workdir / "samples").mkdir()
    for name in ("step_00000030.png", "reals.png", "step_00000030.gif", "step_00000030_0.wav", "mine.png"):
        (workdir / "samples" / name).write_bytes(name.encode())
    (tmp_path / "secret.png").write_bytes(b"secret")
    (workdir / "samples" / "step_00000020.png").symlink_to(tmp_path / "secret.png")
    keep_legends(workdir, {"samples": "each row is a class"})
    server = make_server(workdir, 0)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()

    def get(path, method="GET", **headers):
        connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=10)
        connection.putrequest(method, path, skip_host="Host" in headers)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        response = connection.getresponse()
        body = response.read()
        connection.close()
        return response, body

    get.server = server
    yield get
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_server_gives_the_page_and_what_it_shows(served):
    response, body = served("/")
    assert (response.status, response.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert b"step 30 of 100" in body
    assert b"Samples at step 30. Each row is a class" in body
    policy = response.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "script-src 'sha256-" in policy
    kinds = {
        "step_00000030.png": "image/png",
        "step_00000030.gif": "image/gif",
        "step_00000030_0.wav": "audio/x-wav",
    }
    for name, kind in kinds.items():
        response, body = served(f"/samples/{name}")
        assert (response.status, response.headers["Content-Type"], body) == (200, kind, name.encode())
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    response, body = served("/samples/reals.png?again", method="HEAD")
    assert (response.status, response.headers["Content-Length"], body) == (200, "9", b"")


@pytest.mark.parametrize(
    "path",
    [
        "/config.json", "/metrics.jsonl", "/report.html", "/.lock", "/samples/mine.png",
        "/samples/step_00000020.png",
        "/samples/../config.json", "/samples/../../secret.png", "/samples/%2e%2e/config.json", "//etc/passwd",
        "/samples/step_/../../../secret.png", "/%2fetc/passwd", "/samples/step_%00.png",
        "/samples/", "/samples.gif",
        "/samples//reals.png", "http://127.0.0.1/config.json",
    ],
)  # fmt: skip
def test_the_server_gives_nothing_else(served, path):
    response, body = served(path)
    assert (response.status, body) == (404, b"there is no such file of the run\n")


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8017", "", "127.0.0.1.evil.example:80", "[::1]:80"]
)
def test_a_foreign_name_is_refused(served, host):
    """A page elsewhere whose name leads here (DNS rebinding) would read the run as if it were its own."""
    response, body = served("/", Host=host)
    assert (response.status, body) == (403, b"this page is for this machine alone\n")


def test_names_of_this_machine_are_served_and_nothing_is_written(served):
    assert served("/", Host="localhost")[0].status == 200
    assert served("/", Host="localhost:9000")[0].status == 200  # through a tunnel
    assert served("/", method="POST")[0].status == 501
    assert served("/", method="DELETE")[0].status == 501


def test_two_browsers_at_once(served, monkeypatch):
    """All requests share the rows of the log, so one page is drawn at a time."""
    drawn, at_once = [0], []

    def render(*arguments, **options):
        drawn[0] += 1
        at_once.append(drawn[0])
        time.sleep(0.05)
        drawn[0] -= 1
        return ""

    monkeypatch.setattr(page_server, "render", render)
    browsers = [threading.Thread(target=served, args=("/",)) for _ in range(4)]
    for browser in browsers:
        browser.start()
    for browser in browsers:
        browser.join()
    assert at_once == [1, 1, 1, 1]


def test_a_browser_that_reads_no_further(served, capfd, tmp_path):
    """It loads the page again while the GIF is on its way."""
    (tmp_path / "run" / "samples.gif").write_bytes(bytes(2**24))
    port = served.server.server_address[1]
    with socket.create_connection(("127.0.0.1", port)) as browser:
        browser.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        browser.sendall(b"GET /samples.gif HTTP/1.1\r\nHost: localhost\r\n\r\n")
        browser.recv(1)
    wait_for(lambda: not any("process_request_thread" in thread.name for thread in threading.enumerate()))
    assert served("/")[0].status == 200
    assert capfd.readouterr() == ("", "")


def test_a_taken_port_is_one_sentence(tmp_path):
    with (
        make_server(tmp_path, 0) as server,
        pytest.raises(UserError, match=r"^--port \d+ can't be used \(Address"),
    ):
        watch_run.serve(tmp_path, server.server_address[1], once=False)
    assert os.listdir(tmp_path) == []
