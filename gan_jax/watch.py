"""A connection between the processes of a run that closes when one of them dies, whatever the others wait for.

A sum over devices whose partner has died may wait for ever, and JAX ends the process, in words of its own, only
when heartbeats stay away. The kernel closes the connections of a process that ends, however it ends. They go from
each process to the first; when one closes that end, and so theirs to all others.
"""

import contextlib
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

GONE = "start all of them again, and they go on from the last checkpoint"
_GRACE_SECONDS = 3.0  # for what the runtime itself raises, which is more exact, and for a save under way
_FAREWELL = b"."


class Watch:
    """Ends this process, with exit code 4 and one sentence, when the first process, or in it any other, is gone.

    Args:
        first: whether this is process 0.
        count: of processes.
        host: of the first.
        told: `Hosts.told`.
    """

    def __init__(self, first: bool, count: int, host: str, told: Callable[[Callable[[], Any]], Any]):
        self._open: list[socket.socket] = []
        server = socket.create_server(("", 0)) if first else None
        port = told(lambda: server.getsockname()[1] if server else None)
        if server is not None:
            threading.Thread(target=self._accept, args=(server, count - 1), daemon=True).start()
            return
        with contextlib.suppress(OSError):  # no way through: JAX's heartbeats remain
            connection = socket.create_connection((host, port), timeout=10)
            connection.settimeout(None)
            self._watch(connection)

    def close(self) -> None:
        """Take leave: what closes now is no death."""
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.sendall(_FAREWELL)

    def _accept(self, server: socket.socket, count: int) -> None:
        with server:
            for _ in range(count):
                self._watch(server.accept()[0])

    def _watch(self, connection: socket.socket) -> None:
        self._open.append(connection)
        threading.Thread(target=self._wait, args=(connection,), daemon=True).start()

    def _wait(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            if connection.recv(1) == _FAREWELL:
                return
        time.sleep(_GRACE_SECONDS)
        print(f"gan-jax: another process of this run is gone: {GONE}", file=sys.stderr, flush=True)
        os._exit(4)
