"""Imported PyTorch weights give PyTorch's images and logits: small networks of each published layout."""

import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.exchange.foreign import import_foreign
from gan_jax.train.open_run import open_run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.usefixtures("programs")]

torch = pytest.importorskip("torch", reason="the references are PyTorch's: make peers")
import torch_weights_of as theirs  # noqa: E402: it imports torch

B, CLASSES = 4, 3
ATOL = 1e-4


def functional(network, inputs, label, **keywords):
    """Returns `(state dict, function)` of a network that is a function of its weights."""
    weights = theirs.Weights()
    network(weights, inputs, label, **keywords)
    return dict(weights), lambda x, y: network(weights, x, y, **keywords)


def modules(network, inputs, label):
    theirs.warmed(network, inputs, label)
    return network.state_dict(), network


def images(side):
    return torch.randn(B, 3, side, side)


LABEL = torch.tensor([0, 2, 1, 2])


def cases():
    studio = theirs.StudioGenerator
    ada_g, ada_d = theirs.ada_generator, theirs.ada_discriminator
    return {
        "r3gan": ("r3gan", 6, LABEL, lambda z, y, x: (functional(theirs.r3gan_generator, z, y),
                                                      functional(theirs.r3gan_discriminator, x, y))),
        "r3gan without labels": ("r3gan", 6, None, lambda z, y, x: (functional(theirs.r3gan_generator, z, y),
                                                                    functional(theirs.r3gan_discriminator, x, y))),
        "sngan": ("sngan", 6, LABEL, lambda z, y, x: (
            modules(studio(classes=CLASSES), z, y),
            modules(theirs.StudioDiscriminator(classes=CLASSES), x, y))),
        "sngan with linear norms": ("sngan", 6, LABEL, lambda z, y, x: (
            modules(studio(classes=CLASSES, table=False), z, y),
            modules(theirs.StudioDiscriminator(widths=(8, 16), halvings=1, classes=CLASSES), x, y))),
        "sngan without labels": ("sngan", 6, None, lambda z, y, x: (
            modules(studio(), z, y), modules(theirs.StudioDiscriminator(), x, y))),
        "biggan": ("biggan", 6, LABEL, lambda z, y, x: (
            modules(studio(classes=CLASSES, embedding=5), z, y),
            modules(theirs.StudioDiscriminator(classes=CLASSES, attention=True), x, y))),
        "biggan by its authors": ("biggan", 6, LABEL, lambda z, y, x: (
            functional(theirs.biggan_generator, z, y), functional(theirs.biggan_discriminator, x, y))),
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
    np.testing.assert_allclose(found, theirs.numpy_of(image).transpose(0, 2, 3, 1), atol=ATOL)
    assert np.std(theirs.numpy_of(image)) > 0.05
    found = run.gan.discriminator.apply(run.state.discriminator.variables, jnp.asarray(x.numpy().transpose(0, 2, 3, 1)), **ours)
    np.testing.assert_allclose(found, theirs.numpy_of(logits), atol=ATOL, rtol=1e-5)
    assert np.std(theirs.numpy_of(logits)) > 0.01
    assert not [line for line in lines if "not used" in line and "noise_const" not in line and "noises" not in line]
