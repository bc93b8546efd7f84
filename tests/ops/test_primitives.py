"""Tests that convolutions are formulated for the platform that is compiled for, and transform as JAX's own do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import architectures
import gan_jax
from derivatives import compare
from devices import run_json
from gan_jax.ops import FORMULATIONS, conv, conv_transpose, grouped_conv, upsample
from gan_jax.ops.backend import default_platform, formulations
from quick import some
from test_grouped import reference

pytestmark = pytest.mark.usefixtures("quick_compile")

# (kernel, stride, padding, height, width, groups, channels per group and output): maps as small as the kernel too.
SMALL = {
    "k4s2, 4 x 4 to 2 x 2": (4, 2, 1, 4, 4, 1, 3, 2),
    "k4s2, 8 x 8 to 4 x 4": (4, 2, 1, 8, 8, 1, 3, 2),
    "k3s1 on 2 x 2": (3, 1, 1, 2, 2, 1, 3, 2),
    "k3s1 on 3 x 5": (3, 1, 1, 3, 5, 1, 2, 3),
    "k3s2, some rows in no window": (3, 2, 0, 6, 10, 1, 2, 3),
    "k3s4, gaps": (3, 4, 0, 12, 8, 1, 2, 3),
    "k3s1 on 2 x 2 in groups": (3, 1, 1, 2, 2, 2, 3, 2),
    "k4s2 in groups": (4, 2, 1, 8, 8, 3, 2, 1),
    "k3s1 in groups": (3, 1, 1, 6, 5, 2, 2, 3),
}
QUICK = ("k4s2, 4 x 4 to 2 x 2", "k3s1 on 2 x 2 in groups", "k3s2, some rows in no window", "k4s2 in groups")


def both(case):
    """Returns our convolution, JAX's, and inputs x and kernel in float64."""
    k, stride, padding, height, width, groups, i, o = SMALL[case]
    draw = np.random.default_rng(0)
    inputs = draw.normal(size=(2, height, width, groups * i)), draw.normal(size=(k, k, i, groups * o))
    ours = lambda x, w: grouped_conv(x, w, groups=groups, stride=stride, padding=padding)  # noqa: E731
    return ours, lambda x, w: reference(x, w, groups, stride, padding), inputs


@pytest.mark.parametrize("row", ["gpu", pytest.param("native", marks=pytest.mark.slow)])
@pytest.mark.parametrize("case", some(SMALL, *QUICK))
def test_the_formulations_of_an_accelerator(case, row, monkeypatch):
    """Value, gradient and its gradient; the CPU's own are in test_conv.py and test_grouped.py."""
    of_accelerators = formulations()._replace(convolution=row, grouped="native")
    monkeypatch.setitem(FORMULATIONS, default_platform(), of_accelerators)
    with jax.enable_x64(True):
        compare(*both(case))


@pytest.mark.parametrize("case", ["k4s2 in groups", "k3s1 in groups"])
def test_merged_groups(case, monkeypatch):
    count = SMALL[case][5]
    row = formulations()._replace(convolution="native", grouped="native", merge=(count, count, count))
    monkeypatch.setitem(FORMULATIONS, default_platform(), row)
    with jax.enable_x64(True):
        ours, theirs, inputs = both(case)
        assert "feature_group_count = 1 " in jax.jit(ours).lower(*inputs).as_text()
        compare(ours, theirs, inputs)


def texts(function, *arguments):
    traced = jax.jit(function).trace(*arguments)  # once
    return {p: traced.lower(lowering_platforms=(p,)).as_text() for p in ("cpu", "cuda", "tpu")}


@pytest.mark.parametrize("name", ["dcgan", pytest.param("r3gan", marks=pytest.mark.slow)])
def test_one_traced_step_is_lowered_for_each_platform(name):
    gan = architectures.ARCHITECTURES[name]()
    batch = jax.tree.map(lambda x: jnp.asarray(x[0]), architectures.batches(gan, 1))
    state = jax.eval_shape(lambda key: gan_jax.init(gan, key, batch), jax.random.key(0))
    found = texts(gan_jax.make_train_step(gan), state, batch)
    grouped = {p for p, text in found.items() if "feature_group_count = 2" in text}
    assert grouped == (set() if name == "dcgan" else {"cuda", "tpu"})
    assert len(set(found.values())) == 3


def test_a_kernel_gradient_on_a_small_map_is_a_matrix_product_on_a_gpu():
    x, w = jnp.ones((2, 8, 8, 3)), jnp.ones((4, 4, 3, 5))
    gradient = jax.grad(lambda w, x: jnp.sum(conv(x, w, stride=2, padding=1) ** 2))
    found = texts(gradient, w, x)
    assert {p: text.count("dot_general") for p, text in found.items()} == {"cpu": 0, "cuda": 1, "tpu": 0}
    assert {p: text.count("stablehlo.convolution") for p, text in found.items()} == {"cpu": 2, "cuda": 1, "tpu": 2}


def test_a_transposed_convolutions_kernel_gradient_is_that_of_a_plain_one_on_a_gpu():
    """cuDNN has a routine for that of a plain convolution only."""
    y, w, image = jnp.ones((2, 8, 8, 5)), jnp.ones((4, 4, 3, 5)), jnp.ones((2, 16, 16, 3))
    transposed = jax.grad(lambda w: jnp.sum(image * conv_transpose(y, w, stride=2, padding=1)))
    plain = jax.grad(lambda w: jnp.sum(y * conv(image, w, stride=2, padding=1)))
    both = [texts(f, w)["cuda"].splitlines() for f in (transposed, plain)]
    lines = [[line for line in text if "convolution(" in line] for text in both]
    windows = [found[-1].split("window =")[1].split("}")[0] for found in lines]
    assert windows[0] == windows[1]


@pytest.mark.parametrize("case", ["k4s2, 8 x 8 to 4 x 4", "k3s1 in groups"])
def test_forward_mode(case):
    ours, theirs, (x, w) = both(case)
    tangents = np.cos(x), np.sin(w)
    with jax.enable_x64(True):
        by_kernel = [jax.grad(lambda x, w, f=f: jnp.sum(f(x, w) ** 3), argnums=1) for f in (ours, theirs)]
        found, expected = (jax.jit(lambda f=f: jax.jvp(f, (x, w), tangents))() for f in by_kernel)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9), found, expected)


@pytest.mark.parametrize("case", some(["k4s2, 8 x 8 to 4 x 4", "k3s1 in groups"], "k3s1 in groups"))
@pytest.mark.parametrize("axes", [(0, None), (None, 0), (1, 3)])
def test_vmap(case, axes):
    """Of the value, and of gradients, which bind the other two functions."""
    ours, theirs, (x, w) = both(case)
    x, w = (a if d is None else np.stack([a, 2 * a, a - 1], axis=d) for a, d in zip((x, w), axes))

    def all_of(f):
        gradients = jax.grad(lambda x, w: jnp.sum(f(x, w) ** 3), argnums=(0, 1))
        return jax.jit(jax.vmap(lambda x, w: (f(x, w), gradients(x, w)), in_axes=axes))(x, w)

    with jax.enable_x64(True):
        found, expected = all_of(ours), all_of(theirs)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9), found, expected)


VARYING = """
import json, jax, jax.numpy as jnp, numpy as np
from jax import lax
from jax.sharding import PartitionSpec as P
import gan_jax
from gan_jax.ops import FORMULATIONS, grouped_conv, upsample
def plain(x, w): return lax.conv_general_dilated(
    x, w, (1, 1), [(1, 1)] * 2, dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=2)
def ours(x, w): return grouped_conv(x, w, groups=2, padding=1)
x, w = (jnp.asarray(np.random.default_rng(0).normal(size=s), jnp.float32) for s in ((4, 4, 5, 4), (3, 3, 2, 6)))
mesh, gaps = gan_jax.make_mesh(), []
def total(f):
    mapped = lambda x, w: lax.psum(jnp.sum(f(upsample(x, (1, 3, 3, 1)), w) ** 3), "data")
    return jax.shard_map(mapped, mesh=mesh, in_specs=(P("data"), P()), out_specs=P())
expected = jax.grad(lambda x, w: jnp.sum(plain(upsample(x, (1, 3, 3, 1)), w) ** 3), argnums=(0, 1))(x, w)
for row in ("cpu", "cuda", "tpu"):
    FORMULATIONS["cpu"] = FORMULATIONS[row]
    found = jax.jit(jax.grad(total(lambda x, w: ours(x, w)), argnums=(0, 1)))(x, w)
    gaps += [float(jnp.max(jnp.abs(a - b)) / jnp.max(jnp.abs(b))) for a, b in zip(found, expected)]
print(json.dumps(gaps))
"""


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_gradients_in_a_shard_map_that_checks_what_varies():
    """On two devices: the gradient of a kernel that does not vary is a sum over devices, once."""
    assert max(run_json(VARYING, devices=2)) < 1e-5


def test_a_call_outside_of_jit_follows_the_row():
    ours, theirs, (x, w) = both("k3s1 in groups")
    x, w = jnp.asarray(x, jnp.float32), jnp.asarray(w, jnp.float32)
    np.testing.assert_allclose(ours(x, w), theirs(x, w), rtol=1e-5, atol=1e-5)


def test_without_jit():
    """`jax.disable_jit` computes each primitive at once."""
    ours, theirs, (x, w) = both("k4s2, 8 x 8 to 4 x 4")
    x, w = jnp.asarray(x, jnp.float32), jnp.asarray(w, jnp.float32)
    with jax.disable_jit():
        np.testing.assert_allclose(ours(x, w), theirs(x, w), rtol=1e-5, atol=1e-5)
        assert upsample(x, (1, 3, 3, 1)).shape == (2, 16, 16, 3)
