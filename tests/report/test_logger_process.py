"""Loggers of large packages live in a process beside the run."""

import errno
import os
import time

import pytest

from fake_loggers import Store, Stuck, read_store
from gan_jax.report.loggers import apart, fan_out
from gan_jax.report.loggers.identity import Identity
from logged_run import Run, wait_for

pytestmark = [pytest.mark.timeout(60), pytest.mark.usefixtures("programs")]


@pytest.fixture(autouse=True)
def _forget():
    Store.forget()
    Stuck.free.clear()


def test_a_large_package_is_in_another_process(tmp_path, capfd):
    with Run(tmp_path, "fake_loggers:OnDisk", "fake_loggers:Store") as run:
        for step in range(1, 4):
            run.line(step)
        run.grid(3)
        run.loggers.settle(3)
        wait_for(lambda: len(read_store(tmp_path)) == 3)
        run.line(4)  # not settled
    with Run(tmp_path, "fake_loggers:OnDisk", step=3, steps=5) as run:
        for step in range(4, 6):
            run.line(step)
        run.loggers.settle(5)
    rows = read_store(tmp_path)
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5]
    assert [row["loss/generator"] for row in rows] == [step / 8 for step in range(1, 6)]
    assert rows[2]["images"] == ["samples"]
    assert len({row["process"] for row in rows}) == 2
    assert os.getpid() not in {row["process"] for row in rows}
    assert run.said == []
    assert capfd.readouterr() == ("", "")  # what the package prints is for nobody
    assert Identity(tmp_path).last("fake_loggers:OnDisk") == 5


def test_signals_to_all_processes_of_a_run_end_no_logger(tmp_path):
    """Ctrl-C in a terminal comes to the process of the loggers too, at any time, such as when it starts."""
    with Run(tmp_path, "fake_loggers:OnDisk") as run:
        run.line(1)
        [loggers] = run.loggers._followers
        assert isinstance(loggers, apart.LoggersApart)
        assert loggers._process is not None
        for number in apart.SIGNALS:
            os.kill(loggers._process.pid, number)
        run.loggers.settle(1)
        wait_for(lambda: read_store(tmp_path))
        for number in apart.SIGNALS:
            os.kill(loggers._process.pid, number)
        run.line(2)
        run.loggers.settle(2)
    assert [row["step"] for row in read_store(tmp_path)] == [1, 2]
    assert run.said == []


def test_no_process_can_be_started(tmp_path, monkeypatch):
    def fail(*words, **options):
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(apart.subprocess, "Popen", fail)
    with Run(tmp_path, "fake_loggers:OnDisk") as run:
        run.line(1)
        run.loggers.settle(1)
    assert run.said == [
        "note: no process can be started for the loggers fake_loggers:OnDisk (Resource temporarily unavailable): "
        "the run goes on without them, and the next start of the same command sends what they lack"
    ]


@pytest.mark.slow
def test_a_process_that_dies_or_hangs_stops_nothing(tmp_path, monkeypatch):
    with Run(tmp_path, "fake_loggers:OnDisk", steps=9_000) as run:
        run.line(999)
        run.line(1_000)
        run.loggers.settle(1_000)
        wait_for(lambda: not run.loggers._warnings.empty())
        run.line(1_001)
        run.loggers.settle(1_001)
    assert run.said == [
        "note: the process of the loggers fake_loggers:OnDisk ended (exit code 7): the run goes on without them, "
        "and the next start of the same command sends what they lack",
        "note: the logger fake_loggers:OnDisk has not taken everything within 5 s: the next start of the same "
        "command sends the rest",
    ]
    assert [row["step"] for row in read_store(tmp_path)] == [999]
    monkeypatch.setattr(fan_out, "STOPPED_SECONDS", 0.2)
    monkeypatch.setattr(apart, "_MARGIN", 0.2)
    with Run(tmp_path, "fake_loggers:OnDisk", step=999, steps=9_000) as run:
        run.line(1_500)
        run.line(2_000)
        run.loggers.settle(2_000)
        wait_for(lambda: len(read_store(tmp_path)) == 2)
        start = time.monotonic()
    assert time.monotonic() - start < 5
    assert len(run.said) == 1
    assert "has not taken everything within 0.2 s" in run.said[0]
