"""The parity check: peers compute the same step as gan_jax, and a peer that does not is refused."""

import dataclasses
import importlib.util
from typing import Any

import jax
import numpy as np
import pytest

import gan_jax
from benchmarks import runners, suites
from benchmarks.cases import CASES, init
from benchmarks.peers import parity, tutorial
from benchmarks.runners import Runner
from benchmarks.timing import Sample
from gan_jax.models import dcgan, r3gan

pytestmark = pytest.mark.usefixtures("quick_compile")

SMALL = dataclasses.replace(CASES["mlp28"], batch=8)
_R3GAN: dict[str, Any] = {"widths": (32, 16), "cardinality": (4, 2), "full_precision_up_to": 4, "blocks": 1}
R3GAN = dataclasses.replace(
    CASES["r3gan64_quarter"],
    networks=lambda dtype: (r3gan.Generator(shape=(8, 8, 3), **_R3GAN), r3gan.Discriminator(**_R3GAN)),
    shape=(8, 8, 3),
    batch=4,
)


def alone(monkeypatch, *packages: str) -> None:
    """Hides all peers' packages but these. If one is left, it also skips the tutorial, which compiles slowly."""
    if packages:
        monkeypatch.setattr(tutorial, "too_slow", lambda case: True)
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: find(name, *rest) if name in packages else None
    )


def keras() -> Any:
    """Imports the peer's module, which selects Keras' JAX backend before it imports Keras."""
    return pytest.importorskip("benchmarks.peers.keras_step", exc_type=ImportError)


@pytest.mark.slow
def test_the_tutorial_plays_the_same_game(monkeypatch):
    alone(monkeypatch)
    report = parity.check(SMALL)
    assert report["parameters"] == 1_906_961
    assert report["jax_tutorial"]["gradient_error"] < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("change", [{"loss": "hinge"}, {"gamma": 0.5}])
def test_another_game_is_noticed(monkeypatch, change):
    make = tutorial.make
    monkeypatch.setattr(
        tutorial, "make", lambda case, *rest, **kw: make(dataclasses.replace(case, **change), *rest, **kw)
    )
    alone(monkeypatch)
    with pytest.raises(ValueError, match="jax_tutorial: losses differ by"):
        parity.check(SMALL)


def test_r3gan_in_pytorch_plays_the_same_game(monkeypatch):
    """Every kernel has a gradient, because the check replaces kernels of zeros by noise."""
    pytest.importorskip("torch")
    alone(monkeypatch, "torch")
    report = parity.check(R3GAN)
    assert set(report) == {"parameters", "torch"}
    assert report["torch"]["loss_error"] < 1e-5
    assert report["torch"]["gradient_error"] < 1e-3


@pytest.mark.slow
def test_r3gan_in_pytorch_with_another_filter_is_noticed(monkeypatch):
    pytest.importorskip("torch")
    from benchmarks.peers import torch_r3gan

    alone(monkeypatch, "torch")
    monkeypatch.setattr(torch_r3gan, "TAPS", (0, 1, 1, 0))
    with pytest.raises(ValueError, match=r"r3gan64_quarter, torch: losses differ by .*, gradients by"):
        parity.check(R3GAN)


def test_the_quarter_is_the_preset_with_its_widths_divided():
    def networks(name: str) -> tuple[Any, ...]:
        return CASES[name].networks(np.float32)

    preset = r3gan.PRESETS["ffhq64"]
    for whole, quarter in zip(networks("r3gan64"), networks("r3gan64_quarter")):
        assert (whole.widths, whole.cardinality) == (preset.widths, preset.cardinality)
        assert quarter.widths == tuple(width // 4 for width in preset.widths)
        channels = [2 * w // g for w, g in zip(quarter.widths, quarter.cardinality)]
        assert channels == [2 * w // g for w, g in zip(whole.widths, whole.cardinality)] == [16] * 5
    batch = {"image": jax.ShapeDtypeStruct((1, 64, 64, 3), np.uint8)}
    state = jax.eval_shape(lambda: gan_jax.init(CASES["r3gan64"].gan(), jax.random.key(0), batch))
    count = [sum(leaf.size for leaf in jax.tree.leaves(p.params)) for p in (state.generator, state.discriminator)]
    assert count == [22_429_824, 22_381_440]  # the counts in configs/ffhq64_r3gan.py


def test_keras_plays_the_same_game(monkeypatch):
    keras()
    alone(monkeypatch, "keras")
    report = parity.check(SMALL)
    assert set(report) == {"parameters", "keras"}
    assert report["keras"]["loss_error"] < 1e-5
    assert report["keras"]["gradient_error"] < 1e-3


def _tiny_dcgan(width: int) -> Any:
    return lambda dtype: (
        dcgan.Generator((16, 16, 3), width=width, base=4),
        dcgan.Discriminator(width=width, base=4),
    )


def test_keras_plays_the_same_dcgan(monkeypatch):
    """This case has batch norm: each call of a network uses the statistics of its own batch."""
    keras_step = keras()
    alone(monkeypatch, "keras")
    monkeypatch.setitem(keras_step.NETWORKS, "dcgan32", lambda case: keras_step.dcgan(case, width=4))
    case = dataclasses.replace(CASES["dcgan32"], networks=_tiny_dcgan(4), shape=(16, 16, 3), batch=8)
    report = parity.check(case)
    assert report["keras"]["loss_error"] < 1e-4
    assert report["keras"]["gradient_error"] < 1e-2
    wider = init(case, dataclasses.replace(case, networks=_tiny_dcgan(5)).gan())
    with pytest.raises(ValueError, match=r"kernel is \(.*\) in Keras, \(.*\) in JAX"):
        keras_step.make(case, (wider.generator.params, wider.discriminator.params))


def test_keras_steps_on_with_adam_and_latents_of_its_own():
    keras_step = keras()
    state = init(SMALL, SMALL.gan())
    params = jax.tree.map(np.array, (state.generator.params, state.discriminator.params))
    steps, model = keras_step.make(SMALL, params)
    for n in (1, 2):
        assert np.isfinite(steps(n, SMALL.images(SMALL.batch))).all()
    seed, moments = np.array(model.seed.state.value), model.discriminator_optimizer.iterations
    assert int(moments) == int(model.optimizer.iterations) == 3
    steps(1, SMALL.images(SMALL.batch))
    assert not np.array_equal(seed, np.array(model.seed.state.value))  # each step draws new latents


def test_every_case_of_keras_is_known_without_it():
    assert tuple(keras().NETWORKS) == parity.KERAS


def test_without_their_packages_peers_are_left_out_and_it_is_said(monkeypatch):
    alone(monkeypatch)
    monkeypatch.setattr(suites.parity, "check", lambda case: {})
    monkeypatch.setattr(suites, "ours", lambda case, **kw: Runner(lambda n: None))
    monkeypatch.setattr(suites, "peer", lambda case, name, **kw: Runner(lambda n: None))
    monkeypatch.setattr(
        suites, "_timed", lambda variants, rounds, seconds: dict.fromkeys(variants, Sample(1.0, 1.0, 1.0, 5))
    )
    rows = list(suites.peers([SMALL], 5))
    assert [row.implementation for row in rows if row.sample] == ["gan_jax", "gan_jax", "jax_tutorial"]
    notes = {row.implementation: row.note for row in rows if not row.sample}
    assert notes.pop("keras") == "not measured: Keras is not installed"
    assert set(notes) == {"torch_eager", "torch_tuned", "torch_compile"}
    assert set(notes.values()) == {"not measured: PyTorch is not installed"}


def test_what_does_not_fit_is_said(monkeypatch):
    """Memory that runs out is a row with a note; the others are still timed."""

    def full(*arguments, **keywords):
        raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory\nmore")

    monkeypatch.setattr(suites, "ours", full)
    monkeypatch.setattr(suites, "unavailable", lambda case, name, precision: "" if name == "torch_eager" else "no")
    monkeypatch.setattr(suites, "peer", lambda case, name, **kw: Runner(lambda n: None))
    rows = list(suites.peers([SMALL], 5, check=False, seconds=0.001))
    assert [row.implementation for row in rows if row.sample] == ["torch_eager"]
    notes = {row.mode: row.note for row in rows if row.implementation == "gan_jax"}
    assert notes == dict.fromkeys(["jit", "fused"], "not measured: RESOURCE_EXHAUSTED: Out of memory")


@pytest.mark.parametrize(
    ("case", "name", "precision", "why"),
    [
        ("mlp28", "keras", "float32", ""),
        ("mlp28", "keras", "bfloat16", "float32 only"),
        ("dcgan64", "keras", "float32", "not written in Keras"),
        ("dcgan64", "jax_tutorial", "bfloat16", "float32 only"),
        ("dcgan64", "torch_compile", "bfloat16", ""),
        ("r3gan64", "torch_compile", "float32", ""),
        ("r3gan64", "torch_tuned", "bfloat16", ""),
        ("r3gan64", "jax_tutorial", "float32", "native grouped convolutions take minutes a step on a CPU"),
    ],
)
def test_what_a_peer_cannot_play(monkeypatch, case, name, precision, why):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: object())
    assert runners.unavailable(CASES[case], name, precision) == why


@pytest.mark.parametrize(("backend", "left_out"), [("cpu", "r3gan64"), ("gpu", "r3gan64_quarter")])
def test_the_whole_suite_plays_what_fits_the_machine(monkeypatch, backend, left_out):
    played = []
    monkeypatch.setattr(suites.jax, "default_backend", lambda: backend)
    monkeypatch.setattr(suites, "peers", lambda cases, *rest: played.extend(case.name for case in cases) or [])
    assert list(suites.run("full", only=["peers"])) == []
    assert played == [name for name in CASES if name != left_out]
    list(suites.run("full", only=["peers"], cases=[left_out]))
    assert played[-1] == left_out  # a case that is named runs on any device


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.on != "accelerator"])
def test_every_peer_plays_the_same_game(name):
    """CI installs PyTorch for this test. It compares parameters, first losses and gradients of all peers."""
    report = parity.check(CASES[name])
    assert {"torch"} | ({"jax_tutorial"} if not tutorial.too_slow(CASES[name]) else set()) <= set(report)
