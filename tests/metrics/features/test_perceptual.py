"""Networks for `penalties.perceptual`: LPIPS against its formula in NumPy, and EfficientNet-Lite0's maps."""

from collections import OrderedDict
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax import penalties
from gan_jax.errors import UserError
from gan_jax.metrics.features import efficientnet_lite0 as efficientnet
from gan_jax.metrics.features import perceptual
from gan_jax.types import Samples
from torch_files import Call, Name, legacy, storage, zipped

pytestmark = pytest.mark.usefixtures("quick_compile")

RNG = np.random.default_rng(0)


def write(file, arrays, form=zipped, rebuild="_rebuild_tensor_v2"):
    """Writes a state dict as torch.save does. `_rebuild_tensor` is from before PyTorch 0.4: no flags, no hooks."""
    value, storages = OrderedDict(), {}
    for key, (name, array) in enumerate(arrays.items()):
        strides = tuple(step // 4 for step in array.strides)
        flags = () if rebuild == "_rebuild_tensor" else (False, Call(Name("collections", "OrderedDict")))
        stored = storage(str(key), array.size)
        value[name] = Call(Name("torch._utils", rebuild), stored, 0, array.shape, strides, *flags)
        storages[str(key)] = array.tobytes()
    return form(file, value, storages)


@pytest.fixture
def narrow(monkeypatch):
    """VGG-16 with few channels, and arrays for its two files."""
    widths = zip((2, 2, 3, 3, 3), (3, 4, 5, 4, 3))
    monkeypatch.setattr(perceptual, "_STAGES", tuple(widths))
    vgg = {name: RNG.normal(0, 0.4, shape).astype(np.float32) for name, shape in perceptual.vgg_shapes().items()}
    linear = {
        name: RNG.uniform(0, 1, shape).astype(np.float32) for name, shape in perceptual.linear_shapes().items()
    }
    return vgg, linear


def published(vgg, linear, one, other):
    """LPIPS of images `[B, 3, H, W]` in [-1, 1] in float64, in PyTorch's order of axes, and its smallest norm."""

    def convolution(x, index):
        padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (2, 3))
        out = np.einsum("bchwij,ocij->bohw", windows, vgg[f"features.{index}.weight"].astype(np.float64))
        return np.maximum(out + vgg[f"features.{index}.bias"][:, None, None], 0)

    def pool(x):
        h, w = x.shape[2] // 2 * 2, x.shape[3] // 2 * 2
        corners = [x[:, :, i:h:2, j:w:2] for i in (0, 1) for j in (0, 1)]
        return np.maximum.reduce(corners)

    def maps(x):
        shift, scale = [-0.030, -0.088, -0.188], [0.458, 0.448, 0.450]
        x = (x - np.reshape(shift, (3, 1, 1))) / np.reshape(scale, (3, 1, 1))
        for group in ([0, 2], [5, 7], [10, 12, 14], [17, 19, 21], [24, 26, 28]):  # relu1_2, relu2_2, relu3_3, ...
            for index in group:
                x = convolution(x, index)
            norm = np.sqrt((x**2).sum(1, keepdims=True))
            norms.append(norm.min())
            yield x / (norm + 1e-10)
            x = pool(x)

    norms, total = [], 0.0
    for layer, (a, b) in enumerate(zip(maps(one), maps(other))):
        weight = linear[f"lin{layer}.model.1.weight"].astype(np.float64)
        total += np.einsum("ockl,bchw->bohw", weight, (a - b) ** 2).mean()
    return total, min(norms)


def penalty_of(network, real):
    """Returns the penalty as a function of the generator's images."""
    penalty = penalties.perceptual(network.maps, weights=network.weights)
    apply: Any = penalty.apply  # it names the keyword `frozen`

    def value(image, variables):
        keys = jax.random.split(jax.random.key(0), len(real))
        samples, frozen = Samples(real, None, keys), {"perceptual": variables}
        return apply(penalty.init(), lambda inputs: image, None, samples, keys, frozen=frozen)[0]

    return jax.jit(jax.value_and_grad(value))


def test_lpips_and_its_gradient_are_those_of_the_formula(narrow, tmp_path):
    """Sides that pools cut, a map with a vector of zeros, and the two formats of files."""
    vgg, linear = narrow
    other = {"classifier.0.weight": np.ones((2, 2), np.float32)}  # torchvision's file has it too
    network = perceptual.lpips_vgg(
        write(tmp_path / "vgg16.pth", vgg | other, legacy, "_rebuild_tensor"), write(tmp_path / "vgg.pth", linear)
    )
    real, image, way = (RNG.uniform(-1, 1, (2, 19, 17, 3)).astype(np.float32) for _ in range(3))
    value, gradient = penalty_of(network, real)(image, network.variables)

    def formula(step):
        moved = image.astype(np.float64) + step * way
        return published(vgg, linear, real.astype(np.float64).transpose(0, 3, 1, 2), moved.transpose(0, 3, 1, 2))

    expected, smallest_norm = formula(0.0)
    assert smallest_norm == 0.0
    assert expected > 0.1
    assert value == pytest.approx(expected, rel=1e-5)
    slope = (formula(1e-6)[0] - formula(-1e-6)[0]) / 2e-6
    assert np.isfinite(gradient).all()
    assert np.vdot(gradient, way) == pytest.approx(slope, rel=1e-4)


def test_vgg_is_configuration_d():
    """Sizes of the published files: 14,714,688 parameters of convolutions, 1,472 weights of LPIPS."""
    shapes = perceptual.vgg_shapes()
    assert sum(int(np.prod(shape)) for shape in shapes.values()) == 14_714_688
    assert list(shapes)[::2][-4:] == [f"features.{index}.weight" for index in (21, 24, 26, 28)]
    assert sum(int(np.prod(shape)) for shape in perceptual.linear_shapes().values()) == 1472


def test_files_that_are_not_lpips(narrow, tmp_path, monkeypatch):
    vgg, linear = narrow
    paths = [write(tmp_path / "a.pth", vgg), write(tmp_path / "b.pth", linear)]
    with pytest.raises(UserError, match=r"there is no file '.*c.pth': get vgg16-397923af.pth from"):
        perceptual.lpips_vgg(tmp_path / "c.pth", paths[1])
    with pytest.raises(UserError, match=r"b.pth' holds another network, its features.0.weight is missing: get"):
        perceptual.lpips_vgg(*reversed(paths))
    linear["lin1.model.1.weight"] = np.ones((1, 192, 1, 1), np.float32)  # as of AlexNet
    other = write(tmp_path / "d.pth", linear)
    with pytest.raises(UserError, match=r"lin1.model.1.weight is of shape \(1, 192, 1, 1\), not \(1, 4, 1, 1\)"):
        perceptual.lpips_vgg(paths[0], other)
    monkeypatch.setattr(perceptual, "digest", lambda path: "b9e4236260c3dd98")
    with pytest.raises(UserError, match=r"is version 0.0 of LPIPS"):
        perceptual.lpips_vgg(*paths)


def test_maps_of_efficientnet_lite0():
    """The stem by NumPy, and the derivative by the image."""
    network = perceptual.efficientnet_lite0_maps((0, 1))
    assert sorted(network.variables) == ["_blocks.0._depthwise_conv", "_blocks.0._project_conv", "_conv_stem"]
    real, image = (RNG.uniform(-1, 1, (2, 12, 10, 1)).astype(np.float32) for _ in range(2))
    stem, first = jax.jit(network.maps)(network.variables, image)
    layer = network.variables["_conv_stem"]
    pixels = (np.repeat(image, 3, -1).astype(np.float64) + 1) * 127.5
    padded = np.pad((pixels - 127) / 128, ((0, 0), (0, 1), (0, 1), (0, 0)))  # "SAME" with a stride of 2
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))[:, ::2, ::2]
    expected = np.clip(np.einsum("bhwcij,ijco->bhwo", windows, layer.kernel) + layer.bias, 0, 6)
    np.testing.assert_allclose(stem, expected, rtol=1e-4, atol=1e-4)
    assert first.shape == (2, 6, 5, 16)
    of_image = penalty_of(network, real)
    _, gradient = of_image(image, network.variables)
    assert np.isfinite(gradient).all()
    slope = np.linalg.norm(gradient)  # along the gradient
    ahead, behind = (
        float(of_image(image + step * gradient / slope, network.variables)[0]) for step in (0.02, -0.02)
    )
    assert (ahead - behind) / 0.04 == pytest.approx(slope, rel=0.01)


def test_layers_of_efficientnet_lite0():
    network = perceptual.efficientnet_lite0_maps()
    assert set(network.variables) == efficientnet.names(7)
    image = jax.ShapeDtypeStruct((2, 40, 28, 1), jnp.bfloat16)
    maps = jax.eval_shape(network.maps, network.variables, image)
    sides = [(20, 14, 16), (10, 7, 24), (5, 4, 40), (3, 2, 112), (2, 1, 320)]
    assert [x.shape for x in maps] == [(2, *side) for side in sides]
    assert {x.dtype for x in maps} == {jnp.dtype("float32")}
    for layers in ((), (8,), (2, 1), (3, 3)):
        with pytest.raises(UserError, match="numbers from 0 to 7"):
            perceptual.efficientnet_lite0_maps(layers)


@pytest.mark.parametrize(
    ("shape", "dtype", "words"),
    [
        ((2, 4, 20, 20, 3), np.float32, "reads floating images"),
        ((2, 20, 20, 3), np.uint8, "reads floating images .*, got uint8"),
        ((2, 20, 20, 2), np.float32, "reads floating images"),
        ((2, 20, 15, 3), np.float32, "needs sides of 16 pixels or more, got 20 x 15"),
    ],
)
def test_images_that_are_refused(shape, dtype, words):
    with pytest.raises(UserError, match=words):
        jax.eval_shape(lambda image: perceptual._vgg_maps([], image), jax.ShapeDtypeStruct(shape, dtype))
