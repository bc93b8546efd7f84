"""Runs that go wrong: the return to the last checkpoint with fresh latents, and the warnings of `Health`."""

import re

import numpy as np
import pytest

import runs
from gan_jax import losses
from gan_jax.train.health import Health, distance
from runs import call

pytestmark = [pytest.mark.usefixtures("programs"), pytest.mark.timeout(240)]

# About one latent in 700 is NaN: that is about one step in 44, with 16 images a step.
RARE = """
import jax
import jax.numpy as jnp

def latent(size=8):
    def draw(key):
        values, chance = jax.random.normal(key, (size,)), jax.random.uniform(jax.random.fold_in(key, 1))
        return jnp.where(chance < 1 / 700, jnp.nan, values)
    return draw
"""


@pytest.fixture
def config(tmp_path, monkeypatch):
    (tmp_path / "rare.py").write_text(RARE)
    monkeypatch.syspath_prepend(tmp_path)
    text = runs.MLP.replace('latent=Call("normal", size=8)', 'latent=Call("rare:latent", size=8)')
    return runs.write_config(tmp_path, text.replace("steps=60", "steps=120"))


def returns(outcome: runs.Outcome) -> list[tuple[int, int]]:
    found = re.findall(r"^back at step (\d+) with fresh latents \((\d+) of 9 times\)$", outcome.err, re.MULTILINE)
    return [(int(step), int(count)) for step, count in found]


@pytest.mark.slow
@pytest.mark.parametrize("way", [[], ["parallel.fuse=2", "log.every=4"]], ids=["plain", "fused"])
def test_back_with_fresh_latents_and_the_same_after_a_stop(way, config, tmp_path):
    """A run is a function of its config and seed: several stops between its checkpoints change nothing."""
    arguments = ["train", config, "health.returns=9", "checkpoint.keep=2", *way]
    whole = call(*arguments, "--workdir", tmp_path / "whole")
    assert whole.code == 0, whole.err
    told = returns(whole)
    print(told)
    assert [count for _, count in told] == list(range(1, len(told) + 1))
    assert len(told) >= 2
    assert all(step % 10 == 0 for step, _ in told)
    every, fuse = (4, 2) if way else (1, 1)
    assert [row["step"] for row in runs.rows(tmp_path / "whole")] == list(range(every, 121, every))
    first = int(re.search(r"is not finite at step (\d+)", whole.err)[1])
    stops = [
        first - 2,
        first - 1,
        first + 7,
        93,
    ]  # two before the first return
    for steps in [*stops, 120]:
        parts = call(*arguments, f"steps={steps - steps % fuse}", "--workdir", tmp_path / "parts")
        assert parts.code == 0, parts.err
    assert parts.digest == whole.digest
    assert runs.rows(tmp_path / "parts") == runs.rows(tmp_path / "whole")
    assert runs.files(tmp_path / "parts" / "samples") == runs.files(tmp_path / "whole" / "samples")


@pytest.mark.slow
def test_no_more_often_than_allowed(config, tmp_path):
    outcome = call("train", config, "health.returns=1", "--workdir", tmp_path / "run")
    assert outcome.code == 3
    assert "(1 of 1 times)" in outcome.err
    assert re.fullmatch(r"gan-jax: \S+ is not finite at step \d+; the last good .*", outcome.err.splitlines()[-1])
    more = call("train", config, "health.returns=9", "--workdir", tmp_path / "run")
    assert more.code == 0
    assert more.digest == call("train", config, "health.returns=9", "--workdir", tmp_path / "whole").digest


def test_before_the_first_checkpoint_it_begins_anew(config, tmp_path):
    arguments = ["steps=50", "health.returns=9", "checkpoint.every=1000"]
    outcome = call("train", config, *arguments, "--workdir", tmp_path / "run")
    assert outcome.code == 0, outcome.err
    assert {step for step, _ in returns(outcome)} == {0}


class Source:
    """Real images of noise; the first half of them are the same image."""

    shape, dtype, classes = (4, 4, 1), np.dtype(np.uint8), None

    def __len__(self):
        return 100

    def read(self, indices):
        values = np.random.default_rng(0).integers(0, 256, (100, 4, 4, 1)).astype(np.uint8)
        values[:64] = values[0]
        return {"image": values[indices]}

    def fingerprint(self):
        return "noise"


LINE = {"loss/discriminator": 1.0, "grad_norm/generator": 0.5}


def test_the_discriminator_has_won():
    health = Health(losses.non_saturating(), Source())
    won = {"loss/discriminator": 0.012, "grad_norm/generator": 0.4}
    lines = [health.line(LINE), *[health.line(won) for _ in range(5)], health.line(LINE)]
    assert [line is not None for line in lines] == [False, False, False, True, False, False, False]  # once
    assert "the discriminator has won (its loss is 0.012, and 1.4 is chance)" in lines[3]
    assert "r1" in lines[3]
    again = [health.line(won) for _ in range(3)]
    assert again[2] is not None


def test_the_generators_gradient_has_gone():
    health = Health(losses.minimax(), Source())
    gone = {"loss/discriminator": 0.7, "grad_norm/generator": 1e-6}
    lines = [health.line(LINE), *[health.line(gone) for _ in range(3)]]
    assert "the generator's gradient is 1e-06, and was 0.5" in lines[3]


@pytest.mark.parametrize("jump", [np.inf, np.nan, 3e6])
def test_a_gradient_that_jumps_once_is_no_sign(jump):
    health = Health(losses.minimax(), Source())
    lines = [{"loss/discriminator": 0.7, "grad_norm/generator": g} for g in (1.0, 1.2, jump, 1.0, 1.1, 1.0, 0.9)]
    assert [health.line(line) for line in lines] == [None] * 7


def test_a_critic_of_wasserstein_never_wins():
    """The Wasserstein loss has no value for a guess: a loss far from 0, or at 0, is no sign."""
    health = Health(losses.wasserstein(), Source())
    assert all(health.line({**LINE, "loss/discriminator": loss}) is None for loss in (-50.0, 0.0, 0.0, 0.0, 0.0))


def test_samples_that_collapse():
    rng = np.random.default_rng(1)
    health = Health(losses.hinge(), Source())
    fine = rng.uniform(-1, 1, (64, 4, 4, 1))
    alike = fine[:1] + 1e-3 * rng.normal(size=fine.shape)
    lines = [health.samples(samples) for samples in (fine, alike, alike, alike, alike)]
    assert [line is not None for line in lines] == [False, False, False, True, False]
    assert "the samples have collapsed" in lines[3]
    assert health.samples(fine) is None


def test_the_distance_is_that_of_pairs():
    samples = np.random.default_rng(2).normal(size=(7, 3, 3, 2))
    pairs = [((a - b) ** 2).mean() for i, a in enumerate(samples) for b in samples[i + 1 :]]
    assert distance(samples) == pytest.approx(np.sqrt(np.mean(pairs)))
    assert np.isnan(distance(samples[:1]))


class Labelled(Source):
    """Two classes, far from each other. Real images of a class differ."""

    classes, class_names = 2, ("disc", "ring")

    def __init__(self, in_memory: bool):
        rng = np.random.default_rng(3)
        self._label = np.arange(100, dtype=np.int32) // 50
        self._images = (
            40 + 130 * self._label[:, None, None, None] + rng.integers(-30, 31, (100, 4, 4, 1))
        ).astype(np.uint8)
        if in_memory:
            self.label = self._label

    def read(self, indices):
        return {"image": self._images[indices], "label": self._label[indices]}


def samples_of_classes(noise: tuple[float, ...], count: int = 16) -> np.ndarray:
    """Samples whose class is i mod len(noise): the center of the class and its noise."""
    label = np.arange(count) % len(noise)
    values = np.random.default_rng(4).normal(size=(count, 4, 4, 1))
    return (
        np.linspace(-0.7, 0.6, len(noise))[label, None, None, None]
        + np.array(noise)[label, None, None, None] * values
    )


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize(
    ("noise", "count", "said"),
    [
        ((0.2, 0.2), 16, None),
        ((1e-4, 1e-4), 16, "samples of the classes disc, ring have collapsed: the distance of disc is"),
        ((0.2, 1e-4), 16, "samples of the class ring have collapsed: the distance is"),
        ((0.2, 1e-4), 6, None),  # three samples of a class may be alike by chance
        ((1e-4, 1e-4), 2, None),  # one sample of a class says nothing
    ],
)
def test_samples_that_collapse_within_a_class(noise, count, said, in_memory):
    health = Health(losses.hinge(), Labelled(in_memory), [0, 1])
    samples = samples_of_classes(noise, count)
    lines = [health.samples(samples) for _ in range(5)]
    assert [line is not None for line in lines] == [False, False, said is not None, False, False]
    assert said is None or said in lines[2]
    assert Health(losses.hinge(), Labelled(in_memory)).samples(samples) is None
    assert distance(samples) > 0.3  # all samples together look fine
