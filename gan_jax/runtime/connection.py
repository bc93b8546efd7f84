"""How the processes of a run connect, and how a process leaves the others. JAX's own runtime does both."""

import errno
import os
import socket
import sys
import time
from typing import NoReturn

import jax
from jax._src import distributed

from ..errors import LostError, UserError, first_line, quoted

TOGETHER_SECONDS = 25  # how long processes with --coordinator wait for each other
SCHEDULED_SECONDS = 300  # a scheduler may start them minutes apart
_HEARTBEAT_SECONDS = 20  # JAX ends all processes when it has not heard from one for so long; its default is 100
_LAST_WORDS_SECONDS = 1.0


def connect(
    coordinator: str | None = None,
    processes: int | None = None,
    process: int | None = None,
    seconds: float | None = None,
) -> None:
    """Connects this process to the others of its run, before anything touches a device.

    JAX fills in what is None under SLURM, Kubernetes (JobSet), Open MPI and on TPU pods.

    Args:
        coordinator: `HOST:PORT` of process 0.
        processes: the number of processes.
        process: the index of this process.
        seconds: how long to wait for the others. Then JAX aborts this process, with exit code 134. None:
            `TOGETHER_SECONDS`, or `SCHEDULED_SECONDS` where a scheduler gives the index.

    Raises:
        UserError: the numbers are not valid, the port is in use, or nothing says where process 0 is.
        LostError: JAX could not open a connection.
    """
    if seconds is None:
        seconds = SCHEDULED_SECONDS if process is None else TOGETHER_SECONDS
    if coordinator:
        _check_address(coordinator, opens=process == 0)
    if coordinator and processes and process is not None:
        print(
            f"process {process} of {processes} waits up to {seconds:g} s for the others at {coordinator}",
            file=sys.stderr, flush=True,
        )  # fmt: skip
    try:
        jax.distributed.initialize(
            coordinator, processes, process,
            initialization_timeout=max(1, int(seconds)), heartbeat_timeout_seconds=_HEARTBEAT_SECONDS,
        )  # fmt: skip
    except (ValueError, TypeError, IndexError) as error:
        raise UserError(
            f"--distributed: {first_line(error)}; without a scheduler that JAX knows, give --coordinator "
            "HOST:PORT, --processes N and --process I, from 0 to N - 1"
        ) from error
    except RuntimeError as error:
        raise LostError(
            f"--distributed: JAX could not connect the processes ({first_line(error)}): start all processes again"
        ) from error


def _check_address(coordinator: str, opens: bool) -> None:
    """Checks the address of process 0; and where this process opens it, that no other program has the port.

    JAX would crash there, or share the port with another run and end that one too. A program that takes the port
    between this check and JAX goes unnoticed.
    """
    host, _, port = coordinator.rpartition(":")
    if not (host and port.isascii() and port.isdecimal() and len(port) < 6 and 0 < int(port) < 65536):
        raise UserError(f"--coordinator {quoted(coordinator)} is no HOST:PORT: give a host and a port up to 65535")
    try:
        socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
        if opens:
            # At all addresses, as JAX opens it.
            dual = socket.has_dualstack_ipv6()
            family = socket.AF_INET6 if dual else socket.AF_INET
            socket.create_server(("", int(port)), family=family, dualstack_ipv6=dual).close()
    except socket.gaierror as error:
        raise UserError(
            f"--coordinator: this host does not know the host {quoted(host)}: give the address of process 0"
        ) from error
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        cause = ", perhaps of a second process 0 or another run" if error.errno == errno.EADDRINUSE else ""
        raise UserError(
            f"--coordinator: process 0 can't open port {port} ({reason}){cause}: give all processes another port"
        ) from error


def disconnect() -> None:
    """Leaves the run at its end; waits until all processes do."""
    jax.distributed.shutdown()


def leave(code: int) -> NoReturn:
    """Ends this process after an error, at once: JAX's shutdown can wait minutes for processes that failed too.

    JAX aborts the others when process 0 ends. So it pauses first: they may fail for the same reason, and say so.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    if distributed.global_state.service is not None and code != LostError.exit_code:
        time.sleep(_LAST_WORDS_SECONDS)
    os._exit(code)
