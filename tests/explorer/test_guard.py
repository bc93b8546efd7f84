"""Which requests reach the explorer: host, origin, path, body and token."""

import asyncio
import itertools
import json
from typing import Any, NamedTuple

import pytest

from gan_jax.errors import UserError
from gan_jax.explorer import guard
from gan_jax.explorer.serve import choose_token

HOST = ("host", "127.0.0.1:7860")
JSON = ("content-type", "application/json")
JOIN = "/gradio_api/queue/join"
EVENT = {"data": [None, 1, 0.5, "a"], "event_data": None, "fn_index": 0, "trigger_id": 3, "session_hash": "abc"}


class Answer(NamedTuple):
    """What came back, and the bodies that the application behind the guard got."""

    status: int
    headers: dict[str, str]
    body: bytes
    passed: list[bytes]

    @property
    def reached(self) -> bool:
        """Whether the request reached the application."""
        return bool(self.passed)


def ask(
    one: guard.Guard | None = None,
    method: str = "GET",
    path: str = "/",
    headers: tuple[tuple[str, str], ...] = (HOST,),
    body: bytes = b"",
    query: str = "",
    pieces: int = 1,
) -> Answer:
    """Sends one request through a guard."""
    passed: list[bytes] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        passed.append((await receive())["body"])
        foreign = [(b"access-control-allow-origin", b"*"), (b"x-frame-options", b"ALLOWALL")]
        await send({"type": "http.response.start", "status": 200, "headers": foreign})
        await send({"type": "http.response.body", "body": b"the page"})

    sent: list[dict[str, Any]] = []
    size = -(-len(body) // pieces) or 1
    parts = [body[i : i + size] for i in range(0, len(body), size)] or [b""]

    async def receive() -> dict[str, Any]:
        part = parts.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(parts)}

    async def send(message: Any) -> None:
        sent.append(message)

    one = one or guard.Guard(application)
    one._app = application
    pairs = [(name.encode(), value.encode()) for name, value in headers]
    scope = {"type": "http", "method": method, "path": path, "query_string": query.encode(), "headers": pairs}
    asyncio.run(one(scope, receive, send))
    start = sent[0]
    found = {name.decode(): value.decode() for name, value in start["headers"]}
    return Answer(start["status"], found, b"".join(m.get("body", b"") for m in sent[1:]), passed)


def post(body: object, *headers: tuple[str, str], **options: Any) -> Answer:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return ask(method="POST", path=JOIN, headers=(HOST, JSON, *headers), body=content, **options)


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost:7860", "LOCALHOST:9000", "[::1]:7860", "127.0.0.1"])
def test_this_machine_reaches_the_page(host):
    answer = ask(headers=(("host", host),))
    assert answer.reached
    assert answer.body == b"the page"


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:7860", "127.0.0.1.evil.example", "localhost.evil.example", "10.0.0.7:7860", "",
     "127.0.0.1@evil.example", "[::1", "0.0.0.0:7860"],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/", "/gradio_api/queue/data", "/gradio_api/heartbeat/x", "/assets/a.js"])
def test_a_foreign_host_is_refused(host, path):
    answer = ask(headers=(("host", host),), path=path)
    assert answer.status == 403
    assert not answer.reached


@pytest.mark.parametrize("headers", [(), (HOST, HOST), (HOST, ("host", "evil.example"))])
def test_a_request_has_one_host(headers):
    assert ask(headers=headers).status == 403


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", "", "http://127.0.0.1:8888", "http://localhost:7860", "file://",
     "127.0.0.1:7860", "http://127.0.0.1:7860.evil.example"],
)  # fmt: skip
@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/"), ("POST", JOIN), ("GET", "/gradio_api/queue/data"), ("POST", "/gradio_api/upload")],
)
def test_a_foreign_origin_is_refused(origin, method, path):
    body = json.dumps(EVENT).encode()
    answer = ask(method=method, path=path, headers=(HOST, JSON, ("origin", origin)), body=body)
    assert answer.status == 403
    assert not answer.reached


def test_the_own_origin_passes():
    assert post(EVENT, ("origin", "http://127.0.0.1:7860")).reached
    assert not post(EVENT, ("origin", "http://127.0.0.1:7860"), ("origin", "http://evil.example")).reached


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_foreign_page_loads_nothing_but_may_link(site):
    came = ("sec-fetch-site", site)
    link = (HOST, came, ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document"))
    frame = (HOST, came, ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe"))
    assert ask(headers=link).reached
    assert ask(headers=frame).status == 403
    assert ask(headers=(HOST, came, ("sec-fetch-mode", "no-cors"))).status == 403
    assert ask(headers=link, path="/gradio_api/queue/data").status == 403
    assert ask(headers=(HOST, ("sec-fetch-site", "same-origin")), path="/gradio_api/queue/data").reached


@pytest.mark.parametrize(
    "path",
    ["/gradio_api/file=/etc/passwd", "/gradio_api/file/etc/passwd", "/file=/etc/passwd", "/gradio_api/upload",
     "/gradio_api/proxy=http://evil.example", "/gradio_api/run/predict", "/gradio_api/call/draw", "/config",
     "/gradio_api/info", "/gradio_api/openapi.json", "/monitoring", "/login", "/token", "/docs",
     "/gradio_api/vibe-edit",
     "/assets/../../etc/passwd", "/assets/..", "/static//etc/passwd", "/static/\\..\\x", "/assets/a\0.js",
     "/gradio_api/stream/x", "/gradio_api/component_server", "/x"],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_only_what_the_page_needs_is_there(path, method):
    answer = ask(method=method, path=path, headers=(HOST, JSON), body=json.dumps(EVENT).encode())
    assert answer.status == 404
    assert not answer.reached


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"])
def test_other_methods_are_not_there(method):
    assert ask(method=method).status == 404
    assert ask(method=method, path=JOIN, headers=(HOST, JSON)).status == 404


def test_an_event_is_passed_on_as_it_is():
    answer = post(EVENT, pieces=3)
    assert json.loads(answer.passed[0]) == EVENT


def test_only_what_an_event_has_is_passed_on():
    answer = post({**EVENT, "request": {"path": "/etc/passwd"}, "simple_format": True})
    assert json.loads(answer.passed[0]) == EVENT


FILE = {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b'{"data": 3}', b'{"data": [NaN]}', b"[" * 100_000,
     b'{"data": [' + b"9" * 5000 + b"]}",
     b"\xff", {**EVENT, "data": [FILE]}, {**EVENT, "data": [[FILE]]}, {**EVENT, "event_data": [FILE]},
     {**EVENT, "event_data": {"content": FILE}}, {**EVENT, "fn_index": FILE}],
    ids=itertools.count(),
)  # fmt: skip
def test_a_body_that_is_no_event_is_refused(body):
    answer = post(body)
    assert answer.status == 400
    assert not answer.reached


@pytest.mark.parametrize(
    "kind", ["text/plain", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded"]
)
def test_a_form_is_refused(kind):
    answer = ask(method="POST", path=JOIN, headers=(HOST, ("content-type", kind)), body=json.dumps(EVENT).encode())
    assert answer.status == 415


def test_a_large_body_is_refused():
    small = guard.Guard(None, most_bytes=1000)  # type: ignore[arg-type]
    large = {**EVENT, "event_data": {"content": "A" * 1000}}
    assert post(large, one=small, pieces=4).status == 413
    assert post(EVENT, ("content-length", "1001"), one=small).status == 413
    assert post(EVENT, ("content-length", "9" * 40), one=small).status == 413
    assert post(EVENT, ("content-length", "-1"), one=small).status == 400
    assert post(EVENT, one=small).reached


def test_every_answer_tells_the_browser_to_stay_here():
    for answer in (ask(), ask(headers=()), ask(path="/x")):
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-frame-options"] == "DENY"
        assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_the_token_comes_once_and_a_cookie_follows():
    one = guard.Guard(None, host="0.0.0.0", token="t" * 20)  # type: ignore[arg-type]
    at = ("host", "10.0.0.7:7860")
    assert ask(one, headers=(at,)).status == 401
    assert ask(one, headers=(at,), query=f"token={'t' * 19}").status == 401
    assert ask(one, headers=(at,), query=f"token={'t' * 20}&token=x").status == 401
    assert ask(one, headers=(at,), path="/gradio_api/queue/data", query=f"token={'t' * 20}").status == 401
    assert ask(one, headers=(at, ("cookie", f"gan_jax_explorer_7860={'t' * 20}"))).status == 401
    entered = ask(one, headers=(at,), query=f"token={'t' * 20}")
    assert not entered.reached
    cookie = entered.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
    assert "tttt" not in cookie
    known = ("cookie", f"other=1; {cookie.partition(';')[0]}")
    assert ask(one, headers=(at, known)).reached
    assert ask(one, headers=(at, known), path="/gradio_api/queue/data").reached
    assert ask(one, "POST", JOIN, (at, JSON, known, ("origin", "http://evil.example"))).status == 403
    assert ask(one, headers=(("host", "evil.example"), known)).status == 403


def test_no_websocket():
    sent = []

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(guard.Guard(None)({"type": "websocket"}, None, send))  # type: ignore[arg-type]
    assert [message["type"] for message in sent] == ["websocket.close"]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.0.0.2"])
def test_this_machine_needs_no_token(host):
    assert choose_token(host, None) is None


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.7", "::", "gpu1"])
def test_others_need_a_token(host):
    with pytest.raises(UserError, match=r"lets others open the explorer: add --token"):
        choose_token(host, None)
    made = choose_token(host, "")
    assert made is not None
    assert len(made) >= 32
    assert made != choose_token(host, "")
    assert choose_token(host, "a" * 16) == "a" * 16
    for bad in ("short", "a" * 15, "a" * 16 + "&", "é" * 16, "a" * 16 + " "):
        with pytest.raises(UserError, match="at least 16 letters"):
            choose_token(host, bad)
