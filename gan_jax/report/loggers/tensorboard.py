"""TensorBoard: event files in `tensorboard/` of the workdir, written as the run goes on."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from .protocol import LoggedRun

if TYPE_CHECKING:
    from tensorboardX.event_file_writer import EventsWriter

_RGB = 3  # TensorBoard's number for the colors of an image; it shows what the PNG file has


class Logger:
    """Writes TensorBoard events. A resumed run hides those of later steps, as `purge_step` does.

    It writes events itself: `SummaryWriter.flush` returns before everything is in the file, and a run that is
    killed then would lose steps.
    """

    live = True
    _events: "EventsWriter | None" = None

    def start(self, run: LoggedRun, sent: int | None) -> int:
        self._folder = run.workdir / "tensorboard"
        if sent is None:  # of a version without notes: it had sent all up to its checkpoint
            sent = run.step if run.step and self._folder.is_dir() else -1
        self._last = min(sent, run.step)
        return self._last

    def log(self, step: int, scalars: Mapping[str, float], images: Mapping[str, Path]) -> None:
        from tensorboardX.proto.summary_pb2 import Summary  # type: ignore[attr-defined]

        values = [Summary.Value(tag=name, simple_value=value) for name, value in scalars.items()]
        for name, path in images.items():
            with Image.open(path) as image:
                width, height = image.size
            data = path.read_bytes()
            grid = Summary.Image(height=height, width=width, colorspace=_RGB, encoded_image_string=data)
            values.append(Summary.Value(tag=name, image=grid))
        self._write(step, summary=Summary(value=values))

    def _write(self, step: int, **content: Any) -> None:
        from tensorboardX.proto.event_pb2 import Event  # type: ignore[attr-defined]

        if self._events is None:
            self._events = self._open()
        self._events.write_event(Event(step=step, wall_time=time.time(), **content))

    def _open(self) -> "EventsWriter":
        """Opens an event file, which begins with the first step that is hidden in earlier ones."""
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog  # type: ignore[attr-defined]

        self._folder.mkdir(exist_ok=True)
        # TensorBoard reads files in the order of their names, which differ by seconds only.
        events = EventsWriter(str(self._folder / "events"), f".{time.time_ns():020}")
        start = SessionLog(status=SessionLog.START)
        events.write_event(Event(step=self._last + 1, wall_time=time.time(), session_log=start))
        return events

    def checkpoint(self, step: int, folder: Path) -> None:
        """Does nothing: TensorBoard has no artifacts."""

    def flush(self) -> None:
        if self._events is not None:
            self._events.flush()

    def close(self, finished: bool) -> None:
        if self._events is not None:
            self._events.close()
