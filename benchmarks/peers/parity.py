"""Whether a peer plays the same game: checked before anything is timed."""

import dataclasses
import importlib.util
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import gan_jax
from gan_jax.step.draws import Purpose, sample_keys

from ..cases import Case, init
from . import tutorial

KERAS = ("mlp28", "dcgan32")
"""The cases that `keras_step` plays."""

_RATE = 0.01


# Where an activation lies within rounding of a rectifier's kink, float32 takes the other slope; batch norm cancels
# most of a gradient and leaves that. PyTorch plays in float64: of the four games, three agree with it to 1e-4 and
# the largest to 1e-2. A peer that plays another game is off by about 1.
_TOLERANCE = 0.05


def check(case: Case) -> dict[str, Any]:
    """One step of plain SGD in all, from the same weights, latents and images.

    Returns the number of parameters, and for each peer the largest differences: of the losses, relative, and of
    what the step added to each network's parameters (so, of the gradients, through every backward pass), relative
    to its norm.

    Raises:
        ValueError: they differ by more than rounding.
    """
    case = dataclasses.replace(case, batch=min(case.batch, 64))
    with jax.default_matmul_precision("highest"):  # TF32 would be another question
        return _check(case)


def _check(case: Case) -> dict[str, Any]:
    sgd = gan_jax.optimizers.sgd(_RATE)
    gan = case.gan(generator_tx=sgd, discriminator_tx=sgd)
    state, images = _awake(init(case, gan)), case.images(case.batch)
    # Copies: on the CPU a fetched array is a view of the buffer that the step is about to be given.
    before = _params(state)
    keys = sample_keys(state.key, jnp.int32(0), Purpose.LATENT, jnp.arange(case.batch))
    latents = np.array(jax.vmap(gan.latent)(keys))
    found = {}
    if not tutorial.too_slow(case):
        simple, players = tutorial.make(case, state, sgd=_RATE)
        losses = simple(images, latents)
        found["jax_tutorial"] = losses, tuple(jax.tree.map(np.array, p["params"]) for p in players)
    step = gan_jax.jit_step(gan_jax.make_train_step(gan))
    after, metrics = step(state, {"image": images})
    losses = [float(metrics[f"loss/{player}"]) for player in ("discriminator", "generator")]
    if importlib.util.find_spec("torch"):
        found["torch"] = _torch(case, before, images, latents)
    if case.name in KERAS and importlib.util.find_spec("keras"):
        found["keras"] = _keras(case, before, images, latents)
    report: dict[str, Any] = {"parameters": sum(leaf.size for leaf in jax.tree.leaves(before))}
    for name, (theirs, params) in found.items():
        loss_error = max(abs(float(a) - b) / max(abs(b), 1e-6) for a, b in zip(theirs, losses))
        error = max(_relative(*players) for players in zip(before, params, _params(after)))
        report[name] = {"loss_error": loss_error, "gradient_error": error}
        if not max(loss_error, error) <= _TOLERANCE:
            raise ValueError(
                f"{case.name}, {name}: losses differ by {loss_error:.1e}, gradients by {error:.1e}, relative"
            )
    return report


def _awake(state: gan_jax.GANState) -> gan_jax.GANState:
    """With noise for every parameter that begins as zeros: behind a kernel of zeros no gradient would be seen."""
    draw = np.random.default_rng(2)

    def noisy(leaf: jax.Array) -> jax.Array:
        noise = draw.normal(0, 0.02, leaf.shape).astype(np.float32)
        return leaf if np.any(leaf) else jnp.asarray(noise)

    players = (p.replace(params=jax.tree.map(noisy, p.params)) for p in (state.generator, state.discriminator))
    return state.replace(**dict(zip(("generator", "discriminator"), players)))


def _params(state: gan_jax.GANState) -> tuple[Any, Any]:
    return jax.tree.map(np.array, (state.generator.params, state.discriminator.params))


def _torch(case: Case, params: tuple[Any, Any], images: np.ndarray, latents: np.ndarray) -> tuple[Any, Any]:
    """PyTorch's losses, and its parameters after the step, in JAX's layout."""
    import torch

    from . import torch_networks, torch_step

    device = "cuda" if jax.default_backend() == "gpu" else "cpu"
    peer = torch_step.make(case, params, "torch_tuned", sgd=_RATE, dtype=torch.float64, device=device)
    given = torch.tensor(latents, dtype=torch.float64, device=device)
    losses = [float(x.detach()) for x in peer.step(peer.place(images), given)]
    networks = zip((peer.generator, peer.discriminator), params)
    return losses, tuple(torch_networks.read_back(network, like) for network, like in networks)


def _keras(case: Case, params: tuple[Any, Any], images: np.ndarray, latents: np.ndarray) -> tuple[Any, Any]:
    """As `_torch`, in float32."""
    from . import keras_step

    steps, model = keras_step.make(case, params, sgd=_RATE)
    losses = steps(1, images, latents)
    networks = zip((model.generator, model.discriminator), params)
    return losses, tuple(keras_step.read_back(network, like) for network, like in networks)


def _relative(before: Any, after: Any, expected: Any) -> float:
    """`|ours - theirs| / |ours|` of what a step added to a tree of parameters."""
    was, now, want = (np.concatenate([x.ravel() for x in jax.tree.leaves(t)]) for t in (before, after, expected))
    return float(np.linalg.norm(now - want) / np.linalg.norm(want - was))
