"""Several networks as one: of any library, with every kind of state, in every mode."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import gan_jax
import network_kinds
import small_gan
from devices import run_json
from gan_jax import losses, networks
from gan_jax.models import mlp
from gan_jax.step.mixing import mixing_operations

pytestmark = pytest.mark.usefixtures("quick_compile")
BATCH = small_gan.batches(8)


def halved(image):
    return image.mean(axis=1, keepdims=True)


def mixed():
    """Returns an ensemble of spectral norm, of batch norm and dropout, and of a function of half the image."""
    members = {
        "spectral": mlp.Discriminator(width=8, layers=1, spectral=True),
        "norm": network_kinds.make("linen", 0.5).discriminator,
        "half": networks.after(halved, networks.from_functions(init_half, apply_half)),
    }
    return networks.ensemble(members)


def init_half(key, image):
    return {"params": {"kernel": jax.random.normal(key, (image[0].size, 3))}}


def apply_half(variables, image, keys):
    """Returns a map of logits with features, and draws noise."""
    noise = jax.vmap(lambda key: jax.random.normal(key, (3,)))(keys)
    hidden = image.reshape(len(image), -1) @ variables["params"]["kernel"]
    return losses.LogitsAndFeatures((jnp.tanh(hidden) + 0.1 * noise)[..., None], [hidden])


def make(**keywords):
    loss = losses.over_members(losses.non_saturating())
    return small_gan.make(**{"discriminator": mixed(), "loss": loss, **keywords})


def start(gan, batch=BATCH):
    return gan_jax.init(gan, jax.random.key(0), batch)


def equal(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_an_ensemble_of_one_is_the_network():
    """With spectral norm and R1: bit for bit the same parameters, state, metrics and samples."""
    alone = mlp.Discriminator(width=8, spectral=True)
    terms = (gan_jax.Term(1.0, gan_jax.penalties.r1()),)
    name, together = "member_0", networks.ensemble([alone])
    single = small_gan.make(discriminator=alone, discriminator_terms=terms)
    gan = make(discriminator=together, discriminator_terms=terms)
    state, other = start(single), start(gan)
    own = {kind: {name: tree} for kind, tree in state.discriminator.variables.items()}
    params = own.pop("params")
    copied = other.discriminator.replace(params=params, model_state=own)
    equal(jax.tree.map(jnp.shape, copied), jax.tree.map(jnp.shape, other.discriminator))
    other = jax.tree.map(jnp.copy, other.replace(discriminator=copied))
    state, metrics = small_gan.train(single, BATCH, 2, state)
    other, more = small_gan.train(gan, BATCH, 2, other)
    equal(metrics, more)
    equal(state.ema, other.ema)
    for kind, tree in state.discriminator.variables.items():
        equal(tree, other.discriminator.variables[kind][name])


def test_members_start_and_draw_apart():
    """Member i is initialised from `fold_in(key, i)`, and draws from `fold_in(key, i)` of each sample."""
    gan, key, keys = make(), jax.random.key(3), jax.random.split(jax.random.key(4), 8)
    extra = {"train": False, "axis_name": None, "keys": keys}
    params, state = networks.init_network(gan.discriminator, key, BATCH["image"], **extra)
    assert set(params) == {"spectral", "norm", "half"}
    assert {kind: set(tree) for kind, tree in state.items()} == {"spectral": {"spectral"}, "batch_stats": {"norm"}}
    output, after = networks.call_network(
        gan.discriminator, params, state, BATCH["image"], **extra | {"train": True}
    )
    for i, (name, member) in enumerate(gan.discriminator.members.items()):
        folded = jax.vmap(lambda key, i=i: jax.random.fold_in(key, i))(keys)
        one = networks.init_network(member, jax.random.fold_in(key, i), BATCH["image"], **extra | {"keys": folded})
        equal(one[0], params[name])
        alone, own = networks.call_network(member, *one, BATCH["image"], **extra | {"train": True, "keys": folded})
        equal(alone, output[name])
        equal(own, {kind: tree[name] for kind, tree in after.items() if name in tree})
    refreshed = networks.refresh(gan.discriminator, params, state)
    alone = networks.refresh(
        gan.discriminator.members["spectral"], params["spectral"], {"spectral": state["spectral"]["spectral"]}
    )
    equal(refreshed["spectral"]["spectral"], alone["spectral"])
    equal(refreshed["batch_stats"], state["batch_stats"])


@pytest.mark.parametrize(
    "kind",
    ["functions", "linen", "nnx", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("equinox", "haiku"))],
)
def test_a_member_of_any_library(kind):
    """It has the bits that it has alone, also the state after a pass; in a sampler it needs no keys."""
    member = network_kinds.KINDS[kind].make(False, 0.0)
    both = networks.ensemble([small_gan.Discriminator(), member])
    extra = {"axis_name": None, "keys": jax.random.split(jax.random.key(1), 8)}
    params, state = networks.init_network(both, jax.random.key(0), BATCH["image"], train=False, **extra)
    (_, output), after = networks.call_network(both, params, state, BATCH["image"], **extra)
    own = {name: tree["member_1"] for name, tree in state.items()}
    alone, own_after = networks.call_network(member, params["member_1"], own, BATCH["image"], **extra)
    equal(output, alone)
    equal({name: tree["member_1"] for name, tree in after.items()}, own_after)
    assert set(networks.statistics_names(member)) <= set(networks.statistics_names(both))
    _, sampled = networks.sample_network(
        both, {"params": params, **state}, BATCH["image"], axis_name=None, keys=None
    )
    assert sampled.shape == (8,)


def test_what_an_ensemble_says_of_its_members():
    class Deviation(small_gan.Discriminator):
        group, classes = 4, 7

    both = networks.ensemble([mlp.Discriminator(classes=10), networks.after(halved, Deviation())])
    assert both.classes == 7
    assert mixing_operations(both, {}) == ["minibatch deviation (group=4)"]
    assert networks.ensemble([small_gan.Discriminator()]).classes is None
    with pytest.raises(ValueError, match="an ensemble needs at least one network"):
        networks.ensemble([])
    with pytest.raises(ValueError, match="the member 'a' of an ensemble must be an object with init and apply"):
        networks.ensemble({"a": mlp.Discriminator})
    with pytest.raises(ValueError, match=r"the discriminator returns a tuple.*losses.over_members"):
        start(small_gan.make(discriminator=networks.ensemble([small_gan.Discriminator()])))


def test_a_generator_of_two_members_without_names_is_refused():
    """Its tuple of two would be read as (images, aux)."""
    two = [small_gan.Generator(), small_gan.Generator()]
    for generator in (networks.ensemble(two), networks.after(jnp.tanh, networks.ensemble(two))):
        with pytest.raises(ValueError, match=r"is read as \(images, aux\): give its members names"):
            small_gan.make(generator=generator)
    small_gan.make(generator=networks.ensemble({"a": two[0], "b": two[1]}))
    small_gan.make(generator=networks.ensemble([*two, small_gan.Generator()]))


class OverBatch(nn.Module):
    """Subtracts the mean of the batch, and does not say so."""

    @nn.compact
    def __call__(self, image):
        return nn.Dense(1)((image - image.mean(axis=0)).reshape(len(image), -1))


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (OverBatch(), r"discriminator's member bad, OverBatch of test_ensemble, is not shown"),
        (networks.after(halved, OverBatch()), r"discriminator's member bad, OverBatch of test_ensemble"),
        (
            networks.after(lambda x: x - x.mean(0), mlp.Discriminator(width=8)),
            "function before the discriminator's",
        ),
    ],
)
def test_under_pmap_each_member_is_checked(member, message):
    """A batch norm that takes the axis, beside it, does not hide a member that mixes samples."""
    norm = network_kinds.make("linen", 0.5).discriminator
    for members, refused in (({"good": norm}, False), ({"good": norm, "bad": member}, True)):
        gan = make(discriminator=networks.ensemble(members))
        step = gan_jax.pmap_step(gan_jax.make_train_step(gan, axis_name="d"), "d")
        if refused:
            with pytest.raises(ValueError, match=message):
                step.trace(start(gan), BATCH)
        else:
            step.trace(start(gan), BATCH)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_an_ensemble_in_every_mode():
    """Spectral norm, batch norm with dropout, and a function with noise: one device, four, and fused steps.

    With microbatches the batch norm is left out, as it is over one part.
    """
    source = """
import json
import jax, numpy as np
import modes, test_ensemble, small_gan, gan_jax
from gan_jax import networks
batches = jax.tree.map(np.asarray, small_gan.batches(4, 16))
def end(gan, mode):
    state = test_ensemble.start(gan, jax.tree.map(lambda x: x[0], batches))
    return modes.on_host(modes.play(modes.make_step(gan, mode), mode, state, batches))
gan = test_ensemble.make(discriminator_terms=(gan_jax.Term(1.0, gan_jax.penalties.r1()),))
alone = end(gan, "jit")
found = {mode: modes.difference(end(gan, mode), alone) for mode in ("shard", "pmap", "fused")}
members = gan.discriminator.members
parts = networks.ensemble({"norm": members["spectral"], "half": members["half"]})
pair = [end(test_ensemble.make(discriminator=parts, microbatches=n), "jit") for n in (1, 4)]
print(json.dumps({**found, "microbatches": modes.difference(*pair)}))
"""
    found = run_json(source, devices=4, timeout=500)
    assert max(found.values()) < 1e-6, found
