"""Where a run comes from: the weights that it began with, and what it changed on the way."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from ..runtime.hosts import Hosts
from . import history, transfer
from .prepare import Prepared
from .resume import check_record


class Provenance:
    """What the checkpoints of a run keep besides its config. All processes of a run call its methods together.

    Args:
        prepared: the run.
        hosts: the processes of the run.
        allow_change: what `--allow-change` names.

    Attributes:
        begins: the run has to save a checkpoint where it goes on, with what is new here.
    """

    def __init__(self, prepared: Prepared, hosts: Hosts, allow_change: Collection[str]):
        self._prepared, self._hosts, self._allowed = prepared, hosts, allow_change
        self._origin: Mapping[str, Any] | None = None
        self._history: list[history.Row] = []
        self.begins = False

    def resume(self, step: int, record: Mapping[str, Any]) -> list[str]:
        """Goes on from the checkpoint of `step` with this record.

        Returns:
            Notes on the data, and a line for each field that changes there.

        Raises:
            UserError: it is the checkpoint of another run.
        """
        config = self._prepared.config
        notes = check_record(record, self._prepared, self._allowed)
        self._hosts.from_first(lambda: transfer.check_origin(record, config))
        before, self._origin = history.read_history(record), record.get(transfer.RECORD)
        new = self._hosts.from_first(lambda: history.changes(step, record, self._prepared, self._allowed))
        self._history, self.begins = [*before, *new], bool(new)
        # A note says the names of the classes already.
        return [*notes, *(history.text(row) for row in new if row["field"] != history.CLASS_NAMES)]

    def begin(self) -> transfer.Transfer | None:
        """Begins at step 0. Returns the weights that the run takes from another run, if there are some.

        Raises:
            UserError: they cannot be taken, or this run began with others.
        """
        shapes = self._prepared.programs.shapes.state
        taken = transfer.read_transfer(self._prepared.config, shapes, self._hosts, self._origin)
        self._origin, self._history, self.begins = taken and taken.record, [], taken is not None
        return taken

    def record(self) -> dict[str, object]:
        """Returns what the record of a checkpoint keeps of it."""
        kept = {transfer.RECORD: self._origin, history.RECORD: self._history}
        return {name: value for name, value in kept.items() if value}

    def write(self, workdir: Path) -> None:
        """Writes the history to the workdir."""
        self._hosts.from_first(lambda: history.write_history(workdir, self._history))
