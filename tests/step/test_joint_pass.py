"""One pass of the discriminator over real and generated samples: where it is made. It is the same step."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import architectures
import gan_jax
import small_gan
from devices import run_python
from gan_jax import augment, losses, penalties
from gan_jax.models.layers import Dropout
from gan_jax.pytree import interleaved, named_leaves, separated
from quick import some

B = 8


@dataclasses.dataclass(frozen=True)
class Recorded:
    """A discriminator that notes the number of samples of each pass in which it is traced."""

    sizes: list[int] = dataclasses.field(default_factory=list)

    def init(self, key: Any, image: jax.Array) -> dict:
        return small_gan.Discriminator().init(key, image)

    def apply(self, variables: Any, image: jax.Array, **keywords: Any) -> Any:
        self.sizes.append(image.shape[0])
        return self.logits(variables, image)

    def logits(self, variables: Any, image: jax.Array) -> jax.Array:
        return small_gan.discriminate(variables["params"], image)


class Centred(Recorded):
    def logits(self, variables, image):
        return super().logits(variables, image - image.mean(axis=0))


class Numbered(Recorded):
    """Its logits know the number of the row."""

    def logits(self, variables, image):
        return super().logits(variables, image) + jnp.arange(len(image))


class Counting(Recorded):
    """Its state counts passes: two of B are not one of 2 B."""

    def init(self, key, image):
        return {**super().init(key, image), "passes": {"n": jnp.zeros(())}}

    def apply(self, variables, image, mutable):
        return super().apply(variables, image), {"passes": {"n": variables["passes"]["n"] + 1}}

    def refresh(self, variables):
        return variables


class Dropping(Recorded):
    """Draws from the keys of the samples, and reads labels."""

    def apply(self, variables, image, label, keys, train):
        dropped: Any = Dropout(0.5).apply({}, image, keys, train)
        return super().apply(variables, dropped) * (1 + label)


class Heads(Recorded):
    def logits(self, variables, image):
        return {"critic": super().logits(variables, image), "mean": image.mean(axis=(1, 2, 3))}


class HalfPrecision(small_gan.Generator):
    def apply(self, variables, latents):
        return super().apply(variables, latents).astype(jnp.bfloat16)


def heads() -> losses.Loss:
    loss = losses.non_saturating()

    def of(function: Any) -> Any:
        return lambda real, fake: function(real["critic"], fake["critic"]) + jnp.mean(real["mean"] * fake["mean"])

    return losses.Loss(of(loss.generator), of(loss.discriminator), logit=lambda output: output["critic"])


def passes_over_both(keywords: dict[str, Any]) -> int:
    """Returns how often a step is traced with a discriminator that reads both batches at once."""
    keywords = dict(keywords)
    network, label = keywords.pop("discriminator", Recorded)(), keywords.pop("label", False)
    gan = small_gan.make(discriminator=network, **keywords)
    rows = [] if gan.batches_per_step == 1 else [gan.batches_per_step]
    batch = small_gan.batches(*rows, B, label=label)
    state = jax.eval_shape(lambda: gan_jax.init(gan, jax.random.key(0), batch))
    network.sizes.clear()
    jax.eval_shape(gan_jax.make_train_step(gan), state, batch)
    return network.sizes.count(2 * B // gan.microbatches)


def numbers(gan: gan_jax.GAN, batch: Any) -> tuple[Any, Any]:
    state = jax.jit(lambda: gan_jax.init(gan, jax.random.key(0), batch))()
    return jax.jit(gan_jax.make_train_step(gan))(state, batch)


def assert_same_step(gan: gan_jax.GAN, batch: Any) -> None:
    one, two = (numbers(dataclasses.replace(gan, joint_pass=joint), batch) for joint in (True, False))
    named = [named_leaves((state.discriminator, state.generator, metrics)) for state, metrics in (one, two)]
    for name, value in named[0].items():
        np.testing.assert_allclose(value, named[1][name], rtol=2e-5, atol=2e-6, err_msg=name)


R1 = gan_jax.Term(1.0, penalties.r1())
JOINT = {
    "plain": {},
    "diff_augment": {"augment": augment.diff_augment(("color", "translation"))},
    "microbatches": {"microbatches": 2},
    "three updates": {"disc_steps": 3},
    "keys and labels": {"discriminator": Dropping, "label": True},
    "heads": {"discriminator": Heads, "loss": heads()},
    "r1_r2": {"discriminator_terms": (gan_jax.Term(1.0, penalties.r1_r2()),)},
    "wgan_gp": {"discriminator_terms": (gan_jax.Term(1.0, penalties.wgan_gp()),)},
    "lazy r1": {"discriminator_terms": (gan_jax.Term(1.0, penalties.r1(), every=2),)},
}
APART = {
    "switched off": {"joint_pass": False},
    "simultaneous": {"update": "simultaneous"},
    "one stage": {"update": "one_stage"},
    "mean of the batch": {"discriminator": Centred},
    "number of the row": {"discriminator": Numbered},
    "state of each pass": {"discriminator": Counting},
    "other types": {"generator": HalfPrecision()},
    "r1": {"discriminator_terms": (R1,)},
    "r1, and r1_r2": {"discriminator_terms": (R1, gan_jax.Term(1.0, penalties.r1_r2()))},
    "another penalty": {"discriminator_terms": (gan_jax.Term(1.0, penalties.r1_r2()._replace(joint=False)),)},
}


@pytest.mark.parametrize("name", some(JOINT, "plain", "keys and labels", "r1_r2"))
def test_real_and_generated_samples_are_one_batch(name):
    assert passes_over_both(JOINT[name]) >= 2  # one of them is the analysis


@pytest.mark.parametrize("name", some(APART, "simultaneous", "mean of the batch", "state of each pass", "r1"))
def test_they_are_two_batches_where_one_would_be_another_step_or_more_work(name):
    assert passes_over_both(APART[name]) <= 1


@pytest.mark.slow
def test_it_is_the_same_step():
    gan = small_gan.make(discriminator=Dropping(), **JOINT["r1_r2"])
    assert_same_step(gan, small_gan.batches(B, label=True))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("quick_compile")
@pytest.mark.parametrize("name", [name for name in architectures.GAMES if "stylegan2" not in name])
def test_it_is_the_same_step_in_each_architecture(name):
    gan = architectures.GAMES[name]()
    gan = dataclasses.replace(
        gan, generator_tx=gan_jax.optimizers.sgd(0.01), discriminator_tx=gan_jax.optimizers.sgd(0.01)
    )
    assert_same_step(gan, jax.tree.map(lambda x: x[0], architectures.batches(gan, 1)))


def test_one_stage_refuses_a_mean_over_samples():
    with pytest.raises(ValueError, match="an operation reduce_sum over them"):
        passes_over_both({"discriminator": Centred, "update": "one_stage"})


def test_a_joint_batch_takes_turns():
    one, other = {"x": jnp.arange(3)}, {"x": jnp.arange(10, 13)}
    both = interleaved(one, other)
    assert both["x"].tolist() == [0, 10, 1, 11, 2, 12]
    jax.tree.map(np.testing.assert_array_equal, separated(both), (one, other))


SPLIT = """
import jax, re
import small_gan
import gan_jax
from gan_jax.parallel import make_mesh, place_batch, place_state
gan, batch = small_gan.make(), small_gan.batches(16)
mesh = make_mesh()
state = place_state(gan_jax.init(gan, jax.random.key(0), batch), mesh)
program = gan_jax.shard_step(gan_jax.make_train_step(gan), mesh).lower(state, place_batch(batch, mesh)).compile()
found = set(re.findall(r" (all-[a-z]+|collective-permute|reduce-scatter)(?:-start)?\\(", program.as_text()))
assert found <= {"all-reduce"}, found
"""


@pytest.mark.slow
def test_a_batch_that_is_split_over_devices_is_joined_where_it_lies():
    run_python(SPLIT, devices=4)
