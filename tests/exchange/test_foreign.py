"""Reading weights of other code: which array goes where, without PyTorch; and files that are wrong or hostile."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.exchange.foreign import import_foreign, read_networks
from gan_jax.exchange.foreign_file import read_foreign
from gan_jax.exchange.layout_changes import CHANGES
from gan_jax.train.open_run import open_run
from quick import some
from weights_of import NAMES, arrays, kind_of, saved


@pytest.mark.parametrize("case", some(NAMES, "sngan", "biggan by its authors"))
def test_every_array_is_used_or_named(case, tmp_path):
    """All variables of our networks come from the file, and all numbers of the file are used but for buffers."""
    made = arrays(case)
    more = ["generator.noise=const"] if kind_of(case) == "stylegan2" else []
    read = read_networks(saved(tmp_path, made), kind_of(case), more)
    silent = ("num_batches_tracked", "resample_filter", "sv0", "kernel", "Kernel", "u0")
    given = {name: array for name, array in made.items() if not name.endswith(silent)}
    kept = [*read.generator.values(), *read.discriminator.values()]
    vectors = [path for path in (*read.generator, *read.discriminator) if path.startswith("spectral/")]
    if "authors" in case:  # u and v come from u0 and the weight
        kept = [a for p, a in (*read.generator.items(), *read.discriminator.items()) if p not in vectors]
    if case.endswith("rosinality"):  # which has no mean of w
        del read.generator["w_avg/mean"]
        kept = [*read.generator.values(), *read.discriminator.values()]
    assert sum(array.size for array in kept) == sum(array.size for array in given.values())
    assert sorted(np.sort(a.ravel())[0] for a in kept) == sorted(np.sort(a.ravel())[0] for a in given.values())
    assert not [line for line in read.lines if line.startswith("not used")]
    assert read.spec.shape == (16, 16, 3)
    assert read.config.conditional == ("without" not in case and "rosinality" not in case)


def r3gan_image(w, z):
    """R3GAN's generator in NumPy: `[Z]` to `[C, H, W]`."""

    def conv(x, kernel, groups=1):
        size = kernel.shape[-1]
        x = np.pad(x, ((0, 0), (size // 2,) * 2, (size // 2,) * 2))
        windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), (1, 2))
        parts = zip(np.split(windows, groups), np.split(kernel, groups))
        return np.concatenate([np.einsum("ihwyx,oiyx->ohw", a, b) for a, b in parts])

    def leaky(x, bias):
        x = x + bias[:, None, None]
        return np.maximum(x, 0.2 * x)

    def doubled(x):
        apart = np.zeros((len(x), 2 * x.shape[1] + 3, 2 * x.shape[2] + 3))
        apart[:, 2:-1:2, 2:-1:2] = x
        taps = np.array([1, 3, 3, 1]) / 4
        windows = np.lib.stride_tricks.sliding_window_view(apart, (4, 4), (1, 2))
        return np.einsum("chwyx,y,x->chw", windows, taps, taps)

    x = w["MainLayers.0.Layers.0.Basis"] * (w["MainLayers.0.Layers.0.LinearLayer.weight"] @ z)[:, None, None]
    for i in range(3):
        if i:
            change = w.get(f"MainLayers.{i}.Layers.0.LinearLayer.Layer.weight")
            x = doubled(x if change is None else conv(x, change))
        for j in (1, 2):
            block = {n: w[f"MainLayers.{i}.Layers.{j}.LinearLayer{n}.Layer.weight"] for n in (1, 2, 3)}
            bias = [w[f"MainLayers.{i}.Layers.{j}.NonLinearity{n}.Bias"] for n in (1, 2)]
            groups = len(block[2]) // block[2].shape[1]
            h = leaky(conv(leaky(conv(x, block[1]), bias[0]), block[2], groups), bias[1])
            x = x + conv(h, block[3])
    return conv(x, w["AggregationLayer.Layer.weight"])


@pytest.fixture(scope="module")
def r3gan(tmp_path_factory):
    """Returns `(arrays of the file, workdir)` of a small R3GAN without labels."""
    folder, random = tmp_path_factory.mktemp("r3gan"), np.random.default_rng(1)
    names = NAMES["r3gan without labels"]["g_ema"]
    made = {name: (0.3 * random.standard_normal(shape)).astype(np.float32) for name, shape in names.items()}
    np.savez(folder / "w.npz", **{f"G_ema.Model.{name}": array for name, array in made.items()})
    lines = import_foreign(folder / "w.npz", "r3gan", folder / "run")
    assert "the discriminator is a new one" in lines[-2]
    assert lines[-1].endswith("run: r3gan, samples of 16 x 16 x 3, without labels, 6 latents")
    assert lines[0].startswith("34 arrays of G_ema.Model. are taken")
    return made, folder / "run"


def test_r3gan_in_numpy(r3gan):
    made, workdir = r3gan
    run = open_run(workdir, None)
    z = np.random.default_rng(2).standard_normal((2, 6)).astype(np.float32)
    found = jax.jit(run.gan.generator.apply)(run.state.ema, jnp.asarray(z))
    for image, one in zip(found, z):
        np.testing.assert_allclose(image, r3gan_image(made, one).transpose(1, 2, 0), atol=1e-4)
    assert run.config.latent.kwargs["size"] == 6
    assert run.config.generator.kwargs["widths"] == (8, 8, 4)
    assert run.config.generator.kwargs["cardinality"] == (4, 2, 2)


def test_changes_of_the_order():
    random = np.random.default_rng(0)
    weight, maps = random.standard_normal((5, 3, 3, 3)), random.standard_normal((2, 3, 4, 4))
    v = random.standard_normal(27)
    change = {name: lambda x, f=function: f(x, "", {}) for name, function in CHANGES.items()}
    np.testing.assert_allclose(
        change["taps"](v) @ change["kernel"](weight).reshape(27, 5), weight.reshape(5, 27) @ v
    )
    dense = random.standard_normal((48, 6))  # gives maps [3, 4, 4]
    z = random.standard_normal(6)
    ours = (change["dense"](change["rows_to_map"](dense)).T @ z).reshape(4, 4, 3)
    np.testing.assert_allclose(ours, (dense @ z).reshape(3, 4, 4).transpose(1, 2, 0))
    np.testing.assert_allclose(ours, change["rows_to_map"](dense @ z).reshape(4, 4, 3))
    judge = random.standard_normal((7, 48))
    ours = maps.transpose(0, 2, 3, 1).reshape(2, 48) @ change["dense"](change["columns_from_map"](judge))
    np.testing.assert_allclose(ours, maps.reshape(2, 48) @ judge.T)


def test_one_power_iteration():
    weight, u0 = np.random.default_rng(0).standard_normal((5, 3, 3, 3)), np.ones((1, 5))
    u, v = (CHANGES[name](u0, "a.u0", {"a.weight": weight}) for name in ("iterated_u", "iterated_v"))
    matrix = weight.reshape(5, 27)
    np.testing.assert_allclose(u @ matrix @ v, np.linalg.norm(matrix @ v))
    np.testing.assert_allclose(v, (u0 @ matrix)[0] / np.linalg.norm(u0 @ matrix))


@pytest.mark.parametrize("start", [b"\x80", b"PK"])
def test_the_length_of_a_header_may_begin_like_another_format(start, tmp_path):
    """A header of safetensors is JSON, which spaces may follow, behind its length in eight bytes."""
    size = int.from_bytes(start, "little")
    header = b'{"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}'.ljust(size)
    path = tmp_path / "w.safetensors"
    path.write_bytes(size.to_bytes(8, "little") + header + np.array([1, 2], np.float32).tobytes())
    np.testing.assert_array_equal(read_foreign(path)["w"], [1, 2])
