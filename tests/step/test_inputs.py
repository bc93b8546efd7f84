"""What a generator is called with, what it returns, and what is read and not trained."""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gan_jax
import small_gan
from by_hand import LR_D, LR_G, close
from gan_jax import Term, losses, networks, penalties
from gan_jax.gan import make_inputs

pytestmark = pytest.mark.usefixtures("quick_compile")

B = 4


def draw(seed, *shape):
    return jnp.asarray(np.tanh(np.random.default_rng(seed).normal(size=shape)), jnp.float32)


def network(apply, **params):
    """Returns a network whose parameters start as they are given."""
    return networks.from_functions(lambda key, x: {"params": params}, apply)


def scaled(variables, x):
    return variables["params"]["scale"] * x


# -- inputs from the batch


def test_inputs_are_made_from_all_fields_of_a_row():
    """From bytes in [-1, 1], another field as it is, and a key of the row's own."""

    def inputs(row, key):
        assert {name: (x.shape, x.dtype) for name, x in row.items()} == {
            "image": ((2, 2, 1), "float32"), "edges": ((5,), "float32"), "name": ((), "int32")
        }  # fmt: skip
        return {"image": row["image"], "edges": row["edges"], "z": jax.random.normal(key, (3,))}

    gan = small_gan.make(latent=gan_jax.latents.missing, inputs=inputs)
    image = np.random.default_rng(0).integers(0, 256, (B, 2, 2, 1), np.uint8)
    batch = {"image": jnp.asarray(image), "edges": draw(1, B, 5), "name": jnp.arange(B)}
    made = make_inputs(gan, batch, jax.random.split(jax.random.key(0), B))
    np.testing.assert_allclose(made["image"], image / 127.5 - 1, atol=1e-6)
    np.testing.assert_array_equal(made["edges"], batch["edges"])
    assert len(np.unique(np.asarray(made["z"]))) == 3 * B


@pytest.mark.parametrize("share", [False, True])
def test_rows_of_each_update(share):
    """Three batches a step: D reads the first two, G the last one; each in two parts.

    A penalty sees the fields of its own rows.
    """

    def edges_of_its_rows(state, generate, inputs, real, keys, *, batch):
        return jnp.mean((generate(inputs) - batch["edges"]) ** 2), state

    gan = small_gan.make(
        generator=network(scaled, scale=jnp.full((2, 2, 1), 0.5)), latent=gan_jax.latents.missing,
        inputs=lambda row, key: row["edges"], disc_steps=2, share_latents=share, microbatches=2,
        generator_terms=(Term(0.7, gan_jax.Penalty("edges", lambda: (), edges_of_its_rows)),),
    )  # fmt: skip
    rows = gan.batches_per_step
    assert rows == (2 if share else 3)
    batch = {"image": draw(2, rows, B, 2, 2, 1), "edges": draw(3, rows, B, 2, 2, 1)}
    state = gan_jax.init(gan, jax.random.key(0), batch)
    g, d = state.generator.params, state.discriminator.params

    def of_d(d, i):
        logits = (small_gan.discriminate(d, x) for x in (batch["image"][i], g["scale"] * batch["edges"][i]))
        return gan.loss.discriminator(*logits)

    def of_g(g, d):
        made = g["scale"] * batch["edges"][-1]
        loss = gan.loss.generator(None, small_gan.discriminate(d, made))
        return loss + 0.7 * jnp.mean((made - batch["edges"][-1]) ** 2)

    for i in range(2):
        d = jax.tree.map(lambda p, s: p - LR_D * s, d, jax.grad(of_d)(d, i))
    g = jax.tree.map(lambda p, s: p - LR_G * s, g, jax.grad(of_g)(g, d))
    state, _ = small_gan.train(gan, batch, state=state)
    close((state.generator.params, state.discriminator.params), (g, d))


# -- frozen variables


def reading(variables, latents, *, frozen):
    return small_gan.generate(variables["params"], latents * frozen["scale"])


def distance(state, generate, inputs, real, keys, *, frozen):
    return jnp.mean(frozen["scale"][0] * (generate(inputs) - real.image) ** 2), state


def critic(variables, image, *, frozen):
    return small_gan.discriminate(variables["params"], image) * frozen["scale"][0]


FROZEN = {"scale": jnp.asarray([0.3, 0.7, 1.1])}
READERS = {
    "the generator": {"generator": networks.from_functions(small_gan.Generator().init, reading)},
    "the discriminator": {"discriminator": networks.from_functions(small_gan.Discriminator().init, critic)},
    "the penalty distance": {"generator_terms": (Term(0.5, gan_jax.Penalty("distance", lambda: (), distance)),)},
}


@pytest.mark.parametrize("reader", READERS)
def test_frozen_variables_that_are_missing(reader):
    gan, batch = small_gan.make(**READERS[reader]), small_gan.batches(B)
    state = gan_jax.init(gan, jax.random.key(0), batch, FROZEN)
    with pytest.raises(ValueError, match=rf"{reader} reads frozen variables, .*: give them as the third argument"):
        gan_jax.make_train_step(gan)(state, batch)


def test_frozen_variables_are_those_that_could_be_closed_over():
    """Bit for bit, in two steps; their shapes are enough for `init`."""
    parts = {name: part for reader in READERS.values() for name, part in reader.items()}
    gan, batch = small_gan.make(**parts), small_gan.batches(B)

    def closed(function):
        return lambda *arguments: function(*arguments, frozen=FROZEN)

    other = small_gan.make(
        generator=networks.from_functions(small_gan.Generator().init, closed(reading)),
        discriminator=networks.from_functions(small_gan.Discriminator().init, closed(critic)),
        generator_terms=(Term(0.5, gan_jax.Penalty("distance", lambda: (), closed(distance))),),
    )
    state = gan_jax.init(gan, jax.random.key(0), batch, jax.eval_shape(lambda: FROZEN))
    step = gan_jax.jit_step(gan_jax.make_train_step(gan))
    for _ in range(2):
        state, metrics = step(state, batch, FROZEN)
    wanted, history = small_gan.train(other, batch, 2)
    for one, two in zip(*map(jax.tree.leaves, (state.replace(key=0), wanted.replace(key=0))), strict=True):
        np.testing.assert_array_equal(one, two)
    assert metrics == history[-1]


def test_a_large_frozen_network_is_no_part_of_program_or_state():
    """50 MB, which the step reads: no constant of the program; neither in the state nor in its moving average."""

    def apart(state, generate, inputs, real, keys, *, frozen):
        maps = [x.reshape(len(x), -1) @ frozen["kernel"] for x in (real.image, generate(inputs))]
        return jnp.mean((maps[0] - maps[1]) ** 2), state

    def sizes(columns):
        gan = small_gan.make(generator_terms=(Term(1.0, gan_jax.Penalty("apart", lambda: (), apart)),))
        kernel = np.random.default_rng(0).standard_normal((4, columns), np.float32)
        batch, frozen = small_gan.batches(B), {"kernel": kernel}
        state = gan_jax.init(gan, jax.random.key(0), batch, frozen)
        text = gan_jax.jit_step(gan_jax.make_train_step(gan)).lower(state, batch, frozen).as_text()
        return kernel.nbytes, len(text), sum(x.nbytes for x in jax.tree.leaves(state))

    (small, little, state), (large, text, same) = sizes(8), sizes(3_125_000)
    assert (small, large) == (128, 50_000_000)
    assert text < little + 1000  # of digits in shapes
    assert text < 200_000
    assert same == state < 2000


# -- images and aux


@pytest.mark.parametrize(
    ("aux", "words"),
    [
        (lambda z: {"mean": jnp.mean(z)}, r"aux at \['mean'\] has the shape \(\) for 2 samples"),
        (lambda z: {"codes": z, "book": jnp.zeros((8, 3))}, r"aux at \['book'\] has the shape \(8, 3\)"),
        (lambda z: z[:1], r"aux has the shape \(1, 3\)"),
    ],
)
def test_aux_without_a_row_for_each_sample(aux, words):
    init, generate = small_gan.Generator().init, small_gan.generate
    gan = small_gan.make(generator=networks.from_functions(init, lambda v, z: (generate(v["params"], z), aux(z))))
    with pytest.raises(ValueError, match=words + ".*: each leaf must have one row for each sample"):
        gan_jax.init(gan, jax.random.key(0), small_gan.batches(B))


# -- samples that are pytrees


def linear_critic(variables, image):
    return sum(jnp.sum(image[k] * w, axis=range(1, image[k].ndim)) for k, w in variables["params"].items())


def test_samples_that_are_a_dictionary():
    """Values of every gradient penalty on a linear critic, whose gradient is its weights, and the update of D."""
    size = 1024
    weights = {"image": 0.2 * draw(0, 2, 2, 1), "depth": 0.2 * draw(1, 3)}
    square = sum(float(jnp.sum(w**2)) for w in weights.values())
    made = (penalties.r1(), penalties.r1_r2(), penalties.wgan_gp(), penalties.dragan(), penalties.r1_approx())
    batch = {"image": {"image": draw(2, size, 2, 2, 1), "depth": draw(3, size, 3)}}

    class Made:
        """Makes the same sample from all latents."""

        def init(self, key, z):
            return {"params": {"image": jnp.zeros((2, 2, 1)), "depth": jnp.ones(3)}}

        def apply(self, variables, z):
            return jax.tree.map(lambda x: jnp.broadcast_to(x, (len(z), *x.shape)), dict(variables["params"]))

    gan = small_gan.make(
        generator=Made(), discriminator=network(linear_critic, **weights), loss=losses.wasserstein(),
        discriminator_terms=tuple(Term(0.1, penalty) for penalty in made),
    )  # fmt: skip
    state = gan_jax.init(gan, jax.random.key(0), batch)
    assert jax.tree.map(jnp.shape, state.generator.params) == {"image": (2, 2, 1), "depth": (3,)}
    state, (metrics,) = small_gan.train(gan, batch, state=state)
    values = {"r1": square / 2, "r1_r2": square, "wgan_gp": (square**0.5 - 1) ** 2}
    values["dragan"] = values["wgan_gp"]
    for name, value in values.items():
        assert metrics[f"penalty/{name}"] == pytest.approx(value, rel=1e-5), name
    # One e for each sample: the mean of chi squared numbers, whose deviation is sqrt(2 / size) of it.
    assert metrics["penalty/r1_approx"] == pytest.approx(square / 2, rel=4 * (2 / size) ** 0.5)
    assert metrics["logits/fake"] == pytest.approx(float(jnp.sum(weights["depth"])), rel=1e-5)
    assert metrics["loss/discriminator"] == pytest.approx(
        metrics["logits/fake"] - metrics["logits/real"], rel=1e-5
    )


class Scene(NamedTuple):
    image: jax.Array
    depth: jax.Array


def test_samples_that_are_a_named_tuple():
    """Two arrays, which are not read as images and aux: the value of r1 on a linear critic, and the logits."""
    weights = {"image": 0.2 * draw(0, 2, 2, 1), "depth": 0.2 * draw(1, 3)}
    gan = small_gan.make(
        generator=network(
            lambda v, z: Scene(jnp.zeros((len(z), 2, 2, 1)), jnp.ones((len(z), 3))), unused=jnp.zeros(1)
        ),
        discriminator=network(lambda v, scene: linear_critic(v, scene._asdict()), **weights),
        discriminator_terms=(Term(0.1, penalties.r1()),),
    )
    _, (metrics,) = small_gan.train(gan, {"image": Scene(draw(2, B, 2, 2, 1), draw(3, B, 3))})
    square = sum(float(jnp.sum(w**2)) for w in weights.values())
    assert metrics["penalty/r1"] == pytest.approx(square / 2, rel=1e-5)
    assert metrics["logits/fake"] == pytest.approx(float(jnp.sum(weights["depth"])), rel=1e-5)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda z: {"image": jnp.zeros((len(z), 2, 2, 1))}, "samples of the structure .* they must be alike"),
        (
            lambda z: {"image": jnp.zeros((len(z), 2, 2, 1)), "depth": jnp.zeros((len(z), 4))},
            r"samples of shape \(4,\), but the batch's are \(3,\)",
        ),
    ],
)
def test_samples_of_another_structure_are_refused(made, words):
    gan = small_gan.make(generator=network(lambda v, z: made(z)), discriminator=network(linear_critic))
    batch = {"image": {"image": draw(2, B, 2, 2, 1), "depth": draw(3, B, 3)}}
    with pytest.raises(ValueError, match=words):
        gan_jax.init(gan, jax.random.key(0), batch)


# -- penalties of a user under pmap


def apart(state, generate, inputs, real, keys, *, batch, frozen):
    return jnp.mean((generate(inputs) * frozen["scale"][0] - batch["edges"]) ** 2), state


def centred(state, generate, inputs, real, keys, *, batch, frozen):
    edges = batch["edges"] - jnp.mean(batch["edges"])
    return jnp.mean((generate(inputs) * frozen["scale"][0] - edges) ** 2), state


def logits_apart(state, real, fake, keys, *, batch, frozen):
    return jnp.mean(fake.logit * batch["edges"].reshape(-1, 4)[:, 0] * frozen["scale"][1]), state


def logits_centred(state, real, fake, keys, *, batch, frozen):
    return jnp.mean((fake.logit - jnp.mean(fake.logit)) ** 2 * batch["edges"].reshape(-1, 4)[:, 0]), state


def mixed_pair(image, aux, inputs, real):
    return image - jnp.mean(image, axis=0), real.image


def features(variables, image):
    """A network that is not finite for random variables, so it can be traced and not run."""
    return [image @ jnp.sqrt(variables[:1, None] - 1e3)]


def mixed_features(variables, image):
    return [image - jnp.mean(image, axis=0)]


@pytest.mark.parametrize(
    ("penalty", "refused"),
    [
        (gan_jax.Penalty("apart", lambda: (), apart), False),
        (gan_jax.Penalty("centred", lambda: (), centred), True),
        (gan_jax.OutputPenalty("apart", lambda: (), logits_apart), False),
        (gan_jax.OutputPenalty("centred", lambda: (), logits_centred), True),
        (penalties.reconstruction("l2", name="centred", pair=mixed_pair), True),
        (penalties.perceptual(features, "scale"), False),
        (penalties.perceptual(functools.partial(mixed_features), "scale", name="centred"), True),
        (penalties.perceptual(features, "scale", pair=mixed_pair, name="centred"), True),
    ],
)
def test_penalties_under_pmap(penalty, refused):
    """One that is a mean over samples is let through; another one must name `axis_name`."""
    gan = small_gan.make(generator_terms=(Term(1.0, penalty),))
    batch = small_gan.batches(B) | {"edges": draw(1, B, 2, 2, 1)}
    state = gan_jax.init(gan, jax.random.key(0), batch, FROZEN)
    step = gan_jax.pmap_step(gan_jax.make_train_step(gan, axis_name="data"), "data")
    if not refused:
        step.trace(state, batch, FROZEN)
        return
    with pytest.raises(ValueError, match="the penalty centred is not known to be a mean over samples"):
        step.trace(state, batch, FROZEN)


def test_arrays_that_a_network_returns_stay_usable():
    """`jit_step` donates the state, which must not hold the user's own arrays."""
    scale = jnp.full((2, 2, 1), 0.5)
    generator, inputs = network(scaled, scale=scale), gan_jax.inputs.image()
    gan = small_gan.make(generator=generator, latent=gan_jax.latents.missing, inputs=inputs)
    batch = {"image": jnp.zeros((4, 2, 2, 1))}
    state = gan_jax.init(gan, jax.random.key(0), batch)
    gan_jax.jit_step(gan_jax.make_train_step(gan))(state, batch)
    assert float(scale.sum()) == 2.0


def test_a_generator_that_cannot_take_its_inputs_is_named():
    """Whatever it fails with: here the first axis of a batch of images is lost."""
    from gan_jax.models import dcgan, mlp

    gan = small_gan.make(
        generator=dcgan.Generator((8, 8, 1), width=4),
        latent=gan_jax.latents.missing,
        inputs=gan_jax.inputs.image(),
    )
    with pytest.raises(
        ValueError, match=r"Generator of gan_jax.models.dcgan, makes no samples of .* \(2, 8, 8, 1\)"
    ):
        gan_jax.init(gan, jax.random.key(0), {"image": jnp.zeros((4, 8, 8, 1))})
    pair = gan_jax.inputs.with_noise(gan_jax.inputs.image(), gan_jax.latents.normal(3))
    gan = dataclasses.replace(gan, generator=mlp.Generator((8, 8, 1), width=4), inputs=pair)
    with pytest.raises(ValueError, match=r"makes no samples of .* \(\(1, 8, 8, 1\), \(1, 3\)\)"):
        gan_jax.init(gan, jax.random.key(0), {"image": jnp.zeros((4, 8, 8, 1))})
