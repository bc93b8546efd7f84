"""Networks for audio, video and volumes: sizes, layers against images and references, and a training step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import gan_jax
from filled import filled
from gan_jax.models import dcgan, r3gan, sngan, stylegan2
from gan_jax.models.layers.sizes import doublings, stage_factors, stage_sizes
from gan_jax.pytree import named_leaves

pytestmark = pytest.mark.usefixtures("quick_compile")

KEY = jax.random.key(0)
MODELS = {"dcgan": dcgan, "sngan": sngan, "r3gan": r3gan}
SHAPES = {
    "audio": (16384, 1),
    "video": (16, 32, 32, 1),
    "volume": (16, 16, 16, 1),
    "3 to 2": (48, 32, 3),
    "16 to 9": (64, 36, 3),
    "long video": (16, 64, 64, 1),
}


def networks(name, shape, width=2):
    """Returns the narrowest generator and discriminator for samples of this shape."""
    stages = doublings(shape[:-1])[1] + 1
    keywords = {
        "dcgan": {"width": width},
        "sngan": {"widths": (width,) * stages},
        "r3gan": {"widths": (width,) * stages, "cardinality": 2, "blocks": 1},
    }[name]
    return MODELS[name].Generator(shape, **keywords), MODELS[name].Discriminator(**keywords)


def options(name):
    """Returns the keywords with which generator and discriminator are called."""
    return {} if name == "r3gan" else {"train": False}, {"train": False} if name == "dcgan" else {}


@pytest.mark.parametrize(
    ("size", "sizes"),
    [
        ((16, 64, 64), [(4, 4, 4), (4, 8, 8), (4, 16, 16), (8, 32, 32), (16, 64, 64)]),
        ((16, 32, 48), [(4, 4, 6), (4, 8, 12), (8, 16, 24), (16, 32, 48)]),
        ((16, 16, 16), [(4, 4, 4), (8, 8, 8), (16, 16, 16)]),
        ((64, 16, 16), [(16, 4, 4), (32, 8, 8), (64, 16, 16)]),  # no more doublings than those of H and W
        ((30, 16, 16), [(15, 4, 4), (15, 8, 8), (30, 16, 16)]),
        ((17, 16, 16), [(17, 4, 4), (17, 8, 8), (17, 16, 16)]),
        ((1, 8, 8), [(1, 4, 4), (1, 8, 8)]),
        ((8, 36, 64), [(4, 9, 16), (4, 18, 32), (8, 36, 64)]),
        ((64, 36), [(16, 9), (32, 18), (64, 36)]),
        ((40,), [(5,), (10,), (20,), (40,)]),
    ],
)
def test_the_first_axis_is_doubled_last_and_has_any_length(size, sizes):
    times = doublings(size)[1]
    assert stage_sizes(size, times) == sizes
    for factor, before, after in zip(stage_factors(size, times), sizes[:-1], sizes[1:], strict=True):
        factors = (factor,) * len(size) if isinstance(factor, int) else factor
        assert tuple(a * f for a, f in zip(before, factors)) == after
    if len(size) < 3:
        assert stage_factors(size, times) == [2] * times


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (
            (44100, 1),
            r"audio of 44100 samples: cut the data, as with data\.source\.window=40960 or 49152\. The length must",
        ),
        ((7, 1), r"audio of 7 samples: .*window=8\."),
        ((16, 100, 64, 1), r"video or volumes of 16 x 100 x 64: resize .*size=96x64 or 112x64\. Both sides"),
        ((4, 22, 22, 1), r"video .*size=20 or 24\."),
    ],
)
@pytest.mark.parametrize("name", ["dcgan", "r3gan"])
def test_a_size_that_cannot_be_made_names_near_ones(name, shape, message):
    with pytest.raises(ValueError, match=f"{name} can't make {message}"):
        jax.eval_shape(lambda: MODELS[name].Generator(shape).init(KEY, jnp.zeros((2, 3)), **options(name)[0]))


def test_widths_of_sngan_for_audio_and_video():
    """Audio has as many blocks as doublings; video has the layout of its frames."""

    def widths(shape):
        params = jax.eval_shape(lambda: sngan.Discriminator().init(KEY, jnp.zeros((1, *shape))))["params"]
        return [params[f"block_{i}"]["conv_1"]["kernel"].shape for i in range(1, len(params))]

    assert widths((256, 1)) == [(3, c, c) for c in (64, 128, 256, 512, 1024, 1024, 1024)]
    assert widths((16, 32, 32, 1)) == [(3, 3, 3, 128, 128)] * 4
    with pytest.raises(ValueError, match="no widths for video or volumes of 16 x 16 x 16: give both networks"):
        widths((16, 16, 16, 1))


def test_other_networks_name_those_that_take_audio():
    with pytest.raises(ValueError, match=r"stylegan2 needs images .* \(64, 1\): use dcgan, sngan, r3gan or mlp"):
        stylegan2.Generator((64, 1)).init(KEY, jnp.zeros((2, 3)), train=False)


@pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, marks=[] if kind in ("audio", "video") else pytest.mark.slow) for kind in SHAPES],
)
@pytest.mark.parametrize("name", MODELS)
def test_both_networks_build(name, kind):
    generator, discriminator = networks(name, SHAPES[kind])
    of_generator, of_discriminator = options(name)
    init = lambda network, x, keywords: jax.eval_shape(lambda: network.init_with_output(KEY, x, **keywords))  # noqa: E731
    sample, _ = init(generator, jnp.zeros((2, 3)), of_generator)
    assert sample.shape == (2, *SHAPES[kind])
    assert sample.dtype == jnp.float32
    logits, _ = init(discriminator, jnp.zeros(sample.shape), of_discriminator)
    assert logits.shape == (2,)


def inflated(params, like, outer):
    """Returns the parameters of a network for images as those of one for clips of one frame.

    A kernel for clips has the kernel for images in its middle, and normal numbers times `outer` around it.
    """

    def leaf(x, whole):
        if x.ndim != 4:  # `basis` and `pool` of r3gan get an axis of length 1
            return x.reshape(whole.shape)
        return (outer * jax.random.normal(KEY, whole.shape)).at[whole.shape[0] // 2].set(x)

    return jax.tree.map(leaf, params, like)


@pytest.mark.parametrize("player", [0, 1], ids=["generator", "discriminator"])
@pytest.mark.parametrize(
    "name", ["dcgan", *(pytest.param(name, marks=pytest.mark.slow) for name in ("sngan", "r3gan"))]
)
def test_a_clip_of_one_frame_is_an_image(name, player):
    """The outer planes of kernels 3 x k x k see zeros only."""
    shape, keywords = (16, 24, 1), options(name)[player]
    flat, deep = (networks(name, s, 4)[player] for s in (shape, (1, *shape)))
    x = jax.random.normal(KEY, (2, *(shape if player else (5,))))
    clip = x[:, None] if player else x
    variables = filled(jax.eval_shape(lambda: flat.init(KEY, x, **keywords)))
    like = jax.eval_shape(lambda: deep.init(KEY, clip, **keywords))["params"]
    outer = 0.0 if "spectral" in variables else 0.5  # a spectral norm would be that of the whole kernel
    whole = {**variables, "params": inflated(variables["params"], like, outer)}
    expected = jax.jit(lambda v, x: flat.apply(v, x, **keywords))(variables, x)
    found = jax.jit(lambda v, x: deep.apply(v, x, **keywords))(whole, clip)
    np.testing.assert_allclose(found.reshape(expected.shape), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "name", ["r3gan", *(pytest.param(name, marks=pytest.mark.slow) for name in ("dcgan", "sngan"))]
)
def test_volumes_have_no_preferred_axis(name):
    """With the first two axes of a volume and of every kernel swapped, a discriminator gives the same logits."""
    _, discriminator = networks(name, (16, 16, 16, 1), 4)
    keywords = options(name)[1]
    volume = jax.random.normal(KEY, (2, 16, 16, 16, 1))
    variables = filled(jax.eval_shape(lambda: discriminator.init(KEY, volume, **keywords)))
    params = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1) if x.ndim == 5 else x, variables["params"])
    if name == "dcgan":
        maps = params["logit"]["kernel"].reshape(4, 4, 4, -1)
        params["logit"]["kernel"] = jnp.swapaxes(maps, 0, 1).reshape(-1, 1)
    if name == "r3gan":
        params["pool"] = jnp.swapaxes(params["pool"], 0, 1)
    apply = jax.jit(lambda variables, x: discriminator.apply(variables, x, **keywords))
    other = apply({**variables, "params": params}, jnp.swapaxes(volume, 1, 2))
    np.testing.assert_allclose(other, apply(variables, volume), rtol=1e-4, atol=1e-5)


def test_dcgan_of_audio_is_its_formula():
    """Convolutions of size 4 and stride 2, leaky ReLU between them, and a product with the last map."""
    network = dcgan.Discriminator(width=3, norm="none")
    wave = jax.random.normal(KEY, (2, 16, 2))
    variables = filled(jax.eval_shape(lambda: network.init(KEY, wave, train=False)))
    params, x = variables["params"], wave
    for i in range(2):
        layer = params[f"down_{i}"]
        assert layer["kernel"].shape == (4, (2, 3)[i], (3, 6)[i])
        x = lax.conv_general_dilated(x, layer["kernel"], (2,), ((1, 1),), dimension_numbers=("NWC", "WIO", "NWC"))
        x = x + layer["bias"]
        x = jnp.where(x > 0, x, 0.2 * x)
    expected = x.reshape(2, -1) @ params["logit"]["kernel"][:, 0] + params["logit"]["bias"]
    np.testing.assert_allclose(np.asarray(network.apply(variables, wave, train=False)), expected, rtol=1e-5)


@pytest.mark.parametrize(
    "shape", [(16, 8), *(pytest.param(shape, marks=pytest.mark.slow) for shape in [(16, 16, 8), (8, 16, 16, 8)])]
)
@pytest.mark.parametrize(("name", "gain"), [("dcgan", 0.02**2 * 16 * 8), ("r3gan", 2 / 1.04 / 6**0.5)])
def test_weights_start_as_large_as_those_of_images(name, gain, shape):
    """The sum over a kernel of inputs of variance 1 varies as much in 1 and 3 dimensions as in 2."""
    discriminator = networks(name, shape, 8)[1].clone(**({"blocks": 2} if name == "r3gan" else {"width": 64}))
    params = jax.jit(lambda: discriminator.init(KEY, jnp.zeros((1, *shape)), **options(name)[1]))()["params"]
    kernel = (params["down_0"] if name == "dcgan" else params["block_16_0"]["conv_2"])["kernel"]
    assert kernel.ndim == len(shape) + 1
    per_output = jnp.sum(jnp.square(kernel), axis=tuple(range(len(shape))))
    assert jnp.mean(per_output) == pytest.approx(gain, rel=0.15)


SLOW = [pytest.mark.slow, pytest.mark.timeout(300)]
STEPS = [
    pytest.param(name, kind, marks=[] if (name, kind) == ("dcgan", "small video") else SLOW)
    for name in MODELS
    for kind in ["audio", "video", "volume", "3 to 2", "small video"]
]


# Parameters that have no gradient in the first step. The last convolution of R3GAN's blocks starts at zero, which
# hides those before it. SNGAN's narrow layers have channels that a rectifier makes zero everywhere.
HIDDEN = {
    "dcgan": set(),
    "sngan": {f"{norm}/scale" for norm in ("norm", "norm_0/batch/norm", "norm_1/batch/norm")},
    "r3gan": {f"conv_{i}/{leaf}" for i in (1, 2) for leaf in ("kernel", "bias")},
}


@pytest.mark.parametrize(("name", "kind"), STEPS)
def test_a_step_is_finite_and_moves_both_players(name, kind):
    shape = {**SHAPES, "small video": (8, 8, 8, 1)}[kind]
    tx = gan_jax.optimizers.adam(0.01, eps=1e-20)  # moves every parameter that has a gradient, however small
    loss = gan_jax.losses.relativistic() if name == "r3gan" else gan_jax.losses.non_saturating()
    width = 8 if name == "sngan" else 2
    gan = gan_jax.GAN(*networks(name, shape, width), loss, tx, tx, gan_jax.latents.normal(3))
    batch = {"image": jnp.tanh(jax.random.normal(KEY, (4, *shape)))}
    state = jax.jit(lambda: gan_jax.init(gan, KEY, batch))()
    before = jax.device_get((state.generator.params, state.discriminator.params))
    state, metrics = gan_jax.jit_step(gan_jax.make_train_step(gan))(state, batch)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(jax.device_get(metrics)))
    assert metrics["nonfinite"] == 0
    for old, new in zip(before, (state.generator.params, state.discriminator.params)):
        old, new = named_leaves(old), named_leaves(new)
        still = {path.partition("/")[2] for path in old if np.array_equal(old[path], new[path])}
        assert still <= HIDDEN[name]
