"""Writes a workdir as a run does, with loggers that follow it, for tests of loggers."""

import io
import threading
import time

import numpy as np

from gan_jax.config import Config, Log
from gan_jax.metrics import record as records
from gan_jax.report.images import png_bytes
from gan_jax.report.loggers.fan_out import Loggers
from gan_jax.report.writer import Writer, rewind

PNG = png_bytes(np.zeros((4, 4, 3), np.uint8))


class Run:
    """Writes a workdir as a run does: lines, grids, measurements, and the loggers that follow them."""

    def __init__(self, workdir, *to, step=0, steps=100, checkpoints=False):
        workdir.mkdir(exist_ok=True)
        rewind(workdir, step)
        records.rewind(workdir, step)
        self.workdir, self.said = workdir, []
        config = Config(name="a", steps=steps, log=Log(tensorboard=False, to=to, checkpoints=checkpoints))
        self._writer = Writer(workdir, start_step=step, total_steps=steps, images_per_step=1, stream=io.StringIO())
        self.loggers = Loggers(config, workdir, step, self.said.append)

    def line(self, step, **values):
        self._writer.write(step, {"loss/generator": step / 8, "bad": float("nan"), **values})
        self.loggers.line_written()

    def grid(self, step):
        (self.workdir / "samples").mkdir(exist_ok=True)
        (self.workdir / "samples" / f"step_{step:08d}.png").write_bytes(PNG)
        self.loggers.wake()

    def measure(self, step, metric="frechet", value=None):
        made = make_record(metric, step / 2 if value is None else value, step)
        records.append(self.workdir / records.EVALUATIONS, made)
        self.loggers.wake()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.loggers.__exit__(*error)
        self._writer.close()


def make_record(metric, value, step):
    return records.Record(
        metric=metric, value=value, features="f", weights="w", resize="none", reference="r", split="", seed=0,
        reference_count=1, generated_count=1, step=step,
    )  # fmt: skip


def wait_for(condition):
    """Waits until `condition()`, for at most 20 s."""
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.005)


def logger_threads():
    """Returns the names of the threads of loggers that are alive; other tests may have left other threads."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("logger")]
