"""Peers play the same game, and one that doesn't is noticed."""

import dataclasses

import pytest

from benchmarks.cases import CASES
from benchmarks.peers import parity, tutorial

SMALL = dataclasses.replace(CASES["mlp28"], batch=8)


def test_the_tutorial_plays_the_same_game(monkeypatch):
    monkeypatch.setattr(parity.importlib.util, "find_spec", lambda name: None)
    report = parity.check(SMALL)
    assert report["parameters"] == 1_906_961
    assert report["jax_tutorial"]["gradient_error"] < 1e-3


@pytest.mark.parametrize("change", [{"loss": "hinge"}, {"gamma": 0.5}])
def test_another_game_is_noticed(monkeypatch, change):
    make = tutorial.make
    monkeypatch.setattr(
        tutorial, "make", lambda case, *rest, **kw: make(dataclasses.replace(case, **change), *rest, **kw)
    )
    monkeypatch.setattr(parity.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="jax_tutorial: losses differ by"):
        parity.check(SMALL)


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", CASES)
def test_every_peer_plays_the_same_game(name):
    """With PyTorch, which CI installs for this: parameters, first losses and gradients of all peers."""
    report = parity.check(CASES[name])
    assert {"jax_tutorial", "torch"} <= set(report)
