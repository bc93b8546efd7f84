"""TensorBoard events: what is in them, and what a resumed run hides."""

import struct

import numpy as np
import pytest
from PIL import Image

from gan_jax.report.images import png_bytes
from gan_jax.report.loggers.protocol import LoggedRun
from gan_jax.report.loggers.tensorboard import Logger


def events(path, complete=True):
    """Yields the events of a TensorBoard file. Each is stored as length, checksum, event, checksum.

    The file of a killed process may not be complete: its last event is left out.
    """
    from tensorboardX.proto.event_pb2 import Event  # type: ignore[attr-defined]

    data = path.read_bytes()
    while data:
        (length,) = struct.unpack("<Q", data[:8]) if len(data) >= 8 else (0,)
        if not complete and len(data) < 16 + length:
            return
        yield Event.FromString(data[12 : 12 + length])
        data = data[16 + length :]


def run_of(workdir, step=0):
    return LoggedRun("0" * 8, "a", workdir, {}, step, 100)


def test_events_have_scalars_and_images(tmp_path):
    pixels = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    (tmp_path / "grid.png").write_bytes(png_bytes(pixels))
    logger = Logger()
    assert logger.start(run_of(tmp_path), None) == -1
    assert not (tmp_path / "tensorboard").exists()  # it is opened when there is something to write
    logger.log(4, {"loss/generator": 1.5}, {"samples": tmp_path / "grid.png"})
    logger.flush()  # a process that is killed now loses nothing
    (path,) = (tmp_path / "tensorboard").iterdir()
    values = {value.tag: value for event in events(path) for value in event.summary.value}
    logger.close(False)
    assert set(values) == {"loss/generator", "samples"}
    assert values["loss/generator"].simple_value == 1.5
    (tmp_path / "again.png").write_bytes(values["samples"].image.encoded_image_string)
    with Image.open(tmp_path / "again.png") as image:
        assert np.array_equal(np.asarray(image), pixels)
    assert {event.step for event in events(path) if event.summary.value} == {4}


@pytest.mark.parametrize(
    ("step", "sent", "has_folder", "last"),
    [
        (0, None, False, -1),
        (0, -1, True, -1),
        (30, 20, True, 20),  # killed before steps 21 to 30 were sent: they are hidden and sent again
        (30, 50, True, 30),  # the checkpoint of step 50 is damaged
        (30, None, True, 30),  # gan_jax 0.1 kept no notes, and sent each line at once
        (30, None, False, -1),  # its run had log.tensorboard=false
    ],
)
def test_a_resumed_run_hides_what_it_sends_again(tmp_path, step, sent, has_folder, last):
    if has_folder:
        (tmp_path / "tensorboard").mkdir()
    logger = Logger()
    assert logger.start(run_of(tmp_path, step), sent) == last
    logger.log(last + 1, {"a": 1.0}, {})
    logger.close(False)
    (path,) = (tmp_path / "tensorboard").iterdir()
    assert [event.step for event in events(path) if event.HasField("session_log")] == [last + 1]
