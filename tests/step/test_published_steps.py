"""Adversarial steps of public models (`published.py`), against ours on the same weights and batches.

Losses and gradients of both players agree to 1e-5 relative in each step. Where a published step differs from the
parts that the library has:

- MAGVIT. R1 has the cost 10 on the mean squared norm without 1/2: the weight 20 here. LeCam reads the mean logit
  of the batch, where `penalties.lecam` reads each logit, as equation 6 of its paper does. The perceptual distance
  is between outputs of a classifier. Both are penalties of the user here. The entropy of the codes is left out: it
  would be a penalty of the user too, one that names `axis_name`.
- DAC-JAX. The discriminators' update reads the waves of the generator's own update, made before the generator
  changed. So both players move against the old other: that is "simultaneous". With waves of the new generator it
  is "generator_first". Least squares have no factor of 1/2 there: the weights 2 here.
- RAE. L1 is between images in [0, 1] there: the weight 1/2 here. The hinge loss of D is half of ours. A step of
  ours cannot express two details. D reads reconstructions rounded to 8 bits, but in its own update alone. And the
  batch norm of D uses running statistics in the generator's update.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gan_jax
import published
from gan_jax import AdaptiveWeight, Term, losses, networks, penalties
from published import B

pytestmark = pytest.mark.usefixtures("quick_compile")

TOLERANCE = 1e-5
HALF_LIFE = B * np.log(0.5) / np.log(published.EMA)


TX = optax.adam(0.02, b1=0.8, b2=0.9, eps=1e-3)
KEEP = optax.GradientTransformation(lambda params: params, lambda grads, state, params=None: (grads, grads))


def network(params, apply):
    """Returns a network that starts with `params`."""
    return networks.from_functions(lambda key, x: {"params": params}, apply)


def make(generator, discriminator, loss, **keywords):
    tx = optax.chain(KEEP, TX)  # the last gradients are kept in its state
    return gan_jax.GAN(
        generator, discriminator, loss, tx, tx, inputs=lambda row, key: row["image"],
        ema=gan_jax.schedules.constant(HALF_LIFE), **keywords,
    )  # fmt: skip


def batches(shape, count):
    rng = np.random.default_rng(0)
    return [jnp.asarray(np.tanh(rng.normal(size=(B, *shape))), jnp.float32) for _ in range(count)]


def gap(one, other):
    """Returns the relative distance of two trees, as vectors."""
    a, b = (np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)]) for tree in (one, other))
    return np.linalg.norm(a - b) / max(np.linalg.norm(b), 1e-30)


def compare(gan, by_hand, images, names, frozen=None):
    """Trains `gan` and `by_hand(players, image, step)` on the same batches, and compares them in every step.

    Args:
        gan, by_hand: the same algorithm.
        images: one batch for each step.
        names: of the metric that each loss of `by_hand` is.
        frozen: variables that are not trained.
    """
    state = gan_jax.init(gan, jax.random.key(0), {"image": images[0]}, frozen)
    step = gan_jax.jit_step(gan_jax.make_train_step(gan))
    params = (state.generator.params, state.discriminator.params)
    players = published.start(*jax.tree.map(jnp.copy, params), TX)  # the state is donated
    for i, image in enumerate(images):
        state, metrics = step(state, {"image": image}, frozen)
        players, parts, (by_g, by_d) = by_hand(players, image, i)
        for name, value in parts.items():
            assert metrics[names[name]] == pytest.approx(float(value), rel=TOLERANCE, abs=1e-7), (i, name)
        assert gap(state.generator.opt_state[0], by_g) < TOLERANCE, i
        if by_d is not None:
            assert gap(state.discriminator.opt_state[0], by_d) < TOLERANCE, i
        for now, wanted in (
            (state.generator.params, players.generator),
            (state.discriminator.params, players.discriminator),
            (state.ema["params"], players.ema),
        ):
            assert gap(now, wanted) < TOLERANCE, i


ADVERSARIAL = {"d": "loss/discriminator", "g": "loss/generator"}


def output_distance():
    """Returns MAGVIT's perceptual loss: the mean squared difference of a classifier's outputs."""

    def apply(state, generate, inputs, real, keys, *, frozen):
        image, _ = generate(inputs)
        one, other = (published.embedding(frozen, x) for x in (real.image, image))
        return jnp.mean((one - other) ** 2), state

    return gan_jax.Penalty("output_distance", lambda: (), apply)


def lecam_of_means(decay):
    """Returns MAGVIT's LeCam, which reads the mean logit of the batch."""

    def apply(state, real, fake, keys, *, axis_name=None):
        means = jnp.stack([jnp.mean(real.logit), jnp.mean(fake.logit)])
        means = means if axis_name is None else jax.lax.pmean(means, axis_name)
        value = jax.nn.relu(means[0] - state[1]) ** 2 + jax.nn.relu(state[0] - means[1]) ** 2
        return value, jax.lax.stop_gradient(decay * state + (1 - decay) * means)

    return penalties.OutputPenalty("lecam", lambda: jnp.zeros(2), apply)


def tokenizer(variables, image):
    image, z, code = published.tokenize(variables["params"], image)
    return image, {"encoded": z, "codes": code}


@pytest.mark.slow
def test_magvit():
    gan = make(
        network(published.tokenizer_params(), tokenizer),
        network(published.critic_params(), lambda variables, x: published.criticise(variables["params"], x)),
        losses.non_saturating(), update="simultaneous", generator_weight=0.1,
        generator_terms=(
            Term(1.0, penalties.reconstruction("l2")),
            Term(0.1, output_distance()),
            Term(1.0, penalties.commitment(0.25)),
        ),
        discriminator_terms=(Term(20.0, penalties.r1()), Term(0.3, lecam_of_means(published.MEANS))),
    )  # fmt: skip
    frozen = published.classifier_params()
    step = jax.jit(lambda players, image: published.magvit(TX, players, image, frozen))
    names = ADVERSARIAL | {"r1": "penalty/r1", "lecam": "penalty/lecam", "l2": "penalty/reconstruction"}
    names["perceptual"] = "penalty/output_distance"
    compare(gan, lambda players, image, i: step(players, image), batches(published.IMAGE, 3), names, frozen)


def with_features(period):
    def apply(variables, wave):
        *features, logits = published.feature_maps(variables["params"], wave, period)
        return losses.LogitsAndFeatures(logits, features)

    return apply


def coder(variables, wave):
    wave, z, code = published.code_wave(variables["params"], wave)
    return wave, {"encoded": z, "codes": code}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("update", "fresh"),
    [("simultaneous", False), ("generator_first", True)],
)
def test_dac(update, fresh):
    """As DAC-JAX trains it, and with waves of the new generator in the discriminators' update."""
    of_periods = published.period_params()
    members = zip(of_periods.values(), published.PERIODS, strict=True)
    mel = penalties.reconstruction(
        pair=lambda wave, aux, inputs, real: tuple(map(published.spectrograms, (real.image, wave))), name="mel"
    )
    gan = make(
        network(published.codec_params(), coder),
        networks.ensemble([network(params, with_features(period)) for params, period in members]),
        losses.over_members(losses.least_squares()), update=update, generator_weight=2.0, discriminator_weight=2.0,
        generator_terms=(
            Term(15.0, mel), Term(2.0, penalties.feature_matching()), Term(1.0, penalties.commitment(0.25)),
        ),
    )  # fmt: skip
    step = jax.jit(lambda players, wave: published.dac(TX, players, wave, fresh=fresh))
    names = ADVERSARIAL | {"feature_matching": "penalty/feature_matching", "mel": "penalty/mel"}
    compare(gan, lambda players, wave, i: step(players, wave), batches(published.WAVE, 3), names)


@pytest.mark.parametrize("cap", [1e4, pytest.param(1e-3, marks=pytest.mark.slow)])
def test_rae(cap):
    """Steps before, at and after the start of the discriminator and of its loss in the decoder's update."""
    starts_d, starts_g = 1, 3  # steps

    def decoder(variables, image, *, frozen):
        return published.decode(variables["params"], frozen["encoder"], image)

    def heads(variables, image, *, frozen):
        return published.on_features(variables["params"], frozen["dino"], image)[..., None]

    gan = make(
        network(published.decoder_params(), decoder), network(published.heads_params(), heads),
        losses.hinge(), update="generator_first",
        generator_weight=lambda images: jnp.where(images >= starts_g * B, 0.75, 0.0),
        discriminator_weight=lambda images: jnp.where(images >= starts_d * B, 0.5, 0.0),
        adaptive_weight=AdaptiveWeight(lambda params: params["out"]["kernel"], most=cap, eps=1e-6),
        generator_terms=(
            Term(0.5, penalties.reconstruction("l1")),
            Term(1.0, penalties.perceptual(published.lpips_maps, "lpips", published.LPIPS_WEIGHTS)),
        ),
    )  # fmt: skip
    frozen = published.rae_frozen()

    @functools.partial(jax.jit, static_argnums=(2, 3))
    def step(players, image, train_d, use_gan):
        return published.rae(TX, players, image, frozen, train_d=train_d, use_gan=use_gan, cap=cap)

    names = ADVERSARIAL | {"weight": "weight/generator", "l1": "penalty/reconstruction"}
    names["lpips"] = "penalty/perceptual"
    compare(
        gan, lambda players, image, i: step(players, image, i >= starts_d, i >= starts_g),
        batches(published.IMAGE, 5), names, frozen,
    )  # fmt: skip
