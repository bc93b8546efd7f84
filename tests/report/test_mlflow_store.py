"""What the store of MLflow refuses, and what a kill may leave of it."""

import pytest

from devices import run_json

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200), pytest.mark.usefixtures("plain_environment")]
LOGGED = """
import json
import os
import sqlite3
from pathlib import Path
from mlflow import MlflowClient
from gan_jax.report.loggers.mlflow import Logger
from gan_jax.report.loggers.protocol import LoggedRun

workdir = Path({workdir!r})
run = LoggedRun("0123abcd", "run", workdir, {{}}, 0, 2)
database = workdir / "mlflow" / "mlflow.db"
os.chdir(workdir)  # a store that the environment names has its artifacts in the current folder
"""


def logged(tmp_path, code, **environment):
    """Runs `code` after `LOGGED` in a process of its own; returns the JSON that it prints."""
    return run_json(LOGGED.format(workdir=str(tmp_path)) + code, HOME=str(tmp_path), **environment)


def test_a_metric_whose_name_is_refused(tmp_path):
    code = """
last = []
for steps in ((1,), (1, 2)):
    logger = Logger()
    last.append(logger.start(run, None))
    for step in steps:
        logger.log(step, {"loss/mine (raw)": 2.0}, {})
    logger.close(True)
[found] = logger._client.search_runs(["1"])
history = logger._client.get_metric_history(found.info.run_id, "loss/mine _raw_")
print(json.dumps([last, sorted(found.data.metrics), [one.step for one in history]]))
"""
    last, names, steps = logged(tmp_path, code)
    assert last == [-1, 1]
    assert names == ["loss/mine _raw_"]
    assert steps == [1, 2]


def test_a_store_whose_making_was_cut_short(tmp_path):
    """MLflow refuses a store that lacks tables. So the next start, here in the same process, makes another one."""
    code = """
real, there = MlflowClient.search_experiments, []

def kill(self, *args, **kwargs):
    found = real(self, *args, **kwargs)
    with sqlite3.connect(self.tracking_uri.removeprefix("sqlite:///")) as made:
        made.execute("DROP TABLE experiments")  # as if it were not made yet
    there.append(database.exists())
    (database.parent / "new-left").mkdir()  # a kill leaves the folder
    raise SystemExit

MlflowClient.search_experiments = kill
try:
    Logger().start(run, None)
except SystemExit:
    there.append(database.exists())
MlflowClient.search_experiments = real
logger = Logger()
last = [logger.start(run, None)]
logger.log(1, {"loss": 2.0}, {})
logger.close(True)
last.append(Logger().start(run, None))
print(json.dumps([there, last, sorted(path.name for path in database.parent.iterdir())]))
"""
    there, last, after = logged(tmp_path, code)
    assert there == [False, False]
    assert last == [-1, 1]
    assert after == ["artifacts", "mlflow.db"]


@pytest.mark.parametrize("uri", ["", "sqlite:///{workdir}/mlflow/mlflow.db", "sqlite:///{workdir}/mine.db"])
def test_a_store_that_the_environment_names(uri, tmp_path):
    code = """
last = Logger().start(run, None)
print(json.dumps([last, sorted(str(path.relative_to(workdir)) for path in workdir.rglob("*.db"))]))
"""
    last, stores = logged(tmp_path, code, MLFLOW_TRACKING_URI=uri.format(workdir=tmp_path))
    assert last == -1
    assert stores == ["mine.db" if "mine" in uri else "mlflow/mlflow.db"]
