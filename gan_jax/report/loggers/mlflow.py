"""MLflow: an SQLite file below the workdir, unless the environment names a tracking server."""

import contextlib
import os
import re
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..config_rows import flatten
from .protocol import PROJECT, LoggedRun

if TYPE_CHECKING:
    from mlflow import MlflowClient

_MOST_PARAMETERS = 100  # MLflow's own limit for one call
_LONGEST_PARAMETER = 6000  # characters
_TAG = "gan_jax.run"
_FORBIDDEN = re.compile(r"[^\w\-. :/]", re.ASCII)  # characters that the name of a metric must not have
_DATABASE, _ARTIFACTS = "mlflow.db", "artifacts"


class Logger:
    """Logs to MLflow: metrics by step, sample grids and checkpoints as artifacts, the config as parameters.

    The variables of MLflow hold: `MLFLOW_TRACKING_URI`, `MLFLOW_EXPERIMENT_NAME` and so on. Without a tracking URI
    the store is `mlflow/mlflow.db` in the workdir (`mlflow ui --backend-store-uri sqlite:///...`), and MLflow's
    own reports on its use are off.

    A resumed run reads the last step of each metric. So each is there once, also if the process was killed within
    a call. A character that MLflow refuses in the name of a metric becomes "_". Parameters cannot change there; a
    field that changed on resume is right in `config.json`.
    """

    package = "mlflow"
    live = False
    _client: "MlflowClient | None" = None

    def start(self, run: LoggedRun, sent: int | None) -> int:
        local = run.workdir / "mlflow"
        uri = os.environ.get("MLFLOW_TRACKING_URI") or _uri(local / _DATABASE)
        in_workdir = uri == _uri(local / _DATABASE)
        if in_workdir:
            local.mkdir(exist_ok=True)
            _follow_move(local)
            os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
        # MLflow tries for minutes, and says nothing. With fewer tries its reason comes before a short run ends.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
        from mlflow import MlflowClient

        if in_workdir and not (local / _DATABASE).exists():
            _make_database(local)
        client = MlflowClient(tracking_uri=uri)
        experiment = os.environ.get("MLFLOW_EXPERIMENT_ID") or self._experiment(client, uri, local)
        found = client.search_runs([experiment], f"tags.`{_TAG}` = '{run.id}'", max_results=1)
        known = found[0] if found else client.create_run(experiment, tags={_TAG: run.id}, run_name=run.name)
        self._run_id = known.info.run_id
        self._client = client
        client.update_run(self._run_id, status="RUNNING")
        self._log_config(run.config)
        names = client.get_run(self._run_id).data.metrics
        self._last = {name: max(m.step for m in client.get_metric_history(self._run_id, name)) for name in names}
        return min(self._last.values(), default=-1)

    def _experiment(self, client: "MlflowClient", uri: str, local: Path) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or PROJECT
        if known := client.get_experiment_by_name(name):
            return known.experiment_id
        artifacts = (local / _ARTIFACTS).as_uri() if uri == _uri(local / _DATABASE) else None
        return client.create_experiment(name, artifact_location=artifacts)

    def _log_config(self, config: Mapping[str, object]) -> None:
        from mlflow.entities import Param

        assert self._client is not None, "start comes first"
        self._client.log_dict(self._run_id, dict(config), "config.json")
        known = self._client.get_run(self._run_id).data.params
        new = [Param(name, text[:_LONGEST_PARAMETER]) for name, text in flatten(config) if name not in known]
        for start in range(0, len(new), _MOST_PARAMETERS):
            self._client.log_batch(self._run_id, params=new[start : start + _MOST_PARAMETERS])

    def log(self, step: int, scalars: Mapping[str, float], images: Mapping[str, Path]) -> None:
        from mlflow.entities import Metric

        assert self._client is not None, "start comes first"
        for path in images.values():  # the same file again replaces it
            self._client.log_artifact(self._run_id, str(path), path.parent.name)
        now = int(time.time() * 1000)
        named = {_FORBIDDEN.sub("_", name): float(value) for name, value in scalars.items()}
        new = [Metric(k, value, now, step) for k, value in named.items() if step > self._last.get(k, -1)]
        if new:
            self._client.log_batch(self._run_id, metrics=new)

    def checkpoint(self, step: int, folder: Path) -> None:
        assert self._client is not None, "start comes first"
        self._client.log_artifacts(self._run_id, str(folder), f"checkpoints/{step}")

    def flush(self) -> None:
        """Does nothing: each call returns when the store has taken it."""

    def close(self, finished: bool) -> None:
        if self._client is not None:
            self._client.set_terminated(self._run_id, "FINISHED" if finished else "KILLED")


def _uri(database: Path) -> str:
    return f"sqlite:///{database}"


def _make_database(local: Path) -> None:
    """Makes the tables of a new store.

    The file gets its name last: MLflow cannot use a store of which a kill has left only some of the tables.
    """
    from mlflow import MlflowClient

    for leftover in local.glob("new-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    # A new folder each time: MLflow keeps its connection to a path, also after it has failed.
    with tempfile.TemporaryDirectory(prefix="new-", dir=local) as folder:
        new = Path(folder) / _DATABASE
        MlflowClient(tracking_uri=_uri(new)).search_experiments()  # the first use makes the tables
        new.rename(local / _DATABASE)


def _follow_move(local: Path) -> None:
    """Lets the store of a workdir that was moved keep its artifacts there: MLflow writes down absolute paths."""
    database, new = local / _DATABASE, (local / _ARTIFACTS).as_uri()
    if not database.exists():
        return
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        places = connection.execute("SELECT artifact_location FROM experiments").fetchall()
        for (old,) in places:
            if old and old.endswith(f"/mlflow/{_ARTIFACTS}") and old != new:
                for table, column in (("experiments", "artifact_location"), ("runs", "artifact_uri")):
                    connection.execute(
                        f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",
                        (new, len(old) + 1, len(old), old),
                    )
