"""Members in one program: the same to rounding as alone, what may differ, and a member that is lost."""

import dataclasses
import io
from typing import Any

import jax
import numpy as np
import pytest

import gan_jax
import small_sweeps
from gan_jax.config import Call, Ema, Health, Parallel, Term, override
from gan_jax.config.build import SampleSpec, batch_spec, make_gan
from gan_jax.errors import NonFiniteError, UserError
from gan_jax.runtime.hosts import Hosts
from gan_jax.runtime.placement import Placement
from gan_jax.runtime.startup_timings import Timings
from gan_jax.step.meter import Carry, make_meter
from gan_jax.sweep.program import PopulationPrograms
from gan_jax.sweep.together import for_one_device, train_together
from gan_jax.sweep.varying import check_one_program, differing, numbers_of, with_numbers
from gan_jax.train.prepare import prepare
from small_sweeps import WEIGHT

pytestmark = pytest.mark.usefixtures("quick_compile")


def swept(*overrides, **changes):
    return override(small_sweeps.swept(**changes), overrides)


def programs_of(members):
    members = [for_one_device(member) for member in members]
    one = prepare(members[0], Hosts(), Timings())
    spec = SampleSpec.of(one.source)
    return PopulationPrograms(members, one.programs, spec, Placement(members[0]), resident=False), spec


def alone(member, spec, batches):
    """Trains one member by the plain step; returns its state and its last metrics."""
    gan = make_gan(member, spec)
    state = gan_jax.init(gan, jax.random.key(member.seed), batch_spec(member, gan, spec))
    step = jax.jit(gan_jax.make_train_step(gan))
    for batch in batches:
        state, metrics = step(state, batch)
    return state, metrics


def batches(count, seed=0):
    draw = np.random.default_rng(seed)
    return [{"image": draw.integers(0, 256, (16, 8, 8, 1)).astype(np.uint8)} for _ in range(count)]


def together(programs, given):
    carry = Carry(programs.make_state(programs.key), programs.empty_meter())
    for batch in given:
        carry, _ = programs.step(carry, batch)
    return carry


@pytest.mark.parametrize(
    ("name", "choices", "most"),
    [
        ("sgd", [(1e-2, 0.0), (1e-3, 0.5), (3e-2, 0.9)], 1e-6),
        # Where gradients are small, Adam makes rounding larger.
        pytest.param("adam", [(1e-3, 0.0), (1e-4, 0.5), (3e-3, 0.9)], 1e-4, marks=pytest.mark.slow),
    ],
)
def test_a_member_is_the_plain_step(name, choices, most):
    """Weights, rates, momenta and half-lives that differ: five steps of each member, to rounding."""
    momentum = "momentum" if name == "sgd" else "b1"
    members = [
        swept(
            f"{WEIGHT}={weight}", f"discriminator_optimizer={name}", f"generator_optimizer={name}",
            f"generator_optimizer.learning_rate={rate}", f"discriminator_optimizer.{momentum}={beta}",
            f"ema.half_life={half_life}",
        )
        for weight, half_life, (rate, beta) in zip((0.1, 1.0, 3.0), (1e3, 1e4, 1e2), choices)
    ]  # fmt: skip
    programs, spec = programs_of(members)
    given = batches(5)
    carry = together(programs, given)
    means, bad = programs.begin_read(carry.meter)()
    for place, member in enumerate(members):
        state, metrics = alone(member, spec, given)
        found = programs.take(carry, place)
        assert small_sweeps.furthest(small_sweeps.arrays(found.state), small_sweeps.arrays(state)) < most
        assert bad[place] is None
        assert set(means[place]) == set(make_meter(metrics).sums)


@pytest.mark.slow
def test_members_with_seeds_of_their_own():
    """Each has its own weights, latents and batches."""
    members = [swept(f"seed={seed}") for seed in (3, 4)]
    programs, spec = programs_of(members)
    assert programs.seeds == [3, 4]
    given = [batches(3, seed) for seed in (3, 4)]
    carry = together(programs, [{"image": np.stack([one["image"] for one in pair])} for pair in zip(*given)])
    for place, member in enumerate(members):
        state, _ = alone(member, spec, given[place])
        found = programs.take(carry, place).state
        assert small_sweeps.furthest(small_sweeps.arrays(found), small_sweeps.arrays(state)) < 1e-4
    again = programs.stack([programs.take(carry, place) for place in range(2)])
    assert small_sweeps.furthest(small_sweeps.arrays(again.state), small_sweeps.arrays(carry.state)) == 0


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_fused_steps_and_types(precision):
    """A traced number is as weak as Python's: in a bfloat16 run no array gets another type."""
    same: dict[str, Any] = {"loss": Call("small_sweeps:scaled"), "parallel": Parallel(fuse=2), "steps": 4}
    members = [swept(f"loss.scale={scale}", f"precision={precision}", **same) for scale in (0.5, 2.0)]
    programs, spec = programs_of(members)
    given = batches(4)
    fused = [{"image": np.stack([one["image"], two["image"]])} for one, two in (given[:2], given[2:])]
    carry = together(programs, fused)
    for place, member in enumerate(members):
        state, _ = alone(member, spec, given)
        found = programs.take(carry, place).state
        assert jax.tree.map(lambda x: x.dtype, found) == jax.tree.map(lambda x: x.dtype, state)
        most = 1e-4 if precision == "float32" else 1e-2
        assert small_sweeps.furthest(small_sweeps.arrays(found), small_sweeps.arrays(state)) < most


def test_lazy_penalties_stay_lazy():
    """The number of the step has no axis of members, so the program branches and does not compute both."""
    term = Term(1.0, Call("r1"), every=4)
    members = [swept(f"{WEIGHT}={weight}", discriminator_terms=(term,)) for weight in (1.0, 2.0)]
    programs, _ = programs_of(members)
    carry = Carry(programs.make_state(programs.key), programs.empty_meter())
    text = str(programs.placed_step.trace(carry, batches(1)[0], numbers_of(members)).jaxpr)
    assert " cond[" in text


# ---- what differs


def test_what_differs():
    members = [swept("seed=1", f"{WEIGHT}=1"), swept("seed=2", f"{WEIGHT}=3")]
    assert differing(members) == ["seed", WEIGHT]
    assert {path: list(values) for path, values in numbers_of(members).items()} == {WEIGHT: [1.0, 3.0]}
    changed = with_numbers(members[0], {WEIGHT: 7.0, "ema.half_life": 5.0})
    assert changed == dataclasses.replace(
        members[0], discriminator_terms=(Term(7.0, Call("r1")),), ema=Ema(half_life=5.0)
    )


@pytest.mark.parametrize(
    ("one", "other", "why"),
    [
        ("latent.size=4", "latent.size=8", "latent.size differs between members, and a whole number may decide"),
        ("loss=hinge", "loss=wasserstein", "loss differs between members, and it is no number in each of them"),
        (
            "log.every=1",
            "log.every=2",
            "log.every differs between members, and it is no number in a training step",
        ),
        ("batch=8", "batch=16", "batch differs between members, and a whole number"),
        (
            "share_latents=true",
            "share_latents=false",
            "share_latents differs between members, and it is no number",
        ),
        (
            "sample.truncation=0.5",
            "sample.truncation=1",
            "sample.truncation differs between members, and it is no",
        ),
    ],
)
def test_what_needs_another_program(one, other, why):
    with pytest.raises(UserError) as caught:
        numbers_of([swept(one), swept(other)])
    assert why in str(caught.value)
    assert str(caught.value).endswith("leave --members out, or use --members processes")


def test_code_that_decides_by_a_number():
    loss = Call("small_sweeps:reads_its_value")
    members = [swept(f"loss.margin={margin}", f"{WEIGHT}=1", loss=loss) for margin in (0.1, 0.9)]
    with pytest.raises(UserError, match=r"loss.margin differs between members, and the code that it belongs to"):
        programs_of(members)


def test_what_no_population_does():
    with pytest.raises(UserError, match="init_from is set, and members in one program begin with new weights"):
        check_one_program(swept(init_from="runs/a"))
    with pytest.raises(UserError, match="members in one program are at one step, so none can go back alone"):
        check_one_program(swept(health=Health(returns=2)))


# ---- whole runs


@pytest.mark.slow
def test_a_lost_member_stops_no_other(tmp_path):
    """The others are, bit for bit, what they are beside a member that is not lost."""
    lost, said = [], io.StringIO()
    members = {name: swept(f"{WEIGHT}={weight}", "steps=10") for name, weight in (("a", 1.0), ("b", 1e30))}
    train_together(members, tmp_path / "one", on_lost=lambda *words: lost.append(words), stream=said)
    assert [name for name, _ in lost] == ["b"]
    assert "is not finite at step 1" in lost[0][1]
    assert "step 10/10  members 1" in said.getvalue()
    fine = {**members, "b": swept(f"{WEIGHT}=2", "steps=10")}
    train_together(fine, tmp_path / "other", stream=said)
    pair = (small_sweeps.state_of(tmp_path / folder / "members" / "a") for folder in ("one", "other"))
    assert small_sweeps.furthest(*pair) == 0
    assert not (tmp_path / "one" / "members" / "b" / "checkpoints").exists()
    assert "is not finite" in (tmp_path / "one" / "logs" / "b.txt").read_text()


@pytest.mark.slow
def test_a_member_whose_last_state_is_not_finite(tmp_path):
    """Its numbers are finite, and its rate makes the state of the last step overflow. The other one ends."""
    lost, rates = [], ("learning_rate=1e-3", "learning_rate=3e38")
    same = ["generator_optimizer=sgd", "loss=small_sweeps:scaled", "loss.scale=1e4", "steps=1", "metrics.every=0"]
    members = {name: swept(*same, f"generator_optimizer.{rate}") for name, rate in zip("ab", rates)}
    said = io.StringIO()
    train_together(members, tmp_path, on_lost=lambda *words: lost.append(words), stream=said)
    assert [name for name, _ in lost] == ["b"]
    assert "the state of step 1 was not saved" in lost[0][1]
    small_sweeps.state_of(tmp_path / "members" / "a", 1)
    assert (tmp_path / "members" / "a" / "report.html").exists()
    assert not (tmp_path / "members" / "b" / "checkpoints" / "1" / "manifest.json").exists()


@pytest.mark.slow
def test_a_member_lacks_the_newest_step(tmp_path):
    """All go back to the newest step that all have, and the log of the others says so."""
    members = {name: swept(f"{WEIGHT}={weight}", "steps=10") for name, weight in (("a", 1.0), ("b", 2.0))}
    train_together(members, tmp_path, stream=io.StringIO())
    before = [small_sweeps.state_of(tmp_path / "members" / name) for name in members]
    (tmp_path / "members" / "b" / "checkpoints" / "10" / "manifest.json").write_text("{}")
    said = io.StringIO()
    train_together(members, tmp_path, stream=said)
    assert "resuming at step 5" in said.getvalue()
    told = "checkpoints after step 5 are removed: other members lack them"
    assert told in (tmp_path / "logs" / "a.txt").read_text()
    for name, state in zip(members, before):
        assert small_sweeps.furthest(state, small_sweeps.state_of(tmp_path / "members" / name)) == 0


@pytest.mark.slow
def test_no_member_is_left(tmp_path):
    members = {name: swept(f"{WEIGHT}={weight}") for name, weight in (("a", 1e31), ("b", 1e30))}
    with pytest.raises(
        NonFiniteError, match="no member is left; of the first one: grad_norm/discriminator is not"
    ):
        train_together(members, tmp_path, stream=io.StringIO())
