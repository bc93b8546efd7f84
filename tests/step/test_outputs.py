"""What networks and batches may be: several heads, shapes, types, labels of any structure, 16-bit parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import gan_jax
import small_gan
from gan_jax import Term, augment, losses, penalties
from gan_jax.models import dcgan, mlp
from quick import some

pytestmark = pytest.mark.usefixtures("quick_compile")


class TwoHeads(nn.Module):
    """A linear critic, whose gradient is its kernel, and three class logits with large weights."""

    @nn.compact
    def __call__(self, x):
        x = x.reshape(len(x), -1)
        classes = nn.Dense(3, name="classes", kernel_init=nn.initializers.normal(9.0))(x)
        return {"critic": nn.Dense(1, name="critic")(x)[:, 0], "classes": classes}


def critic(output):
    return output["critic"]


def two_headed_loss(logit=critic):
    ns = losses.non_saturating()
    return gan_jax.Loss(
        lambda real, fake: ns.generator(critic(real), critic(fake)),
        lambda real, fake: ns.discriminator(critic(real), critic(fake)),
        logit,
    )


@pytest.mark.parametrize(
    ("penalty", "value"),
    [
        (penalties.r1(), lambda square: square / 2),
        pytest.param(penalties.r1_r2(), lambda square: square, marks=pytest.mark.slow),
        (penalties.wgan_gp(), lambda square: (np.sqrt(square) - 1) ** 2),
        pytest.param(penalties.dragan(), lambda square: (np.sqrt(square) - 1) ** 2, marks=pytest.mark.slow),
    ],
    ids=lambda part: getattr(part, "name", ""),
)
def test_a_penalty_reads_the_critic_alone(penalty, value):
    gan = small_gan.make(
        discriminator=TwoHeads(),
        loss=two_headed_loss(),
        discriminator_terms=(Term(1.0, penalty),),
        update="simultaneous" if penalty.name == "r1" else "alternating",
    )
    batch = small_gan.batches(8)
    state = gan_jax.init(gan, jax.random.key(0), batch)
    square = float(jnp.sum(state.discriminator.params["critic"]["kernel"] ** 2))
    kernel, bias = (state.discriminator.params["critic"][name] for name in ("kernel", "bias"))
    on_real = float(jnp.mean(batch["image"].reshape(8, -1) @ kernel[:, 0] + bias[0]))
    _, (metrics,) = small_gan.train(gan, batch, state=state)
    np.testing.assert_allclose(metrics[f"penalty/{penalty.name}"], value(square), rtol=1e-5)
    np.testing.assert_allclose(metrics["logits/real"], on_real, rtol=1e-5)


def test_ada_counts_the_signs_of_the_critic():
    signs = augment.ada("none", target=0.6, every=1)
    seen = []
    counted = signs._replace(
        update=lambda state, logit, images: (seen.append(logit.shape), signs.update(state, logit, images))[1]
    )
    gan = small_gan.make(discriminator=TwoHeads(), loss=two_headed_loss(), augment=counted)
    small_gan.train(gan, small_gan.batches(8))
    assert set(seen) == {(8,)}


def test_several_heads_need_to_name_the_critic():
    gan = small_gan.make(
        discriminator=TwoHeads(), loss=two_headed_loss()._replace(logit=losses.Loss._field_defaults["logit"])
    )
    with pytest.raises(ValueError, match=r"returns a dict of the shapes .* say which part is the logit"):
        gan_jax.init(gan, jax.random.key(0), small_gan.batches(8))


class Returns:
    """A network whose output is a function of the batch and one parameter."""

    def __init__(self, function):
        self.function = function

    def init(self, key, x):
        return {"params": {"scale": jnp.ones(())}}

    def apply(self, variables, x):
        return variables["params"]["scale"] * self.function(x)


IMAGE = (2, 2, 1)
BAD_D = {
    "scalar": lambda x: jnp.mean(x),
    "two": lambda x: x.reshape(len(x), -1)[:, :2],
    "lost": lambda x: jnp.sum(x, axis=0).reshape(-1)[:1],
    "map of one": lambda x: jnp.mean(x, axis=0, keepdims=True)[..., 0],
}
BAD_G = {
    "one": lambda z: jnp.zeros((1, *IMAGE)) + jnp.sum(z),
    "shape": lambda z: jnp.zeros((len(z), 4)),
    "scalar": jnp.sum,
    "integers": lambda z: jnp.zeros((len(z), *IMAGE), jnp.int32),
}


@pytest.mark.parametrize("name", BAD_D)
def test_a_discriminator_with_a_wrong_shape_is_refused(name):
    gan = small_gan.make(discriminator=Returns(BAD_D[name]))
    with pytest.raises(ValueError, match="must return one logit for each of the 2 samples"):
        gan_jax.init(gan, jax.random.key(0), small_gan.batches(8))


@pytest.mark.parametrize("name", ["one", "shape", "scalar"])
def test_a_generator_with_a_wrong_shape_is_refused(name):
    gan = small_gan.make(generator=Returns(BAD_G[name]))
    with pytest.raises(ValueError, match="the generator makes"):
        gan_jax.init(gan, jax.random.key(0), small_gan.batches(8))


def test_the_step_checks_what_init_could_not_see():
    """With two samples the shapes are right, with eight they are not."""
    gan = small_gan.make(discriminator=Returns(lambda x: jnp.mean(x, axis=(1, 2, 3))[:2]))
    batch = small_gan.batches(8)
    state = gan_jax.init(gan, jax.random.key(0), batch)
    with pytest.raises(ValueError, match="one logit for each of the 8 samples"):
        jax.eval_shape(gan_jax.make_train_step(gan), state, batch)


def test_patches_are_a_map():
    """The logit of a sample is the sum of its patches for R1, and the loss is the mean over all of them."""
    gan = small_gan.make(
        discriminator=Returns(lambda x: x[..., 0]), discriminator_terms=(Term(1.0, penalties.r1()),)
    )
    _, (metrics,) = small_gan.train(gan, small_gan.batches(8))
    np.testing.assert_allclose(metrics["penalty/r1"], 4 / 2, rtol=1e-6)  # the gradient is 1 in each of 4 pixels


@pytest.mark.parametrize("dtype", ["int32", "uint16", "int8", "bool"])
def test_other_types_of_images_are_refused(dtype):
    batch = {"image": np.ones((8, *IMAGE), dtype)}
    good = small_gan.batches(8)
    gan = small_gan.make()
    for function in (
        lambda: gan_jax.init(gan, jax.random.key(0), batch),
        lambda: jax.eval_shape(gan_jax.make_train_step(gan), gan_jax.init(gan, jax.random.key(0), good), batch),
    ):
        with pytest.raises(ValueError, match=f"uint8 .* or floating .*, but these are {dtype}"):
            function()


def test_labels_out_of_range_are_counted():
    gan = small_gan.make(
        generator=mlp.Generator(shape=(8, 8, 1), width=4, classes=3),
        discriminator=mlp.Discriminator(width=4, classes=3),
    )
    batch = {"image": jnp.zeros((4, 8, 8, 1)), "label": jnp.asarray([0, 3, -1, 2])}
    state = gan_jax.init(gan, jax.random.key(0), batch)
    _, (metrics,) = small_gan.train(gan, batch, state=state)
    assert metrics["labels/out_of_range"] == 2
    assert metrics["nonfinite"] >= 2
    state = gan_jax.init(gan, jax.random.key(0), batch)
    _, (metrics,) = small_gan.train(gan, {**batch, "label": jnp.asarray([0, 1, 1, 2])}, state=state)
    assert metrics["labels/out_of_range"] == 0
    assert metrics["nonfinite"] == 0


class Reads:
    """A network that says how many classes it knows."""

    def __init__(self, network, classes):
        self.network, self.classes = network, classes
        self.init, self.apply = (lambda key, x: network.init(key, x)), (lambda v, x: network.apply(v, x))


@pytest.mark.parametrize(
    ("label", "wrong"),
    [
        (jnp.asarray([0, 11, 10, 3]), 0),  # 10 and 11 are classes of the discriminator
        (jnp.asarray([0, 12, -1, 3]), 2),
        ({"class": jnp.asarray([0, 12, -1, 3]), "attributes": jnp.full((4, 40), 77, jnp.int32)}, 2),
        (np.asarray([0, 12, -1, 3]), 2),
    ],
)
def test_a_label_is_counted_by_the_network_that_reads_it(label, wrong):
    fake = jax.tree.map(lambda x: jnp.zeros(x.shape[1:], jnp.int32), label)
    gan = small_gan.make(
        generator=Reads(small_gan.Generator(), 10),
        discriminator=Reads(small_gan.Discriminator(), 12),
        fake_labels=lambda key: fake,
    )
    batch = small_gan.batches(4) | {"label": label}
    state = gan_jax.init(gan, jax.random.key(0), batch)
    _, metrics = jax.jit(lambda state: gan_jax.make_train_step(gan)(state, batch))(state)
    assert metrics["labels/out_of_range"] == wrong
    assert metrics["nonfinite"].dtype == jnp.int32


def test_a_discriminator_is_never_asked_for_inference():
    class D(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.BatchNorm(use_running_average=False)(nn.Dense(4)(x.reshape(len(x), -1)))
            return nn.Dense(1)(x)[:, 0]

    _, (metrics,) = small_gan.train(small_gan.make(discriminator=D()), small_gan.batches(8))
    assert metrics["nonfinite"] == 0


@pytest.mark.parametrize(
    "label", [np.zeros((2, 5), np.float32), np.zeros(2, np.float32), np.asarray([0, 3]), np.asarray([-1, 0])]
)
def test_wrong_labels_are_refused_where_they_are_seen(label):
    network = dcgan.Generator(shape=(8, 8, 1), width=2, classes=3)
    gan = small_gan.make(generator=network)
    variables = network.init(jax.random.key(0), jnp.zeros((1, 3)), label=jnp.zeros(1, jnp.int32), train=False)
    with pytest.raises(ValueError, match="3 classes"):
        gan_jax.make_sampler(gan)(variables, jnp.zeros((2, 3)), label)


class LabelledGenerator(nn.Module):
    """Reads labels of any structure."""

    @nn.compact
    def __call__(self, z, label):
        parts = [leaf.reshape(len(z), -1).astype(jnp.float32) for leaf in jax.tree.leaves(label)]
        return jnp.tanh(nn.Dense(4)(jnp.concatenate([z, *parts], -1))).reshape(-1, *IMAGE)


class LabelledDiscriminator(nn.Module):
    @nn.compact
    def __call__(self, x, label):
        parts = [leaf.reshape(len(x), -1).astype(jnp.float32) for leaf in jax.tree.leaves((x, label))]
        return nn.Dense(1)(jnp.concatenate(parts, -1))


LABELS = {
    "attributes": jnp.ones((8, 40)),
    "image": jnp.ones((8, 4, 4, 3)),
    "several": {"class": jnp.ones(8, jnp.int32), "attributes": jnp.ones((8, 5))},
}


@pytest.mark.parametrize("name", some(LABELS, "several"))
def test_labels_are_any_pytree(name):
    gan = small_gan.make(generator=LabelledGenerator(), discriminator=LabelledDiscriminator())
    batch = small_gan.batches(8) | {"label": LABELS[name]}
    state, (metrics,) = small_gan.train(gan, batch)
    assert metrics["nonfinite"] == 0
    inputs = 3 + sum(leaf[0].size for leaf in jax.tree.leaves(LABELS[name]))
    assert state.generator.params["Dense_0"]["kernel"].shape == (inputs, 4)


def test_fake_labels_need_no_labels_in_the_batch():
    """The discriminator sees them with generated samples, and None with real ones."""

    class D(nn.Module):
        @nn.compact
        def __call__(self, x, label):
            code = nn.Dense(5, name="code")(x.reshape(len(x), -1))
            fit = 0.0 if label is None else -jnp.sum((code - label) ** 2, -1)
            return nn.Dense(1)(x.reshape(len(x), -1))[:, 0] + 0.1 * fit

    gan = small_gan.make(
        generator=LabelledGenerator(), discriminator=D(), fake_labels=lambda key: jax.random.normal(key, (5,))
    )
    _, (metrics,) = small_gan.train(gan, small_gan.batches(8))
    assert metrics["nonfinite"] == 0
    with pytest.raises(ValueError, match="they must be alike"):
        gan_jax.init(gan, jax.random.key(0), small_gan.batches(8, label=True))
