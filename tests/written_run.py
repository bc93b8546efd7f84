"""Writes the files that a run in its middle has, for tests of what shows a run."""

import json

from gan_jax.config import Config, to_json


def write_run(workdir, steps=(10, 20, 30), total=100, seconds_per_step=0.5):
    """Writes what a run has after these steps, 4 images each."""
    workdir.mkdir(exist_ok=True)
    (workdir / "config.json").write_text(json.dumps(to_json(Config(name="rings <&>", steps=total))))
    rows = [
        {"step": step, "images": 4 * step, "time": seconds_per_step * step, "loss/generator": 1 / step,
         "loss/discriminator": None if step == 20 else 2.0}
        for step in steps
    ]  # fmt: skip
    (workdir / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return workdir


def add_checkpoint(workdir, step):
    folder = workdir / "checkpoints" / str(step)
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")
