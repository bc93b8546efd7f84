"""Checks, before anything is timed, that a peer computes the same step as gan_jax."""

import dataclasses
import importlib.util
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import gan_jax
from gan_jax.step.draws import Purpose, sample_keys
from gan_jax.types import PyTree

from ..cases import Case, init
from . import torch_device, tutorial

KERAS = ("mlp28", "dcgan32")
"""The cases that `keras_step` implements."""

_RATE = 0.01
LossesAndParams = tuple[Sequence[float], tuple[PyTree, PyTree]]
"""The losses of D and G, and the parameters of G and D after the step."""

# In float32, rounding can push an activation across a rectifier's kink, which gives it the other slope. Batch norm
# cancels most of a gradient, so this error remains visible. PyTorch runs in float64: three of its first four cases
# agree to 1e-4, and the largest case agrees to 1e-2. A peer with another loss or network differs by about 1.
_TOLERANCE = 0.05


def check(case: Case) -> dict[str, Any]:
    """Compares one step of plain SGD in gan_jax and in each peer, from the same weights, latents and images.

    Returns:
        "parameters", the number of parameters; and for each peer the largest relative error of a loss
        ("loss_error") and of a network's parameter change ("gradient_error"), which every backward pass enters.

    Raises:
        ValueError: a peer differs by more than rounding.
    """
    case = dataclasses.replace(case, batch=min(case.batch, 64))
    with jax.default_matmul_precision("highest"):  # rounding to TF32 would hide real differences
        return _check(case)


def _check(case: Case) -> dict[str, Any]:
    sgd = gan_jax.optimizers.sgd(_RATE)
    gan = case.gan(generator_tx=sgd, discriminator_tx=sgd)
    state, images = _without_zeros(init(case, gan)), case.images(case.batch)
    # Copied, because on the CPU a fetched array is a view of a buffer that the step will overwrite.
    before = _params(state)
    keys = sample_keys(state.key, jnp.int32(0), Purpose.LATENT, jnp.arange(case.batch))
    latents = np.array(jax.vmap(gan.latent)(keys))
    results: dict[str, LossesAndParams] = {}
    if not tutorial.too_slow(case):
        tutorial_step, players = tutorial.make(case, state, sgd=_RATE)
        losses = tutorial_step(images, latents)  # replaces the entries of `players`
        generator, discriminator = players
        params = jax.tree.map(np.array, (generator["params"], discriminator["params"]))
        results["jax_tutorial"] = losses, params
    step = gan_jax.jit_step(gan_jax.make_train_step(gan))
    after, metrics = step(state, {"image": images})
    losses = [float(metrics[f"loss/{player}"]) for player in ("discriminator", "generator")]
    if importlib.util.find_spec("torch"):
        results["torch"] = _torch(case, before, images, latents)
    if case.name in KERAS and importlib.util.find_spec("keras"):
        results["keras"] = _keras(case, before, images, latents)
    report: dict[str, Any] = {"parameters": sum(leaf.size for leaf in jax.tree.leaves(before))}
    for name, (peer_losses, params) in results.items():
        loss_error = max(abs(float(a) - b) / max(abs(b), 1e-6) for a, b in zip(peer_losses, losses))
        error = max(_relative_error(*networks) for networks in zip(before, params, _params(after)))
        report[name] = {"loss_error": loss_error, "gradient_error": error}
        if not max(loss_error, error) <= _TOLERANCE:
            raise ValueError(
                f"{case.name}, {name}: losses differ by {loss_error:.1e}, gradients by {error:.1e}, relative"
            )
    return report


def _without_zeros(state: gan_jax.GANState) -> gan_jax.GANState:
    """Replaces parameters that start as zeros by noise, because no gradient passes a kernel of zeros."""
    draw = np.random.default_rng(2)

    def noisy(leaf: jax.Array) -> jax.Array:
        noise = draw.normal(0, 0.02, leaf.shape).astype(np.float32)
        return leaf if np.any(leaf) else jnp.asarray(noise)

    players = (p.replace(params=jax.tree.map(noisy, p.params)) for p in (state.generator, state.discriminator))
    return state.replace(**dict(zip(("generator", "discriminator"), players)))


def _params(state: gan_jax.GANState) -> tuple[PyTree, PyTree]:
    """Copies the parameters of the generator and the discriminator to the host."""
    return jax.tree.map(np.array, (state.generator.params, state.discriminator.params))


def _torch(case: Case, params: tuple[PyTree, PyTree], images: np.ndarray, latents: np.ndarray) -> LossesAndParams:
    """Runs the step in PyTorch in float64; returns its parameters in JAX's layout."""
    import torch

    from . import torch_networks, torch_step

    device = torch_device()
    peer = torch_step.make(case, params, "torch_tuned", sgd=_RATE, dtype=torch.float64, device=device)
    z = torch.tensor(latents, dtype=torch.float64, device=device)
    losses = [float(loss) for loss in peer.step(peer.place(images), z)]
    read_back = torch_networks.read_back
    return losses, (read_back(peer.generator, params[0]), read_back(peer.discriminator, params[1]))


def _keras(case: Case, params: tuple[PyTree, PyTree], images: np.ndarray, latents: np.ndarray) -> LossesAndParams:
    """Runs the step in Keras in float32; returns its parameters in JAX's layout."""
    from . import keras_step

    fit, model = keras_step.make(case, params, sgd=_RATE)
    losses = fit(1, images, latents)
    read_back = keras_step.read_back
    return losses, (read_back(model.generator, params[0]), read_back(model.discriminator, params[1]))


def _relative_error(before: PyTree, after: PyTree, expected: PyTree) -> float:
    """Returns `|after - expected| / |expected - before|`, the relative error of the change of a parameter tree."""
    trees = (before, after, expected)
    start, end, target = (np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(tree)]) for tree in trees)
    return float(np.linalg.norm(end - target) / np.linalg.norm(target - start))
