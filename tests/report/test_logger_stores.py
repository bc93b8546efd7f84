"""Runs that are killed and resumed, and what each store has of them, read by the store's own means."""

import json
import shutil
import signal
import socketserver
import sqlite3
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import runs
from devices import run_json
from gan_jax.report.loggers.wandb_files import history, records
from test_tensorboard import events

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.usefixtures("plain_environment")]
STEPS = 120
TO = "log.to=tensorboard,wandb,trackio,mlflow"


@pytest.fixture(scope="module")
def calls():
    """Returns the address of a server that every call to the network goes to, and the first bytes of each call."""
    heard = []

    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            heard.append(self.request.recv(200))

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", heard
        server.shutdown()


@pytest.fixture(scope="module")
def environment(calls, tmp_path_factory):
    """Returns the variables of a process on a machine with a token, and keeps its programs."""
    home = tmp_path_factory.mktemp("home")
    names = ("HF_ENDPOINT", "HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy", "ALL_PROXY")
    variables = {"GAN_JAX_CACHE": str(home / "programs"), "HOME": str(home), "HF_TOKEN": "hf_notoken"}
    return {**dict.fromkeys(names, calls[0]), **variables}


@pytest.fixture(scope="module", params=[(0.0, 2.0), (5.0, 9.0)], ids=["early kills", "late kills"])
def killed(request, environment, tmp_path_factory):
    """Returns a workdir of a run that was killed twice and then ended, with an archived checkpoint at step 30.

    The process is held at a step, while its loggers go on, and is killed after some seconds. So the kills come
    while packages are imported, while stores are opened, and while steps are sent.
    """
    folder = tmp_path_factory.mktemp("killed")
    config, workdir = runs.write_config(folder, runs.MLP), folder / "run"
    words = [config, TO, f"steps={STEPS}", "log.checkpoints=true", "checkpoint.archive_every=30"]
    for lines, least, seconds in zip((34, 50), (25, 45), request.param):
        stopped = runs.stop(workdir, *words, lines=lines, least=least, after=seconds, **environment)
        assert stopped.code == -signal.SIGKILL
    outcome = runs.spawn("train", *words, "--workdir", workdir, timeout=200, **environment)
    assert outcome.code == 0, outcome.err
    assert "note: the logger" not in outcome.err
    assert outcome.out == ""
    return workdir


@pytest.fixture
def rows(killed):
    """Returns what the run logged, by step: numbers that are the same in an undisturbed run."""
    found = runs.rows(killed)
    assert [row["step"] for row in found] == list(range(1, STEPS + 1))
    return {row["step"]: {k: v for k, v in row.items() if k not in ("step", "images")} for row in found}


def _without_speed(row):
    return {name: value for name, value in row.items() if name != "images_per_second"}


def _pixels(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


GRIDS = list(range(0, STEPS + 1, 10))


def test_tensorboard(killed, rows):
    found, grids = {}, {}
    for path in sorted((killed / "tensorboard").iterdir()):
        for event in events(path, complete=False):
            if event.HasField("session_log"):  # as TensorBoard does, it drops what it had of later steps
                found = {step: row for step, row in found.items() if step < event.step}
                grids = {step: grid for step, grid in grids.items() if step < event.step}
            for value in event.summary.value:
                kept = grids if value.tag == "samples" else found.setdefault(event.step, {})
                name = event.step if value.tag == "samples" else value.tag
                assert name not in kept, f"{value.tag} of step {event.step} is there twice"
                kept[name] = value.image.encoded_image_string if value.tag == "samples" else value.simple_value
    assert list(found) == list(rows)
    for step, row in rows.items():
        assert _without_speed(found[step]) == {name: np.float32(value) for name, value in row.items()}
    assert list(grids) == GRIDS
    assert grids[STEPS] == (killed / "samples" / "step_00000120.png").read_bytes()


def test_wandb_offline(killed, rows):
    folders = sorted((killed / "wandb").glob("offline-run-*"))
    identity = json.loads((killed / "loggers.json").read_text())["id"]
    assert {path.name.rpartition("-")[2] for path in folders} == {identity}
    files = [path / f"run-{identity}.wandb" for path in folders]
    # A process that is killed early has a folder and no file.
    found = [row for path in files if path.exists() for row in history(path)]
    assert [row["_step"] for row in found] == list(range(STEPS + 1))
    for row in found[1:]:
        assert {name: row[name] for name in rows[row["_step"]]} == rows[row["_step"]]
    assert [row["_step"] for row in found if "samples/path" in row] == GRIDS
    grid = folders[-1] / "files" / found[-1]["samples/path"]
    assert np.array_equal(_pixels(grid), _pixels(killed / "samples" / "step_00000120.png"))
    assert _wandb_config(folders[-1] / f"run-{identity}.wandb")["log"]["to"] == TO[7:].split(",")


def _wandb_config(path: Path) -> dict:
    from wandb.proto.wandb_internal_pb2 import Record

    config = {}
    for data in records(path):
        record = Record.FromString(data)
        updates = record.run.config.update if record.WhichOneof("record_type") == "run" else record.config.update
        config |= {item.key: json.loads(item.value_json) for item in updates if item.key}
    return config


def test_trackio(killed, rows):
    """Trackio reads its folder from the environment when it is imported, so another process reads it."""
    code = """
import json
from trackio import Api
from trackio.sqlite_storage import SQLiteStorage
[run] = Api().runs("gan_jax")
print(json.dumps([run.name, run.config, SQLiteStorage.get_logs("gan_jax", run.name, run_id=run.id)]))
"""
    name, config, logs = run_json(code, TRACKIO_DIR=str(killed / "trackio"))
    assert name == f"run-{json.loads((killed / 'loggers.json').read_text())['id']}"
    assert config["seed"] == 0
    assert [row["step"] for row in logs] == list(range(STEPS + 1))
    for row in logs[1:]:
        assert {key: row[key] for key in rows[row["step"]]} == rows[row["step"]]
    assert [row["step"] for row in logs if "samples" in row] == GRIDS
    grid = killed / "trackio" / "media" / logs[-1]["samples"]["file_path"]
    assert np.array_equal(_pixels(grid), _pixels(killed / "samples" / "step_00000120.png"))


def test_mlflow(killed, rows):
    code = f"""
import json, warnings
from mlflow import MlflowClient
client = MlflowClient("sqlite:///{killed}/mlflow/mlflow.db")
[run] = client.search_runs(["1"])
print(json.dumps([
    run.info.status, run.data.params, run.info.artifact_uri,
    {{name: [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, name)]
        for name in run.data.metrics}},
    [file.path for file in client.list_artifacts(run.info.run_id, "samples")],
    [file.path for file in client.list_artifacts(run.info.run_id, "checkpoints")],
]))
"""
    status, parameters, uri, metrics, grids, checkpoints = run_json(code, MLFLOW_DISABLE_TELEMETRY="true")
    assert status == "FINISHED"
    assert parameters["generator"] == "mlp(width=8)"
    assert metrics.keys() == {*rows[STEPS], "images_per_second"}
    for name in rows[STEPS]:
        assert [tuple(one) for one in sorted(metrics[name])] == [(step, row[name]) for step, row in rows.items()]
    assert [step for step, _ in sorted(metrics["images_per_second"])] == list(rows)
    assert grids == [f"samples/step_{step:08d}.png" for step in GRIDS]
    folder = Path(uri.removeprefix("file://"))
    assert folder.is_relative_to(killed)
    last = "samples/step_00000120.png"
    assert (folder / last).read_bytes() == (killed / last).read_bytes()
    assert checkpoints == [f"checkpoints/{step}" for step in (120, 30, 60, 90)]
    assert json.loads((folder / "checkpoints/120/manifest.json").read_text())["step"] == STEPS
    assert json.loads((folder / "config.json").read_text())["name"] == "tiny"


def test_nothing_leaves_the_workdir(killed, calls):
    """All stores lie in the workdir, their tables are whole, and no package has called anybody."""
    assert calls[1] == []
    for path in (killed / "mlflow" / "mlflow.db", killed / "trackio" / "gan_jax.db"):
        with sqlite3.connect(path) as table:
            assert table.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    for name in ("wandb", "mlruns", "mlflow.db", "mlartifacts"):
        assert not (runs.ROOT / name).exists()


def test_a_moved_workdir_goes_on_in_the_same_runs(killed, environment, tmp_path):
    """MLflow has absolute paths in its table, and Trackio finds a run by its name."""
    workdir = shutil.copytree(killed, tmp_path / "moved", symlinks=True)
    more = STEPS + 10
    outcome = runs.spawn(
        "train", killed.parent / "tiny.py", "log.to=trackio,mlflow", f"steps={more}", "--workdir", workdir,
        timeout=200, **environment,
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert "note: the logger" not in outcome.err
    grid = f"samples/step_{more:08d}.png"
    assert [path.is_relative_to(workdir) for path in tmp_path.rglob(grid)] == [True, True]
    assert not list((killed / "mlflow").rglob(grid))
    with sqlite3.connect(workdir / "trackio" / "gan_jax.db") as table:
        assert table.execute("SELECT count(DISTINCT run_id), count(*) FROM metrics").fetchone() == (1, more + 1)
    with sqlite3.connect(workdir / "mlflow" / "mlflow.db") as table:
        assert table.execute("SELECT count(*) FROM runs").fetchone() == (1,)
        query = "SELECT count(*), count(DISTINCT step), max(step) FROM metrics WHERE key = 'loss/generator'"
        assert table.execute(query).fetchone() == (more, more, more)
