"""What devices exchange in a step: sums of gradients, statistics and metrics, and no activations.

The programs are compiled in one process with eight virtual devices (`main`), with the formulations of a GPU, where
XLA's partitioner would gather the whole input of a grouped convolution.
"""

import dataclasses
import json
import re
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

import gan_jax
from devices import run_json
from gan_jax import losses, penalties
from gan_jax.models import mlp, r3gan, stylegan2
from gan_jax.ops import backend

AXIS, SHAPE, B = "data", (8, 8, 1), 16
NARROW = {"widths": (8, 8), "cardinality": 2, "blocks": 1}
SMALL = {"channel_base": 32, "channel_max": 4}


def make(generator, discriminator, penalty, **keywords):
    return gan_jax.GAN(
        generator, discriminator, losses.relativistic(), optax.adam(1e-3), optax.adam(1e-3),
        gan_jax.latents.normal(4), discriminator_terms=(gan_jax.Term(0.1, penalty, 4),), **keywords,
    )  # fmt: skip


def grouped():
    """Grouped convolutions, and a lazy penalty."""
    return make(mlp.Generator(SHAPE, width=4), r3gan.Discriminator(**NARROW), penalties.r1_r2())


def deviation():
    """A lazy penalty, and a minibatch deviation over samples of several devices."""
    generator = stylegan2.Generator(SHAPE, w_size=4, mapping_layers=1, **SMALL)
    return make(generator, stylegan2.Discriminator(group=4, **SMALL), penalties.r1())


CASES = {"shard": grouped, "pmap": grouped, "split": grouped, "deviation": deviation}


def compiled(gan, mode):
    step = gan_jax.make_train_step(gan, axis_name=AXIS if mode == "pmap" else None)
    batch = {"image": jax.ShapeDtypeStruct((B, *SHAPE), np.float32)}
    state, mesh = jax.eval_shape(lambda: gan_jax.init(gan, jax.random.key(0), batch)), gan_jax.make_mesh()
    places = gan_jax.state_shardings(state, mesh, 64) if mode == "split" else None
    step = gan_jax.pmap_step(step, AXIS) if mode == "pmap" else gan_jax.shard_step(step, mesh, places)
    return step.lower(state, batch).compile()


def collectives(text):
    """Returns the types and the operation of each collective of a compiled program."""
    names = "all-gather|all-reduce|reduce-scatter|collective-permute|all-to-all"
    return re.findall(rf"= (.*?) ({names})(?:-start)?\(", text)


class Centred(nn.Module):
    """A discriminator that subtracts the mean of the batch, and does not name `axis_name`."""

    @nn.compact
    def __call__(self, image):
        x = nn.Dense(4)(image.reshape(image.shape[0], -1))
        return nn.Dense(1)(jax.nn.tanh(x - x.mean(axis=0)))


class Deviation(nn.Module):
    """A discriminator with a deviation over groups of four, fewer in a smaller batch, without `axis_name`."""

    @nn.compact
    def __call__(self, image):
        x = nn.Dense(4)(image.reshape(image.shape[0], -1))
        groups = x.reshape(-1, min(4, x.shape[0]), x.shape[1])
        spread = jnp.repeat(groups.std(axis=(1, 2)), groups.shape[1])
        return nn.Dense(1)(x) + spread[:, None]


def by_the_compiler():
    """Returns the warnings of two calls of a step that mixes samples, and its distance from that of one device."""
    gan = make(mlp.Generator(SHAPE, width=4), Centred(), penalties.r1())
    batch = {"image": np.random.default_rng(0).normal(size=(B, *SHAPE)).astype(np.float32)}
    ends = []
    step = gan_jax.make_train_step(gan)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for placed in (gan_jax.jit_step(step), gan_jax.shard_step(step, gan_jax.make_mesh())):
            state = gan_jax.init(gan, jax.random.key(0), batch)
            for _ in range(2):
                state, metrics = placed(state, batch)
                jax.block_until_ready(state)
            ends.append(jax.device_get(metrics))
    gaps = [abs(ends[0][name] - ends[1][name]) / (1 + abs(ends[0][name])) for name in ends[0]]
    return [str(warning.message) for warning in told], float(max(gaps))


def main(*names):
    jax.config.update("jax_disable_most_optimizations", True)
    warnings.simplefilter("error")  # the compiler would split the step
    backend.FORMULATIONS["cpu"] = backend.FORMULATIONS["cuda"]._replace(convolution="native")
    found = {name: collectives(compiled(CASES[name](), name).as_text()) for name in names if name in CASES}
    print(json.dumps(found | ({"compiler": by_the_compiler()} if "compiler" in names else {})))


def run(*names):
    return run_json(f"import test_collectives; test_collectives.main(*{names})", devices=8)


def has_sums_alone(sums):
    assert {operation for _, operation in sums} == {"all-reduce"}
    assert not re.search(r"\[\d+,8,8,|\[\d+,4,4,|bf16", " ".join(types for types, _ in sums)), sums


def test_no_activation_is_gathered():
    has_sums_alone(run("shard")["shard"])


@pytest.mark.slow
def test_a_step_that_mixes_samples_is_split_by_the_compiler():
    """It says so once, names the culprit, and has the numbers of one device."""
    told, gap = run("compiler")["compiler"]
    assert len(told) == 1
    words = r"the compiler splits this step.*the discriminator, Centred of .*samples apart \(reduce_sum\).*axis"
    assert re.search(words, told[0]), told
    assert gap < 1e-5


@pytest.mark.slow
def test_what_pmap_exchanges_and_what_a_model_gathers_by_name():
    """A minibatch deviation gathers its input, and scatters the derivative of it."""
    found = run("pmap", "deviation")
    has_sums_alone(found["pmap"])
    others = {(types.partition("{")[0], name) for types, name in found["deviation"] if name != "all-reduce"}
    assert others == {("f32[16,4,4,4]", "all-gather"), ("f32[2,4,4,4]", "reduce-scatter")}


@pytest.mark.slow
def test_a_split_state_gathers_parameters_and_scatters_gradients():
    sums = run("split")["split"]
    assert {operation for _, operation in sums} == {"all-gather", "reduce-scatter", "all-reduce"}
    assert not re.search(r"\[\d+,8,8,|\[\d+,4,4,|bf16", " ".join(types for types, _ in sums)), sums
    # The discriminator's are gathered before and after its update, and neither Adam's moments nor the EMA.
    counts = {name: sum(name == operation for _, operation in sums) for name in ("all-gather", "reduce-scatter")}
    assert counts["reduce-scatter"] < counts["all-gather"] < 2 * counts["reduce-scatter"], counts


# Refusals, with one device.


def trace(**changes):
    gan = dataclasses.replace(
        make(mlp.Generator(SHAPE, width=4), mlp.Discriminator(width=4), penalties.r1()), **changes
    )
    batch = {"image": np.zeros((1, *SHAPE), np.float32)}  # one sample a device
    state = jax.eval_shape(lambda: gan_jax.init(gan, jax.random.key(0), batch))
    step = gan_jax.make_train_step(gan, axis_name=AXIS)
    return gan_jax.pmap_step(step, AXIS, jax.devices()[:1]).trace(state, batch)


def penalty(value):
    apply = lambda state, critic, real, fake, keys: (value(critic, real, fake), state)  # noqa: E731
    return {"discriminator_terms": (gan_jax.Term(1.0, gan_jax.Penalty("own", lambda: (), apply)),)}


def shuffled(state, images, keys):
    return images - images.mean(axis=0, keepdims=True)


REFUSED = {
    "a network": ({"discriminator": Centred()}, "the discriminator, Centred of .*samples apart .*axis_name"),
    "a penalty's square": (
        penalty(lambda d, real, fake: d(real).mean() ** 2),
        "the penalty own is not known to be",
    ),
    "a penalty's sum": (penalty(lambda d, real, fake: d(real).sum()), "the penalty own is not known to be a mean"),
    "a penalty's threshold": (
        penalty(lambda d, real, fake: jax.nn.relu(d(real).mean() - 50)),
        "the penalty own is not known to be a mean",
    ),
    "a network that mixes groups of four": (
        {"discriminator": Deviation()},
        "the discriminator, Deviation of .*samples apart .*axis_name",
    ),
    "an augmentation": (
        {"augment": gan_jax.augment.Augment(lambda: (), shuffled, lambda state, *_: state)},
        "the augmentation is not shown to keep samples apart",
    ),
    "a logit": (
        {"loss": losses.hinge()._replace(logit=lambda output: output - output.mean())},
        "Loss.logit is not shown to keep samples apart",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_mixes_samples_without_the_axis_is_refused(name):
    changes, words = REFUSED[name]
    with pytest.raises(ValueError, match=words):
        trace(**changes)


def test_a_mean_over_samples_is_taken():
    def slope(d, real, fake):
        """A gradient penalty between the kinds, and a term without a critic."""
        middle = real._replace(image=(real.image + fake.image) / 2)
        gradient = jax.grad(lambda image: d(middle._replace(image=image)).sum())(middle.image)
        return jnp.mean(jnp.sum(gradient**2, axis=(1, 2, 3))) + jnp.mean(fake.image)

    assert trace(**penalty(slope))
