"""Decides which requests reach the explorer: an ASGI application around another one.

A page of a foreign site can make a browser send requests to this machine. Such a request is refused by its `Host`
(a foreign name that was made to lead here: DNS rebinding), its `Origin`, and what the browser says of where it
came from (`Sec-Fetch-Site`). Of the paths of the application only those are open that the page needs: no file is
served.
"""

import hmac
import ipaddress
import secrets
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

from ..errors import UserError
from .events import Message, Receive, plain_event, read_body, replayed

Scope = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

MOST_BYTES = 24 * 2**20
"""The most bytes of the body of a request: an upload of 16 MiB as base64, and room for the rest."""

_PAGE = {"/", "/theme.css", "/favicon.ico", "/manifest.json", "/gradio_api/queue/data"}
_FOLDERS = ("/assets/", "/static/", "/gradio_api/heartbeat/")
_ACTIONS = {"/gradio_api/queue/join"}
_LOOPBACK = ("127.0.0.1", "::1", "localhost")

# The browser itself refuses what the page would load from elsewhere, or a frame around the page. Gradio makes
# functions from text.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; object-src 'none'; base-uri 'self'; form-action 'none'; "
    "frame-ancestors 'none'"
)
_HEADERS = (
    (b"content-security-policy", _POLICY.encode()),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
)
_LEFT_OUT = (b"x-forwarded-host", b"x-forwarded-proto", b"forwarded")  # Gradio would believe them

# A cookie of SameSite=Strict isn't sent along a redirect that began at another site, but from this page.
_ENTER = b'<!doctype html><meta charset="utf-8"><title>gan_jax</title><script>location.replace("./")</script>'


class Guard:
    """Passes on a request only if it is from the page of the explorer, and in the ways that the page needs.

    Args:
        app: the application that gets the requests.
        host: the address that is served; other names of this machine can be given as `names`.
        token: what a person must know; it comes with the address once, and a cookie follows. None: nothing.
        names: further names of this machine.
        most_bytes: the largest body of a request.
    """

    def __init__(
        self,
        app: Application,
        *,
        host: str = "127.0.0.1",
        token: str | None = None,
        names: Iterable[str] = (),
        most_bytes: int = MOST_BYTES,
    ):
        self._app, self._token, self._most = app, token, most_bytes
        self._local = is_loopback(host)
        self._names = {name.lower() for name in (*_LOOPBACK, host, *names)}
        self._pass = secrets.token_urlsafe(32)  # the cookie, which isn't the token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        if scope["type"] != "http":  # websockets, which the page doesn't use
            return await send({"type": "websocket.close", "code": 1008})
        headers = _Headers(scope["headers"])
        if refused := self._refuse(scope, headers):
            return await _answer(send, *refused)
        if self._token is not None and not self._is_known(headers):
            return await self._ask(scope, headers, send)
        kept = [pair for pair in scope["headers"] if pair[0].lower() not in _LEFT_OUT]
        return await self._pass_on({**scope, "headers": kept}, receive, send)

    def _refuse(self, scope: Scope, headers: "_Headers") -> tuple[int, str] | None:
        """Returns the status and the reason why a request is refused; None if it is not."""
        host, path, method = headers.only("host"), scope["path"], scope["method"]
        if host is None or not self._is_ours(host):
            return 403, "The request names another host than this one."
        origin = headers.only("origin")
        if (headers.count("origin") and origin is None) or (origin is not None and not _is_same(origin, host)):
            return 403, "The request comes from the page of another site."
        # A browser sends one if the page has it. Only a link may lead here from elsewhere.
        if headers.only("sec-fetch-site") in ("cross-site", "same-site") and not _is_link(scope, headers):
            return 403, "The request comes from the page of another site."
        is_read = method in ("GET", "HEAD") and (path in _PAGE or path.startswith(_FOLDERS))
        if not (is_read or (method == "POST" and path in _ACTIONS)) or _is_odd(path):
            return 404, "There is nothing here."
        if method == "POST" and (headers.only("content-type") or "").partition(";")[0] != "application/json":
            return 415, "The body must be JSON."  # a form of another site can't send it
        if not (headers.only("content-length") or "0").isdecimal():
            return 400, "The length of the body is no number."
        if int((headers.only("content-length") or "0")[:19]) > self._most:
            return 413, "The body is too large."
        return None

    def _is_ours(self, host: str) -> bool:
        """Whether a `Host` is this machine: an attacker can make a name lead here, but not an address."""
        name = _name_of(host)
        if name in self._names:
            return True
        return not self._local and _is_address(name)

    def _is_known(self, headers: "_Headers") -> bool:
        given = [word.strip().partition("=") for word in (headers.only("cookie") or "").split(";")]
        wanted = _cookie_name(headers)
        return any(name == wanted and _equal(value, self._pass) for name, _, value in given)

    async def _ask(self, scope: Scope, headers: "_Headers", send: Send) -> None:
        """Sets the cookie for a request that has the token; refuses all others."""
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [])
        if scope["path"] == "/" and len(given) == 1 and _equal(given[0], self._token or ""):
            cookie = f"{_cookie_name(headers)}={self._pass}; HttpOnly; SameSite=Strict; Path=/"
            return await _answer(send, 200, _ENTER, [(b"set-cookie", cookie.encode())], b"text/html")
        return await _answer(
            send, 401, "This page needs its token: open the whole address that gan-jax explore printed."
        )

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                ours = [name for name, _ in _HEADERS]
                kept = [
                    pair
                    for pair in message.get("headers", [])
                    if pair[0].lower() not in ours and not pair[0].lower().startswith(b"access-control-")
                ]
                message = {**message, "headers": [*kept, *_HEADERS]}
            await send(message)

        if scope["method"] != "POST":
            return await self._app(scope, receive, guarded)
        body = await read_body(receive, self._most)
        if body is None:
            return await _answer(send, 413, "The body is too large.")
        if (body := plain_event(body)) is None:
            return await _answer(send, 400, "The body is no event of the page.")
        length = (b"content-length", str(len(body)).encode())
        headers = [
            pair for pair in scope["headers"] if pair[0].lower() not in (b"content-length", b"transfer-encoding")
        ]
        await self._app({**scope, "headers": [*headers, length]}, replayed(body, receive), guarded)


class _Headers:
    """The headers of a request; one that comes twice has no value."""

    def __init__(self, pairs: Iterable[tuple[bytes, bytes]]):
        self._values: dict[str, list[str]] = {}
        for name, value in pairs:
            self._values.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))

    def count(self, name: str) -> int:
        return len(self._values.get(name, ()))

    def only(self, name: str) -> str | None:
        values = self._values.get(name, [])
        return values[0] if len(values) == 1 else None


def is_loopback(host: str) -> bool:
    """Whether an address or name of this machine can be reached from this machine alone."""
    return host.lower() == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def check_token(token: str) -> None:
    """Raises UserError if a token could be guessed, or can't stand in an address."""
    if len(token) < 16 or not token.isascii() or not token.replace("-", "").replace("_", "").isalnum():
        raise UserError(
            "--token must have at least 16 letters, digits, - or _: choose a longer one, or leave the value out "
            "and one is made"
        )


def _name_of(host: str) -> str:
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".").lower()
    except ValueError:
        return ""


def _cookie_name(headers: "_Headers") -> str:
    """Returns a name with the port: a browser sends the cookies of one port of a host to all of its ports."""
    return f"gan_jax_explorer_{(headers.only('host') or '').rpartition(':')[2].rstrip(']')}"


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_same(origin: str, host: str) -> bool:
    """Whether an `Origin` has exactly the name and port of the `Host`."""
    return origin.lower() in (f"http://{host.lower()}", f"https://{host.lower()}")


def _is_link(scope: Scope, headers: _Headers) -> bool:
    """Whether a person follows a link to the page, in a window of its own."""
    is_page = scope["method"] == "GET" and scope["path"] == "/"
    return (
        is_page and headers.only("sec-fetch-mode") == "navigate" and headers.only("sec-fetch-dest") == "document"
    )


def _is_odd(path: str) -> bool:
    return "\\" in path or "\0" in path or "//" in path or ".." in path.split("/")


def _equal(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode(), wanted.encode())  # takes the same time wherever they differ


async def _answer(
    send: Send,
    status: int,
    body: str | bytes,
    headers: Iterable[tuple[bytes, bytes]] = (),
    kind: bytes = b"text/plain",
) -> None:
    content = body if isinstance(body, bytes) else f"{body}\n".encode()
    common = [(b"content-type", kind + b"; charset=utf-8"), (b"content-length", str(len(content)).encode())]
    cache = [(b"cache-control", b"no-store")]
    start = {"type": "http.response.start", "status": status, "headers": [*common, *cache, *headers, *_HEADERS]}
    await send(start)
    await send({"type": "http.response.body", "body": content})
