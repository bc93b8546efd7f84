"""What loggers read of a workdir, and the names of loggers in a config."""

import sys

import pytest

from gan_jax.config import Config, Log
from gan_jax.errors import UserError
from gan_jax.report.loggers import choose, workdir_log
from gan_jax.report.loggers.workdir_log import LoggedStep, WorkdirLog
from logged_run import Run

pytestmark = pytest.mark.timeout(60)

# ---- what a workdir has logged


def test_the_log_is_read_step_by_step(tmp_path):
    with Run(tmp_path) as run:
        run.grid(0)
        for step in (5, 10, 15):
            run.line(step)
        run.measure(10)
        run.measure(10, "kernel", float("inf"))
        run.grid(12)
    with open(tmp_path / "metrics.jsonl", "ab") as file:
        file.write(b'no row\n{"step": 20, "a": 1')  # the second line is not complete yet
    grids = {step: tmp_path / "samples" / f"step_{step:08d}.png" for step in (0, 12)}
    log = WorkdirLog(tmp_path, after=-1)
    first, second = log.take(10), log.take()
    speeds = [row.scalars.pop("images_per_second") for row in (*first, *second) if row.scalars]
    assert len(speeds) == 3
    assert first == [
        LoggedStep(0, {}, {"samples": grids[0]}), LoggedStep(5, {"loss/generator": 5 / 8}, {}),
        LoggedStep(10, {"loss/generator": 10 / 8, "metrics/frechet": 5.0}, {}),
    ]  # fmt: skip
    assert second == [LoggedStep(12, {}, {"samples": grids[12]}), LoggedStep(15, {"loss/generator": 15 / 8}, {})]
    assert log.take() == []
    with open(tmp_path / "metrics.jsonl", "ab") as file:
        file.write(b"}\n")
    assert log.take() == [LoggedStep(20, {"a": 1}, {})]
    assert [row.step for row in WorkdirLog(tmp_path, after=10).take()] == [12, 15, 20]


def test_a_step_may_come_in_parts_and_no_part_twice(tmp_path):
    with Run(tmp_path) as run:
        log = WorkdirLog(tmp_path, after=-1)
        run.line(5)
        run.line(10)
        assert [row.step for row in log.take()] == [5, 10]
        run.grid(10)
        run.measure(5, "late")  # by `gan-jax evaluate`, which the run does not log
        [grid] = log.take()
        run.measure(10)
        run.measure(10, value=7.0)
        [metric] = log.take()
        assert log.take() == []
    assert (grid.step, grid.scalars, list(grid.images)) == (10, {}, ["samples"])
    assert metric == LoggedStep(10, {"metrics/frechet": 5.0}, {})


def test_a_long_log_comes_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(workdir_log, "_CHUNK", 700)
    monkeypatch.setattr(workdir_log, "_MOST", 4)
    with Run(tmp_path) as run:
        for step in range(1, 101):
            run.line(step)
            if step % 2 == 0:
                run.grid(step)
    log, pieces = WorkdirLog(tmp_path, after=9), []
    while piece := log.take():
        pieces.append(piece)
    assert [row.step for piece in pieces for row in piece] == list(range(10, 101))
    assert all(bool(row.images) == (row.step % 2 == 0) and row.scalars for piece in pieces for row in piece)
    assert len(pieces) > 3


# ---- what a config names


def config_of(*to, tensorboard=False):
    return Config(name="a", log=Log(tensorboard=tensorboard, to=to))


def test_loggers_are_found_by_name():
    assert list(choose.find_loggers(config_of("tensorboard", "fake_loggers:Store", tensorboard=True))) == [
        "tensorboard", "fake_loggers:Store",
    ]  # fmt: skip
    assert choose.find_loggers(config_of()) == {}
    assert not {"wandb", "trackio", "mlflow"} & sys.modules.keys()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("wandbb", "log.to=wandbb: no 'wandbb' in gan_jax.report.loggers: did you mean 'wandb'?"),
        ("fake_loggers:Nothing", "log.to=fake_loggers:Nothing: no function 'Nothing' in fake_loggers"),
        ("no_such_module:Logger", "log.to=no_such_module:Logger: cannot import 'no_such_module'"),
    ],
)
def test_a_wrong_name_is_one_sentence(name, words):
    with pytest.raises(UserError) as error:
        choose.find_loggers(config_of(name))
    assert str(error.value).startswith(words)


def test_a_foreign_name_needs_leave():
    with pytest.raises(UserError, match="add `--allow fake_loggers`"):
        choose.find_loggers(config_of("fake_loggers:Store"), allow=())
    assert choose.find_loggers(config_of("fake_loggers:Store"), allow=["fake_loggers"])


def test_a_missing_package_is_said_before_training(monkeypatch):
    monkeypatch.setattr(choose.importlib.util, "find_spec", lambda name: None)
    for name in ("wandb", "trackio", "mlflow"):
        with pytest.raises(UserError, match=rf"^log.to={name} needs the package {name}, .*'gan_jax\[{name}\]'$"):
            choose.find_loggers(config_of(name))
    choose.find_loggers(config_of("tensorboard"))
