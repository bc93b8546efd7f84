"""Random weights by the names of published layouts, without PyTorch."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

NAMES = json.loads(Path(__file__).with_name("published_names.json").read_text())
"""The names and shapes of small networks of each layout; test_foreign_outputs.py compares them with PyTorch's."""


def kind_of(case):
    return case.split()[0]


def arrays(case, *players):
    """Returns random arrays by the names of a case, under `g_ema.` and `d.`."""
    random = np.random.default_rng(0)
    made = {}
    for player in players or ("g_ema", "d"):
        for name, shape in NAMES[case][player].items():
            kind = np.int64 if name.endswith("num_batches_tracked") else np.float32
            made[f"{player}.{name}"] = np.asarray(1 + 0.1 * random.standard_normal(shape)).astype(kind)
    return made


def saved(folder, made):
    save_file(made, folder / "w.safetensors")
    return folder / "w.safetensors"
