"""Loggers: every settled step is sent once, and no logger stops a run."""

import json
import shutil
import time

import pytest

import runs
from fake_loggers import Broken, Store, Stuck, sent, steps
from gan_jax.report.loggers.identity import Identity
from logged_run import Run, logger_threads, wait_for

pytestmark = [pytest.mark.timeout(60), pytest.mark.usefixtures("programs")]


@pytest.fixture(autouse=True)
def _forget():
    Store.forget()
    Stuck.free.clear()


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
        assert logger_threads() == []
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
    for end in (13, 20):
        words = [f"steps={end}", "log.every=5", "log.to=fake_loggers:Store"]
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
