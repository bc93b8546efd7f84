"""Means over an interval, kept on the device: against the steps' own metrics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gan_jax
import small_gan
from gan_jax.step.meter import Carry, Meter, add, begin_read, make_meter, metered, read, reset

pytestmark = pytest.mark.usefixtures("quick_compile")


def follow(*history: dict[str, float], first_step: int = 1) -> Meter:
    """The meter after these steps' metrics."""
    arrays = [{name: jnp.asarray(value) for name, value in metrics.items()} for metrics in history]
    meter = make_meter(arrays[0])
    for step, metrics in enumerate(arrays, start=first_step):
        meter = add(meter, metrics, jnp.int32(step))
    return meter


def at(loss: float, **more: float) -> dict[str, float]:
    return {"loss/generator": loss, "nonfinite": float(not np.isfinite([loss, *more.values()]).all()), **more}


def test_means_of_what_was_added():
    means, bad = read(follow(*(at(loss) for loss in (1.0, 2.0, 6.0))))
    assert means == {"loss/generator": 3.0}  # `nonfinite` has no mean
    assert bad is None


def test_nothing_added_has_no_mean():
    assert read(make_meter({"loss/generator": jnp.zeros(()), "nonfinite": jnp.zeros(())})) == ({}, None)


def test_a_lazy_penalty_counts_where_it_ran():
    history = [
        at(1.0, **{"penalty/r1": value, "applied/r1": applied, "penalty/r2": 2.0})
        for value, applied in ((8.0, 1.0), (0.0, 0.0), (0.0, 0.0), (4.0, 1.0))
    ]
    means, _ = read(follow(*history))
    assert means == {"loss/generator": 1.0, "penalty/r1": 6.0, "penalty/r2": 2.0}
    means, _ = read(follow(*history[1:3]))  # an interval in which it never ran
    assert means == {"loss/generator": 1.0, "penalty/r2": 2.0}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_the_first_bad_step_is_kept_and_named(value):
    names = {"grad_norm/generator": 1.0}
    history = [at(1.0, **names), at(value, **names), at(np.nan, **{"grad_norm/generator": np.nan})]
    means, bad = read(follow(*history, first_step=7))
    assert bad == (8, "loss/generator")
    assert not np.isfinite(means["loss/generator"])


def test_a_reading_is_of_when_it_was_begun():
    """Its values are packed then, so that what is sent afterwards neither changes nor delays them."""
    meter = follow(at(1.0), at(3.0))
    reading = begin_read(meter)
    for leaf in jax.tree.leaves(meter):
        leaf.delete()
    assert reading() == ({"loss/generator": 2.0}, None)


@pytest.mark.parametrize("first_step", [1, 2**24 + 1, 2**31 - 1])  # no float32 holds the last two
def test_packing_keeps_every_bit(first_step):
    values = {f"logits/{i}": value for i, value in enumerate((0.1, 2e-38, 3e38, -1.5))}
    means, _ = read(follow(at(1.0, **values)))
    assert means == {"loss/generator": 1.0, **{name: float(np.float32(v)) for name, v in values.items()}}
    bad = at(np.nan, **{**values, "logits/3": np.inf})
    assert read(follow(bad, first_step=first_step))[1] == (first_step, "loss/generator")


def test_reset_is_a_meter_of_nothing():
    meter = follow(at(np.nan, **{"penalty/r1": 1.0}))
    empty = jax.jit(lambda: reset(jax.eval_shape(lambda: meter)))()
    assert jax.tree.map(lambda x: (x.shape, x.dtype), empty) == jax.tree.map(lambda x: (x.shape, x.dtype), meter)
    assert read(empty) == ({}, None)


def test_in_a_game_with_a_penalty_every_third_step():
    """Seven steps against the same seven without a meter."""
    gan = small_gan.make(discriminator_terms=(gan_jax.Term(1.0, gan_jax.penalties.r1(), 3),))
    batch = small_gan.batches(8)
    _, history = small_gan.train(gan, batch, 7)
    state = jax.jit(lambda: gan_jax.init(gan, jax.random.key(0), batch))()
    step = gan_jax.jit_step(metered(gan_jax.make_train_step(gan)))
    carry = (state, make_meter(history[0]))
    for number in range(1, 8):
        carry, token = step(carry, batch)
        assert int(token) == number
    means, bad = read(carry[1])
    assert bad is None
    ran = [m["penalty/r1"] for i, m in enumerate(history) if i % 3 == 0]
    assert all(value > 0 for value in ran)
    assert means["penalty/r1"] == pytest.approx(np.mean(ran), rel=1e-6)
    assert "nonfinite" not in means
    assert set(means) == {name for name in history[0] if name not in ("nonfinite", "applied/r1")}
    for name in means.keys() - {"penalty/r1"}:
        assert means[name] == pytest.approx(np.mean([m[name] for m in history]), rel=1e-5, abs=1e-7), name


def test_gathered_on_the_device_is_the_same_batch():
    """A resident set and indices, against the rows themselves; also with steps fused."""
    data = small_gan.batches(20)
    gan = small_gan.make()
    rows = np.random.default_rng(0).integers(0, 20, (3, 8))
    state = jax.jit(lambda: gan_jax.init(gan, jax.random.key(0), small_gan.batches(8)))
    metrics = jax.eval_shape(gan_jax.make_train_step(gan), state(), small_gan.batches(8))[1]

    plain = gan_jax.jit_step(metered(gan_jax.make_train_step(gan)))
    carry = Carry(state(), make_meter(metrics))
    for index in rows:
        carry, _ = plain(carry, {"image": data["image"][index]})

    gathered = gan_jax.fuse_steps(metered(gan_jax.make_train_step(gan), data["image"].shape[1:]), 3)
    flat = data | {"image": data["image"].reshape(20, -1)}
    fused, tokens = gan_jax.jit_step(gathered)(Carry(state(), make_meter(metrics)), {"index": rows}, flat)
    assert list(tokens) == [1, 2, 3]
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        (carry[0].generator, carry[1]), (fused[0].generator, fused[1]),
    )  # fmt: skip
