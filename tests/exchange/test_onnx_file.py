"""A generator in ONNX: onnxruntime computes what we compute, for every model and any batch size."""

import dataclasses
import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export, lax

from gan_jax.config import Call
from gan_jax.exchange import onnx_file
from gan_jax.exchange.exported import Network, make_network
from gan_jax.exchange.onnx_file import TOLERANCE, make_model
from gan_jax.exchange.plain_program import flatten
from gan_jax.networks import sample_network
from gan_jax.ops import conv, conv_transpose, downsample, grouped_conv, upsample
from gan_jax.train.open_run import open_run
from runs import call, sentence
from small_runs import NETWORKS, fresh_run, small_config

pytestmark = [pytest.mark.usefixtures("programs"), pytest.mark.timeout(300)]


def written(workdir, path, *more):
    """Exports, and returns the lines that are printed and the largest difference that they name."""
    outcome = call("export", workdir, "--format", "onnx", "--out", path, *more)
    assert outcome.code == 0, outcome.err
    lines = outcome.out.splitlines()
    found = re.search(r"of 100 samples, no number differs by more than (\S+)$", lines[2])
    return lines, float(found[1])


@pytest.mark.slow
@pytest.mark.parametrize("conditional", [True, False], ids=["conditional", "not"])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_model(name, conditional, tmp_path):
    """The export's own check, and the file read again by onnxruntime at another batch size."""
    import onnxruntime

    workdir = fresh_run(name, conditional, tmp_path / "run")
    lines, difference = written(workdir, tmp_path / "g.onnx")
    assert difference <= TOLERANCE
    shape = ", ".join(map(str, NETWORKS[name][2]))
    assert lines[1].endswith(f") -> images [batch, {shape}]")
    run = open_run(workdir, None)
    session = onnxruntime.InferenceSession(tmp_path / "g.onnx", providers=["CPUExecutionProvider"])
    feeds = {"latents": np.asarray(jax.random.normal(jax.random.key(1), (3, 8)))}
    if conditional:
        feeds["labels"] = np.asarray([2, 0, 1], np.int32)
    noise = [one for one in session.get_inputs() if one.name.startswith("noise_")]
    assert bool(noise) == (name == "stylegan2")
    made = session.run(None, {**feeds, **{one.name: np.zeros((3, *one.shape[1:]), np.float32) for one in noise}})[
        0
    ]
    given = {"label": feeds.get("labels"), "axis_name": None}
    expected = sample_network(run.gan.generator, run.state.ema, jnp.asarray(feeds["latents"]), **given)
    assert np.abs(made - expected).max() <= TOLERANCE
    properties = session.get_modelmeta().custom_metadata_map
    assert {"config", "sample", "step", "digest", "data", "gan_jax", "inputs"} <= set(properties)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_every_discriminator(name, tmp_path):
    workdir = fresh_run(name, True, tmp_path / "run")
    more = ["--batch", 4] if name in ("stylegan2", "dcgan") else []
    lines, _ = written(workdir, tmp_path / "d.onnx", "--network", "discriminator", *more)
    size = 4 if more else "batch"
    assert lines[1].endswith(f"labels int32[{size}]) -> logits [{size}]")


@pytest.mark.slow
def test_truncation_and_bfloat16(tmp_path):
    """Truncation is part of the program. A run of bfloat16 is exported, and compared, in float32."""
    workdir = fresh_run("stylegan2", False, tmp_path / "run")
    written(workdir, tmp_path / "g.onnx", "--truncation", 0.5, "--batch", 50)
    low = fresh_run("dcgan", False, tmp_path / "low", small_config("dcgan", False, precision="bfloat16"))
    written(low, tmp_path / "low.onnx")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "generator"),
    [
        ((16, 1), Call("r3gan", widths=(4, 4, 4), cardinality=2, blocks=1)),
        ((8, 16, 16, 3), Call("dcgan", width=2)),
    ],
    ids=["audio", "video"],
)
def test_other_ranks(shape, generator, tmp_path):
    config = dataclasses.replace(
        small_config("dcgan", False), generator=generator, discriminator=Call("mlp", width=4)
    )
    written(fresh_run("dcgan", False, tmp_path / "run", config, shape), tmp_path / "g.onnx")


@pytest.mark.slow
def test_a_run_with_inputs(tmp_path):
    config = dataclasses.replace(
        small_config("mlp", True), inputs=Call("downsampled", factor=2), latent=Call("normal", size=100)
    )
    workdir = fresh_run("mlp", True, tmp_path / "run", config)
    lines, _ = written(workdir, tmp_path / "g.onnx")
    assert "inputs float32[batch, 8, 8, 3]" in lines[1]
    assert call("export", workdir, "--format", "stablehlo").code == 0


def compared(function, *shape):
    """Returns what onnxruntime and JAX compute of a function of one array `[B, *shape]`."""
    import onnx
    import onnxruntime

    one = jax.ShapeDtypeStruct(shape, jnp.float32)
    network = Network("generator", lambda v, x, labels, seed: function(x), {}, one, False, "latents", "images")
    model = make_model(onnx, network, flatten(network, export.symbolic_shape("batch")[0]), {})
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    x = np.random.default_rng(0).normal(size=(3, *shape)).astype(np.float32)
    return session.run(None, {"latents": x})[0], function(jnp.asarray(x))


def kernel(*shape):
    return jnp.asarray(np.random.default_rng(1).normal(size=shape), jnp.float32)


def plain_conv(strides, padding, **options):
    numbers = ("NHWC", "HWIO", "NHWC")
    return lambda x: lax.conv_general_dilated(
        x, kernel(3, 3, 2, 4), strides, padding, dimension_numbers=numbers, **options
    )


OPERATIONS = {
    "strided": (lambda x: conv(x, kernel(3, 3, 2, 4), stride=2, padding=1), (7, 6, 2)),
    "transposed": (lambda x: conv_transpose(x, kernel(4, 4, 3, 2), stride=2, padding=1), (5, 4, 2)),
    "transposed with gaps": (lambda x: conv_transpose(x, kernel(2, 2, 3, 2), stride=3), (5, 4, 2)),
    "grouped": (lambda x: grouped_conv(x, kernel(3, 3, 2, 4), groups=2, padding=1), (5, 4, 4)),
    "sound": (lambda x: conv(x, kernel(5, 2, 3), stride=2, padding=2), (9, 2)),
    "volume": (lambda x: conv_transpose(x, kernel(4, 4, 4, 3, 2), stride=2, padding=1), (2, 3, 2, 2)),
    "up": (lambda x: upsample(x, (1, 3, 3, 1)), (5, 4, 2)),
    "down": (lambda x: downsample(x, (1, 2, 1)), (6, 4, 2)),
    "uneven padding": (plain_conv((1, 1), ((4, 0), (0, 3))), (5, 4, 2)),
    "cutting padding": (plain_conv((1, 1), ((-1, 2), (0, -1))), (6, 6, 2)),
    "dilated": (plain_conv((1, 1), "SAME", rhs_dilation=(2, 1)), (7, 6, 2)),
    "gaps and wide zeros": (plain_conv((1, 1), ((4, 3), (1, 1)), lhs_dilation=(2, 3)), (4, 3, 2)),
    "gaps and strides": (plain_conv((2, 1), ((1, 1), (1, 1)), lhs_dilation=(3, 1)), (4, 3, 2)),
    "padding between": (lambda x: lax.pad(x, 1.5, ((0, 0, 0), (1, -1, 2), (-1, 2, 0))), (4, 3)),
    "attention": (lambda x: jax.nn.softmax(jnp.einsum("bik,bjk->bij", x, x)) @ x, (5, 3)),
    "reversed": (lambda x: x[:, ::-1][..., 1:3] * jnp.arange(2.0), (4, 4)),
    "taken": (lambda x: jnp.take(x, jnp.asarray([2, 0, 0]), axis=1), (4, 3)),
    "of the batch": (lambda x: jnp.concatenate([jnp.ones((x.shape[0], 2)), x, jnp.tile(x, (1, 2))], 1), (3,)),
    "functions": (
        lambda x: jax.nn.gelu(x, approximate=False) + jax.nn.softplus(x) + jax.nn.silu(x) - jnp.log1p(x**2) + x**3,
        (4,),
    ),
    "more functions": (lambda x: jnp.where(x > 0.1, jnp.expm1(x), jnp.clip(x, -0.5, 0.5)) / (1 + x * x), (4,)),
    "a number of Python": (lambda x: lax.rem(x, 0.7) + lax.pow(lax.abs(x), 1.5), (4,)),
    "bits": (lambda x: (~(x * 10).astype(int) & 5 | 2 ^ (x * 3).astype(int)).astype(float), (4,)),
    "reductions": (lambda x: x.max(1) + x.min(1) - x.mean(1) + jnp.argmax(x, 1), (4, 3)),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation(name):
    function, shape = OPERATIONS[name]
    made, expected = compared(function, *shape)
    assert made.shape == expected.shape
    np.testing.assert_allclose(made, expected, atol=2e-5)


@pytest.mark.slow
def test_what_onnx_lacks_is_named(trained, tmp_path, monkeypatch):
    real = make_network(open_run(trained, None), "generator")

    def with_function(function):
        network = real._replace(apply=lambda variables, *arguments: function(*arguments))
        monkeypatch.setattr("gan_jax.commands.export_run.make_network", lambda *arguments: network)
        return call("export", trained, "--format", "onnx", "--out", tmp_path / "g.onnx")

    sorted_images = with_function(lambda z, labels, seed: jnp.sort(real.function(z, labels, seed), axis=1))
    sentence(sorted_images, "can't be written as ONNX", "the operation sort", "--format stablehlo")
    other = with_function(lambda z, labels, seed: jax.random.uniform(jax.random.key(seed), z.shape))
    sentence(other, "can't be written as ONNX", "random")
    monkeypatch.setattr(onnx_file, "make_model", lambda onnx, *arguments: onnx.ModelProto())
    sentence(with_function(real.function), "onnxruntime can't run the program", "use --format stablehlo")
    monkeypatch.undo()
    monkeypatch.setattr(onnx_file, "largest_difference", lambda *arguments: 0.25)
    sentence(with_function(real.function), "differ by 2.5e-01, more than 1e-04, so no file is written")
    assert not list(tmp_path.iterdir())


def test_without_the_packages(trained, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    sentence(call("export", trained, "--format", "onnx"), "needs onnx: pip install 'gan_jax[export]'")
