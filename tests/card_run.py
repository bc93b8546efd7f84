"""A run that has what a model card says, for tests of cards."""

import json
from pathlib import Path

from gan_jax.config import Call, Data
from gan_jax.metrics.record import Record, append_new
from small_runs import fresh_run, small_config


def record(**fields) -> Record:
    common = {
        "features": "inception", "weights": "ab" * 8, "resize": "none", "reference": "npz abc", "split": "",
        "reference_count": 100, "generated_count": 200, "seed": 0, "step": 0,
    }  # fmt: skip
    return Record(**{**common, **fields})


def written_run(folder: Path) -> Path:
    """Returns a run with a log and measured numbers."""
    data = Data(source=Call("npz", path=f"{folder}/secret folder/cats.npz"))
    workdir = fresh_run("mlp", True, folder / "run", small_config("mlp", True, data=data))
    rows = [{"step": 0, "time": t, "images_per_second": 50.0} for t in (1800.0, 3600.0, 900.0)]
    (workdir / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = [
        record(metric="frechet", value=12.5, error=0.5, error_meaning="std"),
        record(metric="frechet", value=11.25, seed=1),
        record(metric="kernel", value=float("nan"), notes=("a | note",)),
        record(metric="frechet", value=99.0, step=7),
    ]
    append_new(workdir, found)
    return workdir
