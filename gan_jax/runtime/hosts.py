"""The processes of one run: what process 0 tells the others, and when all of them stop.

Process 0 alone reads and writes the workdir, and sends the others what they need of it. The methods of `Hosts` are
collective: when one process calls one, all processes must call it. JAX notices a process that is gone.
"""

import contextlib
import json
import os
import re
import signal
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

import jax
import numpy as np
from jax._src import distributed
from jax.experimental import multihost_utils

from ..errors import LostError, NonFiniteError, UserError, first_line
from ..pytree import host_array, is_key

# Words of a JAX error that another process caused; the second pattern names errors that this process caused.
_LOST = re.compile("unavailable|deadline|aborted|cancelled|gloo|nccl|connection|heartbeat|peer", re.IGNORECASE)
_LOCAL = re.compile("resource_exhausted|out of memory|unhandled (system|cuda) error", re.IGNORECASE)
_STATUS = re.compile("[A-Z_]+: ")
_CHUNK_BYTES = 2**26
_SHOWN_BYTES = 200

T = TypeVar("T")


class Hosts:
    """This process and the others of its run. In a run of one process, every method acts at once.

    Attributes:
        index: the index of this process.
        count: the number of processes.
        first: whether this is process 0.
    """

    def __init__(self) -> None:
        # `jax.process_index()` would start the devices, and the run locks its workdir before that.
        state = distributed.global_state
        self.index, self.count = state.process_id or 0, state.num_processes or 1
        self.first = self.index == 0
        self._has_preemption_service = state.preemption_sync_manager is not None
        self._stop_reason: str | None = None
        self._chunks = 0

    def share(self, batch: int) -> slice:
        """Returns the columns of a global batch that this process loads."""
        size = batch // self.count
        return slice(self.index * size, (self.index + 1) * size)

    def from_first(self, make: Callable[[], T]) -> T:
        """Calls `make` in process 0 and returns its result in every process, as JSON: a tuple becomes a list.

        Raises:
            UserError: `make` raised it in process 0; then every process raises it.
        """
        if self.count == 1:
            return make()
        message = b""
        if self.first:
            try:
                message = json.dumps([None, make()]).encode()
            except NonFiniteError as error:
                message = json.dumps([str(error), True]).encode()
            except UserError as error:
                message = json.dumps([str(error), False]).encode()
        error, value = json.loads(self._broadcast(message))
        if error is not None:
            raise (NonFiniteError if value else UserError)(error)
        return value

    def arrays_from_first(
        self, values: Mapping[str, object], shapes: Mapping[str, jax.ShapeDtypeStruct]
    ) -> dict[str, np.ndarray]:
        """Returns the arrays of process 0 in every process, in host memory. Of typed keys it returns their data.

        Args:
            values: the arrays by name; only process 0 reads them.
            shapes: their shapes, with the same names in the same order in every process.
        """
        arrays = {}
        for name, shape in shapes.items():
            data = jax.eval_shape(jax.random.key_data, shape) if is_key(shape) else shape
            message = np.ascontiguousarray(host_array(values[name])).tobytes() if self.first else b""
            arrays[name] = np.frombuffer(self._broadcast(message), data.dtype).reshape(data.shape)
        return arrays

    def agree(self, name: str, value: object, shown: str = "") -> None:
        """Checks that all processes have the same `value`, which JSON can hold.

        Args:
            name: what the value is, for the message.
            shown: the value in a few words, for the message.

        Raises:
            UserError: a process has another value than process 0; then every process raises it.
        """
        if self.count == 1:
            return
        same = json.loads(json.dumps(value)) == self.from_first(lambda: value)
        words = np.frombuffer(shown.encode()[:_SHOWN_BYTES].ljust(_SHOWN_BYTES), np.uint8)
        gathered = multihost_utils.process_allgather(np.append(words, np.uint8(same)))
        others = [index for index, one in enumerate(gathered) if not one[-1]]
        if others:
            texts = [one[:-1].tobytes().decode(errors="replace").strip() for one in gathered]
            has = f"; process {others[0]} has {texts[others[0]]}, and process 0 {texts[0]}" if shown else ""
            raise UserError(
                f"process {', '.join(map(str, others))} has another {name} than process 0{has}: start all "
                "processes with the same command, the same data and the same packages"
            )

    def stops(self, reason: str | None) -> str | None:
        """Returns why all processes stop before the next chunk, or None when they continue.

        Several processes agree through JAX's preemption service, which picks a chunk that none of them has begun.
        After `connect` this service receives SIGTERM in place of our handler, and it accepts no other request.

        Args:
            reason: why this process wants to stop, or None.
        """
        if not self._has_preemption_service:
            return reason
        self._chunks += 1  # not the step, which becomes smaller when the run goes back to a checkpoint
        if reason is not None and self._stop_reason is None:
            self._stop_reason = reason
            os.kill(os.getpid(), signal.SIGTERM)
        if not multihost_utils.reached_preemption_sync_point(self._chunks):
            return None
        return self._stop_reason or ("SIGTERM came" if self.count == 1 else "SIGTERM came to one of the processes")

    @contextlib.contextmanager
    def alive(self) -> Iterator[None]:
        """Turns an error that JAX raises because another process is gone into one sentence.

        Raises:
            LostError: another process is gone.
        """
        try:
            yield
        except (jax.errors.JaxRuntimeError, ValueError) as error:
            # When an array is read whose computation failed, JAX raises a ValueError that begins with a status.
            from_jax = isinstance(error, jax.errors.JaxRuntimeError) or _STATUS.match(str(error))
            lost = from_jax and _LOST.search(str(error)) and not _LOCAL.search(str(error))
            if self.count == 1 or not lost:
                raise
            raise LostError(
                f"another process of this run is gone or cannot be reached ({first_line(error)}): start all "
                "of them again, and they continue from the last checkpoint"
            ) from error

    def _broadcast(self, message: bytes) -> bytes:
        """Returns the message of process 0 in every process."""
        sizes = np.array(divmod(len(message), _CHUNK_BYTES), np.int32)
        full, rest = (int(size) for size in multihost_utils.broadcast_one_to_all(sizes))
        chunks = []
        for index, length in enumerate([*[_CHUNK_BYTES] * full, *[rest] * (rest > 0)]):
            # A power of two, because each size is another program to compile.
            buffer = np.zeros(1 << (length - 1).bit_length(), np.uint8)
            if self.first:
                buffer[:length] = np.frombuffer(message, np.uint8, length, index * _CHUNK_BYTES)
            chunks.append(np.asarray(multihost_utils.broadcast_one_to_all(buffer))[:length].tobytes())
        return b"".join(chunks)
