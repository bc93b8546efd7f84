"""A connection between the processes of a run that closes when one of them dies, whatever the others wait for.

A sum over devices whose partner has died may wait for ever, and JAX ends the process, in words of its own, only
when heartbeats stay away. The kernel closes the connections of a process that ends, however it ends. They go from
each process to the first; when one closes that end, and so theirs to all others.
"""

import contextlib
import hmac
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from ..errors import LOST

GONE = "start all of them again, and they go on from the last checkpoint"
_GRACE_SECONDS = 3.0  # for what the runtime itself raises, which is more exact
_SAID_SECONDS = 1.0  # for the same mistake, met here too
_FAREWELL_SECONDS = 6.0  # that the first process stays, for the others to end by what it told them
_TOKEN_BYTES = 16


class Watch:
    """Ends this process, with one sentence, when the first process, or in it any other, is gone.

    With exit code 4; where the other said with which code it ends, by a mistake that it alone met, with that one.

    Args:
        first: whether this is process 0.
        count: of processes.
        host: of the first.
        from_first: `Hosts.from_first`.
        end: ends the process with a code, whatever its other threads do.
    """

    def __init__(
        self,
        first: bool,
        count: int,
        host: str,
        from_first: Callable[[Callable[[], Any]], Any],
        end: Callable[[int], object] = os._exit,
    ):
        self._first, self._end, self._code = first, end, LOST
        self._leaving, self._heard = False, threading.Event()
        self._watching: list[threading.Thread] = []
        self._open: list[socket.socket] = []
        server = _server() if first else None
        # Anyone can connect; those who belong here know the token.
        port, token = from_first(
            lambda: [server.getsockname()[1] if server else 0, secrets.token_hex(_TOKEN_BYTES // 2)]
        )
        if server is not None:
            threading.Thread(target=self._accept, args=(server, count - 1, token.encode()), daemon=True).start()
            return
        with contextlib.suppress(OSError):  # no way through: JAX's heartbeats remain
            connection = socket.create_connection((host, port), timeout=10)
            connection.sendall(token.encode())
            connection.settimeout(None)
            self._watch(connection)

    def close(self, code: int = 0) -> None:
        """Take leave: what closes now is no death; with another `code` the others are to end with that one.

        With one the first process, without whom JAX aborts the others, waits until they have ended.
        """
        self._leaving = code != 0
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.sendall(bytes([code]))
        if self._first and code:
            end = time.monotonic() + _FAREWELL_SECONDS
            for thread in self._watching:
                if thread is not threading.current_thread():
                    thread.join(max(0.0, end - time.monotonic()))

    def code(self) -> int:
        """With which to end where another process is gone, which may just be telling why."""
        self._heard.wait(1.0)
        return self._code

    def _accept(self, server: socket.socket, count: int, token: bytes) -> None:
        with server:
            while len(self._open) < count:
                connection, _ = server.accept()
                with contextlib.suppress(OSError):
                    connection.settimeout(5)
                    if hmac.compare_digest(connection.recv(_TOKEN_BYTES, socket.MSG_WAITALL), token):
                        connection.settimeout(None)
                        self._watch(connection)
                        continue
                connection.close()

    def _watch(self, connection: socket.socket) -> None:
        # A host that vanishes says nothing: the kernel asks it, and gives it up within a quarter of a minute.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in (("TCP_KEEPIDLE", 5), ("TCP_KEEPINTVL", 3), ("TCP_KEEPCNT", 3)):
            if hasattr(socket, option):
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
        self._open.append(connection)
        thread = threading.Thread(target=self._wait, args=(connection,), daemon=True)
        thread.start()
        self._watching.append(thread)  # only now: `close` joins these, and a thread must be started before

    def _wait(self, connection: socket.socket) -> None:
        said = b""
        with contextlib.suppress(OSError):
            said = connection.recv(1)
        if said == b"\0" or self._leaving:
            return
        if said:
            self._code = said[0]
        self._heard.set()
        time.sleep(_SAID_SECONDS if said else _GRACE_SECONDS)
        if self._leaving:  # and has said why itself
            return
        if self._first:
            self.close(self._code)  # to all others
        what = f"is gone: {GONE}" if self._code == LOST else f"ended with exit code {self._code}: it said why"
        print(f"gan-jax: another process of this run {what}", file=sys.stderr, flush=True)
        self._end(self._code)


def _server() -> socket.socket:
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", 0))
