"""One step, recomputed by hand: `jax.grad` on plain functions, the draws by the documented formula."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gan_jax
import small_gan
from by_hand import LR_D, LR_G, close, latents_by_hand
from devices import run_python
from gan_jax import pixels
from gan_jax.step import mixes_samples
from gan_jax.step.mixing import is_separable

pytestmark = pytest.mark.usefixtures("quick_compile")


def step_by_hand(loss, state, rows, draws_of_turn, generator_draw):
    """Parameters after one step with SGD: D's turns one after the other, then G against the new D."""
    g, d = state.generator.params, state.discriminator.params

    def on_discriminator(d, row, latents):
        return loss.discriminator(
            small_gan.discriminate(d, row), small_gan.discriminate(d, small_gan.generate(g, latents))
        )

    def on_generator(g, row, latents):
        return loss.generator(
            small_gan.discriminate(d, row), small_gan.discriminate(d, small_gan.generate(g, latents))
        )

    for row, latents in zip(rows, draws_of_turn):
        d = jax.tree.map(lambda p, s: p - LR_D * s, d, jax.grad(on_discriminator)(d, row, latents))
    g = jax.tree.map(lambda p, s: p - LR_G * s, g, jax.grad(on_generator)(g, rows[-1], generator_draw))
    return g, d


@pytest.mark.parametrize("share", [True, False], ids=["shared", "own latents"])
@pytest.mark.parametrize("disc_steps", [1, 2])
def test_discriminator_first_then_the_generator_against_the_new_one(disc_steps, share):
    """With a loss that reads both logits in both turns, so that each input of each turn counts."""
    gan = small_gan.make(loss=gan_jax.losses.relativistic(), disc_steps=disc_steps, share_latents=share)
    assert gan.batches_per_step == disc_steps + (not share)
    batch = small_gan.batches(*([gan.batches_per_step] if gan.batches_per_step > 1 else []), 4)
    state = gan_jax.init(gan, jax.random.key(0), batch)
    rows = list(batch["image"]) if gan.batches_per_step > 1 else [batch["image"]]
    draws = [latents_by_hand(state.key, 0, turn, 4) for turn in range(disc_steps + 1)]
    own = draws[disc_steps - 1] if share else draws[disc_steps]
    turns = (rows, draws[:disc_steps]) if share else (rows[:-1], draws[:disc_steps])

    g, d = state.generator.params, state.discriminator.params
    _, d = step_by_hand(gan.loss, state, *turns, own)
    # The generator's turn takes the last row, whether or not that is the discriminator's last.
    after = state.replace(discriminator=state.discriminator.replace(params=d))
    g, _ = step_by_hand(gan.loss, after, rows[-1:], [], own)
    after, _ = small_gan.train(gan, batch, state=jax.tree.map(jnp.copy, state))
    close(after.discriminator.params, d)
    close(after.generator.params, g)
    # The wrong order, G against the old D, would be seen.
    wrong, _ = step_by_hand(gan.loss, state, rows[-1:], [], own)
    assert max(np.abs(a - b).max() for a, b in zip(jax.tree.leaves(wrong), jax.tree.leaves(g))) > 1e-4


def test_metrics_of_a_step():
    gan = small_gan.make(loss=gan_jax.losses.least_squares())
    batch = small_gan.batches(4)
    state = gan_jax.init(gan, jax.random.key(0), batch)
    start = jax.tree.map(jnp.copy, state)
    after, (metrics,) = small_gan.train(gan, batch, state=state)
    fake = small_gan.generate(start.generator.params, latents_by_hand(start.key, 0, 0, 4))
    on_real, on_fake = (small_gan.discriminate(start.discriminator.params, x) for x in (batch["image"], fake))
    again = small_gan.discriminate(after.discriminator.params, fake)
    moved = [
        (before.params[name] - now.params[name]) / rate
        for before, now, rate in (
            (start.generator, after.generator, LR_G),
            (start.discriminator, after.discriminator, LR_D),
        )
        for name in ("kernel", "bias", "out")
    ]
    expected = {
        "logits/real": on_real.mean(),
        "logits/fake": on_fake.mean(),
        "loss/discriminator": (jnp.mean((on_real - 1) ** 2) + jnp.mean(on_fake**2)) / 2,
        "loss/generator": jnp.mean((again - 1) ** 2) / 2,
        "grad_norm/generator": np.sqrt(sum(np.sum(x**2) for x in moved[:3])),
        "grad_norm/discriminator": np.sqrt(sum(np.sum(x**2) for x in moved[3:])),
        "nonfinite": 0,
    }
    assert metrics.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-4, err_msg=name)


def test_draws_differ_by_step_and_come_back_with_it():
    """The key never advances: a state put back to step 1 draws step 1's latents again."""
    gan, batch = small_gan.make(), small_gan.batches(4)
    state = gan_jax.init(gan, jax.random.key(0), batch)
    key = np.asarray(jax.random.key_data(state.key))
    two, history = small_gan.train(gan, batch, steps=2, state=jax.tree.map(jnp.copy, state))
    one, _ = small_gan.train(gan, batch, steps=1, state=jax.tree.map(jnp.copy, state))
    back, again = small_gan.train(gan, batch, steps=1, state=one)
    assert two.step == back.step == 2
    np.testing.assert_array_equal(jax.random.key_data(two.key), key)
    assert history[1] == again[0]
    close(two.ema, back.ema, rtol=0, atol=0)


def test_a_step_reads_nothing_from_the_host():
    """Its program has no callback, and runs where every transfer is forbidden."""
    gan, batch = small_gan.make(), small_gan.batches(4)
    state = gan_jax.init(gan, jax.random.key(0), batch)
    step = gan_jax.make_train_step(gan)
    assert "callback" not in str(jax.make_jaxpr(step.function)(state, batch))
    compiled = jax.jit(step.function)
    jax.block_until_ready(compiled(state, batch))
    with jax.transfer_guard("disallow_explicit"):
        jax.block_until_ready(compiled(state, batch))


def test_bytes_and_floats_agree():
    raw = np.random.default_rng(0).integers(0, 256, (8, *small_gan.SHAPE), np.uint8)
    floats = (raw.astype(np.float64) / 127.5 - 1).astype(np.float32)
    assert (floats.min(), floats.max()) <= (-0.9, 1.0)
    one, first = small_gan.train(small_gan.make(), {"image": jnp.asarray(raw)})
    other, second = small_gan.train(small_gan.make(), {"image": jnp.asarray(floats)})
    close(one.replace(key=0), other.replace(key=0))
    close(first, second)
    np.testing.assert_array_equal(pixels.to_float(jnp.asarray([0, 255], jnp.uint8)), [-1.0, 1.0])


@pytest.mark.parametrize(
    ("keywords", "forwards"),
    [
        ({}, 1),
        ({"generator_terms": (gan_jax.Term(1.0, gan_jax.penalties.reconstruction()),)}, 1),
        ({"generator_terms": (gan_jax.Term(1.0, gan_jax.penalties.reconstruction(), 4),)}, 1),
        ({"share_latents": False}, 2),
        ({"disc_steps": 3}, 3),
        ({"disc_steps": 3, "share_latents": False}, 4),
    ],
)
def test_forward_passes_of_the_generator(keywords, forwards):
    gan = small_gan.make(**keywords)
    batch = small_gan.batches(*([gan.batches_per_step] if gan.batches_per_step > 1 else []), 4)
    state = gan_jax.init(gan, jax.random.key(0), batch)
    gan.generator.calls = 0
    jax.make_jaxpr(gan_jax.make_train_step(gan).function)(state, batch)
    assert gan.generator.calls == forwards


def test_nonfinite_counts_the_metrics_that_are_not():
    gan, batch = small_gan.make(), small_gan.batches(4)
    _, (clean,) = small_gan.train(gan, batch)
    assert clean["nonfinite"] == 0
    batch["image"] = batch["image"].at[2, 0, 0, 0].set(jnp.nan)
    _, (metrics,) = small_gan.train(gan, batch)
    bad = [name for name, value in metrics.items() if not np.isfinite(value)]
    assert metrics["nonfinite"] == len(bad)
    assert {"loss/discriminator", "logits/real", "grad_norm/discriminator"} <= set(bad)
    assert "logits/fake" not in bad


def relativistic_average(takes_axis_name=True):
    """Compares each logit with the mean logit of the other side: it mixes samples."""

    def loss(one, other, axis_name=None):
        mean = jnp.mean(other)
        mean = mean if axis_name is None else jax.lax.pmean(mean, axis_name)
        return jnp.mean(jax.nn.softplus(mean - one))

    if not takes_axis_name:
        return gan_jax.Loss(lambda real, fake: loss(fake, real), lambda real, fake: loss(real, fake))
    return gan_jax.Loss(
        lambda real, fake, axis_name=None: loss(fake, real, axis_name),
        lambda real, fake, axis_name=None: loss(real, fake, axis_name),
    )


def test_a_loss_that_mixes_samples_gets_the_axis():
    """Two devices, which `vmap` stands for, make the step that one device makes of the whole batch."""
    gan = small_gan.make(loss=relativistic_average())
    batch = small_gan.batches(8)
    state = gan_jax.init(gan, jax.random.key(0), batch)
    whole, _ = jax.jit(gan_jax.make_train_step(gan))(state, batch)
    halves = jax.tree.map(lambda x: x.reshape(2, 4, *x.shape[1:]), batch)
    step = gan_jax.make_train_step(gan, axis_name="devices").function
    parts, _ = jax.jit(jax.vmap(step, in_axes=(None, 0), axis_name="devices"))(state, halves)
    close(jax.tree.map(lambda x: x[0], parts.generator.params), whole.generator.params)
    close(jax.tree.map(lambda x: x[1], parts.discriminator.params), whole.discriminator.params)


def test_a_loss_that_mixes_samples_without_the_axis_is_refused():
    """On one device it is right; over devices, and over microbatches, it would be the loss of a part."""
    gan = small_gan.make(loss=relativistic_average(takes_axis_name=False))
    batch = small_gan.batches(8)
    state = gan_jax.init(gan, jax.random.key(0), batch)
    assert jax.eval_shape(gan_jax.make_train_step(gan), state, batch)
    assert mixes_samples(gan, state) == ["the generator's loss", "the discriminator's loss"]
    step = gan_jax.make_train_step(gan, axis_name="devices").function
    with pytest.raises(ValueError, match="the loss is no mean over samples, so on several devices"):
        jax.eval_shape(jax.vmap(step, in_axes=(None, None), axis_name="devices", axis_size=2), state, batch)


@pytest.mark.parametrize(
    "name", ["minimax", "non_saturating", "least_squares", "hinge", "wasserstein", "relativistic"]
)
def test_the_losses_are_means_over_samples(name):
    loss = getattr(gan_jax.losses, name)()
    for shape in ((2,), (2, 1), (2, 3, 3)):
        logit = jnp.zeros(shape)
        assert is_separable(loss.generator, logit, logit)
        assert is_separable(loss.discriminator, logit, logit)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_what_is_no_term_is_refused():
    """In a process of its own: the type checks of the tests would refuse it first."""
    program = """
import gan_jax, small_gan
for term in ((1.0, gan_jax.penalties.r1(), 1), gan_jax.penalties.r1(), gan_jax.Term(1.0, 2)):
    try:
        small_gan.make(discriminator_terms=(term,))
    except ValueError as error:
        print(str(error).partition(", got")[0])
"""
    said = run_python(program).splitlines()
    wanted = "generator_terms and discriminator_terms hold terms such as gan_jax.Term(5.0, gan_jax.penalties.r1())"
    assert said == [wanted] * 3


@pytest.mark.parametrize("wrapped", [True, False])
def test_a_lowered_step_is_the_step(wrapped):
    gan, batch = small_gan.make(), small_gan.batches(4)
    state = gan_jax.init(gan, jax.random.key(0), batch)
    expected, (metrics,) = small_gan.train(gan, batch, state=jax.tree.map(jnp.copy, state))
    step = gan_jax.make_train_step(gan)
    step = gan_jax.jit_step(step) if wrapped else step
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), (state, batch))
    lowered = step.lower(*shapes)
    found, same = lowered.compile()(state, batch, ())
    close(found.replace(key=0), expected.replace(key=0))
    close(same, metrics)
