"""Weights of the adversarial losses: late starts, schedules, adaptive weights, the generator first."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

import gan_jax
import small_gan
from by_hand import LR_D, LR_G, close, latents_by_hand
from gan_jax import Term, losses, penalties
from gan_jax.models import mlp
from gan_jax.step.meter import add, make_meter, read

pytestmark = pytest.mark.usefixtures("quick_compile")

B, START = 4, 2  # START is a step
FIELDS = ("params", "model_state", "opt_state", "penalties")


def starting(value):
    """Returns a schedule that is 0 before step `START`."""
    return lambda images: jnp.where(images >= START * B, value, 0.0)


class WithStatistics(nn.Module):
    """A discriminator with a model state."""

    @nn.compact
    def __call__(self, image, *, train=True):
        image = nn.BatchNorm(use_running_average=not train)(nn.Dense(4)(image.reshape(len(image), -1)))
        return nn.Dense(1)(jnp.tanh(image))[:, 0]


def with_everything(**keywords):
    """Returns a GAN whose discriminator has parameters, statistics, moments of Adam and a penalty with a state."""
    return small_gan.make(
        discriminator=WithStatistics(), discriminator_tx=optax.adam(0.1),
        discriminator_terms=(Term(0.1, penalties.lecam(0.5)), Term(0.1, penalties.r1(), 2)), **keywords,
    )  # fmt: skip


def copy(tree):
    return jax.tree.map(jnp.copy, tree)


def bits(player):
    return [np.asarray(x) for name in FIELDS for x in jax.tree.leaves(getattr(player, name))]


@pytest.mark.parametrize(
    "update",
    ["alternating", *(pytest.param(name, marks=pytest.mark.slow) for name in ("simultaneous", "generator_first"))],
)
def test_a_discriminator_that_starts_late(update):
    """It keeps its bits until then, while the generator learns; then it goes on as one that starts then."""
    late = with_everything(update=update, discriminator_weight=starting(1.5))
    batch = small_gan.batches(B)
    state = gan_jax.init(late, jax.random.key(0), batch)
    before = copy(state)
    state, history = small_gan.train(late, batch, START, state)
    for old, now in zip(bits(before.discriminator), bits(state.discriminator), strict=True):
        np.testing.assert_array_equal(now, old)
    assert not np.array_equal(state.generator.params["out"], before.generator.params["out"])
    assert [m["weight/discriminator"] for m in history] == [0.0] * START

    at_once = with_everything(update=update, discriminator_weight=1.5)
    then, wanted = small_gan.train(at_once, batch, 2, copy(state))
    state, history = small_gan.train(late, batch, 2, state)
    close(state.replace(key=0), then.replace(key=0), rtol=1e-5, atol=1e-6)
    assert not np.array_equal(bits(state.discriminator)[0], bits(before.discriminator)[0])
    for one, other in zip(history, wanted, strict=True):
        close({name: one[name] for name in other}, other)


def test_the_augmentation_waits_for_the_discriminator():
    """Logits of one that has not begun say nothing about overfitting."""
    ada = gan_jax.augment.ada("none", target=0.6, every=1)
    gan = small_gan.make(augment=ada, discriminator_weight=starting(1.0))
    batch = small_gan.batches(B)
    before, _ = small_gan.train(gan, batch, START)
    for old, now in zip(jax.tree.leaves(gan.augment.init()), jax.tree.leaves(before.augment), strict=True):
        np.testing.assert_array_equal(now, old)
    after, _ = small_gan.train(gan, batch, 1, before)
    assert any(np.any(a != b) for a, b in zip(*map(jax.tree.leaves, (after.augment, gan.augment.init()))))


SQUARE = penalties.OutputPenalty(
    "square", lambda: (), lambda state, real, fake, keys: (jnp.mean(fake.logit**2), state)
)
TERMS = (Term(0.5, penalties.reconstruction("l2")), Term(0.2, SQUARE))


@pytest.mark.parametrize(
    ("update", "terms"),
    [
        ("alternating", TERMS[:1]),
        *(pytest.param(update, TERMS, marks=pytest.mark.slow) for update in ("generator_first", "simultaneous")),
    ],
)
def test_a_generator_whose_loss_starts_late_learns_from_its_terms(update, terms):
    """Bit for bit as without what D says: neither its loss nor a term on its outputs. D learns meanwhile."""
    batch = small_gan.batches(B)
    gan = small_gan.make(update=update, generator_terms=terms, generator_weight=starting(1.0))
    silent = losses.non_saturating()._replace(generator=lambda real, fake: jnp.zeros(()))
    alone = small_gan.make(update=update, generator_terms=TERMS[:1], loss=silent)
    (state, history), (wanted, _) = (small_gan.train(one, batch, START) for one in (gan, alone))
    for old, now in zip(bits(wanted.generator), bits(state.generator), strict=True):
        np.testing.assert_array_equal(now, old)
    close(state.discriminator, wanted.discriminator)
    assert history[0]["grad_norm/discriminator"] > 0
    assert history[0]["applied/generator"] == history[0]["loss/generator"] == 0
    assert history[0].get("applied/square", 0) == history[0].get("penalty/square", 0) == 0
    after, _ = small_gan.train(gan, batch, 1, copy(state))
    other, _ = small_gan.train(alone, batch, 1, wanted)
    assert np.max(np.abs(after.generator.params["out"] - other.generator.params["out"])) > 1e-4


@pytest.mark.parametrize(
    "update",
    ["alternating", *(pytest.param(name, marks=pytest.mark.slow) for name in ("simultaneous", "one_stage"))],
)
def test_a_constant_weight_scales_the_loss(update):
    """And not the terms of either player."""
    loss = losses.relativistic() if update != "one_stage" else losses.non_saturating()
    scaled = losses.Loss(
        lambda real, fake: 0.3 * loss.generator(real, fake),
        lambda real, fake: 2.0 * loss.discriminator(real, fake),
    )
    terms = {"generator_terms": TERMS, "discriminator_terms": (Term(0.4, penalties.r1()),)}
    batch = small_gan.batches(B)
    ours = small_gan.make(loss=loss, update=update, generator_weight=0.3, discriminator_weight=2.0, **terms)
    other = small_gan.make(loss=scaled, update=update, **terms)
    (one, (metrics,)), (two, (wanted,)) = (small_gan.train(gan, batch) for gan in (ours, other))
    close(one.replace(key=0), two.replace(key=0))
    assert metrics["loss/generator"] == pytest.approx(wanted["loss/generator"] / 0.3, rel=1e-5)
    assert metrics["loss/discriminator"] == pytest.approx(wanted["loss/discriminator"] / 2, rel=1e-5)


@pytest.mark.parametrize(("update", "most"), [("alternating", 1e4), ("simultaneous", 1e4), ("alternating", 0.01)])
def test_an_adaptive_weight_by_hand(update, most):
    """The ratio of the norms at the last layer; the terms with their weights, those on outputs too."""
    loss, batch = losses.non_saturating(), small_gan.batches(B)
    gan = small_gan.make(
        update=update, generator_terms=TERMS, generator_weight=0.7,
        adaptive_weight=gan_jax.AdaptiveWeight(lambda params: params["out"], most=most, eps=1e-3),
    )  # fmt: skip
    state = gan_jax.init(gan, jax.random.key(0), batch)
    g, d, z = state.generator.params, state.discriminator.params, latents_by_hand(state.key, 0, 0, B)
    of_d = jax.grad(
        lambda d: loss.discriminator(
            small_gan.discriminate(d, batch["image"]), small_gan.discriminate(d, small_gan.generate(g, z))
        )
    )
    new_d = jax.tree.map(lambda p, s: p - LR_D * s, d, of_d(d))
    opponent = d if update == "simultaneous" else new_d

    def terms(g):
        fake = small_gan.generate(g, z)
        square = jnp.mean(small_gan.discriminate(opponent, fake) ** 2)
        return 0.5 * jnp.mean((fake - batch["image"]) ** 2) + 0.2 * square

    def adversarial(g):
        return loss.generator(None, small_gan.discriminate(opponent, small_gan.generate(g, z)))

    by_terms, by_loss = jax.grad(terms)(g), jax.grad(adversarial)(g)
    ratio = jnp.linalg.norm(by_terms["out"]) / (jnp.linalg.norm(by_loss["out"]) + 1e-3)
    weight = 0.7 * min(float(ratio), most)
    assert (most < 1) == (float(ratio) > most)
    new_g = jax.tree.map(lambda p, a, b: p - LR_G * (a + weight * b), g, by_terms, by_loss)
    after, (metrics,) = small_gan.train(gan, batch, state=copy(state))
    assert metrics["weight/generator"] == pytest.approx(weight, rel=1e-5)
    close((after.generator.params, after.discriminator.params), (new_g, new_d))


@pytest.mark.parametrize("disc_steps", [1, 2])
def test_the_generator_first(disc_steps):
    """Two updates by hand: G against the old D, then D on samples of the new G."""
    loss = losses.relativistic()
    gan = small_gan.make(loss=loss, update="generator_first", disc_steps=disc_steps)
    batch = small_gan.batches(*([2] if disc_steps == 2 else []), B)
    state = gan_jax.init(gan, jax.random.key(0), batch)
    rows = list(batch["image"]) if disc_steps == 2 else [batch["image"]]
    draws = [latents_by_hand(state.key, 0, turn, B) for turn in range(disc_steps)]
    g, d = state.generator.params, state.discriminator.params

    def on(loss, g, d, real, z):
        return loss(small_gan.discriminate(d, real), small_gan.discriminate(d, small_gan.generate(g, z)))

    by_g = jax.grad(lambda g: on(loss.generator, g, d, rows[-1], draws[-1]))(g)
    g = jax.tree.map(lambda p, s: p - LR_G * s, g, by_g)
    for real, z in zip(rows, draws, strict=True):
        by_d = jax.grad(lambda d, real=real, z=z: on(loss.discriminator, g, d, real, z))(d)
        d = jax.tree.map(lambda p, s: p - LR_D * s, d, by_d)
    after, _ = small_gan.train(gan, batch, state=copy(state))
    close((after.generator.params, after.discriminator.params), (g, d))


def test_late_starts_where_floats_have_64_bits():
    """Losses are float32 as the networks are, beside float64 numbers of JAX's own."""
    with jax.enable_x64(True):
        gan = small_gan.make(discriminator_weight=starting(1.0), generator_weight=starting(1.0))
        batch = {"image": jnp.zeros((B, *small_gan.SHAPE), jnp.float32)}
        state = jax.eval_shape(lambda: gan_jax.init(gan, jax.random.key(0), batch))
        types = {jnp.dtype("float64"): jnp.float32}
        state = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, types.get(x.dtype, x.dtype)), state)
        after, metrics = jax.eval_shape(gan_jax.make_train_step(gan), state, batch)
        assert metrics["loss/generator"].dtype == jnp.float32
        assert jax.tree.map(lambda x: x.dtype, after) == jax.tree.map(lambda x: x.dtype, state)


def test_means_leave_out_the_steps_before_a_late_start():
    """Those of what the discriminator computes, and of the generator's adversarial loss."""
    gan = with_everything(discriminator_weight=starting(1.0), generator_weight=starting(1.0))
    _, history = small_gan.train(gan, small_gan.batches(B), START + 2)
    meter = make_meter(history[0])
    for i, metrics in enumerate(history, start=1):
        meter = add(meter, jax.tree.map(jnp.asarray, metrics), jnp.int32(i))
    means, bad = read(meter)
    assert bad is None
    late = ("loss/generator", "loss/discriminator", "logits/real", "logits/fake", "grad_norm/discriminator")
    for name in (*late, "penalty/lecam"):
        assert means[name] == pytest.approx(np.mean([m[name] for m in history[START:]]), rel=1e-6), name
        assert all(m[name] == 0 for m in history[:START])
    assert means["penalty/r1"] == pytest.approx(history[START]["penalty/r1"])  # every second step
    for name in ("grad_norm/generator", "weight/generator"):
        assert means[name] == pytest.approx(np.mean([m[name] for m in history]), rel=1e-6), name


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_an_adaptive_weight_costs_a_part_of_a_backward_pass():
    """Its two gradients are needed by the last layer alone: the compiler drops the rest of the generator."""

    def generate(variables, x):
        for kernel in variables["params"]["hidden"]:
            x = jax.nn.relu(x @ kernel)
        return x @ variables["params"]["out"]

    def params(key, x):
        normal = lambda i: 0.1 * jax.random.normal(jax.random.fold_in(key, i), (64, 64))  # noqa: E731
        return {"params": {"hidden": [normal(i) for i in range(6)], "out": normal(6)}}

    generator = gan_jax.networks.from_functions(params, generate)
    batch = {"image": jnp.zeros((32, 64))}

    def flops(adaptive):
        gan = small_gan.make(
            generator=generator, discriminator=mlp.Discriminator(width=64), inputs=gan_jax.inputs.image(),
            latent=gan_jax.latents.missing, generator_terms=TERMS[:1], adaptive_weight=adaptive,
        )  # fmt: skip
        state = jax.eval_shape(lambda: gan_jax.init(gan, jax.random.key(0), batch))
        compiled = gan_jax.jit_step(gan_jax.make_train_step(gan)).lower(state, batch).compile()
        return compiled.cost_analysis()["flops"]

    assert flops(gan_jax.AdaptiveWeight(lambda params: params["out"])) < 1.1 * flops(None)
