"""The processes of one run: how they find each other, what the first tells the others, and when all stop.

Process 0 alone touches the workdir; the others need none. What it reads there, or why it can't, it tells them. The
methods of `Hosts` meet: where one process calls one, all do.
"""

import contextlib
import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax._src import distributed
from jax.experimental import multihost_utils

from ..errors import LOST, NonFiniteError, UserError, first_line
from ..pytree import host_array, is_key
from .peer_watch import GONE, Watch

# How the runtime says that another process doesn't answer; what else it raises is a fault of this one.
_LOST = re.compile("unavailable|deadline|aborted|cancelled|gloo|nccl|connection|heartbeat|peer", re.IGNORECASE)
_OWN = re.compile("resource_exhausted|out of memory|unhandled (system|cuda) error", re.IGNORECASE)
_STATUS = re.compile("[A-Z_]+: ")
_PART_BYTES = 2**26


class LostError(UserError):
    """Another process of the run is gone, or was never reached. Exit code 4."""

    exit_code = LOST


def connect(coordinator: str | None = None, processes: int | None = None, process: int | None = None) -> Watch:
    """Join the run's other processes, before anything touches a device; what isn't said, JAX finds out.

    It knows SLURM, Kubernetes (JobSet), Open MPI and TPU pods. What it gives ends this process when another dies.

    Args:
        coordinator: `HOST:PORT` of process 0.
        processes: how many there are.
        process: which one this is.

    Raises:
        UserError: the numbers make no sense, or nothing says where the others are.
        LostError: they were not reached.
    """
    try:
        jax.distributed.initialize(coordinator, processes, process)
    except (ValueError, TypeError, IndexError) as error:
        raise UserError(
            f"--distributed: {first_line(error)}; where no scheduler says it, give --coordinator HOST:PORT, "
            "--processes N and --process I, from 0 to N - 1"
        ) from error
    except RuntimeError as error:
        raise LostError(f"--distributed: the other processes were not reached ({first_line(error)})") from error
    # Where the first one is, which under a scheduler JAX alone has found out.
    address = distributed.global_state.coordinator_address or ""
    hosts = Hosts()
    with hosts.alive():
        return Watch(hosts.first, hosts.count, address.rpartition(":")[0].strip("[]"), hosts.from_first)


def part(watch: Watch) -> None:
    """Take leave of the others, at the end of a run: it waits for them."""
    watch.close()
    jax.distributed.shutdown()


class Hosts:
    """This process among those of the run. With a single one, everything is done at once.

    Attributes:
        index: of this process.
        count: of processes.
        first: whether this is process 0.
    """

    def __init__(self) -> None:
        # Not `jax.process_index()`, which would start the devices before the run has its workdir.
        joined = distributed.global_state
        self.index, self.count = joined.process_id or 0, joined.num_processes or 1
        self.first = self.index == 0
        self._service = joined.preemption_sync_manager is not None
        self._asked: str | None = None
        self._chunks = 0

    def share(self, batch: int) -> slice:
        """This process's columns of a global batch."""
        own = batch // self.count
        return slice(self.index * own, (self.index + 1) * own)

    def from_first(self, make: Callable[[], Any]) -> Any:
        """What `make` gives in the first process, as JSON holds it, in every process.

        Raises:
            UserError: what it raised there, in every process.
        """
        if self.count == 1:
            return make()
        said = b""
        if self.first:
            try:
                said = json.dumps([None, make()]).encode()
            except NonFiniteError as error:
                said = json.dumps([str(error), True]).encode()
            except UserError as error:
                said = json.dumps([str(error), False]).encode()
        error, value = json.loads(self._bytes(said))
        if error is not None:
            raised = (NonFiniteError if value else UserError)(error)
            raised.everywhere = True
            raise raised
        return value

    def arrays_from_first(self, values: dict[str, Any], shapes: dict[str, Any]) -> dict[str, Any]:
        """Arrays of the first process by their names, in host memory, everywhere; of typed keys, their data.

        Args:
            values: looked at in the first process alone.
            shapes: of the same names, and in the same order.
        """
        heard = {}
        for name, shape in shapes.items():
            data = jax.eval_shape(jax.random.key_data, shape) if is_key(shape) else shape
            said = np.ascontiguousarray(host_array(values[name])).tobytes() if self.first else b""
            heard[name] = np.frombuffer(self._bytes(said), data.dtype).reshape(data.shape)
        return heard

    def agree(self, name: str, value: Any) -> None:
        """Raises UserError, everywhere, where a process has another `value` of `name` than the first."""
        if self.count == 1:
            return
        same = json.loads(json.dumps(value)) == self.from_first(lambda: value)
        equal = np.ravel(multihost_utils.process_allgather(np.int32(same)))
        others = [str(index) for index, one in enumerate(equal) if not one]
        if others:
            raised = UserError(
                f"process {', '.join(others)} has another {name} than process 0: start all with the same command, "
                "and with the same data"
            )
            raised.everywhere = True
            raise raised

    def stops(self, wish: str | None) -> str | None:
        """Why all are to stop before the next chunk; `wish`: why this process would, if it was told to.

        Several agree through JAX's preemption service, which finds a chunk that none of them has begun. It alone
        hears SIGTERM, once `connect` was called, and it hears nothing else.
        """
        if not self._service:
            return wish
        self._chunks += 1  # of this process, since steps go back where the run does
        if wish is not None and self._asked is None:
            self._asked = wish
            os.kill(os.getpid(), signal.SIGTERM)
        if not multihost_utils.reached_preemption_sync_point(self._chunks):
            return None
        return self._asked or ("SIGTERM came" if self.count == 1 else "SIGTERM came to one of the processes")

    @contextlib.contextmanager
    def alive(self) -> Iterator[None]:
        """What the runtime raises because another process is gone is one sentence.

        Raises:
            LostError: that.
        """
        try:
            yield
        except (jax.errors.JaxRuntimeError, ValueError) as error:
            # In an array that is read, what the runtime raised is a ValueError: it begins with a status.
            runtimes = isinstance(error, jax.errors.JaxRuntimeError) or _STATUS.match(str(error))
            lost = runtimes and _LOST.search(str(error)) and not _OWN.search(str(error))
            if self.count == 1 or not lost:
                raise
            raise LostError(
                f"another process of this run is gone, or can't be reached ({first_line(error)}): {GONE}"
            ) from error

    def _bytes(self, said: bytes) -> bytes:
        """Bytes of the first process, everywhere."""
        sizes = np.array(divmod(len(said), _PART_BYTES), np.int32)
        whole, rest = (int(size) for size in multihost_utils.broadcast_one_to_all(sizes))
        heard = []
        for index, length in enumerate([*[_PART_BYTES] * whole, *[rest] * (rest > 0)]):
            buffer = np.zeros(1 << (length - 1).bit_length(), np.uint8)  # few sizes, and so few programs
            if self.first:
                buffer[:length] = np.frombuffer(said, np.uint8, length, index * _PART_BYTES)
            heard.append(np.asarray(multihost_utils.broadcast_one_to_all(buffer))[:length].tobytes())
        return b"".join(heard)
