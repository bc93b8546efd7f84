"""Tests networks for images that are not square: sizes, and that square images keep their parameters and bits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.models import biggan, dcgan, dcgan_studiogan, r3gan, sagan, sngan, stylegan2
from gan_jax.models.layers.sizes import doublings, near_sizes

pytestmark = pytest.mark.usefixtures("quick_compile")

KEY = jax.random.key(0)
MODELS = {
    "dcgan": (dcgan, {"width": 2}, {}),
    "dcgan_studiogan": (dcgan_studiogan, {}, {}),
    "sngan": (sngan, {}, {}),
    "sagan": (sagan, {}, {}),
    "biggan": (biggan, {"width": 2}, {}),
    "r3gan": (r3gan, {}, {}),
    "stylegan2": (stylegan2, {"channel_base": 64, "channel_max": 4}, {"w_size": 4, "mapping_layers": 1}),
}
SIZES = [
    (48, 32),
    *(pytest.param(size, marks=pytest.mark.slow) for size in [(64, 32), (32, 48), (96, 128), (192, 128)]),
]


def networks(name, size, channels=3):
    model, shared, of_generator = MODELS[name]
    if name == "dcgan_studiogan":
        times = (min(size) // 4).bit_length() - 1
        shared = {"widths": (2,) * (times + 1)}
    return model.Generator((*size, channels), **shared, **of_generator), model.Discriminator(**shared)


def shapes(network, *inputs, **keywords):
    return jax.eval_shape(lambda: network.init_with_output(KEY, *inputs, **keywords))


@pytest.mark.parametrize("size", SIZES, ids=lambda size: "x".join(map(str, size)))
@pytest.mark.parametrize("name", MODELS)
def test_both_networks_take_images_that_are_not_square(name, size):
    if name == "dcgan_studiogan" and min(size) == 96:
        with pytest.raises(ValueError, match="multiple of 16, with 5 widths, not 96 x 128"):
            shapes(networks(name, size)[0], jnp.zeros((2, 60)), train=True)
        return
    generator, discriminator = networks(name, size)
    options = {} if name == "r3gan" else {"train": True}
    image, _ = shapes(generator, jnp.zeros((2, 60)), **options)
    assert image.shape == (2, *size, 3)
    options = {"train": True} if name.startswith("dcgan") else {}
    logits, _ = shapes(discriminator, jnp.zeros(image.shape), **options)
    assert logits.shape == (2,)


@pytest.mark.parametrize("name", MODELS)
def test_an_image_that_is_wider_has_the_same_parameters_but_for_the_first_map(name):
    """48 x 32 pixels come from 6 x 4 as 32 x 32 come from 4 x 4: every convolution has the same kernel."""
    latents = jnp.zeros((2, 60))

    def leaves(size):
        generator, discriminator = networks(name, size)
        of_generator = shapes(generator, latents, **({} if name == "r3gan" else {"train": True}))[1]["params"]
        options = {"train": True} if name.startswith("dcgan") else {}
        _, of_discriminator = shapes(discriminator, jnp.zeros((2, *size, 3)), **options)
        paths = jax.tree_util.tree_leaves_with_path((of_generator, of_discriminator["params"]))
        return {jax.tree_util.keystr(path): x.shape for path, x in paths}

    square, wide = leaves((32, 32)), leaves((32, 48))
    assert square.keys() == wide.keys()
    changed = {path for path in square if square[path] != wide[path]}
    names = {"project", "basis", "pool", "start", "dense", "logit"}  # what makes or reads a whole first map
    assert all(any(f"'{n}'" in path for n in names) for path in changed), changed
    assert 1 <= len(changed) <= 3


@pytest.mark.parametrize(
    ("size", "options", "expected"),
    [
        ((192, 128), {}, ((6, 4), 5)),
        ((48, 32), {}, ((6, 4), 3)),
        ((32, 64), {}, ((4, 8), 3)),
        ((96, 128), {}, ((6, 8), 4)),
        ((12, 40), {}, ((6, 20), 1)),
        ((64, 32), {"base": 2}, ((4, 2), 4)),
        ((64, 48), {"base": 3}, ((4, 3), 4)),
        ((64, 48), {"least": 4}, ((8, 6), 3)),
    ],
)
def test_one_number_of_doublings_for_both_sides(size, options, expected):
    assert doublings(size, **options) == expected
    first, times = expected
    assert tuple(side * 2**times for side in first) == size


@pytest.mark.parametrize(
    ("size", "near"),
    [
        ((100, 64), "96x64 or 112x64"),
        ((127, 130), "128x128 or 128x160"),
        ((300, 200), "192x128"),
        ((22, 22), "20 or 24"),
        ((9, 30), "8x30 or 10x30"),
    ],
)
def test_a_size_that_cannot_be_doubled_names_near_sizes_that_can(size, near):
    with pytest.raises(ValueError, match=rf"resize the data, as with data\.source\.size={near}\. Both"):
        doublings(size)
    for option in near.split(" or "):
        height, _, width = option.partition("x")
        assert doublings((int(height), int(width or height)))


def test_no_size_is_named_where_none_fits():
    assert near_sizes((9, 9), lambda size: False) == ""


def test_layers_of_stylegan2_count_doublings_and_not_pixels():
    """96 x 128 is 4 doublings of 6 x 8, so it has the names, channels and types of 64 x 64."""

    def kernels(size):
        generator = stylegan2.Generator((*size, 3), channel_base=64, channel_max=8, w_size=4, mapping_layers=1)
        params = shapes(generator, jnp.zeros((2, 5)), train=False)[1]["params"]["to_image"]
        return {k: v["kernel"].shape for k, v in params.items() if k != "start"}, params["start"].shape

    assert kernels((96, 128))[0] == kernels((64, 64))[0]
    assert (kernels((96, 128))[1], kernels((64, 64))[1]) == ((6, 8, 8), (4, 4, 8))


def test_stylegan2_s_noise_covers_the_whole_map():
    """With a noise strength in one layer only, every pixel of the image depends on the key."""
    generator, _ = networks("stylegan2", (12, 8))
    latents, keys = jnp.ones((1, 5)), jax.random.split(KEY, 1)
    variables = jax.jit(lambda: generator.init(KEY, latents, train=False))()
    layer = variables["params"]["to_image"]["conv_8"]
    layer["noise_strength"] = layer["noise_strength"] + 1.0
    render = jax.jit(lambda keys: generator.apply(variables, latents, train=False, keys=keys))
    other = render(jax.random.split(jax.random.key(1), 1))
    assert np.all(np.any(render(keys) != other, axis=-1))


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("sngan", "r3gan", "stylegan2")]


@pytest.mark.parametrize("name", ["dcgan", *SLOW])
def test_transposed_images_give_transposed_networks(name):
    """A discriminator of H x W with every kernel transposed reads the transposed image as the first does."""
    size = (12, 8) if name != "sngan" else (48, 32)
    _, discriminator = networks(name, size)
    image = jax.random.normal(jax.random.key(3), (2, *size, 3))
    options = {"train": False} if name == "dcgan" else {}

    @jax.jit
    def logits(image, other):
        variables = discriminator.init(KEY, image, **options)
        params = dict(variables["params"])
        turned = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1) if x.ndim == 4 else x, params)
        height, width = (side * 4 // min(size) for side in size)
        for layer in ("logit", "dense") if name in ("dcgan", "stylegan2") else ():
            if layer in params and (layer, name) != ("logit", "stylegan2"):
                kernel = params[layer]["kernel"]
                maps = kernel.reshape(height, width, -1, kernel.shape[-1])
                turned[layer] = {**params[layer], "kernel": jnp.swapaxes(maps, 0, 1).reshape(kernel.shape)}
        if name == "r3gan":
            turned["pool"] = jnp.swapaxes(params["pool"], 0, 1)
        first = discriminator.apply(variables, image, **options)
        return first, discriminator.apply({**variables, "params": turned}, other, **options)

    one, two = logits(image, jnp.swapaxes(image, 1, 2))
    np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-5)
