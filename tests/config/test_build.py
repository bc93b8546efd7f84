"""From a config to a GAN: every name finds its part, schedules count images, bfloat16 keeps float32 parameters."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gan_jax
import gan_jax.train
from gan_jax import config as configs
from gan_jax.config import Call, Config, Data, Ema, Term, override
from gan_jax.config.build import SampleSpec, batch_spec, build, make_gan, make_source
from gan_jax.errors import UserError
from gan_jax.models import dcgan, mlp
from tiny_config import SPEC, tiny
from trial import error_of

pytestmark = pytest.mark.usefixtures("quick_compile")


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
        ({"discriminator_terms": (Term(1.0, Call("r3")),)}, ["'r3'", "path_length, r1,"]),
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


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"discriminator_weight": Call("after")}, "discriminator_weight"),
        ({"generator_weight": Call("after")}, "generator_weight"),
        ({"ema": Ema(half_life=Call("after"))}, "ema.half_life"),
        ({"generator_optimizer": Call("adam", learning_rate=Call("after"))}, "generator_optimizer.learning_rate"),
        ({"discriminator_terms": (Term(Call("after"), Call("r1")),)}, "discriminator_terms.0.weight"),
    ],
)
def test_a_schedule_that_lacks_a_keyword_names_its_field(changes, field):
    assert error_of(make_gan, tiny(**changes), SPEC) == f"{field}=after needs images: say {field}.images=..."


def test_conditional_on_data_without_labels(tmp_path):
    np.savez(tmp_path / "plain.npz", image=np.zeros((4, 8, 8, 1), np.uint8))
    source = Call("npz", path=str(tmp_path / "plain.npz"))
    with pytest.raises(UserError, match="npz has no labels"):
        make_source(tiny(conditional=True, data=Data(source)))


def test_names_inside_others_are_those_of_their_field():
    pairs = Call("with_noise", inputs=Call("downsampled"), latent=Call("normal", size=4))
    config = Config(name="nested", inputs=pairs, loss=Call("over_members", loss=Call("hinge")))
    overrides = ["inputs=with_noise", "inputs.inputs=downsampled", "inputs.latent=normal", "inputs.latent.size=4"]
    assert override(Config(name="nested"), [*overrides, "loss=over_members", "loss.loss=hinge"]) == config
    gan = make_gan(config, SPEC, ())
    half, latent = gan.inputs({"image": jnp.ones((8, 8, 1))}, jax.random.key(0))
    assert (half.shape, latent.shape) == ((4, 4, 1), (4,))
    assert gan.loss.discriminator([jnp.ones(2)], [jnp.ones(2)]) == 2
    assert error_of(override, config, ["loss.loss=5"]) == "loss.loss wants the name of a function, got '5'"
    with pytest.raises(UserError, match=r"no 'hing' in gan_jax\.losses"):
        override(config, ["loss.loss=hing"])
    with pytest.raises(UserError, match="--allow os"):
        make_gan(Config(name="nested", inputs=Call("with_noise", inputs=Call("os:getcwd"))), SPEC, ())


READERS = """
import flax.linen as nn
from gan_jax.penalties import Penalty, perceptual
def distance():
    return perceptual(lambda variables, image: [image])
class Reader(nn.Module):
    @nn.compact
    def __call__(self, latents, *, frozen):
        return latents
"""


@pytest.mark.parametrize(
    ("changes", "reader"),
    [
        ({"generator_terms": (Term(1.0, Call("my_readers:distance")),)}, "penalty perceptual"),
        ({"generator": Call("my_readers:Reader")}, "generator"),
    ],
)
def test_a_run_has_no_frozen_variables(tmp_path, monkeypatch, changes, reader):
    (tmp_path / "my_readers.py").write_text(READERS)
    monkeypatch.syspath_prepend(tmp_path)
    assert error_of(make_gan, tiny(**changes), SPEC) == (
        f"the {reader} reads frozen variables: gan-jax train gives no frozen variables, call the step from Python"
    )
    with pytest.raises(UserError, match=r"no 'perceptual' in gan_jax\.penalties"):
        make_gan(tiny(generator_terms=(Term(1.0, Call("perceptual")),)), SPEC)


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


def test_remat_is_given_to_both_networks():
    gan = make_gan(tiny(remat="blocks", discriminator=Call("dcgan", width=4, remat="all")), SPEC)
    assert (gan.generator.remat, gan.discriminator.remat) == ("blocks", "all")
    assert make_gan(tiny(), SPEC).generator.remat == "none"
    plain = tiny(remat="all", discriminator=Call("flax.linen:Dense", features=1))
    with pytest.raises(UserError, match="remat=all, but discriminator=flax\\.linen:Dense takes no keyword remat"):
        make_gan(plain, SPEC)


def test_a_config_of_an_older_version_opens():
    """Its fields had other names: `generator_penalties`, and `call` in a penalty."""
    config = Config(name="older", discriminator_terms=(Term(5.0, Call("r1"), every=4),))
    tree = json.loads(json.dumps(configs.to_json(config)))
    [term] = tree.pop("discriminator_terms")
    term["call"] = term.pop("penalty")
    older = {**tree, "generator_penalties": tree.pop("generator_terms"), "discriminator_penalties": [term]}
    older.pop("generator_terms", None)
    assert configs.from_json(older) == config
    configs.check_resume(configs.from_json(older), config)
    with pytest.raises(UserError, match="are two names of one field: remove the first"):
        configs.from_json({**older, "discriminator_terms": []})


PARTS = """
from gan_jax.config import Call
def joined(sources=(), extra=Call("digits")):
    return sources, extra
"""


def test_calls_at_any_depth_are_built_and_stay_at_home(tmp_path, monkeypatch):
    (tmp_path / "my_sources.py").write_text(PARTS)
    monkeypatch.syspath_prepend(tmp_path)
    inner = Call("stacked", source=Call("digits"), count=5)
    (built,), extra = build(Call("my_sources:joined", sources=(inner,)), "data.source")
    assert (len(built), len(extra)) == (5, 1797)
    for call in (
        Call("stacked", source=Call("os:getcwd")),
        Call("stacked", source=Call("stacked", source=Call("os:getcwd"))),
        Call("my_sources:joined", sources=(Call("digits"), Call("os:getcwd"))),
    ):
        assert "--allow os" in error_of(build, call, "data.source", ["my_sources"])
    with pytest.raises(UserError, match=r"no 'linear' in gan_jax\.data"):
        build(Call("stacked", source=Call("linear")), "data.source", ())


@pytest.mark.parametrize("source", ["digits", 5, None, (Call("digits"),)])
def test_a_source_that_is_no_call(source):
    message = error_of(build, Call("stacked", source=source), "data.source", ())
    assert message.startswith("data.source.source wants the name of a function, got ")
