"""Imported PyTorch weights give PyTorch's images and logits: small networks of each published layout."""

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.config import load
from gan_jax.exchange.foreign import import_foreign, read_networks
from gan_jax.exchange.foreign_layouts import search
from gan_jax.train.open_run import open_run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.usefixtures("programs")]

torch = pytest.importorskip("torch")
safetensors_torch = pytest.importorskip("safetensors.torch")
theirs = pytest.importorskip("torch_weights_of")
others = pytest.importorskip("torch_biggan_of")
NAMES = Path(__file__).with_name("published_names.json")

B, CLASSES = 4, 3
ATOL = 1e-4


def functional(network, inputs, label, **keywords):
    """Returns `(state dict, function)` of a network that is a function of its weights."""
    weights = theirs.Weights()
    network(weights, inputs, label, **keywords)
    return dict(weights), lambda x, y: network(weights, x, y, **keywords)


def modules(network, inputs, label):
    others.warmed(network, inputs, label)
    return network.state_dict(), network


def images(side):
    return torch.randn(B, 3, side, side)


LABEL = torch.tensor([0, 2, 1, 2])


def cases():
    studio = others.StudioGenerator
    ada_g, ada_d = theirs.ada_generator, theirs.ada_discriminator
    return {
        "r3gan": ("r3gan", 6, LABEL, lambda z, y, x: (functional(theirs.r3gan_generator, z, y),
                                                      functional(theirs.r3gan_discriminator, x, y))),
        "r3gan without labels": ("r3gan", 6, None, lambda z, y, x: (functional(theirs.r3gan_generator, z, y),
                                                                    functional(theirs.r3gan_discriminator, x, y))),
        "sngan": ("sngan", 6, LABEL, lambda z, y, x: (
            modules(studio(classes=CLASSES), z, y),
            modules(others.StudioDiscriminator(classes=CLASSES), x, y))),
        "sngan with linear norms": ("sngan", 6, LABEL, lambda z, y, x: (
            modules(studio(classes=CLASSES, table=False), z, y),
            modules(others.StudioDiscriminator(widths=(8, 16), halvings=1, classes=CLASSES), x, y))),
        "sngan without labels": ("sngan", 6, None, lambda z, y, x: (
            modules(studio(), z, y), modules(others.StudioDiscriminator(), x, y))),
        "biggan": ("biggan", 6, LABEL, lambda z, y, x: (
            modules(studio(classes=CLASSES, embedding=5), z, y),
            modules(others.StudioDiscriminator(classes=CLASSES, attention=True), x, y))),
        "biggan by its authors": ("biggan", 6, LABEL, lambda z, y, x: (
            functional(others.biggan_generator, z, y), functional(others.biggan_discriminator, x, y))),
        "stylegan2": ("stylegan2", 6, LABEL, lambda z, y, x: (
            functional(ada_g, z, y), functional(ada_d, x, y))),
        "stylegan2 without labels": ("stylegan2", 5, None, lambda z, y, x: (
            functional(ada_g, z, y), functional(ada_d, x, y))),
        "stylegan2 by rosinality": ("stylegan2", 6, None, lambda z, y, x: (
            functional(theirs.rosinality_generator, z, y), functional(theirs.rosinality_discriminator, x, y))),
    }  # fmt: skip


CASES = cases()


@pytest.mark.parametrize("case", CASES)
def test_images_and_logits_are_pytorchs(case, tmp_path):
    kind, latents, label, make = CASES[case]
    torch.manual_seed(0)
    z, x = torch.randn(B, latents), images(16)
    (state_g, generate), (state_d, judge) = make(z, label, x)
    torch.save({"d": state_d, "g_ema": state_g, "step": 7, "best": None}, tmp_path / "w.pth")
    more = ["generator.noise=none"] if kind == "stylegan2" else []
    lines = import_foreign(tmp_path / "w.pth", kind, tmp_path / "run", more)
    run = open_run(tmp_path / "run", None)
    with torch.no_grad():
        image, logits = generate(z, label), judge(x, label)
    ours = {} if label is None else {"label": jnp.asarray(label.numpy(), jnp.int32)}
    modes = {"train": False} if kind != "r3gan" else {}
    found = run.gan.generator.apply(run.state.ema, jnp.asarray(z.numpy()), **ours, **modes)
    np.testing.assert_allclose(found, others.numpy_of(image).transpose(0, 2, 3, 1), atol=ATOL)
    assert np.std(others.numpy_of(image)) > 0.05
    real = jnp.asarray(x.numpy().transpose(0, 2, 3, 1))
    found = run.gan.discriminator.apply(run.state.discriminator.variables, real, **ours)
    np.testing.assert_allclose(found, others.numpy_of(logits), atol=ATOL, rtol=1e-5)
    assert np.std(others.numpy_of(logits)) > 0.01
    unused = [line for line in lines if line.startswith("not used: ")]
    assert len(unused) == (kind == "stylegan2")  # the images of noise
    names = json.loads(NAMES.read_text())[case]
    assert names == {"g_ema": shapes(state_g), "d": shapes(state_d)}


class Shapes(dict):
    """Weights without numbers."""

    def __call__(self, name, *shape, scale=1.0, mean=0.0):
        return self.setdefault(name, torch.zeros(shape))


def shapes(state):
    return {name: list(tensor.shape) for name, tensor in state.items()}


def test_truncation_and_noise_images_are_pytorchs(tmp_path):
    weights, z = theirs.Weights(), torch.randn(B, 5)
    theirs.ada_generator(weights, z, None)
    torch.save(dict(weights), tmp_path / "w.pth")
    import_foreign(tmp_path / "w.pth", "stylegan2", tmp_path / "run", ["generator.noise=const"])
    run = open_run(tmp_path / "run", None)
    image = run.state.ema["noise_buffers"]["to_image"]["up_8"]["image"]
    np.testing.assert_array_equal(image, weights["synthesis.b8.conv0.noise_const"].numpy())
    silent = run.gan.generator.clone(noise="none")
    variables = {name: run.state.ema[name] for name in ("params", "w_avg")}
    found = silent.apply(variables, jnp.asarray(z.numpy()), train=False, truncation=0.5)
    wanted = theirs.ada_generator(weights, z, None, psi=0.5)
    np.testing.assert_allclose(found, others.numpy_of(wanted).transpose(0, 2, 3, 1), atol=ATOL)


def test_the_mean_of_w_is_found_or_computed(tmp_path):
    weights, z = theirs.Weights(), torch.randn(B, 6)
    theirs.rosinality_generator(weights, z)
    mean = torch.randn(6)
    torch.save({"g_ema": dict(weights), "g": dict(weights), "latent_avg": mean[None]}, tmp_path / "with.pth")
    torch.save({"g_ema": dict(weights)}, tmp_path / "without.pth")
    for name in ("with", "without"):
        lines = import_foreign(tmp_path / f"{name}.pth", "stylegan2", tmp_path / name)
        found = open_run(tmp_path / name, None).state.ema["w_avg"]["mean"]
        if name == "with":
            np.testing.assert_array_equal(found, mean.numpy())
        else:
            assert any("4096 latents" in line for line in lines)
            many = theirs.normalised(torch.randn(20_000, 6))
            for i in (1, 2, 3):
                many = theirs.equal_dense(weights, f"style.{i}", many, 6, lr=0.01, active=True)
            np.testing.assert_allclose(found, many.mean(0).numpy(), atol=0.1)


def test_new_names_of_spectral_norm_and_bfloat16(tmp_path):
    """PyTorch's newer spectral norm has other names for the same arrays."""
    network = others.StudioGenerator(classes=CLASSES, embedding=5)
    others.warmed(network, torch.randn(B, 6), LABEL)
    new = {"weight_orig": "parametrizations.weight.original", "weight_u": "parametrizations.weight.0._u"}
    new["weight_v"] = "parametrizations.weight.0._v"
    state = network.state_dict()
    renamed = {}
    for name, tensor in state.items():
        start, _, last = name.rpartition(".")
        renamed[f"module.{start}.{new.get(last, last)}"] = tensor
    torch.save({"state_dict": renamed}, tmp_path / "new.pth")
    torch.save({"state_dict": state}, tmp_path / "old.pth")
    found = [read_networks(tmp_path / f"{name}.pth", "biggan").generator for name in ("old", "new")]
    assert found[0].keys() == found[1].keys()
    assert all(np.array_equal(found[0][name], found[1][name]) for name in found[0])
    half = {name: tensor.bfloat16() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    torch.save(half, tmp_path / "half.pt")
    safetensors_torch.save_file(half, tmp_path / "half.safetensors")
    found = [read_networks(tmp_path / name, "biggan").generator for name in ("half.pt", "half.safetensors")]
    for name, array in found[0].items():
        assert array.dtype == np.float32
        assert np.array_equal(array, found[1][name])
    np.testing.assert_array_equal(found[0]["params/embed/kernel"], half["shared.weight"].float().numpy())


SIZES = {  # what the networks have in the published code, and in ours
    "r3gan cifar10": (20_781_952, 21_280_512),
    "r3gan ffhq64": (22_429_824, 22_381_440),
    "sngan cifar10": (4_304_387, 1_055_105),
    "biggan cifar10": (9_416_196, 2_415_170),
}


@pytest.mark.parametrize("case", SIZES)
def test_the_references_have_the_published_sizes(case):
    """At full size they have the published numbers of parameters, and the config has the published widths."""
    kind = case.split()[0]
    with torch.device("meta"):
        label = None if case.endswith("ffhq64") else torch.zeros(1, dtype=torch.long)
        if kind == "r3gan":
            widths, groups = (768,) * 4, (96,) * 4
            widths, groups = (widths, groups) if label is not None else ((*widths, 384), (*groups, 48))
            side, generator, discriminator = 4 * 2 ** (len(widths) - 1), Shapes(), Shapes()
            theirs.r3gan_generator(generator, torch.zeros(1, 64), label, widths, groups, 10, embedding=64)
            image = torch.zeros(1, 3, side, side)
            theirs.r3gan_discriminator(discriminator, image, label, widths[::-1], groups[::-1], 10)
            ignored, half = ("Kernel",), widths
        else:
            widths = (256 if kind == "sngan" else 384,) * 4
            more = {"embedding": 128} if kind == "biggan" else {}
            generator = others.StudioGenerator(80 if more else 128, widths, 10, **more).state_dict()
            half = (128 if kind == "sngan" else 192,) * 4
            discriminator = others.StudioDiscriminator(half, 2, 10, attention=bool(more)).state_dict()
            ignored = ("weight_u", "weight_v", "running_mean", "running_var", "num_batches_tracked")
    for state, player, published in zip((generator, discriminator), ("GENERATORS", "DISCRIMINATORS"), SIZES[case]):
        kept = {name: tensor for name, tensor in state.items() if not name.endswith(ignored)}
        assert sum(tensor.numel() for tensor in kept.values()) == published
        arrays = {name: np.broadcast_to(np.float32(0), tuple(tensor.shape)) for name, tensor in state.items()}
        found = search(arrays, kind, player, Path("w.pth"))
        recipe = load({"r3gan ffhq64": "ffhq64_r3gan"}.get(case, f"cifar10_{kind}"))
        asked = getattr(recipe, player.lower()[:-1]).kwargs
        assert found.network.keywords["widths"] == asked.get("widths", widths if player == "GENERATORS" else half)
        if player == "GENERATORS":
            assert found.network.latents == recipe.latent.kwargs["size"]
