"""Serves the explorer until Ctrl-C."""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NamedTuple

from ..config.build import Allow
from ..errors import UserError
from .guard import Guard, check_token, is_loopback

if TYPE_CHECKING:
    from .model import Model

HOST, PORT = "127.0.0.1", 7860
_PATIENCE = 5.0  # seconds from the signal to the end


class Address(NamedTuple):
    """Where the explorer is served; `token`: what a person must know, None for nothing."""

    host: str = HOST
    port: int = PORT
    token: str | None = None


def choose_token(host: str, token: str | None) -> str | None:
    """Returns the token of an address: the one that is given, or for an empty one a new one.

    Raises:
        UserError: others can reach the address, and there is no token; or it is too short.
    """
    if token is None and not is_loopback(host):
        raise UserError(
            f"--host {host} lets others open the explorer: add --token, and a token is made and printed, or leave "
            "--host out and it is served on this machine alone"
        )
    if token == "":
        return secrets.token_urlsafe(24)
    if token is not None:
        check_token(token)
    return token


def serve(
    workdir: Path,
    address: Address = Address(),  # noqa: B008
    *,
    step: int | str | None = None,
    directions: str | None = None,
    allow: Allow = (),
) -> None:
    """Opens a run and serves its explorer until Ctrl-C or SIGTERM.

    Args:
        workdir: the folder of the run.
        address: where; see `choose_token`.
        step: of the checkpoint that is shown first; see `open_run`.
        directions: the set of directions that is shown first; see `direction_sets`.
        allow: see `open_run`.

    Raises:
        UserError: the port is in use, or there is no such run, or it can't be explored.
    """
    with contextlib.closing(_listen(address)) as listener, _private_folder() as folder:
        _check_gradio()
        from .model import Model

        started = time.perf_counter()
        model = Model(workdir, step, allow)
        for note in model.prepare(directions):
            print(note, file=sys.stderr)
        seconds, image = time.perf_counter() - started, model.seconds_per_image()
        app = _application(model, address)
        port = listener.getsockname()[1]
        print(f"{workdir}: step {model.run.step:,}, ready after {seconds:.1f} s, {1000 * image:.0f} ms an image")
        print(f"open {_link(address, port)} in a browser; Ctrl-C ends it", flush=True)
        _run(app, listener, model, folder)


def _listen(address: Address) -> socket.socket:
    if not 0 <= address.port < 2**16:
        raise UserError(f"--port must be from 0 to {2**16 - 1}, got {address.port}")
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise UserError(f"there is no address {address.host} on this machine: give another --host") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(place)
        listener.listen(128)
    except OSError as error:
        listener.close()
        where, why = f"port {address.port} of {address.host}", error.strerror
        raise UserError(f"{where} can't be used ({why}): give another --port, or 0 for a free one") from error
    return listener


@contextlib.contextmanager
def _private_folder() -> Iterator[str]:
    """Gives Gradio a folder of this session, and keeps it from the network. Set before Gradio is imported."""
    with tempfile.TemporaryDirectory(prefix="gan_jax_explorer_") as folder:
        settings = {
            "GRADIO_TEMP_DIR": folder,
            "GRADIO_ANALYTICS_ENABLED": "False",
            "GRADIO_RUN_HISTORY": "False",
            "GRADIO_SSR_MODE": "False",
            "GRADIO_MCP_SERVER": "False",
            "GRADIO_SHARE": "False",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_OFFLINE": "1",
        }
        before = dict(os.environ)
        for name in [name for name in before if name.startswith("GRADIO_")]:
            del os.environ[name]  # such as GRADIO_ALLOWED_PATHS
        os.environ.update(settings)
        try:
            yield folder
        finally:
            for name in settings:
                del os.environ[name]
            os.environ.update(before)


def _check_gradio() -> None:
    try:
        import gradio  # noqa: F401
    except ImportError as error:
        raise UserError("the explorer needs Gradio: install it with pip install 'gan_jax[explore]'") from error


def _application(model: "Model", address: Address) -> Guard:
    import gradio as gr
    from fastapi import FastAPI

    from .page import Page, look

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    page = Page(model).build()
    gr.mount_gradio_app(
        app, page, "/", server_name=address.host, server_port=address.port, footer_links=[], show_error=False,
        allowed_paths=[], blocked_paths=["/"], max_file_size=1, **look(),
    )  # fmt: skip
    names = () if is_loopback(address.host) else (socket.gethostname(), socket.getfqdn())
    return Guard(app, host=address.host, token=address.token, names=names)


def _link(address: Address, port: int) -> str:
    host = socket.gethostname() if address.host in ("0.0.0.0", "::") else address.host
    host = f"[{host}]" if ":" in host else host
    return f"http://{host}:{port}/" + (f"?token={address.token}" if address.token else "")


def _run(app: Guard, listener: socket.socket, model: "Model", folder: str) -> None:
    """Serves until Ctrl-C or SIGTERM, and then returns: uvicorn itself would end the process by the signal.

    Python waits for threads before it ends. So if an image is being drawn or searched for, the process ends here
    after a while.
    """
    import uvicorn

    def leave() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(0)

    late = threading.Timer(_PATIENCE, leave)
    late.daemon = True

    class Server(uvicorn.Server):
        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            before = {number: signal.signal(number, self.handle_exit) for number in _ends()}
            try:
                yield
            finally:
                for number, handler in before.items():
                    signal.signal(number, handler)

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            if not self.should_exit:
                late.start()
            super().handle_exit(sig, frame)

    # No log of requests: it would have the token. Streams of events stay open, so they are cut.
    options = uvicorn.Config(app, log_level="critical", access_log=False, timeout_graceful_shutdown=1, ws="none")
    try:
        Server(options).run(sockets=[listener])
    finally:
        if not model.is_busy():
            late.cancel()


def _ends() -> list[signal.Signals]:
    """Returns the signals that end the server; a process under nohup ignores SIGHUP."""
    is_ignored = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    return [signal.SIGINT, signal.SIGTERM, *([] if is_ignored else [signal.SIGHUP])]
