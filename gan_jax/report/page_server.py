"""Serves the page of one run on this machine alone: the page, and the files that it shows."""

import contextlib
import mimetypes
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ..files.folder import Folder
from .legends import read_legends
from .page import render
from .page_style import SCRIPT_HASH
from .run_rows import RunRows
from .sample_files import SAMPLES, is_claimed

ADDRESS = "127.0.0.1"
_NAMES = (ADDRESS, "localhost")  # what a browser may call this server; a foreign page that leads here has another
_HEADERS = {
    # The page has no scripts but its own, loads nothing from elsewhere, and no other page may load from it.
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'; "
    f"script-src '{SCRIPT_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def make_server(workdir: Path, port: int) -> ThreadingHTTPServer:
    """Returns a server of a run's page; `serve_forever` runs it.

    It answers `GET` for `/`, `/samples.gif` and the grids, clips and sounds in `/samples/`, and nothing else. It
    follows no links, and refuses a request that came by another name than 127.0.0.1 or localhost.

    Args:
        workdir: of the run; it need not exist yet.
        port: to listen at; 0 for any that is free.

    Raises:
        OSError: the port is taken.
    """

    class Handler(_Handler):
        run = _PageOfRun(workdir)

    return ThreadingHTTPServer((ADDRESS, port), Handler)


class _PageOfRun:
    def __init__(self, workdir: Path):
        self._workdir, self._folder, self._rows = workdir, Folder(workdir), RunRows(workdir)
        self._one_at_a_time = threading.Lock()  # each request has a thread, and all share the rows

    def content(self, path: str) -> tuple[str, bytes] | None:
        """Returns the type and the bytes of what lies at a path; None if nothing is served there."""
        if path == "/":
            with self._one_at_a_time:
                text = render(self._workdir, read_legends(self._workdir), live=True, rows=self._rows)
            return "text/html; charset=utf-8", text.encode(errors="backslashreplace")
        folder, _, name = path[1:].rpartition("/")
        if (folder == SAMPLES and is_claimed(name)) or path == "/samples.gif":
            kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
            try:
                return kind, self._folder.read(path[1:])
            except (OSError, ValueError):  # a name may have a null byte
                return None
        return None


class _Handler(BaseHTTPRequestHandler):
    run: _PageOfRun
    server_version, sys_version = "gan-jax", ""

    def do_GET(self) -> None:
        host = (self.headers.get("Host") or "").rpartition(":")[0] or self.headers.get("Host")
        if host not in _NAMES:
            self._answer(HTTPStatus.FORBIDDEN, "text/plain", b"this page is for this machine alone\n")
            return
        found = self.run.content(unquote(urlsplit(self.path).path))
        if found is None:
            self._answer(HTTPStatus.NOT_FOUND, "text/plain", b"there is no such file of the run\n")
            return
        self._answer(HTTPStatus.OK, *found)

    do_HEAD = do_GET

    def _answer(self, status: HTTPStatus, kind: str, data: bytes) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(data)), **_HEADERS}.items():
            self.send_header(name, value)
        with contextlib.suppress(ConnectionError):  # the browser loads the page again, and reads no further
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(data)

    def log_message(self, format: str, *arguments: object) -> None:
        """Prints nothing: the terminal shows the run."""
