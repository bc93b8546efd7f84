"""A config that is swept in tests, parts that it names, and what a member must be."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

import runs
from gan_jax import losses
from gan_jax.config import Call, Checkpoint, Config, Data, Log, Metrics, Sample, Term
from gan_jax.pytree import is_key, named_leaves
from gan_jax.train.open_run import open_run
from gan_jax.types import PyTree

WEIGHT = "discriminator_terms.0.weight"
TEXT = '''"""Swept in tests."""

import small_sweeps


def get_config():
    return small_sweeps.swept()
'''


def swept(**changes: object) -> Config:
    """Returns the smallest config with R1 and metrics, whose features need no training."""
    fields: dict[str, Any] = {
        "name": "swept",
        "steps": 20,
        "batch": 16,
        "data": Data(source=Call("digits")),
        "generator": Call("mlp", width=8, layers=1),
        "discriminator": Call("mlp", width=8, layers=1),
        "latent": Call("normal", size=4),
        "discriminator_terms": (Term(1.0, Call("r1")),),
        "log": Log(every=5, tensorboard=False),
        "sample": Sample(every=20, count=9, gif=False),
        "checkpoint": Checkpoint(every=5),
        "metrics": Metrics(every=10, count=32, features=Call("fake_features:quarters")),
    }
    return Config(**{**fields, **changes})


def reads_its_value(margin: float = 1.0) -> losses.Loss:
    """A loss whose code decides by a number."""
    return losses.hinge() if margin > 0.5 else losses.non_saturating()


def scaled(scale: float = 1.0) -> losses.Loss:
    """A loss that only computes with a number."""
    plain = losses.non_saturating()
    return losses.Loss(
        lambda real, fake: scale * plain.generator(real, fake), lambda real, fake: plain.discriminator(real, fake)
    )


def write(folder: Path) -> Path:
    return runs.write_config(folder, TEXT, "swept.py")


def arrays(state: PyTree) -> dict[str, np.ndarray]:
    """Returns the leaves of a state by name; of keys their data."""
    return {
        name: np.asarray(jax.random.key_data(leaf) if is_key(leaf) else leaf)
        for name, leaf in named_leaves(state).items()
    }


def state_of(workdir: Path, step: int | None = None) -> dict[str, np.ndarray]:
    return arrays(open_run(workdir, step, None).state)


def furthest(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> float:
    """Returns the largest difference between two states."""
    assert set(one) == set(other)
    return max(
        float(np.max(np.abs(one[name].astype(float) - other[name].astype(float)), initial=0)) for name in one
    )


def sweep(config: Path, workdir: Path, *words: object) -> runs.Outcome:
    """Returns what `gan-jax sweep` printed."""
    return runs.call("sweep", config, *words, "--workdir", workdir)
