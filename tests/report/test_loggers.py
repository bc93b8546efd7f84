"""Loggers: every settled step is sent once, and no logger stops a run."""

import errno
import functools
import json
import os
import shutil
import threading
import time

import pytest

import fake_loggers
import runs
from fake_loggers import Broken, Store, Stuck, read_store
from gan_jax.report.loggers import apart, fan_out, follower
from gan_jax.report.loggers.identity import Identity
from logged_run import Run, wait_for

pytestmark = [pytest.mark.timeout(60), pytest.mark.usefixtures("programs")]


@pytest.fixture(autouse=True)
def _forget():
    Store.forget()
    Stuck.free.clear()


def sent(kind=Store):
    """Returns the rows of the one run that there is."""
    [rows] = kind.runs.values()
    return rows


def steps():
    return [step for step, *_ in sent()]


# ---- what is sent


def test_settled_steps_are_sent_and_no_others(tmp_path):
    with Run(tmp_path, "fake_loggers:Store") as run:
        run.grid(0)
        for step in range(1, 6):
            run.line(step)
        time.sleep(0.05)
        assert not any(Store.runs.values())  # nothing is settled
        run.loggers.settle(3)
        wait_for(lambda: Store.runs and steps() == [0, 1, 2, 3])
        run.grid(5)
    assert steps() == [0, 1, 2, 3]  # the run ended before step 4 was settled
    assert [row[2] for row in sent()] == [["samples"], [], [], []]
    assert Store.calls[-1][0] == "close"
    [(told, before)] = Store.told
    assert (told.name, told.workdir, told.step, told.steps, before) == (tmp_path.name, tmp_path, 0, 100, None)
    assert told.config["log"]["to"] == ["fake_loggers:Store"]
    assert {thread for _, thread in Store.calls} == {"logger fake_loggers:Store"}
    assert run.said == []


@pytest.mark.parametrize("kind", ["Store", "Forgetful", "Live"])
def test_a_killed_run_ends_with_every_step_once(tmp_path, kind):
    """The first process is stopped behind its checkpoint of step 3, and the second goes on from there."""
    name = f"fake_loggers:{kind}"
    with Run(tmp_path, name, steps=8) as run:
        for step in range(1, 4):
            run.line(step)
        run.loggers.settle(3)
        for step in range(4, 6):
            run.line(step, extra=1.0)  # made again
    with Run(tmp_path, name, steps=8, step=3) as run:
        for step in range(4, 9):
            run.line(step)
        run.measure(8)
        run.grid(8)
        run.loggers.settle(8)
    rows = {}
    for step, scalars, images in sent():
        for part in (*scalars, *images):
            assert part not in rows.setdefault(step, {})
            rows[step][part] = scalars.get(part)
    assert list(rows) == list(range(1, 9))
    assert [row["loss/generator"] for row in rows.values()] == [step / 8 for step in range(1, 9)]
    assert not any("extra" in row for row in rows.values())
    assert rows[8].keys() == {"loss/generator", "images_per_second", "metrics/frechet", "samples"}
    assert Store.calls[-1][0] == "finish"
    assert [before for _, before in Store.told] == [None, 3]


@pytest.mark.parametrize("kind", ["Store", "Forgetful", "Live"])
def test_a_run_that_goes_on_before_a_settled_step(tmp_path, kind):
    """The checkpoint of step 5 is damaged. The second run is killed when it has sent nothing of step 4 again."""
    name = f"fake_loggers:{kind}"
    with Run(tmp_path, name, steps=6) as run:
        for step in range(1, 6):
            run.line(step)
        run.loggers.settle(5)
    left = {"Store": 5, "Forgetful": 5, "Live": 2}[kind]
    with Run(tmp_path, name, steps=6, step=2) as run:
        run.line(3)
        wait_for(lambda: len(Store.told) == 2 and Identity(tmp_path).last(name) == left)
        wait_for(lambda: steps()[-1] == (3 if kind == "Live" else 5))
        run.line(4)
        run._writer.close()
        if kind == "Live":
            wait_for(lambda: steps() == [1, 2, 3, 4])
            sent().pop()  # what the kill takes away
    with Run(tmp_path, name, steps=6, step=4) as run:
        run.line(5)
        run.line(6)
        run.loggers.settle(6)
    assert steps() == [1, 2, 3, 4, 5, 6]


def test_a_kill_between_sending_and_writing_that_down(tmp_path):
    """The store tells what it has, so it does not matter that the workdir does not know."""
    with Run(tmp_path, "fake_loggers:Store") as run:
        run.line(1)
        run.line(2)
        run.loggers.settle(2)
    kept = json.loads((tmp_path / "loggers.json").read_text())
    assert kept["sent"] == {"fake_loggers:Store": 2}
    (tmp_path / "loggers.json").write_text(json.dumps({**kept, "sent": {"fake_loggers:Store": -1}}))
    with Run(tmp_path, "fake_loggers:Store", step=2) as run:
        run.line(3)
        run.loggers.settle(3)
    assert steps() == [1, 2, 3]


def test_a_logger_that_is_added_later_gets_all(tmp_path):
    with Run(tmp_path) as run:
        for step in range(1, 5):
            run.line(step)
    assert not (tmp_path / "loggers.json").exists()
    with Run(tmp_path, "fake_loggers:Store", step=4, steps=4) as run:
        run.loggers.settle(4)  # the run is at its end: it makes no step
        assert threading.active_count() == 1
    assert steps() == [1, 2, 3, 4]
    Store.calls.clear()
    with Run(tmp_path, "fake_loggers:Store", step=4, steps=4) as run:
        run.loggers.settle(4)
    assert Store.calls == []  # nothing is new


def test_kept_checkpoints_are_sent_where_the_config_says_so(tmp_path, trained):
    """The last one, and those that are kept for good; of `trained`, that is the last one of steps 10 and 20."""
    workdir = shutil.copytree(trained, tmp_path / "run")
    with Run(workdir, "fake_loggers:Store", step=20, steps=20) as run:
        run.loggers.settle(20)
    assert Store.checkpoints == []
    for _ in range(2):
        with Run(workdir, "fake_loggers:Store", step=20, steps=20, checkpoints=True) as run:
            run.line(20)
            run.loggers.settle(20)
    assert [step for step, _ in Store.checkpoints] == [20]
    assert (Store.checkpoints[0][1] / "manifest.json").exists()


# ---- what fails


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
    wait_for(lambda: threading.active_count() == 1)
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
    wait_for(lambda: threading.active_count() == 1)


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


# ---- a process beside the run


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


# ---- whole runs


def test_a_run_is_the_same_with_loggers(config, trained, tmp_path, monkeypatch):
    monkeypatch.setattr(Broken, "at", "log")
    workdir = tmp_path / "run"
    to = "log.to=fake_loggers:Forgetful,fake_loggers:Broken"
    outcome = runs.call("train", config, "steps=20", to, "--workdir", workdir)
    assert outcome.code == 0, outcome.err
    assert outcome.digest == runs.call("digest", trained).out.strip()
    assert runs.rows(workdir) == runs.rows(trained)
    assert outcome.err.count("note: the logger fake_loggers:Broken failed (RuntimeError: the store is)") == 1
    rows = sent()
    assert [step for step, *_ in rows] == list(range(21))
    assert [row[2] for row in rows] == [["samples"] if step % 10 == 0 else [] for step in range(21)]
    logged = [{k: v for k, v in row[1].items() if k != "images_per_second"} for row in rows[1:]]
    assert logged == [{k: v for k, v in row.items() if k not in ("step", "images")} for row in runs.rows(trained)]


def test_a_run_stopped_off_its_grid_goes_on_in_the_same_run(config, tmp_path):
    workdir = tmp_path / "run"
    for steps in (13, 20):
        words = [f"steps={steps}", "log.every=5", "log.to=fake_loggers:Store"]
        outcome = runs.call("train", config, *words, "--workdir", workdir)
        assert outcome.code == 0, outcome.err
    assert [(step, bool(scalars), images) for step, scalars, images in sent()] == [
        (0, False, ["samples"]), (5, True, []), (10, True, ["samples"]), (13, False, ["samples"]), (15, True, []),
        (20, True, ["samples"]),
    ]  # fmt: skip
    assert [run.step for run, _ in Store.told] == [0, 13]


def test_a_missing_logger_stops_the_run_before_it_begins(config, tmp_path):
    outcome = runs.call("train", config, "log.to=wandbb", "--workdir", tmp_path / "run")
    runs.sentence(outcome, "no 'wandbb' in gan_jax.report.loggers")
