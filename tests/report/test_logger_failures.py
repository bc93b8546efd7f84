"""Loggers that fail or hang, and what they cannot stop."""

import functools
import time

import pytest

import fake_loggers
from fake_loggers import Broken, Store, Stuck, steps
from gan_jax.report.loggers import fan_out, follower
from gan_jax.report.loggers.identity import Identity
from logged_run import Run, logger_threads, wait_for

pytestmark = [pytest.mark.timeout(60), pytest.mark.usefixtures("programs")]


@pytest.fixture(autouse=True)
def _forget():
    Store.forget()
    Stuck.free.clear()


@pytest.mark.parametrize("at", ["init", "start", "log", "flush", "close"])
@pytest.mark.parametrize("error", [RuntimeError("the store is\nnot there."), KeyboardInterrupt(), SystemExit(1)])
def test_a_logger_that_fails_is_named_once_and_stops_nothing(tmp_path, monkeypatch, at, error):
    monkeypatch.setattr(Broken, "at", at)
    monkeypatch.setattr(Broken, "error", error)
    with Run(tmp_path, "fake_loggers:Broken", "fake_loggers:Store") as run:
        for step in range(1, 6):
            run.line(step)
            run.loggers.settle(step)
    [note] = run.said
    reason = "RuntimeError: the store is" if isinstance(error, RuntimeError) else type(error).__name__
    assert note == (
        f"note: the logger fake_loggers:Broken failed ({reason}): the run goes on, and tries again from time to "
        "time; the next start of the same command sends what it lacks"
    )
    monkeypatch.undo()
    with Run(tmp_path, "fake_loggers:Broken", "fake_loggers:Store", step=5, steps=5) as run:
        run.loggers.settle(5)
    assert run.said == []
    assert Identity(tmp_path).last("fake_loggers:Broken") == 5
    [rows] = Store.runs.values()
    if at in ("log", "flush", "close"):  # both write into one list; Store alone had sent steps 1 to 5
        assert {step for step, *_ in rows} == {1, 2, 3, 4, 5}


@pytest.mark.parametrize("kind", ["Store", "Forgetful", "Live"])
def test_a_logger_is_tried_again(tmp_path, monkeypatch, kind):
    """The network is gone for a while: the first two attempts fail within step 3."""
    monkeypatch.setattr(follower, "_FIRST_WAIT", 0.01)
    left = [2]
    chosen = getattr(fake_loggers, kind)

    class Unsteady(chosen):
        def log(self, step, scalars, images):
            if step == 3 and left[0]:
                left[0] -= 1
                raise ConnectionError("no network")
            super().log(step, scalars, images)

    def was_sent(step):
        return Identity(tmp_path).last("fake_loggers:Unsteady") == step

    monkeypatch.setattr(fake_loggers, "Unsteady", Unsteady, raising=False)
    with Run(tmp_path, "fake_loggers:Unsteady") as run:
        for step in range(1, 5):
            run.line(step)
            run.loggers.settle(step)
            if step < 3:
                wait_for(functools.partial(was_sent, step))
        wait_for(lambda: 4 in steps())
        assert left == [0]
    assert steps() == [1, 2, 3, 4]
    assert len(run.said) == 1
    assert "ConnectionError: no network" in run.said[0]


def test_a_logger_that_failed_is_tried_when_the_run_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(Broken, "at", "start")
    with Run(tmp_path, "fake_loggers:Broken") as run:
        run.line(1)
        run.loggers.settle(1)
        wait_for(lambda: Store.calls[-1][0] == "close")
        monkeypatch.setattr(Broken, "at", "")
    assert steps() == [1]
    assert len(run.said) == 1


def test_a_logger_that_hangs_keeps_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(fan_out, "STOPPED_SECONDS", 0.2)
    with Run(tmp_path, "fake_loggers:Stuck") as run:
        start = time.monotonic()
        for step in range(1, 6):
            run.line(step)
            run.loggers.settle(step)
        assert time.monotonic() - start < 5
    assert run.said == [
        "note: the logger fake_loggers:Stuck has not taken everything within 0.2 s: the next start of the same "
        "command sends the rest"
    ]
    Stuck.free.set()
    wait_for(lambda: not logger_threads())
    assert steps() == [1]  # the step that was under way; nothing was sent behind the run's back


def test_an_interrupted_run_does_not_wait(tmp_path):
    run = Run(tmp_path, "fake_loggers:Stuck")
    run.line(1)
    run.loggers.settle(1)
    start = time.monotonic()
    run.loggers.__exit__(KeyboardInterrupt, None, None)
    assert time.monotonic() - start < 4
    run._writer.close()
    Stuck.free.set()
    wait_for(lambda: not logger_threads())


def test_runs_that_end_together_wait_together(tmp_path):
    """Members of a population: each begins to end at its last step, not when the one before it has ended."""
    both = [Run(tmp_path / name, "fake_loggers:Store", steps=1) for name in "ab"]
    for run in both:
        run.line(1)
        run.loggers.settle(1)
    wait_for(lambda: [what for what, _ in Store.calls].count("finish") == 2)
    for run in both:
        run.__exit__(None, None, None)
    assert [len(rows) for rows in Store.runs.values()] == [1, 1]
    assert [run.said for run in both] == [[], []]


def test_a_moved_workdir_keeps_its_name(tmp_path):
    for name, step in (("first", 0), ("second", 1)):
        with Run(tmp_path / name, "fake_loggers:Store", step=step) as run:
            run.line(step + 1)
            run.loggers.settle(step + 1)
        if step == 0:
            (tmp_path / "first").rename(tmp_path / "second")
    assert {(told.id, told.name) for told, _ in Store.told} == {(Store.told[0][0].id, "first")}
    assert Store.told[1][0].workdir == tmp_path / "second"
    assert steps() == [1, 2]


@pytest.mark.parametrize("text", ["", "[1]", '{"id": 3}', '{"id": "a", "sent": {"x": 1.5}, "checkpoints": {}}'])
def test_a_damaged_identity_is_replaced_and_said(tmp_path, text):
    (tmp_path / "loggers.json").write_text(text)
    with Run(tmp_path, "fake_loggers:Store") as run:
        run.line(1)
        run.loggers.settle(1)
    [note] = run.said
    assert note.startswith(f"note: {tmp_path}/loggers.json cannot be used (")
    assert note.endswith("): loggers begin new runs")
    assert steps() == [1]
    assert Identity(tmp_path).note is None
