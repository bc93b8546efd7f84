"""Tests StyleGAN2: parameter counts, sizes, precision, three steps, and steps on two devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gan_jax
from devices import run_json
from gan_jax.models import stylegan2
from gan_jax.models.layers import equalized
from gan_jax.ops import modulated_conv
from small_stylegan2 import GENERATOR, KEY, KEYS, LABELS, LATENTS, SMALL, init, noisy_variables, shapes

pytestmark = pytest.mark.usefixtures("quick_compile")


def count(variables):
    return sum(x.size for x in jax.tree.leaves(variables["params"]))


@pytest.mark.parametrize(
    ("kind", "size", "options", "expected"),
    [
        ("Generator", 32, {"mapping_layers": 2, "classes": 10}, 20_215_315),
        ("Generator", 32, {"mapping_layers": 2}, 19_947_539),
        ("Discriminator", 32, {"architecture": "orig", "group": 32, "classes": 10}, 23_089_664),
        ("Discriminator", 32, {"architecture": "orig", "group": 32}, 20_720_641),
        ("Generator", 256, {"channel_base": 16384}, 24_767_458),
        ("Discriminator", 256, {"channel_base": 16384, "group": 8}, 24_001_089),
    ],
)
def test_parameters_are_as_many_as_ada_s(kind, size, options, expected):
    label = jnp.zeros((1,), int) if "classes" in options else None
    if kind == "Generator":
        network = stylegan2.Generator((size, size, 3), **options)
        image, variables = shapes(network, jnp.zeros((1, 512)), label, train=False)
        assert (image.shape, image.dtype) == ((1, size, size, 3), jnp.float32)
    else:
        logits, variables = shapes(stylegan2.Discriminator(**options), jnp.zeros((1, size, size, 3)), label)
        assert (logits.shape, logits.dtype) == ((1,), jnp.float32)
    assert count(variables) == expected


@pytest.mark.parametrize("size", [8, 64])
@pytest.mark.parametrize(("kind", "rival"), [("skip", "skip"), ("resnet", "orig"), ("skip", "resnet")])
def test_sizes_and_architectures(size, kind, rival):
    generator = stylegan2.Generator((size, size, 2), architecture=kind, **SMALL)
    image, _ = shapes(generator, jnp.zeros((3, 5)), train=True)
    assert image.shape == (3, size, size, 2)
    logits, _ = shapes(stylegan2.Discriminator(architecture=rival, channel_max=4, group=3), jnp.zeros(image.shape))
    assert logits.shape == (3,)


@pytest.mark.parametrize("size", [0, 4, 9, 44, 50])
def test_other_sizes_are_refused(size):
    with pytest.raises(ValueError, match=rf"images of {size} pixels: resize the data"):
        shapes(stylegan2.Generator((size, size, 3)), jnp.zeros((2, 5)), train=False)
    with pytest.raises(ValueError, match=rf"images of {size} pixels: resize the data"):
        shapes(stylegan2.Discriminator(), jnp.zeros((2, size, size, 3)))


def test_invalid_arguments_are_refused():
    image = jnp.zeros((2, 8, 8, 3))
    with pytest.raises(ValueError, match="architecture must be one of skip, resnet, got 'orig'"):
        shapes(stylegan2.Generator((8, 8, 3), architecture="orig"), jnp.zeros((2, 5)), train=False)
    with pytest.raises(ValueError, match="architecture must be one of resnet, orig, skip, got 'plain'"):
        shapes(stylegan2.Discriminator(architecture="plain"), image)
    with pytest.raises(ValueError, match="noise must be one of random, const, none, got 'fixed'"):
        shapes(stylegan2.Generator((8, 8, 3), noise="fixed"), jnp.zeros((2, 5)), train=False)
    with pytest.raises(ValueError, match="truncation_cutoff is a number of layers, from 0 up, got -1"):
        shapes(stylegan2.Generator((8, 8, 3), truncation_cutoff=-1), jnp.zeros((2, 5)), train=False)
    with pytest.raises(ValueError, match="minibatch_groups must be one of consecutive, strided, got 'odd'"):
        shapes(stylegan2.Discriminator(minibatch_groups="odd"), image)
    with pytest.raises(ValueError, match=r"style_mixing is a probability, so it must be from 0 to 1, got 1\.5"):
        shapes(stylegan2.Generator((8, 8, 3), style_mixing=1.5), jnp.zeros((2, 5)), train=False)
    with pytest.raises(ValueError, match=r"EqualConv\(down=True\) needs a kernel of size 3, not 1"):
        shapes(equalized.EqualConv(3, size=1, down=True), image)
    with pytest.raises(ValueError, match="truncation must be a Python number"):
        jax.eval_shape(lambda t: shapes(GENERATOR, LATENTS, LABELS, train=False, truncation=t), 0.5)
    with pytest.raises(ValueError, match="a network with 3 classes needs labels"):
        shapes(stylegan2.Generator((8, 8, 3), classes=3), jnp.zeros((2, 5)), train=False)
    with pytest.raises(ValueError, match="a network with 3 classes needs labels"):
        shapes(stylegan2.Discriminator(classes=3), image)
    with pytest.raises(ValueError, match="padding must be 0 together with up, got 1"):
        modulated_conv(image, jnp.zeros((3, 3, 3, 1)), jnp.zeros((2, 3)), padding=1, up=[1, 3, 3, 1])
    with pytest.raises(ValueError, match="up with 2 taps needs a square kernel of size 2 or less"):
        modulated_conv(image, jnp.zeros((4, 4, 3, 1)), jnp.zeros((2, 3)), up=[1, 1])


@pytest.fixture(scope="module")
def variables():
    return noisy_variables()


def test_a_discriminator_with_strided_groups():
    """With 4 samples in groups of 2, the groups are (0, 2) and (1, 3); consecutive ones are (0, 1) and (2, 3)."""
    strided = stylegan2.Discriminator(channel_max=4, group=2, minibatch_groups="strided")
    image = jax.random.normal(KEY, (4, 8, 8, 2))
    variables, order = init(strided, image), jnp.asarray([0, 2, 1, 3])
    one, other = (jax.jit(strided.clone(minibatch_groups=how).apply) for how in ("strided", "consecutive"))
    logits = one(variables, image)
    np.testing.assert_allclose(logits[order], other(variables, image[order]), rtol=1e-5, atol=1e-6)
    assert np.abs(logits - other(variables, image)).max() > 1e-4


# Both networks together.


@pytest.mark.slow
def test_networks_compute_in_bfloat16_and_return_float32(variables):
    """Images are close to those in float32, gradients are finite, and all results are float32."""
    options = {"classes": 3, "channel_max": 4, "mapping_layers": 1}
    discriminator = init(stylegan2.Discriminator(**options), jnp.zeros((1, 8, 8, 2)), LABELS[:1])

    def loss(both, dtype):
        generator = stylegan2.Generator((8, 8, 2), classes=3, dtype=dtype, **SMALL)
        image = generator.apply(both[0], LATENTS, LABELS, train=False, keys=KEYS)
        logits = stylegan2.Discriminator(**options, dtype=dtype).apply(both[1], image, LABELS)
        return jnp.sum(logits), (image, logits)

    both = variables, discriminator
    low = jax.jit(jax.grad(lambda both: loss(both, jnp.bfloat16), has_aux=True)).trace(both)
    assert "bf16[" in str(low.jaxpr)
    grads, (image, logits) = low.lower().compile()(both)
    assert {x.dtype for x in jax.tree.leaves((grads, image, logits))} == {np.dtype(np.float32)}
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((grads, image, logits)))
    by_label = grads[0]["params"]["to_w"]["embed"]["kernel"], grads[1]["params"]["mapping"]["embed"]["kernel"]
    assert all(np.abs(x).max() > 0 for x in by_label)
    exact = jax.jit(lambda both: loss(both, jnp.float32)[1][0])(both)
    np.testing.assert_allclose(image, exact, atol=0.05 * float(np.abs(exact).max()))
    assert np.abs(image - exact).max() > 0


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_three_steps():
    """With lazy R1, lazy path length, style mixing and noise, every parameter changes and the averages move."""
    generator = stylegan2.Generator((8, 8, 2), style_mixing=0.9, noise="const", **SMALL)
    discriminator = stylegan2.Discriminator(channel_max=4, architecture="orig")
    sgd, penalties = gan_jax.optimizers.sgd(0.01), gan_jax.penalties
    gan = gan_jax.GAN(
        generator, discriminator, gan_jax.losses.non_saturating(), sgd, sgd, gan_jax.latents.normal(5),
        generator_terms=(gan_jax.Term(2.0, penalties.path_length(through_mean=True), 2),),
        discriminator_terms=(gan_jax.Term(1.0, penalties.r1(), 2),),
    )  # fmt: skip
    batch = {"image": jax.random.normal(KEY, (4, 8, 8, 2))}
    state = jax.jit(lambda: gan_jax.init(gan, KEY, batch))()
    before = jax.device_get((state.generator.params, state.discriminator.params))
    buffers = jax.device_get(state.generator.model_state["noise_buffers"])
    step = gan_jax.jit_step(gan_jax.make_train_step(gan))
    means, lengths = [], []
    for i in range(3):
        state, metrics = step(state, batch)
        assert metrics["nonfinite"] == 0
        assert metrics["applied/path_length"] == (i % 2 == 0)
        assert (metrics["penalty/path_length"] > 0) == (i % 2 == 0)
        means.append(np.asarray(state.generator.model_state["w_avg"]["mean"]))
        lengths.append(float(state.generator.penalties[0]))
    assert 0 < lengths[0] == lengths[1] != lengths[2]  # path length does not act in the second step
    assert np.abs(means[1] - means[0]).max() > 0
    np.testing.assert_array_equal(state.ema["w_avg"]["mean"], means[-1])  # the EMA copies this average
    for kept in (state.generator.model_state, state.ema):
        jax.tree.map(np.testing.assert_array_equal, jax.device_get(kept["noise_buffers"]), buffers)
    after = jax.device_get((state.generator.params, state.discriminator.params))
    moved = jax.tree.map(lambda a, b: bool(np.abs(a - b).max() > 0), before, after)
    assert all(jax.tree.leaves(moved)), moved


DEVICES = """
import json
import jax, jax.numpy as jnp, numpy as np
import gan_jax
from gan_jax.models import stylegan2
from gan_jax.models.layers import equalized

jax.config.update("jax_disable_most_optimizations", True)
sgd = gan_jax.optimizers.sgd(0.01)
split = lambda x: x.reshape(2, 2, *x.shape[1:])
found = {}

def gap(one, other):
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return max(float(np.max(np.abs(a - b) / (1 + np.abs(b)))) for a, b in pairs)
"""

PARTS = """
x, weights = jax.random.normal(jax.random.key(0), (4, 2, 2, 3)), jnp.arange(4.0)

def value(x, weights, group, strided, axis=None):
    return jnp.sum(weights * equalized.minibatch_deviation(x, group, axis, strided)[:, 0, 0, -1])

for group, strided in ((2, False), (4, False), (8, False), (2, True), (8, True)):
    run = jax.pmap(lambda x, w, how=(group, strided): jax.value_and_grad(value)(x, w, *how, "i"), "i")
    parts = run(split(x), split(weights))
    one = jax.value_and_grad(value)(x, weights, group, strided)
    found[f"deviation {group} {strided}"] = gap(one, (jnp.sum(parts[0]), parts[1].reshape(x.shape)))

network = stylegan2.Generator((8, 8, 1), w_size=4, mapping_layers=1, channel_max=2)
latents = jax.random.normal(jax.random.key(1), (4, 3))
variables = jax.jit(lambda: network.init(jax.random.key(2), latents, train=False))()

def mean(latents, axis=None):
    return network.apply(variables, latents, train=True, axis_name=axis, method="mapping", mutable=["w_avg"])[1]

each = jax.pmap(lambda latents: mean(latents, "i"), "i")(split(latents))
found["mean of w"] = max(gap(mean(latents), jax.tree.map(lambda x, i=i: x[i], each)) for i in (0, 1))
print(json.dumps(found))
"""

STEP = """
gan = gan_jax.GAN(
    stylegan2.Generator((8, 8, 1), w_size=4, mapping_layers=1, channel_max=2, style_mixing=0.5),
    stylegan2.Discriminator(channel_max=2, group=2, minibatch_groups="strided"),
    gan_jax.losses.non_saturating(), sgd, sgd, gan_jax.latents.normal(3),
    generator_terms=(gan_jax.Term(2.0, gan_jax.penalties.path_length(through_mean=True), 1),),
)
batch = {"image": jax.random.normal(jax.random.key(1), (4, 8, 8, 1))}
states = []
for axis in (None, "i"):
    step = gan_jax.make_train_step(gan, axis_name=axis)
    step = gan_jax.jit_step(step) if axis is None else gan_jax.pmap_step(step, axis)
    state, _ = step(gan_jax.init(gan, jax.random.key(2), batch), batch)
    states.append(jax.block_until_ready(jax.device_get(state.replace(key=None))))
print(json.dumps({"state": gap(*states), "length": float(states[0].generator.penalties[0])}))
"""


@pytest.mark.slow  # `test_modes_architectures` tests both in whole steps
@pytest.mark.timeout(120)
def test_two_devices_are_one():
    """Minibatch deviation and its gradient, for groups on one and on both devices, and the average of w."""
    found = run_json(DEVICES + PARTS, devices=2)
    assert len(found) == 6
    assert max(found.values()) < 2e-6, found


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_step_on_two_devices():
    """The whole state is the same: parameters, the average of w and that of path lengths."""
    found = run_json(DEVICES + STEP, devices=2)
    assert found["length"] > 0
    assert found["state"] < 2e-6
