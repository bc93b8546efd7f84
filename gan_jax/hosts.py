"""The processes of one run: how they find each other, what the first tells the others, and when all stop.

Process 0 alone touches the workdir; the others need none. What it reads there, or why it can't, it tells them. The
methods of `Hosts` meet: where one process calls one, all do.
"""

import contextlib
import json
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax._src import distributed
from jax.experimental import multihost_utils

from .digest import host_array, is_key
from .errors import NonFiniteError, UserError
from .watch import GONE, Watch

_HEARTBEAT_SECONDS = 10  # without one for so long, a process counts as dead
_PART_BYTES = 2**26


class LostError(UserError):
    """Another process of the run is gone, or was never reached. Exit code 4."""

    exit_code = 4


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
        jax.distributed.initialize(
            coordinator, processes, process, heartbeat_timeout_seconds=_HEARTBEAT_SECONDS
        )  # fmt: skip
    except (ValueError, TypeError, IndexError) as error:
        raise UserError(
            f"--distributed: {_first_line(error)}; where no scheduler says it, give --coordinator HOST:PORT, "
            "--processes N and --process I, from 0 to N - 1"
        ) from error
    except RuntimeError as error:
        raise LostError(f"--distributed: the other processes were not reached ({_first_line(error)})") from error
    # Where the first one is, which under a scheduler JAX alone has found out.
    address = distributed.global_state.coordinator_address or ""
    hosts = Hosts()
    return Watch(hosts.first, hosts.count, address.rpartition(":")[0].strip("[]"), hosts.told)


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
        self.index, self.count = jax.process_index(), jax.process_count()
        self.first = self.index == 0
        self._asked: str | None = None

    def share(self, batch: int) -> slice:
        """This process's columns of a global batch."""
        own = batch // self.count
        return slice(self.index * own, (self.index + 1) * own)

    def told(self, make: Callable[[], Any]) -> Any:
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
            raise (NonFiniteError if value else UserError)(error)
        return value

    def told_arrays(self, values: dict[str, Any], shapes: dict[str, Any]) -> dict[str, Any]:
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
        same = json.loads(json.dumps(value)) == self.told(lambda: value)
        equal = np.ravel(multihost_utils.process_allgather(np.int32(same)))
        if others := [str(index) for index, one in enumerate(equal) if not one]:
            raise UserError(
                f"process {', '.join(others)} has another {name} than process 0: start all with the same command, "
                "and with the same data"
            )

    def stops(self, chunk: int, wish: str | None) -> str | None:
        """Why all are to stop before `chunk`; `wish`: why this process would, if it was told to.

        Several agree through JAX's preemption service, which finds a chunk that none of them has begun. It
        listens to SIGTERM, and to nothing else.
        """
        if self.count == 1:
            return wish
        if wish is not None and self._asked is None:
            self._asked = wish
            os.kill(os.getpid(), signal.SIGTERM)
        if not multihost_utils.reached_preemption_sync_point(chunk):
            return None
        return self._asked or "SIGTERM came to one of the processes"

    @contextlib.contextmanager
    def alive(self) -> Iterator[None]:
        """What the runtime raises because another process is gone is one sentence.

        Raises:
            LostError: that.
        """
        try:
            yield
        except jax.errors.JaxRuntimeError as error:
            if self.count == 1 or "RESOURCE_EXHAUSTED" in str(error):
                raise
            raise LostError(
                f"another process of this run is gone, or can't be reached ({_first_line(error)}): {GONE}"
            ) from error

    def _bytes(self, said: bytes) -> bytes:
        """Bytes of the first process, everywhere."""
        sizes = np.array(divmod(len(said), _PART_BYTES), np.int32)
        whole, rest = (int(size) for size in multihost_utils.broadcast_one_to_all(sizes))
        heard = []
        for part, length in enumerate([*[_PART_BYTES] * whole, *[rest] * (rest > 0)]):
            buffer = np.zeros(1 << (length - 1).bit_length(), np.uint8)  # few sizes, and so few programs
            if self.first:
                buffer[:length] = np.frombuffer(said, np.uint8, length, part * _PART_BYTES)
            heard.append(np.asarray(multihost_utils.broadcast_one_to_all(buffer))[:length].tobytes())
        return b"".join(heard)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
