"""From a config to a game: every name in its place, schedules in images, labels all the way to the players."""

import dataclasses
import io
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import gan_jax
import gan_jax.train
import runs
from gan_jax import config as configs
from gan_jax.config import Call, Config, Data, Log, Term, override
from gan_jax.config.build import SampleSpec, batch_spec, make_gan, make_source
from gan_jax.errors import UserError
from gan_jax.models import dcgan, mlp
from gan_jax.runtime.sampler import Sampler

pytestmark = pytest.mark.usefixtures("quick_compile")

SPEC = SampleSpec((8, 8, 1), "uint8", 10)


def tiny(**changes) -> Config:
    small = Config(
        name="tiny", batch=16, data=Data(Call("digits")), latent=Call("normal", size=4),
        generator=Call("dcgan", width=4), discriminator=Call("dcgan", width=4),
    )  # fmt: skip
    return dataclasses.replace(small, **changes)


def traced(config: Config, spec: SampleSpec = SPEC):
    """Shapes of the state, of the metrics, and the step's program as text; nothing is computed."""
    gan = make_gan(config, spec)
    batch = batch_spec(config, gan, spec)
    state = jax.eval_shape(lambda: gan_jax.init(gan, jax.random.key(0), batch))
    program, (_, metrics) = jax.make_jaxpr(gan_jax.make_train_step(gan), return_shape=True)(state, batch)
    return state, metrics, str(program)


# ---- names


def test_every_part_is_the_one_that_was_named():
    gan = make_gan(
        tiny(
            generator=Call("mlp", width=7), discriminator=Call("dcgan", width=5, norm="spectral"),
            latent=Call("uniform", size=3, low=2.0, high=3.0), loss=Call("wasserstein"), disc_steps=2,
            share_latents=False, microbatches=4,
        ),
        SPEC,
    )  # fmt: skip
    assert gan.generator == mlp.Generator(shape=(8, 8, 1), width=7)
    assert gan.discriminator == dcgan.Discriminator(width=5, norm="spectral")
    latents = jax.vmap(gan.latent)(jax.random.split(jax.random.key(0), 100))
    assert latents.shape == (100, 3)
    assert latents.min() >= 2
    assert latents.max() <= 3
    real, fake = jnp.array([1.0, 3.0]), jnp.array([5.0, 6.0])
    assert gan.loss.discriminator(real, fake) == pytest.approx(5.5 - 2.0)
    assert (gan.disc_steps, gan.share_latents, gan.microbatches, gan.batches_per_step) == (2, False, 4, 3)


def test_labels_are_offered_where_the_run_is_conditional():
    for conditional, classes in ((True, 10), (False, None)):
        config = tiny(conditional=conditional)
        gan = make_gan(config, SPEC)
        assert (gan.generator.classes, gan.discriminator.classes) == (classes, classes)
        assert ("label" in batch_spec(config, make_gan(config, SPEC), SPEC)) is conditional


@pytest.mark.parametrize(
    ("disc_steps", "shared", "lead"),
    [(1, True, (16,)), (1, False, (2, 16)), (3, True, (3, 16)), (2, False, (3, 16))],
)
def test_the_shape_of_a_batch(disc_steps, shared, lead):
    config = tiny(conditional=True, disc_steps=disc_steps, share_latents=shared)
    batch = batch_spec(config, make_gan(config, SPEC), SPEC)
    assert batch["image"].shape == (*lead, 8, 8, 1)
    assert batch["image"].dtype == np.uint8
    assert (batch["label"].shape, batch["label"].dtype) == (lead, np.int32)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"generator": Call("dcgna")}, ["'dcgna'", "did you mean 'dcgan'"]),
        ({"generator": Call("dcgan", widht=3)}, ["dcgan takes no keyword 'widht'", "width"]),
        ({"loss": Call("hing")}, ["'hing'", "'hinge'"]),
        ({"generator_optimizer": Call("adam", learning=1.0)}, ["generator_optimizer=adam", "learning"]),
        ({"discriminator_terms": (Term(1.0, Call("r3")),)}, ["'r3'", "dragan, path_length, r1,"]),
        ({"discriminator_terms": (Term(1.0, Call("r1")), Term(1.0, Call("r1")))}, ["different names"]),
        ({"latent": Call("normal", length=3)}, ["normal takes no keyword 'length'"]),
        ({"discriminator_terms": (Term(Call("linier", start=1.0), Call("r1")),)}, ["'linier'", "'linear'"]),
        ({"generator": Call("json:loads")}, ["json", "not part of gan_jax.models"]),
    ],
)  # fmt: skip
def test_a_name_that_cannot_be_used_is_one_sentence(changes, words):
    with pytest.raises(UserError) as error:
        make_gan(tiny(**changes), SPEC, allow=())
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)


def test_conditional_on_data_without_labels(tmp_path):
    np.savez(tmp_path / "plain.npz", image=np.zeros((4, 8, 8, 1), np.uint8))
    source = Call("npz", path=str(tmp_path / "plain.npz"))
    with pytest.raises(UserError, match="npz has no labels"):
        make_source(tiny(conditional=True, data=Data(source)))


# ---- schedules


@pytest.mark.parametrize(("player", "turns"), [("generator", 1), ("discriminator", 1), ("discriminator", 2)])
def test_a_learning_rate_that_is_a_call_decays_by_images(player, turns):
    """With a gradient of one, the updates are the rates: 64 images are 4 steps of 16, whatever `disc_steps` is."""
    rate = Call("linear", start=1.0, end=0.0, images=64)
    config = tiny(**{f"{player}_optimizer": Call("sgd", learning_rate=rate)}, disc_steps=turns)
    gan = make_gan(configs.from_json(json.loads(json.dumps(configs.to_json(config)))), SPEC)
    tx = getattr(gan, f"{player}_tx")
    opt_state, updates = tx.init(jnp.ones(())), []
    for _ in range(6 * turns):
        update, opt_state = tx.update(jnp.ones(()), opt_state)
        updates.append(float(update))
    expected = [-max(0.0, 1 - n / (4 * turns)) for n in range(6 * turns)]
    assert updates == pytest.approx(expected)


def test_a_rate_falls_to_nothing_inside_a_run():
    """Real steps: parameters move for two steps of 16 images, and stand still from the third."""
    rate = Call("sgd", learning_rate=Call("linear", start=0.1, end=0.0, images=16, delay=16))
    config = tiny(
        generator=Call("mlp", width=4), discriminator=Call("mlp", width=4),
        generator_optimizer=rate, discriminator_optimizer=rate,
    )  # fmt: skip
    gan = make_gan(config, SPEC)
    spec = batch_spec(config, gan, SPEC)
    batch = {"image": np.full(spec["image"].shape, 200, np.uint8)}
    state = jax.jit(lambda: gan_jax.init(gan, jax.random.key(0), spec))()
    step = jax.jit(gan_jax.make_train_step(gan))
    moved = []
    for _ in range(4):
        before, (state, _) = state, step(state, batch)
        pairs = zip(jax.tree.leaves(before.generator.params), jax.tree.leaves(state.generator.params))
        moved.append(any((a != b).any() for a, b in pairs))
    assert moved == [True, True, False, False]


def test_penalties_by_config():
    config = tiny(
        generator_terms=(Term(3.0, Call("reconstruction")),),
        discriminator_terms=(
            Term(Call("cosine", start=2.0, end=1.0, images=100), Call("r1"), every=4),
            Term(10.0, Call("wgan_gp", target=0.5)),
        ),
    )
    gan = make_gan(config, SPEC)
    (term,) = gan.generator_terms
    assert (term.weight, term.penalty.name, term.every) == (3.0, "reconstruction", 1)
    lazy, always = gan.discriminator_terms
    gp = always.penalty
    assert (lazy.penalty.name, lazy.every, always.weight, gp.name, always.every) == ("r1", 4, 10.0, "wgan_gp", 1)
    assert [float(lazy.weight(jnp.asarray(n))) for n in (0.0, 50.0, 100.0, 900.0)] == pytest.approx([2, 1.5, 1, 1])
    # A critic of slope 2 in each of two elements: its gradient has the norm 2 sqrt(2).
    samples = gan_jax.Samples(jnp.ones((3, 2)), None, jax.random.split(jax.random.key(0), 3))
    value, _ = gp.apply((), lambda s: 2 * s.image.sum(axis=1), samples, samples, samples.key)
    assert value == pytest.approx((2 * 2**0.5 - 0.5) ** 2)
    _, metrics, _ = traced(config)
    assert {"penalty/r1", "penalty/wgan_gp", "penalty/reconstruction", "applied/r1"} <= set(metrics)


# ---- precision


def test_bfloat16_computes_in_it_and_keeps_float32():
    small = tiny(precision="bfloat16", conditional=True)
    state, metrics, program = traced(small)
    assert {leaf.dtype for leaf in jax.tree.leaves((state.generator, state.discriminator, state.ema))} <= {
        np.dtype(np.float32), np.dtype(np.int32),
    }  # fmt: skip
    assert all(metric.dtype == np.float32 for name, metric in metrics.items() if name != "nonfinite")
    heavy = [line for line in program.splitlines() if "conv_general_dilated[" in line or "dot_general[" in line]
    assert sum(":bf16[" in line for line in heavy) > 8
    _, _, other = traced(dataclasses.replace(small, precision="float32"))
    assert "bf16" not in other


# ---- labels

SHADE = 25  # of an image of class 1; the image of class c is c times as bright


class Shade(nn.Module):
    """A generator whose image is its label, as the data's images are."""

    shape: tuple[int, ...]
    classes: int | None = None

    @nn.compact
    def __call__(self, latents, label=None):
        scale = self.param("scale", nn.initializers.ones, ())
        assert (label is None) == (self.classes is None)
        label = jnp.zeros(latents.shape[0]) if label is None else label
        shade = (label * SHADE).reshape(-1, 1, 1, 1) / 127.5 - 1.0
        return jnp.broadcast_to(shade, (latents.shape[0], *self.shape)) + 0.0 * scale


class Judge(nn.Module):
    """A discriminator whose logit is how far an image is from its label's shade."""

    classes: int | None = None

    @nn.compact
    def __call__(self, image, label=None):
        scale = self.param("scale", nn.initializers.ones, ())
        assert (label is None) == (self.classes is None)
        shown = (image + 1.0) * (127.5 / SHADE)
        label = jnp.zeros(image.shape[0]) if label is None else label
        return scale * jnp.abs(shown - label.reshape(-1, 1, 1, 1)).max(axis=(1, 2, 3))


@pytest.fixture
def shades(tmp_path):
    """Images that tell their label, in an order that no index tells, and a config that plays on them."""
    label = np.random.default_rng(0).integers(0, 10, 100).astype(np.int32)
    image = np.broadcast_to((label * SHADE).astype(np.uint8)[:, None, None, None], (100, 4, 4, 1))
    np.savez(tmp_path / "shades.npz", image=image, label=label)
    return tiny(
        steps=8, conditional=True, data=Data(Call("npz", path=str(tmp_path / "shades.npz"))),
        generator=Call(f"{__name__}:Shade"), discriminator=Call(f"{__name__}:Judge"),
        generator_optimizer=Call("sgd", learning_rate=0.0),
        discriminator_optimizer=Call("sgd", learning_rate=0.0), log=Log(every=1, tensorboard=False),
    )  # fmt: skip


@pytest.mark.parametrize("resident", [True, False])
def test_a_label_goes_with_its_image_to_both_players(resident, shades, tmp_path):
    """A whole run: every logit is 0 only if each image, real and generated, meets its own label."""
    config = dataclasses.replace(
        shades, data=dataclasses.replace(shades.data, resident=resident), disc_steps=2, share_latents=False
    )
    np.testing.assert_allclose(train(config, tmp_path / "run"), np.zeros((8, 2)), atol=1e-4)


def test_without_conditional_no_label_is_passed(shades, tmp_path):
    """The same data; each judge takes every label for 0, so the mean logit is the mean label."""
    logits = train(dataclasses.replace(shades, conditional=False), tmp_path / "run")
    assert all(2 < real < 7 and fake == pytest.approx(0, abs=1e-4) for real, fake in logits)


def train(config: Config, workdir) -> list[tuple[float, float]]:
    """The mean logits of reals and fakes at each step."""
    gan_jax.train.train(config, workdir, stream=io.StringIO())
    return [(row["logits/real"], row["logits/fake"]) for row in runs.rows(workdir)]


def test_samples_have_their_labels_in_turn(shades):
    gan = make_gan(shades, SampleSpec((4, 4, 1), "uint8", 10))
    samples = Sampler(gan, seed=0, classes=10)({"params": {"scale": 1.0}}, 25, first=300)
    shown = np.rint((samples[:, 0, 0, 0] + 1) * 127.5 / SHADE)
    assert list(shown) == [i % 10 for i in range(300, 325)]


class Noise:
    """A generator that is all noise of its own: nothing learned, nothing of the latents."""

    def init(self, key, latents):
        return {"params": {}}

    def apply(self, variables, latents, keys):
        return jax.vmap(lambda key: jax.random.uniform(key, (2, 2, 1)))(keys)


def test_noise_inside_a_generator_is_a_samples_own(shades):
    """Sample 300 is sample 300, in whatever block it is drawn, and no two share their noise."""
    gan = dataclasses.replace(make_gan(shades, SampleSpec((4, 4, 1), "uint8", 10)), generator=Noise())
    sampler = Sampler(gan, seed=0)
    samples = sampler({}, 600)
    assert len(np.unique(samples.reshape(600, -1), axis=0)) == 600
    assert (sampler({}, 20, first=250) == samples[250:270]).all()
    assert (Sampler(gan, seed=1)({}, 600) != samples).all(axis=(1, 2, 3)).all()


def test_a_conditional_dcgan_trains_its_label_tables(tmp_path):
    """On the digits, end to end: both players' embeddings move, and there is a row for each of the ten."""
    config = tiny(steps=2, conditional=True, checkpoint=configs.Checkpoint(every=1))
    gan_jax.train.train(config, tmp_path / "run", stream=io.StringIO())
    leaves = [
        json.loads((tmp_path / "run" / "checkpoints" / step / "manifest.json").read_text()) for step in ("1", "2")
    ]
    for player, wide in (("generator", 4), ("discriminator", 4)):
        name = f"state/{player}/params/embed/embedding"
        assert leaves[0]["shapes"][name] == f"float32[10,{wide}]"
        assert leaves[0]["leaves"][name] != leaves[1]["leaves"][name]


@pytest.mark.parametrize(
    ("items", "path", "wanted"),
    [
        (["augment=ada", "augment.p=linear", "augment.p.end=0.5"], "augment", Call("linear", end=0.5)),
        (["augment=ada", "augment.p=0.25"], "augment", 0.25),
    ],
)
def test_a_schedule_is_named_where_a_keyword_takes_one(items, path, wanted):
    config = override(Config(name="scheduled"), items)
    assert getattr(config, path).kwargs["p"] == wanted
    with pytest.raises(UserError, match="wants a number or a schedule"):
        override(config, ["augment.p=1e400"])
