"""Replaces the modules in which a config's names are looked up."""

import sys

import pytest

from gan_jax.config import HOMES, Home

FAKE_HOMES = {
    "fake_losses.py": """
from collections.abc import Callable
from functools import partial as partial
def hinge(): pass
def non_saturating(real_label: float = 1.0): pass
def adam(learning_rate: float | Callable = 2e-4, b1: float = 0.9, unbounded=1, **others): pass
def linear(start: float, end: float): pass
def normal(size: int = 100): pass
def identity(): pass
def r1(): pass
def gp(target: float | None = 1.0, kind: "NoSuchType" = "one", pair: tuple[int, int] = (1, 2)): pass
def digits(path: str = "", fraction: float = 1.0): pass
def classifier(): pass
def _private(): pass
class Loss: pass
""",
    "fake_models/__init__.py": "",
    "fake_models/layers.py": "raise RuntimeError('choices must not import what is not asked for')",
    "fake_models/dcgan.py": """
from dataclasses import dataclass
@dataclass
class Generator:
    width: int = 64
    channels: tuple[int, ...] = ()
    norm: str | None = "batch"
    parent: object = None
    name: str | None = None
class Discriminator: pass
""",
    "fake_models/resnet.py": "from .dcgan import Generator as Generator\n",
    "fake_models/broken.py": "import no_such_module\nclass Generator: pass\n",
}


@pytest.fixture
def homes(tmp_path, monkeypatch):
    """Every home replaced by real modules in a folder on the path; what a test imports of them goes with it."""
    before = set(sys.modules)
    for name, text in FAKE_HOMES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    for field, home in HOMES.items():
        module = "fake_models" if home.attribute else "fake_losses"
        monkeypatch.setitem(HOMES, field, Home(module, home.attribute))
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("fake_"):
            del sys.modules[name]
