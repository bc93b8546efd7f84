"""Tests R3GAN: published parameter counts and initial values, and the sizes of its networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.models import r3gan
from quick import some

pytestmark = pytest.mark.usefixtures("quick_compile")

KEY = jax.random.key(0)

# Preset: (pixels, classes, parameters of G, parameters of D, resolutions in float32).
PUBLISHED = {
    "cifar10": (32, 10, 20_781_952, 21_280_512, {4}),
    "cifar10 without labels": (32, None, 20_732_160, 20_683_776, {4}),
    "ffhq64": (64, None, 22_429_824, 22_381_440, {4}),
    "ffhq256": (256, None, 23_057_952, 23_009_568, {4, 8, 16}),
    "imagenet32": (32, 1000, 82_914_304, 86_548_992, {4}),
    "imagenet64": (64, 1000, 103_570_432, 107_205_120, {4}),
}


def count(variables):
    return sum(x.size for x in jax.tree.leaves(variables["params"]))


def published(case):
    size, classes, *_ = PUBLISHED[case]
    common = {"preset": case.split()[0], "classes": classes, "dtype": jnp.bfloat16}
    label = jnp.zeros((1,), jnp.int32)
    yield r3gan.Generator((size, size, 3), **common), (jnp.zeros((1, 64)), label)
    yield r3gan.Discriminator(**common), (jnp.zeros((1, size, size, 3)), label)


@pytest.mark.parametrize("case", some(PUBLISHED, "cifar10"))
def test_published_networks(case):
    """Parameter counts are those of the original code; parameters are float32, high resolutions bfloat16."""
    *_, generator, discriminator, exact = PUBLISHED[case]
    for (network, inputs), expected in zip(published(case), (generator, discriminator)):
        out, variables = jax.eval_shape(
            lambda n=network, i=inputs: n.init_with_output(KEY, *i, mutable=True, capture_intermediates=True)
        )
        assert count(variables) == expected
        assert {x.dtype for x in jax.tree.leaves(variables["params"])} == {np.dtype(np.float32)}
        assert out.dtype == np.float32
        outputs = variables["intermediates"]
        blocks = {name: outputs[name]["__call__"][0] for name in outputs if "block" in name}
        assert len(blocks) == 2 * len(r3gan.PRESETS[network.preset].widths)
        for name, x in blocks.items():
            side = int(name.split("_")[1])
            assert x.shape[1:3] == (side, side)
            assert x.dtype == (jnp.float32 if side in exact else jnp.bfloat16), name


@pytest.mark.parametrize("case", ["cifar10", "ffhq64", "ffhq256"])
def test_sizes_without_a_preset_are_those_of_the_presets(case):
    size = PUBLISHED[case][0]
    without, named = (r3gan.Discriminator(preset=p, dtype=jnp.bfloat16).stages((size, size)) for p in (None, case))
    assert without == named


# Standard deviations measured in the original code, for CIFAR-10 with labels; those of G, then those of D.
MEASURED = [
    {
        ("block_8_1", "conv_1", "kernel"): 0.02975,
        ("block_8_1", "conv_2", "kernel"): 0.06871,
        ("block_8_1", "conv_3", "kernel"): 0,
        ("block_8_1", "conv_1", "bias"): 0,
        ("block_8_1", "conv_2", "bias"): 0,
        ("basis",): 1,
        ("style", "kernel"): 0.0883,
        ("embed", "embedding"): 0.323,
        ("image", "kernel"): 0.0354,
    },
    {
        ("block_4_0", "conv_1", "kernel"): 0.02975,
        ("block_4_0", "conv_2", "kernel"): 0.06871,
        ("block_4_0", "conv_3", "kernel"): 0,
        ("image", "kernel"): 0.576,
        ("pool",): 0.25,
        ("logit", "kernel"): 0.0361,
        ("embed", "embedding"): 0.01141,
    },
]


def at(tree, path):
    for name in path:
        tree = tree[name]
    return tree


@pytest.mark.parametrize("player", [0, 1], ids=["generator", "discriminator"])
def test_initial_values_spread_as_measured(player):
    network, inputs = list(published("cifar10"))[player]

    def statistics():  # jitted, so that only these parameters are drawn
        params = network.init(KEY, *inputs)["params"]
        return [(jnp.std(x), jnp.mean(x), x.size) for x in (at(params, path) for path in MEASURED[player])]

    for (path, expected), (std, mean, size) in zip(MEASURED[player].items(), jax.jit(statistics)()):
        noise = 6 / np.sqrt(2 * size) + 2e-3  # the error of two samples of that size, and of rounding in MEASURED
        np.testing.assert_allclose(std, expected, rtol=noise, err_msg=str(path))
        assert abs(mean) <= 5 * expected / np.sqrt(size)


# ---- Sizes.


@pytest.mark.parametrize(
    ("size", "settings", "sides", "groups"),
    [
        (28, {"widths": (96, 48, 24)}, [7, 14, 28], (12, 6, 3)),
        (24, {"widths": (32, 32, 32, 16), "base": 3, "cardinality": 2}, [3, 6, 12, 24], (2, 2, 2, 2)),
        (32, {"widths": (20, 8, 4, 2), "preset": "imagenet32"}, [4, 8, 16, 32], (2, 1, 1, 1)),
        (32, {"preset": "cifar10", "cardinality": 48}, [4, 8, 16, 32], (48,) * 4),
        (8, {}, [4, 8], (96, 96)),
    ],
)
def test_sizes(size, settings, sides, groups):
    stages = r3gan.Discriminator(**settings).stages((size, size))
    assert [stage.side for stage in stages] == sides
    assert tuple(stage.groups for stage in stages) == groups


@pytest.mark.parametrize(
    ("size", "settings", "message"),
    [
        (32, {"preset": "cifar"}, "no preset 'cifar': use one of cifar10, ffhq64,"),
        (64, {"preset": "cifar10"}, r"in widths for each resolution \(4, 8, 16, 32, 64 pixels\), so 5 numbers"),
        (32, {"widths": (8, 8)}, "4 numbers, not"),
        (8, {"widths": (8, 8), "cardinality": (2, 2, 2)}, r"in cardinality for each resolution \(4, 8 pixels\)"),
        (8, {"widths": (8, 8), "cardinality": (2, 3)}, "cardinality 3 does not divide 16 channels"),
        (8, {"widths": (8, 0)}, "widths must be at least 1, got 0"),
        (8, {"widths": (8, 8), "blocks": 0}, "blocks must be at least 1"),
        (9, {}, "r3gan can't make images of 9 pixels"),
    ],
)
def test_sizes_that_are_refused(size, settings, message):
    with pytest.raises(ValueError, match=message):
        r3gan.Discriminator(**settings).stages((size, size))
