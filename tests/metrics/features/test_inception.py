"""Inception for FID: shapes, layers compared with NumPy, the search for its file, and two packages."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from devices import run_json
from gan_jax.errors import UserError
from gan_jax.metrics.features import inception
from gan_jax.metrics.features.extractor import Extracted, Extractor, extract
from gan_jax.metrics.features.layers import Affine, conv, depthwise, fold, max_pool, mean_pool
from gan_jax.metrics.features.resize import bilinear, sources

pytestmark = pytest.mark.usefixtures("quick_compile")

RNG = np.random.default_rng(0)


def test_parameters_are_those_of_fid_s_network():
    shapes = inception.shapes()
    assert sum(math.prod(shape) for name, shape in shapes.items() if "running" not in name) == 23_850_960
    assert sum(name.endswith("conv.weight") for name in shapes) == 94


@pytest.mark.parametrize("resize", ["torch_fidelity", "pytorch_fid"])
def test_shapes_through_the_network(resize):
    params = {}
    for name, shape in inception.shapes().items():
        if name.endswith("conv.weight"):
            kernel = jax.ShapeDtypeStruct((*shape[2:], *shape[1::-1]), np.float32)
            params[name[: -len(".conv.weight")]] = Affine(kernel, jax.ShapeDtypeStruct(shape[:1], np.float32))
    params["fc"] = Affine(
        jax.ShapeDtypeStruct((2048, 1008), np.float32), jax.ShapeDtypeStruct((1008,), np.float32)
    )
    images = jax.ShapeDtypeStruct((3, 40, 28, 1), np.uint8)
    found = jax.eval_shape(inception._APPLY[resize], params, images)
    assert (found.features.shape, found.logits.shape) == ((3, 2048), (3, 1008))
    assert found.features.dtype == found.logits.dtype == np.float32


def around(image, reduce):
    """Applies `reduce` to the 3 x 3 pixels around each pixel, without pixels outside the image."""
    out = np.zeros(image.shape)
    for i, j in np.ndindex(*image.shape[:2]):
        out[i, j] = reduce(image[max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2].astype(np.float64), axis=(0, 1))
    return out


@pytest.mark.parametrize("shape", [(5, 4), (1, 2), (2, 1), (3, 3)])
def test_pools_leave_out_what_lies_outside(shape):
    x = RNG.normal(-2, 1, (2, *shape, 3)).astype(np.float32)
    np.testing.assert_allclose(mean_pool(x), [around(image, np.mean) for image in x], rtol=1e-6)
    np.testing.assert_array_equal(max_pool(x, stride=1, padding="SAME"), [around(image, np.max) for image in x])


def test_max_pool_by_halves():
    x = RNG.normal(size=(1, 8, 7, 2)).astype(np.float32)
    expected = [[x[0, i : i + 3, j : j + 3].max(axis=(0, 1)) for j in (0, 2, 4)] for i in (0, 2, 4)]
    np.testing.assert_array_equal(max_pool(x, stride=2, padding="VALID")[0], expected)


def test_folded_batch_norm():
    state = {"c.weight": RNG.normal(size=(4, 3, 1, 1)), "n.running_var": RNG.uniform(0, 1, 4)}
    state |= {f"n.{name}": RNG.normal(size=4) for name in ("weight", "bias", "running_mean")}
    x = RNG.normal(size=(2, 3, 3, 3)).astype(np.float32)
    y = np.einsum("nhwi,oi->nhwo", x, state["c.weight"][:, :, 0, 0]) - state["n.running_mean"]
    expected = y / np.sqrt(state["n.running_var"] + 0.001) * state["n.weight"] + state["n.bias"]
    np.testing.assert_allclose(conv(x, fold(state, "c", "n", 0.001)), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("size", "kernel", "stride"), [((6, 5), 3, 2), ((5, 6), 5, 2), ((4, 4), 3, 1)])
def test_depthwise_is_the_native_one(size, kernel, stride):
    x = RNG.normal(size=(2, *size, 4)).astype(np.float32)
    layer = Affine(RNG.normal(size=(kernel, kernel, 1, 4)).astype(np.float32), np.arange(4, dtype=np.float32))
    native = jax.lax.conv_general_dilated(
        x,
        layer.kernel,
        (stride, stride),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=4,
    )
    np.testing.assert_allclose(depthwise(jnp.asarray(x), layer, stride=stride), native + layer.bias, atol=1e-5)


def position(i, n, grid):
    return i * n / 299 if grid == "corner" else max(0.0, (i + 0.5) * n / 299 - 0.5)


@pytest.mark.parametrize("grid", ["corner", "half_pixel"])
@pytest.mark.parametrize("n", [1, 2, 23, 32, 64, 299, 300, 1024])
def test_pixels_lie_where_the_packages_put_them(n, grid):
    low, high, weight = sources(n, 299, grid)
    assert 0 <= low.min() <= high.max() < n
    assert weight.min() >= 0
    ramp = np.arange(n)
    found = ramp[low] + (ramp[high] - ramp[low]) * weight.astype(np.float64)
    expected = [min(position(i, n, grid), n - 1) for i in range(299)]  # constant after the last pixel
    np.testing.assert_allclose(found, expected, atol=2e-7 * n)


@pytest.mark.parametrize("grid", ["corner", "half_pixel"])
def test_bilinear_is_numpy_s(grid):
    x = RNG.uniform(0, 255, (1, 5, 7, 2)).astype(np.float32)
    chosen = [*range(0, 299, 23), 297, 298]
    expected = np.zeros((299, 299, 2))
    for i, j in itertools.product(chosen, chosen):
        v, u = position(i, 5, grid), position(j, 7, grid)
        for p, a in ((int(v), 1 - v % 1), (min(int(v) + 1, 4), v % 1)):
            for q, b in ((int(u), 1 - u % 1), (min(int(u) + 1, 6), u % 1)):
                expected[i, j] += a * b * x[0, p, q].astype(np.float64)
    found = jax.jit(lambda x: bilinear(x, 299, grid))(x)[0]
    assert found.shape == expected.shape
    square = np.ix_(chosen, chosen)
    np.testing.assert_allclose(np.asarray(found)[square], expected[square], rtol=1e-5, atol=1e-3)


def test_the_file_is_looked_for_and_asked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in (inception.VARIABLE, "TORCH_HOME"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(
        UserError, match=r"weights-inception-2015-12-05-6726825d.pth from https.*cache/gan_jax/weights"
    ):
        inception.find()
    names = list(inception.FILES)
    places = [("torch/hub/checkpoints", names[1]), ("gan_jax/weights", names[0])]
    for folder, name in places:  # a later place is preferred to an earlier one
        path = tmp_path / "cache" / folder / name
        path.parent.mkdir(parents=True)
        path.touch()
        assert inception.find() == path
    monkeypatch.setenv(inception.VARIABLE, str(tmp_path / "none.pth"))
    with pytest.raises(UserError, match=r"no file '.*none.pth', which GAN_JAX_INCEPTION names: get "):
        inception.find()
    (tmp_path / "none.pth").touch()
    assert inception.find() == tmp_path / "none.pth"
    with pytest.raises(UserError, match=r"no file 'other.pth': get"):
        inception.find("other.pth")


def test_other_networks_are_refused(tmp_path):
    state = {name: np.broadcast_to(np.float32(1), shape) for name, shape in inception.shapes().items()}
    inception.check(state, "w")
    with pytest.raises(UserError, match=r"'w' has fc.weight of shape \(1000, 2048\)"):
        inception.check(state | {"fc.weight": np.broadcast_to(np.float32(1), (1000, 2048))}, "w")
    del state["Mixed_7c.branch_pool.bn.running_var"]
    with pytest.raises(UserError, match=r"has no Mixed_7c.branch_pool.bn.running_var"):
        inception.check(state, "w")
    with pytest.raises(UserError, match="resize must be one of torch_fidelity, pytorch_fid, got 'keras'"):
        inception.inception("w", resize="keras")


def tiny(logits=True):
    """Returns an extractor of the sums of rows, and a list that grows whenever it is traced."""
    traces = []

    def apply(params, images):
        traces.append(images.shape)
        features = jnp.sum(images.astype(jnp.float32), axis=(2, 3)) * params
        return Extracted(features, features[:, :1] if logits else None)

    return Extractor("tiny", "0" * 16, "none", 4, np.float32(2), apply), traces


@pytest.mark.parametrize("sizes", [[10], [3, 3, 4], [1, 0, 8, 1], [4, 4, 2]])
def test_extract_keeps_order_however_images_come(sizes):
    images = RNG.integers(0, 256, (10, 4, 3, 1), np.uint8)
    extractor, traces = tiny()
    batches = lambda: iter(np.split(images, np.cumsum(sizes)[:-1]))  # noqa: E731
    expected = 2.0 * images.astype(np.float64).sum(axis=(2, 3))
    for _ in range(2):
        features, logits = extract(extractor, batches(), batch=4)
        np.testing.assert_array_equal(features, expected)
        np.testing.assert_array_equal(logits, expected[:, :1])
        assert features.dtype == np.float32
    assert traces == [(4, 4, 3, 1)]  # the padded last batch and the second call compile nothing


def test_extract_refuses_what_it_can_t_read():
    extractor, _ = tiny(logits=False)
    good = np.zeros((2, 4, 3, 1), np.uint8)
    assert extract(extractor, [good])[1] is None
    for bad in (good[0], good.astype(np.float32), np.zeros((2, 4, 3, 2), np.uint8)):
        with pytest.raises(ValueError, match=r"uint8 images \[n, H, W, 1 or 3\], got"):
            extract(extractor, [bad])
    with pytest.raises(ValueError, match="all images must have one shape"):
        extract(extractor, [good, np.zeros((2, 3, 3, 1), np.uint8)])
    with pytest.raises(ValueError, match="no images"):
        extract(extractor, [])


DEVICES = """
import json
import jax, numpy as np
import jax.numpy as jnp
from gan_jax.metrics.features.extractor import Extracted, Extractor, extract
seen = []
def apply(params, images):
    seen.append(images.shape)
    return Extracted(params * jnp.sum(images.astype(jnp.float32), axis=(2, 3)), None)
images = np.random.default_rng(0).integers(0, 256, (10, 4, 3, 1), np.uint8)
tiny = Extractor("tiny", "0" * 16, "none", 4, np.float32(2), apply)
features, _ = extract(tiny, [images], batch=4)
np.testing.assert_array_equal(features, 2.0 * images.astype(np.float64).sum(axis=(2, 3)))
one, _ = extract(tiny, [images], batch=4, devices=jax.devices()[:1])
np.testing.assert_array_equal(features, one)
print(json.dumps([shape[0] for shape in seen]))
"""


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_extract_over_several_devices():
    assert run_json(DEVICES, devices=3) == [6, 4]


PEERS = """
import importlib.util, json
if any(importlib.util.find_spec(name) is None for name in ("torch", "pytorch_fid", "torch_fidelity")):
    print(json.dumps(None))
    raise SystemExit
import numpy as np, torch
from gan_jax.metrics.features import inception
from gan_jax.metrics.features.extractor import extract

# torchvision's compiled part may be built for another PyTorch. Its Python part is enough, with these two names.
if not hasattr(torch.ops.torchvision, "nms"):
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
import pytorch_fid.inception
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

rng = np.random.default_rng(0)
state = {}
for name, shape in inception.shapes().items():
    if len(shape) > 1:
        value = rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape)
    elif name.endswith(("running_var", "bn.weight")):
        value = rng.uniform(0.5, 1.5, shape)
    else:
        value = rng.normal(0, 0.1, shape)
    state[name] = torch.from_numpy(value.astype(np.float32))
torch.save(state, "FOLDER/w.pth")
images = rng.integers(0, 256, (3, 28, 36, 3), np.uint8)
images[0] = 255 * (np.indices((28, 36)).sum(axis=0) % 2)[:, :, None]
images[1] //= 8
x = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())

with torch.no_grad():
    fidelity = FeatureExtractorInceptionV3("i", ["2048", "logits_unbiased", "logits"], "FOLDER/w.pth")(x)
    pytorch_fid.inception.load_state_dict_from_url = lambda *args, **keywords: state
    fid = pytorch_fid.inception.InceptionV3().eval()(x.float() / 255)[0][:, :, 0, 0]

def distance(found, expected):
    '''The error relative to the distances between images, which are small with random weights.'''
    expected = expected.numpy().astype(np.float64)
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected - expected.mean(axis=0)))

def read(**keywords):
    return extract(inception.inception("FOLDER/w.pth", **keywords), [images], batch=3)

ours, unbiased = read()
_, biased = read(bias=True)
half, _ = read(resize="pytorch_fid")
print(json.dumps({
    "torch_fidelity": distance(ours, fidelity[0]),
    "logits_unbiased": distance(unbiased, fidelity[1]),
    "logits": distance(biased, fidelity[2]),
    "pytorch_fid": distance(half, fid),
    "between": distance(ours, fid),
}))
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_features_are_those_of_torch_fidelity_and_pytorch_fid(tmp_path):
    """With random weights that PyTorch saves, features are those of the packages, including their resize."""
    found = run_json(PEERS.replace("FOLDER", str(tmp_path)), timeout=280)
    if found is None:
        pytest.skip("torch-fidelity and pytorch-fid are not installed (make peers)")
    assert found.pop("between") > 0.02
    assert max(found.values()) < 1e-4, found
